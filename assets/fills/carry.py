"""What a cycle takes over from the one before: the fills that did not settle."""

import polars as pl

from schemas.fill import Fill
from schemas.reasons import FillState, HoldReason


def carry_over(fills: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return the fills (Fill) that the next cycle takes over, one cycle older: those that wait or lack their other side.

    `fills` and `outcomes` (Outcome) are those of the cycle before. A broker that stood for a trade still does. What
    an open correction replaced comes along: without it the next cycle would not know what the correction names.
    """
    limits = [str(HoldReason.LIMIT_NOP), str(HoldReason.LIMIT_DSL)]
    open_ = outcomes.filter(pl.col("state").is_in([str(FillState.WAITING), str(FillState.UNMATCHED)]))
    corrected = outcomes.filter(pl.col("state") == str(FillState.CORRECTED))
    while True:
        named = fills.filter(pl.col("fill_id").is_in(open_["fill_id"].implode()))["exec_ref_id"].drop_nulls()
        replaced = corrected.filter(
            pl.col("fill_id").is_in(named.implode()) & ~pl.col("fill_id").is_in(open_["fill_id"].implode())
        )
        if replaced.is_empty():
            break
        open_ = pl.concat([open_, replaced])
    stood_for = (pl.col("state") == str(FillState.WAITING)) & ~pl.col("reason").is_in(limits)
    carried = fills.join(open_.select("fill_id", "state", "reason"), on="fill_id", how="inner").with_columns(
        age=pl.col("age") + 1, accepted=pl.col("accepted") | stood_for
    )
    return Fill.hold(carried.select(Fill.names()).sort("fill_id"))
