"""When both sides agree: busts, corrections, tolerances, reversals of what is final, and what waits."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import polars as pl
import pytest

from assets.fills.carry import carry_over
from assets.obligations.agree import Agreed, agree, value_scale
from assets.obligations.derive import derive_obligations
from schemas.cycle import Policy
from schemas.obligation import Outcome, Trade
from tests import auditor
from tests.market_days import CUT_AT, TODAY, fills_of, following, reference, trades_of

ONE = """
    chain_id  buyer  buyer_broker  seller  seller_broker  base  quote  base_amount  quote_amount
    M1        A      PX            B       PY             BTC   USD    2            200_000
"""
WORLD = reference("A", "B", "C")


def agreed_of(fills: pl.DataFrame, settled: pl.DataFrame | None = None, **world: Any) -> Agreed:
    """Agree, and hold what the auditor says of the folding against it."""
    settled = Trade.empty() if settled is None else settled
    kept = world.pop("reference", WORLD)
    made = agree(fills, settled, reference=kept, cut_at=CUT_AT, policy=Policy(**world))
    ids = [*made.outcomes["fill_id"], *made.trades["buy_fill_id"], *made.trades["sell_fill_id"]]
    assert sorted(ids) == sorted(fills["fill_id"]), "each report has one outcome or stands in one trade"
    return made


def states(agreed: Agreed) -> dict[str, tuple[str, str | None]]:
    return {
        fill: (state, reason) for fill, state, reason in agreed.outcomes.select("fill_id", "state", "reason").rows()
    }


def test_two_reports_that_say_the_same_are_one_trade() -> None:
    agreed = agreed_of(fills_of(ONE))
    assert agreed.outcomes.is_empty()
    (trade,) = agreed.trades.to_dicts()
    assert (trade["chain_id"], trade["buyer"], trade["seller"]) == ("M1", "A", "B")
    assert (trade["buyer_broker"], trade["seller_broker"]) == ("PX", "PY")
    assert trade["base_atoms"] == 2 * 10**8
    assert trade["quote_atoms"] == trade["value_atoms"] == 20_000_000
    assert trade["hold_reason"] is None


def test_one_side_alone_waits_unmatched() -> None:
    agreed = agreed_of(fills_of(ONE).filter(pl.col("side") == "BUY"))
    assert agreed.trades.is_empty()
    assert states(agreed) == {"M1:b": ("UNMATCHED", "XUNM")}


def test_one_side_alone_expires_after_its_last_cycle_and_not_before() -> None:
    buy = fills_of(ONE).filter(pl.col("side") == "BUY")
    aged = [buy.with_columns(age=pl.lit(age, dtype=pl.UInt32)) for age in (3, 4)]
    found = [states(agreed_of(fills, unmatched_cycles_max=3))["M1:b"][0] for fills in aged]
    assert found == ["UNMATCHED", "EXPIRED"]


@pytest.mark.parametrize(("apart", "matched"), [(0, True), (25, True), (-25, True), (26, False), (-26, False)])
def test_quote_amounts_may_differ_by_one_increment_and_the_buyers_counts(apart: int, matched: bool) -> None:
    fills = fills_of(ONE, quote_increment_atoms=25).with_columns(
        quote_atoms=pl.when(pl.col("side") == "SELL").then(pl.col("quote_atoms") + apart).otherwise("quote_atoms")
    )
    agreed = agreed_of(fills)
    assert agreed.trades["quote_atoms"].to_list() == ([20_000_000] if matched else [])
    assert set(auditor.matches(fills.to_dicts())) == ({"M1"} if matched else set())


@pytest.mark.parametrize(
    ("column", "other"),
    [
        ("base_atoms", 2 * 10**8 + 1),
        ("price", "1.5"),
        ("value_on", TODAY + timedelta(days=1)),
        ("base", "ETH"),
        ("quote", "JPY"),
    ],
)
def test_sides_that_differ_in_anything_else_wait(column: str, other: Any) -> None:
    fills = fills_of(ONE)
    dtype = fills.schema[column]
    changed = pl.when(pl.col("side") == "SELL").then(pl.lit(other, dtype=dtype)).otherwise(column)
    agreed = agreed_of(fills.with_columns(changed.alias(column)))
    assert agreed.trades.is_empty()
    assert set(states(agreed).values()) == {("UNMATCHED", "XUNM")}


def test_three_reports_of_one_match_are_not_guessed_at() -> None:
    fills = fills_of(ONE)
    third = fills.filter(pl.col("side") == "BUY").with_columns(fill_id=pl.lit("M1:b2"))
    assert agreed_of(pl.concat([fills, third])).trades.is_empty()


def test_a_party_that_trades_with_itself_on_one_account_is_refused_and_on_two_is_not() -> None:
    itself = ONE.replace(" B ", " A ").replace(" PY ", " PX ")
    assert set(states(agreed_of(fills_of(itself))).values()) == {("REJECTED", "SELF_TRADE")}
    without = fills_of(itself).with_columns(account=pl.lit(None, dtype=pl.String))
    assert set(states(agreed_of(without)).values()) == {("REJECTED", "SELF_TRADE")}
    two = fills_of(itself).with_columns(account=pl.concat_str("account", "side"))
    assert agreed_of(two).trades["chain_id"].to_list() == ["M1"]


def test_a_bust_of_both_sides_ends_the_trade() -> None:
    fills = following(following(fills_of(ONE), "M1:b", "H:b", "H"), "M1:s", "H:s", "H")
    agreed = agreed_of(fills)
    assert agreed.trades.is_empty()
    assert states(agreed) == {
        "M1:b": ("BUSTED", None), "M1:s": ("BUSTED", None), "H:b": ("APPLIED", None), "H:s": ("APPLIED", None),
    }  # fmt: skip


def test_a_bust_of_one_side_leaves_the_other_waiting() -> None:
    agreed = agreed_of(following(fills_of(ONE), "M1:b", "H:b", "H"))
    assert agreed.trades.is_empty()
    assert states(agreed)["M1:s"] == ("UNMATCHED", "XUNM")


def corrected(times: int) -> pl.DataFrame:
    """Both sides corrected `times` times, each time one atom more of the base."""
    fills = fills_of(ONE)
    for side in "bs":
        before = f"M1:{side}"
        for step in range(1, times + 1):
            fills = following(fills, before, f"G{step}:{side}", "G", base_atoms=2 * 10**8 + step)
            before = f"G{step}:{side}"
    return fills


@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "each before what it corrects"])
def test_of_five_corrections_the_last_counts_in_any_order(backwards: bool) -> None:
    fills = corrected(5)
    agreed = agreed_of(fills.reverse() if backwards else fills)
    (trade,) = agreed.trades.to_dicts()
    assert (trade["buy_fill_id"], trade["sell_fill_id"], trade["base_atoms"]) == ("G5:b", "G5:s", 2 * 10**8 + 5)
    assert set(agreed.outcomes["state"]) == {"CORRECTED"}
    assert agreed.outcomes.height == 10
    folded = auditor.fold(fills.to_dicts())
    assert {fill for fill, state in folded.items() if state == "LIVE"} == {"G5:b", "G5:s"}


def test_a_correction_whose_original_has_not_come_waits_for_it() -> None:
    fills = corrected(1)
    early = agreed_of(fills.filter(pl.col("fill_id") != "M1:b"))
    assert early.trades.is_empty()
    assert states(early)["G1:b"] == ("UNMATCHED", "XREF")
    assert agreed_of(fills).trades.height == 1


def test_a_correction_that_waits_is_still_one_in_the_next_cycle() -> None:
    fills = corrected(2)
    agreed = agreed_of(fills)
    waiting = [
        agreed.trades.select(
            fill_id=side, chain_id="chain_id", state=pl.lit("WAITING"), reason=pl.lit("MONY"), age="age"
        )
        for side in ("buy_fill_id", "sell_fill_id")
    ]
    trades = agreed.trades.select(Trade.names())
    later = carry_over(fills, pl.concat([agreed.outcomes, *waiting]).select(Outcome.names()), trades)
    assert later["age"].to_list() == [1] * 6
    assert agreed_of(later).trades["buy_fill_id"].to_list() == ["G2:b"]


def test_a_bust_of_an_original_takes_its_corrections_with_it() -> None:
    fills = corrected(2)
    for side in "bs":
        fills = following(fills, f"M1:{side}", f"H:{side}", "H")
    agreed = agreed_of(fills)
    assert agreed.trades.is_empty()
    assert {states(agreed)[f"{fill}:{side}"][0] for fill in ("M1", "G1", "G2") for side in "bs"} == {"BUSTED"}
    without_originals = agreed_of(fills.filter(~pl.col("fill_id").str.starts_with("M1")))
    assert without_originals.trades.is_empty()
    assert states(without_originals)["H:b"] == ("APPLIED", None)


def test_a_report_that_names_itself_replaces_nothing() -> None:
    fills = fills_of(ONE).with_columns(
        exec_type=pl.lit("G"), exec_ref_id=pl.when(pl.col("side") == "BUY").then("fill_id").otherwise(pl.lit("M1:b"))
    )
    agreed = agreed_of(fills)
    assert agreed.trades.is_empty()
    assert "LIVE" not in auditor.fold(fills.filter(pl.col("side") == "BUY").to_dicts()).values()


SETTLED = trades_of(ONE, compensates=None)


def busts_of_settled(*sides: str) -> pl.DataFrame:
    busts = fills_of(ONE).with_columns(
        exec_type=pl.lit("H"), exec_ref_id=pl.col("fill_id"), fill_id=pl.format("H:{}", pl.col("side"))
    )
    return busts.filter(pl.col("side").is_in(list(sides)))


def test_a_bust_by_both_sides_of_what_is_settled_makes_a_compensating_chain() -> None:
    agreed = agreed_of(busts_of_settled("BUY", "SELL"), SETTLED)
    (back,) = agreed.trades.to_dicts()
    assert (back["chain_id"], back["compensates"]) == ("M1~bust", "M1")
    assert (back["buyer"], back["buyer_broker"], back["seller"], back["seller_broker"]) == ("B", "PY", "A", "PX")
    together = [*SETTLED.to_dicts(), back]
    assert set(auditor.nets(together).values()) == {0}


def test_a_bust_by_one_side_of_what_is_settled_waits() -> None:
    agreed = agreed_of(busts_of_settled("BUY"), SETTLED)
    assert agreed.trades.is_empty()
    assert states(agreed) == {"H:BUY": ("UNMATCHED", "XREF")}


def test_a_bust_of_what_is_settled_is_not_spent_on_a_correction_of_the_same_report() -> None:
    bust = busts_of_settled("BUY")
    correction = bust.with_columns(exec_type=pl.lit("G"), fill_id=pl.lit("G:BUY"))
    first = agreed_of(pl.concat([bust, correction]), SETTLED)
    assert states(first) == {"H:BUY": ("UNMATCHED", "XREF"), "G:BUY": ("BUSTED", None)}
    then = agreed_of(busts_of_settled("BUY", "SELL"), SETTLED)  # The bust was carried, and the other side's has come.
    assert then.trades["compensates"].to_list() == ["M1"]


def test_a_second_bust_of_one_side_does_not_reverse_twice() -> None:
    busts = busts_of_settled("BUY", "SELL")
    again = busts.filter(pl.col("side") == "BUY").with_columns(fill_id=pl.lit("H:again"))
    agreed = agreed_of(pl.concat([again, busts]), SETTLED)
    assert agreed.trades["chain_id"].to_list() == ["M1~bust"]
    assert states(agreed) == {"H:again": ("UNMATCHED", "XREF")}


def test_what_is_reversed_already_is_not_reversed_again() -> None:
    first = agreed_of(busts_of_settled("BUY", "SELL"), SETTLED).trades.select(Trade.names())
    later = busts_of_settled("BUY", "SELL").with_columns(fill_id=pl.format("{}2", "fill_id"))
    assert agreed_of(later, pl.concat([SETTLED, first])).trades.is_empty()


def test_the_reversal_of_a_suspended_party_waits_too() -> None:
    world = reference("A", "B", idle=("A",))
    assert agreed_of(busts_of_settled("BUY", "SELL"), SETTLED, reference=world).trades["hold_reason"].to_list() == [
        "PRSY"
    ]


def test_a_new_trade_under_the_match_id_of_a_settled_one_gets_an_id_of_its_own() -> None:
    fills = fills_of(ONE).with_columns(fill_id=pl.format("SPTX:2026-11-20:N{}", "side"))
    assert agreed_of(fills, SETTLED).trades["chain_id"].to_list() == ["M1~SPTX:2026-11-20:NBUY"]


def test_a_new_trade_whose_report_is_called_bust_is_not_taken_for_the_reversal() -> None:
    fills = fills_of(ONE).with_columns(fill_id=pl.format("SPTX:2026-11-20:{}", pl.lit("bust") + pl.col("side")))
    fills = fills.with_columns(pl.col("fill_id").str.strip_suffix("BUY"))
    agreed = agreed_of(pl.concat([fills, busts_of_settled("BUY", "SELL")]), SETTLED)
    assert agreed.trades["chain_id"].to_list() == ["M1~SPTX:2026-11-20:bust", "M1~bust"]


def test_trades_of_one_match_id_whose_reports_end_alike_are_told_apart() -> None:
    def under(batch: str) -> pl.DataFrame:
        return fills_of(ONE).with_columns(fill_id=pl.format("SPTX:2026-11-20:{}:{}:1", pl.lit(batch), "side"))

    second = agreed_of(under("P"), SETTLED).trades.select(Trade.names())
    third = agreed_of(under("Q"), pl.concat([SETTLED, second])).trades
    assert third["chain_id"].item() not in [*SETTLED["chain_id"], *second["chain_id"]]


@pytest.mark.parametrize(
    ("world", "given", "hold"),
    [
        ({}, {"value_on": TODAY + timedelta(days=1)}, "FUTU"),
        ({}, {"traded_at": CUT_AT + timedelta(seconds=1)}, "FUTU"),
        ({}, {"traded_at": CUT_AT, "value_on": TODAY}, None),
        ({"idle": ("A",)}, {}, "PRSY"),
        ({"idle": ("PY",)}, {}, "PRSY"),
        ({"frozen": ("BTC",)}, {}, "PRSY"),
        ({"unpriced": ("BTC",)}, {}, "XPRC"),
        ({"idle": ("B",), "unpriced": ("BTC",)}, {"value_on": TODAY + timedelta(days=1)}, "FUTU"),
        ({"idle": ("B",), "unpriced": ("BTC",)}, {}, "PRSY"),
    ],
)
def test_a_trade_is_held_for_the_first_reason_that_applies(
    world: dict[str, Any], given: dict[str, Any], hold: str | None
) -> None:
    agreed = agreed_of(fills_of(ONE, **given), reference=reference("A", "B", **world))
    assert agreed.trades["hold_reason"].to_list() == [hold]


def test_a_nanosecond_after_the_cut_is_after_the_cut() -> None:
    late = fills_of(ONE, traded_at=CUT_AT).with_columns(pl.col("traded_at").dt.offset_by("1ns"))
    assert agreed_of(late).trades["hold_reason"].to_list() == ["FUTU"]


def test_without_brokers_only_the_quote_needs_a_price() -> None:
    bilateral = ONE.replace(" PX ", " -  ").replace(" PY ", " -  ")
    world = reference("A", "B", unpriced=("BTC",))
    assert agreed_of(fills_of(bilateral), reference=world).trades["hold_reason"].to_list() == [None]
    in_coin = bilateral.replace("BTC ", "NEAR").replace("USD   ", "BTC   ")
    assert agreed_of(fills_of(in_coin), reference=world).trades["hold_reason"].to_list() == ["XPRC"]


def test_a_price_of_more_digits_than_128_bits_hold_is_no_price_and_stops_nothing() -> None:
    world = reference("A", "B", NEAR="0.000000000000000000000000000003")
    agreed = agreed_of(fills_of(ONE.replace("BTC ", "NEAR")), reference=world)
    assert agreed.trades["hold_reason"].to_list() == ["XPRC"]
    assert "NEAR" not in value_scale(world, "USD")["instrument"]


def test_a_value_is_rounded_down_to_the_reference_atom() -> None:
    yen = ONE.replace("USD   ", "JPY   ").replace("200_000", "199    ")
    world = reference("A", "B", JPY="0.0065")
    assert agreed_of(fills_of(yen), reference=world).trades["value_atoms"].to_list() == [129]  # 1.2935 dollars


@pytest.mark.parametrize(
    ("buyer_broker", "seller_broker", "parties", "count"),
    [("PX", "PY", "B PY PX A", 6), ("PX", "PX", "B PX A", 4), ("PX", "-", "B PX A", 4), ("-", "PY", "B PY A", 4),
     ("-", "-", "B A", 2), ("PX", "A", "B A PX A", 6), ("A", "-", "B A", 2), ("B", "B", "B A", 2)],
)  # fmt: skip
def test_a_chain_runs_from_seller_over_the_brokers_to_buyer_and_no_party_owes_itself(
    buyer_broker: str, seller_broker: str, parties: str, count: int
) -> None:
    trades = trades_of(f"""
        chain_id  buyer  seller  buyer_broker    seller_broker    base  quote  base_amount  quote_amount
        M1        A      B       {buyer_broker}  {seller_broker}  BTC   USD    2            200_000
    """)
    obligations = derive_obligations(trades)
    base = obligations.filter(pl.col("instrument") == "BTC").sort("obligation_id")
    stops = parties.split()
    assert obligations.height == count
    assert base.select("payer", "receiver").rows() == list(pairwise(stops))
    owed = obligations.select("payer", "receiver", "instrument", "quantity_atoms").rows()
    assert sorted(owed) == sorted(auditor.obligations(trades.to_dicts()[0]))


def test_no_reports_make_no_trades() -> None:
    agreed = agreed_of(fills_of(ONE).clear())
    assert agreed.trades.is_empty()
    assert agreed.outcomes.is_empty()


@pytest.mark.parametrize("accepted", [True, False])
def test_what_its_brokers_stood_for_is_not_asked_again_in_the_next_cycle(accepted: bool) -> None:
    fills = fills_of(ONE)
    trades = agreed_of(fills).trades.select(Trade.names()).with_columns(accepted=pl.lit(accepted))
    waiting = Outcome.empty().vstack(
        fills.select("fill_id", chain_id="match_id", state=pl.lit("WAITING"), reason=pl.lit("MONY"), age="age")
    )
    assert carry_over(fills, waiting, trades)["accepted"].to_list() == [accepted] * 2
