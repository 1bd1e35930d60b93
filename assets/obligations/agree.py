"""From reports to trades: busts and corrections are folded, then both sides must agree.

A report that a later one corrects or cancels is dead, however long the row of corrections is, because each names its
predecessor; a bust takes with it what its report was corrected into. What is not (yet) agreed waits; nothing is
dropped.
"""

from datetime import datetime
from typing import NamedTuple

import polars as pl

from assets.reference import Reference, value_scale
from schemas.atoms import mul_div
from schemas.cycle import Policy
from schemas.obligation import HIGH, NORMAL, Outcome, Trade
from schemas.reasons import FillState, HoldReason, Rejection

SAME_TRADE = ["chain_id", "buy_fill_id", "sell_fill_id"]


class Agreed(NamedTuple):
    """Trades on which both sides agree, and the outcome of every fill that is in none of them."""

    trades: pl.DataFrame  # Trade, plus buyer_accepted and seller_accepted
    outcomes: pl.DataFrame  # Outcome


def agree(
    fills: pl.DataFrame, settled: pl.DataFrame, *, reference: Reference, cut_at: datetime, policy: Policy
) -> Agreed:
    """Return the trades that `fills` (new and carried, Fill) make. A carried correction brings what it replaced.

    `settled` are the trades (Trade) of earlier cycles, with what has settled of each. Of one that settled in part the
    rest is made. When both sides of one are cancelled, its rest is too, and a compensating trade runs the other way
    (R11): what is final is never edited.
    """
    final = pl.concat([settled["buy_fill_id"], settled["sell_fill_id"]]).implode()
    begun = _with_forebears(fills, fills.filter(pl.col("fill_id").is_in(final))["fill_id"]).implode()
    refers, is_bust = pl.col("exec_ref_id").is_not_null(), pl.col("exec_type") == "H"
    # A report that names itself replaces nothing: it waits, like one that names what nobody has seen.
    # What has settled in part is as final as what has settled: only both sides together can cancel it.
    touches = pl.col("exec_ref_id").is_in(begun) & ~pl.col("fill_id").is_in(begun)
    naming = fills.filter(refers & (pl.col("exec_ref_id") != pl.col("fill_id")) & ~touches)
    corrected = naming.filter(~is_bust)["exec_ref_id"].implode()
    # A bust of what has settled waits for that of the other side, whatever else names the same report.
    known = naming.filter(
        pl.col("exec_ref_id").is_in(fills["fill_id"].implode())
        | (is_bust & pl.col("exec_ref_id").is_in(corrected) & ~pl.col("exec_ref_id").is_in(final))
    )
    busted = _busted(naming).implode()
    state = (
        pl.when(pl.col("fill_id").is_in(busted)).then(pl.lit(str(FillState.BUSTED)))
        .when(pl.col("fill_id").is_in(corrected)).then(pl.lit(str(FillState.CORRECTED)))
    )  # fmt: skip
    fills = fills.with_columns(state=state, pending=refers & ~pl.col("fill_id").is_in(known["fill_id"].implode()))
    reversals, reversed_ids = _reverse(fills.filter(is_bust & pl.col("state").is_null()), settled)
    cancelled = settled.filter(pl.col("chain_id").is_in(reversals["compensates"].implode()))
    without = pl.concat([cancelled["buy_fill_id"], cancelled["sell_fill_id"]]).implode()
    fills = fills.filter(~pl.col("fill_id").is_in(reversed_ids.implode())).with_columns(
        state=pl.when(pl.col("fill_id").is_in(without)).then(pl.lit(str(FillState.BUSTED))).otherwise("state")
    )
    # A bust has done its work when what it cancels is in sight, and gone.
    applied = pl.when(is_bust & ~pl.col("pending")).then(pl.lit(str(FillState.APPLIED)))
    fills = fills.with_columns(pl.coalesce("state", applied).alias("state"))
    folded, live = fills.filter(pl.col("state").is_not_null()), fills.filter(pl.col("state").is_null())

    trades, apart, selves = _match(live)
    same = trades.join(settled, on=SAME_TRADE, how="semi")["chain_id"].implode()
    clash = pl.col("chain_id").is_in(settled["chain_id"].implode()) & ~pl.col("chain_id").is_in(same)
    # By the whole fill id: its last part may stand in several, or be 'bust', and a chain's id is never used twice.
    trades = trades.with_columns(
        pl.when(clash).then(pl.format("{}~{}", "chain_id", "buy_fill_id")).otherwise("chain_id").alias("chain_id")
    )
    trades = _open_rest(trades, settled)
    expired = pl.col("age") > policy.unmatched_cycles_max
    apart = apart.with_columns(
        state=pl.when(expired).then(pl.lit(str(FillState.EXPIRED))).otherwise(pl.lit(str(FillState.UNMATCHED))),
        reason=pl.when("pending").then(pl.lit(str(HoldReason.UNKNOWN_REFERENCE)))
        .otherwise(pl.lit(str(HoldReason.UNMATCHED))),
    )  # fmt: skip
    selves = selves.with_columns(state=pl.lit(str(FillState.REJECTED)), reason=pl.lit(str(Rejection.SELF_TRADE)))
    outcomes = pl.concat(
        [
            frame.select("fill_id", pl.col("match_id").alias("chain_id"), "state", "reason", "age")
            for frame in (folded.with_columns(reason=pl.lit(None, dtype=pl.String)), apart, selves)
        ]
    )
    trades = _held(pl.concat([trades, reversals], how="diagonal_relaxed"), reference, cut_at)
    trades = _valued(trades, reference, policy.reference_instrument).sort("chain_id")
    return Agreed(trades, Outcome.hold(outcomes.sort("fill_id")))


def _busted(naming: pl.DataFrame) -> pl.Series:
    """Return the ids of the reports that a bust names, and of all that corrections made of them."""
    busted = naming.filter(pl.col("exec_type") == "H")["exec_ref_id"].unique()
    corrections = naming.filter(pl.col("exec_type") == "G")
    while True:
        heirs = corrections.filter(
            pl.col("exec_ref_id").is_in(busted.implode()) & ~pl.col("fill_id").is_in(busted.implode())
        )
        if heirs.is_empty():
            return busted
        busted = pl.concat([busted, heirs["fill_id"]])


def _with_forebears(fills: pl.DataFrame, fill_ids: pl.Series) -> pl.Series:
    """Return the ids and those of all reports that corrections replaced on the way to them."""
    while True:
        replaced = fills.filter(pl.col("fill_id").is_in(fill_ids.implode()))["exec_ref_id"].drop_nulls().unique()
        replaced = replaced.filter(~replaced.is_in(fill_ids.implode()))
        if replaced.is_empty():
            return fill_ids
        fill_ids = pl.concat([fill_ids, replaced])


def _match(live: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return (trades, reports that wait for their other side, reports of one account with itself)."""
    pairs = live.group_by("match_id").agg(
        two=(pl.len() == 2) & (pl.col("side").n_unique() == 2) & ~pl.col("pending").any()
    )
    live = live.join(pairs, on="match_id", how="left", maintain_order="left")
    buys = live.filter("two" & (pl.col("side") == "BUY"))
    sells = live.filter("two" & (pl.col("side") == "SELL"))
    both = buys.join(sells, on="match_id", suffix="_s", how="inner")
    gap = pl.col("quote_atoms") - pl.col("quote_atoms_s")
    increment = pl.min_horizontal("quote_increment_atoms", "quote_increment_atoms_s")
    agreed = both.filter(
        pl.col("base") == pl.col("base_s"),
        pl.col("quote") == pl.col("quote_s"),
        pl.col("base_atoms") == pl.col("base_atoms_s"),
        pl.col("price") == pl.col("price_s"),
        gap <= increment,
        gap >= 0 - increment,
        pl.col("value_on") == pl.col("value_on_s"),
    )
    one_account = (pl.col("client") == pl.col("client_s")) & pl.col("account").eq_missing(pl.col("account_s"))
    selves = live.filter(pl.col("match_id").is_in(agreed.filter(one_account)["match_id"].implode()))
    agreed = agreed.filter(~one_account)
    apart = live.filter(
        ~pl.col("match_id").is_in(agreed["match_id"].implode())
        & ~pl.col("match_id").is_in(selves["match_id"].implode())
    )
    trades = agreed.select(
        pl.col("match_id").alias("chain_id"),
        "venue",
        buyer="client",
        seller="client_s",
        buyer_broker="prime_broker",
        seller_broker="prime_broker_s",
        base="base",
        quote="quote",
        base_atoms="base_atoms",
        quote_atoms="quote_atoms",  # The buyer's report, where the two differ within an increment (R2).
        traded_at=pl.max_horizontal("traded_at", "traded_at_s"),
        value_on="value_on",
        age=pl.max_horizontal("age", "age_s"),
        buy_fill_id="fill_id",
        sell_fill_id="fill_id_s",
        buyer_accepted="accepted",
        seller_accepted="accepted_s",
        compensates=pl.lit(None, dtype=pl.String),
    )
    return trades, apart, selves


def _open_rest(trades: pl.DataFrame, settled: pl.DataFrame) -> pl.DataFrame:
    """Return the trades less what has settled of them in earlier cycles."""
    done = settled.select(*SAME_TRADE, base_done="base_atoms", quote_done="quote_atoms")
    nothing = pl.lit(0, dtype=pl.Int128)
    return (
        trades.join(done, on=SAME_TRADE, how="left", maintain_order="left")
        .with_columns(
            base_atoms=pl.col("base_atoms") - pl.col("base_done").fill_null(nothing),
            quote_atoms=pl.col("quote_atoms") - pl.col("quote_done").fill_null(nothing),
        )
        .drop("base_done", "quote_done")
    )


def _held(trades: pl.DataFrame, reference: Reference, cut_at: datetime) -> pl.DataFrame:
    """Hold what is not due, and what touches someone or something that is suspended. Reversals too (R10)."""
    idle = reference.participants.filter(pl.col("status") != "ACTIVE")["participant"].implode()
    frozen = reference.instruments.filter(pl.col("status") != "ACTIVE")["instrument"].implode()
    parties = ("buyer", "seller", "buyer_broker", "seller_broker")
    suspended = pl.any_horizontal(
        *(pl.col(party).is_in(idle) for party in parties),
        *(pl.col(leg).is_in(frozen) for leg in ("base", "quote")),
    )
    # A plain datetime would make Polars cut the column to microseconds before it compares.
    early = (pl.col("value_on") > cut_at.date()) | (pl.col("traded_at") > pl.lit(cut_at).dt.cast_time_unit("ns"))
    return trades.with_columns(
        hold_reason=pl.when(early)
        .then(pl.lit(str(HoldReason.SETTLEMENT_DATE)))
        .when(suspended.fill_null(False))
        .then(pl.lit(str(HoldReason.SUSPENDED)))
    )


def _reverse(busts: pl.DataFrame, settled: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Return a compensating trade for each settled one that both sides cancel, and the ids of those busts."""
    # One bust a side is enough: a second one of the same report waits for something else to cancel.
    cancels = busts.sort("fill_id").unique("exec_ref_id", keep="first", maintain_order=True)
    cancels = cancels.select("exec_ref_id", by="fill_id", waited="age")
    open_ = settled.filter(~pl.col("chain_id").is_in(settled["compensates"].drop_nulls().implode()))
    both = open_.join(cancels, left_on="buy_fill_id", right_on="exec_ref_id", how="inner").join(
        cancels, left_on="sell_fill_id", right_on="exec_ref_id", how="inner", suffix="_s"
    )
    reversals = both.select(
        pl.format("{}~bust", "chain_id").alias("chain_id"),
        "venue",
        buyer="seller",
        seller="buyer",
        buyer_broker="seller_broker",
        seller_broker="buyer_broker",
        base="base",
        quote="quote",
        base_atoms="base_atoms",
        quote_atoms="quote_atoms",
        traded_at="traded_at",
        value_on="value_on",
        age=pl.max_horizontal("waited", "waited_s"),
        buy_fill_id="by_s",
        sell_fill_id="by",
        buyer_accepted=pl.lit(True),
        seller_accepted=pl.lit(True),
        compensates="chain_id",
    )
    return reversals, pl.concat([both["by"], both["by_s"]])


def _valued(trades: pl.DataFrame, reference: Reference, into: str) -> pl.DataFrame:
    """Add value_atoms, rounded down, and hold what has no price."""
    scale = value_scale(reference, into)
    priced = trades.join(scale, left_on="quote", right_on="instrument", how="left", maintain_order="left")
    brokered = pl.col("buyer_broker").is_not_null() | pl.col("seller_broker").is_not_null()
    has_base = pl.col("base").is_in(scale["instrument"].implode())
    unpriced = pl.col("price_units").is_null() | (brokered & ~has_base)
    value = mul_div(
        priced["quote_atoms"],
        priced["price_units"].fill_null(0),
        priced["value_divisor"].fill_null(1),
        "floor",
    )
    return priced.with_columns(
        (pl.col("buyer_accepted") & pl.col("seller_accepted")).alias("accepted"),
        # What the parties ask for comes later; what undoes a settled trade goes before what is new (R11).
        pl.when(pl.col("compensates").is_null()).then(NORMAL).otherwise(HIGH).cast(pl.UInt32).alias("priority"),
        pl.lit(None, dtype=pl.Int128).alias("least_atoms"),
        pl.lit(1, dtype=pl.Int128).alias("lot_atoms"),
        value.alias("value_atoms"),
        pl.coalesce("hold_reason", pl.when(unpriced).then(pl.lit(str(HoldReason.NO_PRICE)))).alias("hold_reason"),
    ).select(*Trade.names(), "buyer_accepted", "seller_accepted")
