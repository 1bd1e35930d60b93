"""Statements that came after a cycle and correct it: what a replay that knows today's state settles it with."""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from assets.custody.balances import read_balances
from assets.custody.statements import read_statements
from assets.custody.statements.delimited import OPTIONAL, REQUIRED
from assets.intake import SourceFile
from assets.reference import Reference


def late_statements(
    own: Sequence[SourceFile],
    later: Sequence[SourceFile],
    reference: Reference,
    cut_at: datetime,
    stale_hours: int,
    executed_by: datetime | None,
) -> pl.DataFrame:
    """Return the rows of the files `later`, as text in the columns of a CSV statement, that correct those of `own`.

    A row does so when the cycle would have accepted it (read_balances, with the same arguments) and it counts before
    what the cycle had for its account: nothing, or a COMPLETE row with a lower `statement_seq`. What is from after the
    cut is not about the cycle. What was said with the same number, or as a DELTA beside another row, corrects nothing.
    """
    account = ["account", "instrument"]
    had = read_balances(own, reference, cut_at, stale_hours, executed_by).balances.select(
        *account, had_seq="statement_seq", had="update"
    )
    found = [pl.DataFrame(schema=dict.fromkeys((*REQUIRED, *OPTIONAL), pl.String))]
    for file in later:
        counts = read_balances([file], reference, cut_at, stale_hours, executed_by).balances
        if counts.is_empty():
            continue
        counts = counts.join(had, on=account, how="left").filter(
            pl.col("had").is_null()
            | (
                (pl.col("had") == "COMPLETE")
                & (pl.col("update") == "COMPLETE")
                & (pl.col("statement_seq") > pl.col("had_seq"))
            )
        )
        rows = read_statements(file, reference).join(counts, on="record", how="semi", maintain_order="left")
        found.append(rows.select(*REQUIRED, *OPTIONAL))
    return pl.concat(found)
