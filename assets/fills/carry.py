"""What a cycle takes over from the one before: the fills that did not settle, or not in full."""

import polars as pl

from schemas.fill import Fill
from schemas.reasons import OPEN_STATES, FillState


def carry_over(fills: pl.DataFrame, outcomes: pl.DataFrame, trades: pl.DataFrame) -> pl.DataFrame:
    """Return the fills (Fill) that the next cycle takes over, one cycle older: those that wait, lack
    their other side, or have settled in part.

    `fills`, `outcomes` (Outcome) and `trades` (Trade) are those of the cycle before. Brokers that stood for a trade
    still do; one that was not asked (no price) or that waits for a limit is asked again. What an open correction
    replaced comes along: without it the next cycle would not know what the correction names.
    """
    open_ = outcomes.filter(pl.col("state").is_in(OPEN_STATES))
    corrected = outcomes.filter(pl.col("state") == str(FillState.CORRECTED))
    while True:
        named = fills.filter(pl.col("fill_id").is_in(open_["fill_id"].implode()))["exec_ref_id"].drop_nulls()
        replaced = corrected.filter(
            pl.col("fill_id").is_in(named.implode()) & ~pl.col("fill_id").is_in(open_["fill_id"].implode())
        )
        if replaced.is_empty():
            break
        open_ = pl.concat([open_, replaced])
    accepted = trades.filter("accepted")
    stood_for = pl.concat([accepted["buy_fill_id"], accepted["sell_fill_id"]])
    carried = fills.join(open_.select("fill_id"), on="fill_id", how="semi").with_columns(
        age=pl.col("age") + 1, accepted=pl.col("accepted") | pl.col("fill_id").is_in(stood_for.implode())
    )
    return Fill.hold(carried.select(Fill.names()).sort("fill_id"))
