"""What has settled of each trade in the cycles before, in full or in parts."""

from collections.abc import Iterable

import polars as pl

from schemas.atoms import sum_atoms
from schemas.obligation import Trade

AMOUNTS = ["base_atoms", "quote_atoms"]


def settled_so_far(batches: Iterable[tuple[pl.DataFrame, pl.DataFrame]]) -> pl.DataFrame:
    """Return one row (the columns of Trade) per chain of which something settled, with the amounts that did.

    `batches` are the trades (Trade) and decisions (Decision) of each committed batch, oldest first.
    """
    parts = [
        trades.drop(AMOUNTS).join(with_amounts(decisions, trades).filter("settles").select("chain_id", *AMOUNTS), on="chain_id")
        for trades, decisions in batches
    ]  # fmt: skip
    # A batch from before trades had parts and priorities has null there; nothing here reads them.
    every = pl.concat([Trade.empty(), *parts], how="diagonal")
    sums = sum_atoms(every, ["chain_id"], AMOUNTS).drop("rows")
    first = every.drop(AMOUNTS).unique("chain_id", keep="first", maintain_order=True)
    return first.join(sums, on="chain_id", how="left", maintain_order="left").select(Trade.names()).sort("chain_id")


def with_amounts(decisions: pl.DataFrame, trades: pl.DataFrame) -> pl.DataFrame:
    """Return decisions with what settled of each chain: all of it, where they are from before trades had parts."""
    if "base_atoms" in decisions.columns:
        return decisions
    whole = decisions.join(trades.select("chain_id", *AMOUNTS), on="chain_id", how="left", maintain_order="left")
    nothing = pl.lit(0, dtype=pl.Int128)
    return whole.with_columns(pl.when("settles").then(name).otherwise(nothing).alias(name) for name in AMOUNTS)
