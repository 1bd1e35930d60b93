"""What the custodians say became of the instructions that they were given, as a file beside their statements.

What a confirmation does to a batch does not belong here: see `assets.settlement.confirm`.
"""

from datetime import UTC, datetime

import polars as pl

from assets.intake import Rule, SourceFile, enter_table, first_flaw, instant, missing, not_among, not_identifiers
from schemas.instruction import Confirmation
from schemas.reasons import Flaw

FILE = "custody/confirmations.csv"  # Of all files below custody/ the only one that is no statement.
COLUMNS = (("instruction_id", "outcome"), ("executed_at", "reference"))


def read_confirmations(
    file: SourceFile | None, pending: pl.DataFrame, cut_at: datetime
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return (Confirmation, Quarantined, FileCount) of the file; none is no answer.

    `pending` has the instruction_id of every instruction that may be spoken of; `cut_at` has a time zone.
    """
    # In nanoseconds: beside a literal in microseconds Polars would drop the last three digits of the column.
    cut = pl.lit(cut_at.astimezone(UTC)).dt.cast_time_unit("ns")
    at = pl.col("at")
    rules: list[Rule] = [
        *missing(*COLUMNS[0]),
        (
            ~pl.col("instruction_id").is_in(pending["instruction_id"].to_list()),
            Flaw.UNKNOWN_INSTRUCTION,
            "instruction_id: expected one of a batch that is being executed",
        ),
        not_among("outcome", ("DONE", "REJECTED", "UNKNOWN")),
        *not_identifiers("reference"),
        (pl.col("executed_at").is_not_null() & at.is_null(), Flaw.BAD_TIME, "executed_at: expected RFC 3339 in UTC"),
        (at > cut, Flaw.IN_THE_FUTURE, "executed_at: expected no later than the cut"),
    ]

    def judge(rows: pl.DataFrame) -> pl.DataFrame:
        return first_flaw(rows.with_columns(at=instant("executed_at")), rules).with_columns(executed_at="at")

    return enter_table(file, Confirmation, COLUMNS, ["instruction_id"], judge)
