"""What became of every fill, and which chains settled."""

import polars as pl

from schemas.cycle import Policy
from schemas.errors import BrokenInvariant
from schemas.obligation import Outcome, Settlement
from schemas.reasons import FillState


def account_for_fills(
    fills: pl.DataFrame, outcomes: pl.DataFrame, trades: pl.DataFrame, decisions: pl.DataFrame, policy: Policy
) -> pl.DataFrame:
    """Return the outcome (Outcome) of every fill: `outcomes` of those in no trade, and what was decided of the rest.

    BrokenInvariant unless each fill has exactly one (I6).
    """
    decided = trades.join(
        decisions.select("chain_id", "settles", "reason", moved="base_atoms"), on="chain_id", how="left"
    )
    expired = pl.col("age") > policy.waiting_cycles_max
    state = (
        pl.when(pl.col("settles") & (pl.col("moved") < pl.col("base_atoms")))
        .then(pl.lit(str(FillState.PARTLY_SETTLED)))
        .when("settles").then(pl.lit(str(FillState.SETTLED)))
        .when(expired).then(pl.lit(str(FillState.EXPIRED))).otherwise(pl.lit(str(FillState.WAITING)))
    )  # fmt: skip
    sides = [
        decided.select(fill_id=side, chain_id="chain_id", state=state, reason="reason", age="age")
        for side in ("buy_fill_id", "sell_fill_id")
    ]
    everyone = pl.concat([outcomes, *sides]).sort("fill_id")
    if everyone["fill_id"].to_list() != fills["fill_id"].sort().to_list():
        raise BrokenInvariant(
            f"{fills.height:,} fills came in and {everyone.height:,} outcomes came out, or not of the same fills. "
            "Nothing was written. Please report it."
        )
    return Outcome.hold(everyone)


def settlements_of(cycle_id: str, trades: pl.DataFrame, decisions: pl.DataFrame) -> pl.DataFrame:
    """Return one row (Settlement) per chain of `trades` (Trade) that settles by `decisions` (Decision)."""
    chosen = decisions.filter("settles").select("chain_id", "base_atoms", "quote_atoms")
    frame = trades.drop("base_atoms", "quote_atoms").join(chosen, on="chain_id").sort("chain_id")
    frame = frame.with_columns(table=pl.lit("settlements"), cycle_id=pl.lit(cycle_id))
    return Settlement.hold(frame.select(Settlement.names()))
