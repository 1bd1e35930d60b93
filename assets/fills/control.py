"""A venue's own totals against what was read of it: a report that was lost, or changed by one unit, shows here.

Nothing is judged here. Whether a difference stops the batch is a quality rule: schemas.expectations.cycle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from assets.intake import (
    SPAN,
    FileRefused,
    Rule,
    SourceFile,
    first_flaw,
    missing,
    not_among,
    not_identifiers,
    quarantine_file,
    read_table,
    take_table,
)
from assets.reference import Reference, not_a_mic, wrong_amount
from schemas import limits
from schemas.atoms import scale, sum_atoms
from schemas.control_total import ControlTotal, StatedTotal
from schemas.fill import SIDES, FileCount, Quarantined
from schemas.reasons import Flaw

TOTALS_FILE = "venues/control_totals.csv"
REQUIRED, OPTIONAL = ("venue", "symbol", "side", "reports", "quantity"), ("quote_quantity",)
KEY = ("venue", "symbol", "side")
MARKET = ("venue", "base", "quote", "side")


@dataclass(frozen=True, slots=True)
class Stated:
    """What the venues state for one cycle."""

    totals: pl.DataFrame  # schemas.control_total.StatedTotal
    unread: tuple[str, ...]  # The venue that each quarantined total names.
    quarantined: pl.DataFrame  # schemas.fill.Quarantined
    counts: pl.DataFrame  # schemas.fill.FileCount: one row, or none without the file


def read_totals(files: Sequence[SourceFile], reference: Reference) -> Stated:
    """Return the totals of that one of `files` that holds them, in atoms, or none when it is not there."""
    found = [replace(file, stage="control") for file in files if file.name == TOTALS_FILE]
    if not found:
        return Stated(StatedTotal.empty(), (), Quarantined.empty(), FileCount.empty())
    try:
        rows = _judge(read_table(found[0], REQUIRED, OPTIONAL), reference)
    except FileRefused as refused:
        return Stated(StatedTotal.empty(), (), *quarantine_file(found[0], refused))
    accepted, quarantined, count = take_table(found[0], rows, KEY)
    unread = rows.filter(pl.col("record").is_in(quarantined["record"].implode()))["venue"].drop_nulls()
    totals = StatedTotal.hold(accepted.select(StatedTotal.names()).sort(KEY))
    return Stated(totals, tuple(unread), quarantined, count)


def reconcile(stated: Stated, fills: pl.DataFrame, counts: pl.DataFrame) -> pl.DataFrame:
    """Return what each venue states beside what was counted (ControlTotal), for the venues that state totals.

    `fills` (Fill) are those new in the cycle and `counts` (FileCount) those of the files they were read from. Symbols
    of a venue that are one market for us are added up.
    """
    totals, zero = stated.totals, pl.lit(0, dtype=pl.Int128)
    # The sum of nothing is 0 and must not pass for a statement: a quote total needs all of its symbols.
    said = sum_atoms(
        totals.with_columns(unsaid=pl.col("quote_atoms").is_null().cast(pl.Int64)),
        MARKET, ["reports", "base_atoms", "quote_atoms", "unsaid"],
    ).select(
        *MARKET, stated_reports="reports", stated_base_atoms="base_atoms",
        stated_quote_atoms=pl.when(pl.col("unsaid") == 0).then("quote_atoms"),
    )  # fmt: skip
    told = fills.filter(
        pl.col("venue").is_in(totals["venue"].unique().implode()) & pl.col("exec_type").is_in(["F", "G"])
    )
    counted = sum_atoms(told, MARKET, ["base_atoms", "quote_atoms"]).select(
        *MARKET, counted_reports=pl.col("rows").cast(pl.Int64),
        counted_base_atoms="base_atoms", counted_quote_atoms="quote_atoms",
    )  # fmt: skip
    kept_out = pl.concat(
        [
            counts.select(
                venue=pl.col("file").str.split("/").list.get(1, null_on_oob=True),
                quarantined=pl.col("quarantined").cast(pl.Int64) + pl.col("flaw").is_not_null(),
            ),
            pl.DataFrame({"venue": stated.unread}, schema={"venue": pl.String}).with_columns(
                quarantined=pl.lit(1, dtype=pl.Int64)
            ),
        ]
    )
    both = said.join(counted, on=MARKET, how="full", coalesce=True, validate="1:1").join(
        kept_out.group_by("venue").agg(pl.col("quarantined").sum()), on="venue", how="left", validate="m:1"
    )
    both = both.with_columns(
        pl.col("stated_reports", "counted_reports", "quarantined").fill_null(0),
        pl.col("stated_base_atoms", "counted_base_atoms", "counted_quote_atoms").fill_null(zero),
    )
    return ControlTotal.hold(both.select(ControlTotal.names()).sort(MARKET))


def _judge(rows: pl.DataFrame, reference: Reference) -> pl.DataFrame:
    """Return the rows in the columns of StatedTotal, with `flaw` and `detail`."""
    markets = reference.symbols.select("venue", "symbol", "base", "quote")
    rows = rows.join(markets, on=["venue", "symbol"], how="left", maintain_order="left", validate="m:1")
    for leg in ("base", "quote"):
        decimals = reference.instruments.select(pl.col("instrument").alias(leg), decimals="decimals")
        rows = rows.join(decimals.rename({"decimals": f"{leg}_decimals"}), on=leg, how="left", maintain_order="left")
    rows = scale(rows, "quantity", pl.col("base_decimals"), out="base_atoms")
    rows = scale(rows, "quote_quantity", pl.col("quote_decimals"), out="quote_atoms")
    integer = pl.when(pl.col("reports").str.contains(r"^[0-9]{1,9}$")).then(pl.col("reports"))
    rows = first_flaw(rows.with_columns(number=integer.cast(pl.Int64)), _rules())
    sides = pl.col("side").replace_strict(SIDES, default=None, return_dtype=pl.String)
    return rows.with_columns(sides, reports="number").select(*SPAN, "detail", *StatedTotal.names())


def _rules() -> list[Rule]:
    most = pl.lit(limits.BALANCE_ATOMS_MAX, dtype=pl.Int128)
    amounts = {"base_atoms": "quantity", "quote_atoms": "quote_quantity"}
    return [
        *missing(*REQUIRED),
        not_a_mic("venue"),
        *not_identifiers("symbol"),
        not_among("side", tuple(SIDES)),
        (pl.col("base").is_null(), Flaw.UNKNOWN_SYMBOL, "symbol: expected a row of symbols.csv for the venue"),
        (
            pl.col("number").is_null() | (pl.col("number") > limits.FILLS_PER_CYCLE_MAX),
            Flaw.BAD_NUMBER,
            f"reports: expected an integer from 0 to {limits.FILLS_PER_CYCLE_MAX:,}",
        ),
        *(rule for atoms, text in amounts.items() for rule in wrong_amount(atoms, text)),
        *(
            (pl.col(atoms) < 0, Flaw.NOT_POSITIVE, f"{text}: expected no less than 0")
            for atoms, text in amounts.items()
        ),
        *(
            (pl.col(atoms) > most, Flaw.AMOUNT_TOO_LARGE, f"{text}: beyond what a cycle may be")
            for atoms, text in amounts.items()
        ),
    ]
