"""What the clients ask for: the terms of their trades, and the balances that must stay in their accounts.

What a wish does to a trade does not belong here: see `assets.obligations.terms`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from assets.intake import (
    FileRefused,
    SourceFile,
    enter_table,
    first_flaw,
    missing,
    not_among,
    not_identifiers,
    quarantine_file,
)
from assets.reference import Reference, not_a_mic, not_a_party, not_an_instrument, not_in_role, wrong_amount
from schemas.atoms import NUMBER_PATTERN, scale
from schemas.fill import FileCount, Quarantined
from schemas.reasons import Flaw
from schemas.terms import LINKS, PARTIAL, Minimum, Terms

TERMS = (
    ("venue", "match_id", "party"),
    ("priority", "partial", "least", "lot", "hold", "link", "linked_to", "pool", "pool_count"),
)
MINIMUM = (("participant", "instrument", "minimum"), ())
FILES = ("terms.csv", "minimum_balances.csv")
KEY = ["venue", "match_id", "party"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the clients ask for in a cycle, and what had to be kept out."""

    terms: pl.DataFrame  # schemas.terms.Terms
    unclear: pl.DataFrame  # venue, match_id: trades of which a wish is in quarantine
    minimums: pl.DataFrame  # schemas.terms.Minimum
    quarantined: pl.DataFrame  # schemas.fill.Quarantined
    counts: pl.DataFrame  # schemas.fill.FileCount


def read_wishes(files: Sequence[SourceFile], reference: Reference) -> Wishes:
    """Return what the files below clients/ ask for; one that is not there asks for nothing.

    A file with an unknown name is quarantined whole.
    """
    named = {file.name.removeprefix("clients/"): file for file in files}
    judged: list[pl.DataFrame] = []

    def judge(rows: pl.DataFrame) -> pl.DataFrame:
        judged.append(_judge_terms(rows, reference))
        return judged[0]

    terms, *kept_terms = enter_table(named.get("terms.csv"), Terms, TERMS, KEY, judge)
    minimums, *kept_minimums = enter_table(
        named.get("minimum_balances.csv"), Minimum, MINIMUM, ["participant", "instrument"],
        lambda rows: _judge_minimums(rows, reference),
    )  # fmt: skip
    unclear = pl.concat([Terms.empty().select(KEY), *(rows.select(KEY) for rows in judged)])
    refused = [
        quarantine_file(file, FileRefused(Flaw.FILE_UNREADABLE, f"expected one of {', '.join(FILES)}"))
        for name, file in named.items()
        if name not in FILES
    ]
    kept = [kept_terms, kept_minimums, *refused]
    return Wishes(
        terms,
        unclear.join(terms, on=KEY, how="anti").select("venue", "match_id").drop_nulls().unique().sort(KEY[:2]),
        minimums,
        Quarantined.hold(pl.concat([quarantined for quarantined, _ in kept])),
        FileCount.hold(pl.concat([count for _, count in kept]).sort("file")),
    )


def _judge_terms(rows: pl.DataFrame, reference: Reference) -> pl.DataFrame:
    parts = pl.col("partial").is_in(["PARQ", "PARC"]).fill_null(False)
    count = pl.when(pl.col("pool_count").str.contains(r"^[1-9][0-9]{0,5}$")).then(pl.col("pool_count"))
    rules = [
        *missing(*TERMS[0]),
        not_a_mic("venue"),
        *not_identifiers("match_id", "linked_to", "pool"),
        not_a_party("party", reference.participants),
        not_in_role("party", ("CLNT", "PB"), reference.participants),
        not_among("priority", ("1", "2", "3", "4")),
        not_among("partial", PARTIAL),
        not_among("hold", ("YES", "NO")),
        not_among("link", LINKS),
        (parts & pl.col("least").is_null(), Flaw.MISSING_FIELD, "least: expected a value with PARQ or PARC"),
        (~parts & pl.col("least").is_not_null(), Flaw.BAD_CODE, "least: expected PARQ or PARC with it"),
    ]
    for name in ("least", "lot"):
        nothing = pl.col(name).str.contains(r"^(-.*|[0.]*)$")
        rules += [
            (~pl.col(name).str.contains(NUMBER_PATTERN), Flaw.BAD_NUMBER, f"{name}: expected a decimal number"),
            (nothing, Flaw.NOT_POSITIVE, f"{name}: expected more than 0"),
        ]
    for one, other in (("link", "linked_to"), ("pool", "pool_count")):
        alone = pl.col(one).is_null() != pl.col(other).is_null()
        rules.append((alone, Flaw.MISSING_FIELD, f"{one}, {other}: expected both or none"))
    rules += [
        (pl.col("linked_to") == pl.col("match_id"), Flaw.BAD_CODE, "linked_to: expected another trade"),
        (pl.col("pool").is_not_null() & count.is_null(), Flaw.BAD_NUMBER, "pool_count: expected 1 to 999999"),
    ]
    return first_flaw(rows, rules).with_columns(
        pl.col("priority").cast(pl.UInt32, strict=False),
        pl.col("partial").fill_null(PARTIAL[0]),
        count.cast(pl.UInt32).alias("pool_count"),
        on_hold=(pl.col("hold") == "YES").fill_null(False),
        age=pl.lit(0, dtype=pl.UInt32),
    )


def _judge_minimums(rows: pl.DataFrame, reference: Reference) -> pl.DataFrame:
    decimals = reference.instruments.select("instrument", "decimals")
    rows = rows.join(decimals, on="instrument", how="left", maintain_order="left")
    rows = scale(rows, "minimum", pl.col("decimals"), out="minimum_atoms")
    rules = [
        *missing(*MINIMUM[0]),
        not_a_party("participant", reference.participants),
        not_an_instrument("instrument", reference.instruments),
        *wrong_amount("minimum_atoms", "minimum"),
        (pl.col("minimum_atoms") < 0, Flaw.BAD_NUMBER, "minimum: expected 0 or more"),
    ]
    return first_flaw(rows, rules)
