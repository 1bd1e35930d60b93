"""Whether prime brokers stand for a trade: designations, limits, and that a limit never gives way."""

from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import polars as pl
import pytest

from assets.credit.exposure import GiveUps, accept_giveups
from assets.obligations.agree import value_scale
from tests import auditor
from tests.market_days import (
    CUT_AT,
    LONG_AGO,
    TRADED_AT,
    designations_of,
    lines_of,
    reference,
    trades_of,
)

ONE = """
    chain_id  buyer  buyer_broker  seller  seller_broker  base  quote  base_amount  quote_amount
    M1        A      PX            B       PY             BTC   USD    2            200_000
"""
THREE = """
    chain_id  buyer  buyer_broker  seller  seller_broker  base  quote  base_amount  quote_amount
    M1        A      PX            B       PY             BTC   USD    2            200_000
    M2        A      PX            B       PY             BTC   USD    1            100_000
    M3        B      PY            A       PX             BTC   USD    2            200_000
"""
BOTH = "prime_broker client\nPX A\nPY B"
SCALE = value_scale(reference("A", "B"), "USD")


def limited(name: str, limit: str, *, formula: str = "GREATER_OF_LONG_SHORT", breach: str = "HOLD") -> pl.DataFrame:
    """The line of PX for A with one limit, and an ample one of PY for B."""
    return lines_of(
        f"prime_broker client {name}\nPX A {limit}\nPY B 1_000_000_000", nop_formula=formula, breach_action=breach
    )


def asked(
    trades: pl.DataFrame, designations: pl.DataFrame | None = None, lines: pl.DataFrame | None = None,
    *, accepted: bool = False, scale: pl.DataFrame = SCALE, complete: bool = True,
) -> GiveUps:  # fmt: skip
    return accept_giveups(
        trades.with_columns(pl.lit(accepted).alias(name) for name in ("accepted", "buyer_accepted", "seller_accepted")),
        designations=designations_of(BOTH) if designations is None else designations,
        lines=lines_of(BOTH) if lines is None else lines,
        scale=scale, reference_instrument="USD", cut_at=CUT_AT, complete=complete,
    )  # fmt: skip


def answers(given: GiveUps) -> dict[str, str | None]:
    """The reason by chain: of a hold, of a refusal, or None where all stand for it."""
    held = dict(given.trades.select("chain_id", "hold_reason").rows())
    return held | dict(given.outcomes.select("chain_id", "reason").rows())


def test_brokers_that_designate_their_clients_and_have_room_stand_for_the_trade() -> None:
    given = asked(trades_of(ONE))
    assert answers(given) == {"M1": None}
    assert given.outcomes.is_empty()


def test_a_refused_trade_ends_for_the_reports_of_both_sides() -> None:
    given = asked(trades_of(ONE), lines=lines_of("prime_broker client\nPX A"))
    assert given.trades.is_empty()
    assert given.outcomes.select("fill_id", "chain_id", "state", "reason").rows() == [
        ("M1:b", "M1", "REJECTED", "NO_CREDIT_LINE"), ("M1:s", "M1", "REJECTED", "NO_CREDIT_LINE"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({}, None),
        ({"status": "SUSPENDED"}, "NO_DESIGNATION"),
        ({"venue": "VEN2"}, "NO_DESIGNATION"),
        ({"venue": "SPTX"}, None),
        ({"instruments": "BTC;USD"}, None),
        ({"instruments": "BTC;ETH"}, "NO_DESIGNATION"),
        ({"instruments": "BTC.X;USD"}, "NO_DESIGNATION"),
        ({"valid_from": TRADED_AT}, None),
        ({"valid_from": TRADED_AT + timedelta(seconds=1)}, "NO_DESIGNATION"),
        ({"valid_to": TRADED_AT}, "NO_DESIGNATION"),
        ({"valid_to": TRADED_AT + timedelta(seconds=1)}, None),
    ],
)
def test_a_designation_must_be_in_force_for_the_venue_and_both_instruments_when_the_trade_was_made(
    changed: dict[str, Any], answer: str | None
) -> None:
    assert answers(asked(trades_of(ONE), designations_of(BOTH, **changed))) == {"M1": answer}


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({"status": "SUSPENDED"}, "NO_CREDIT_LINE"),
        ({"valid_from": CUT_AT}, None),
        ({"valid_from": CUT_AT + timedelta(seconds=1)}, "NO_CREDIT_LINE"),
        ({"valid_to": CUT_AT}, "NO_CREDIT_LINE"),
        ({"valid_to": CUT_AT + timedelta(seconds=1)}, None),
    ],
)
def test_a_line_must_be_in_force_at_the_cut(changed: dict[str, datetime | str], answer: str | None) -> None:
    assert answers(asked(trades_of(ONE), lines=lines_of(BOTH, **changed))) == {"M1": answer}


@pytest.mark.parametrize(("limit", "answer"), [("200_000.00", None), ("199_999.99", "FILL_LIMIT"), ("0", "FILL_LIMIT")])
def test_one_fill_may_be_worth_its_limit_and_not_a_cent_more(limit: str, answer: str | None) -> None:
    assert answers(asked(trades_of(ONE), lines=limited("fill_limit", limit))) == {"M1": answer}


def test_a_fill_is_worth_the_larger_of_its_legs() -> None:
    cheap = trades_of(ONE.replace("200_000", "10     "))
    assert answers(asked(cheap, lines=limited("fill_limit", "199_999.99"))) == {"M1": "FILL_LIMIT"}


@pytest.mark.parametrize(("breach", "answer"), [("HOLD", "XLIM_NOP"), ("REJECT", "NOP")])
def test_beyond_the_net_open_position_a_trade_is_held_or_refused_as_the_line_says(breach: str, answer: str) -> None:
    exact = limited("nop_limit", "200_000.00", breach=breach)
    short = limited("nop_limit", "199_999.99", breach=breach)
    assert answers(asked(trades_of(ONE), lines=exact)) == {"M1": None}
    assert answers(asked(trades_of(ONE), lines=short)) == {"M1": answer}


@pytest.mark.parametrize(("breach", "answer"), [("HOLD", "XLIM_DSL"), ("REJECT", "DSL")])
def test_beyond_the_daily_settlement_limit_a_trade_is_held_or_refused_as_the_line_says(
    breach: str, answer: str
) -> None:
    exact = limited("dsl_limit", "200_000.00", breach=breach)
    short = limited("dsl_limit", "199_999.99", breach=breach)
    assert answers(asked(trades_of(ONE), lines=exact)) == {"M1": None}
    assert answers(asked(trades_of(ONE), lines=short)) == {"M1": answer}


def test_the_daily_settlement_limit_is_one_for_each_value_date() -> None:
    days = """
        chain_id  buyer  buyer_broker  seller  seller_broker  base  quote  base_amount  quote_amount  value_on
        M1        A      PX            B       PY             BTC   USD    1            100_000       2026-11-20
        M2        A      PX            B       PY             BTC   USD    1            100_000       2026-11-21
        M3        A      PX            B       PY             BTC   USD    1            100_000       2026-11-21
    """
    lines = limited("dsl_limit", "100_000")
    assert answers(asked(trades_of(days), lines=lines)) == {"M1": None, "M2": None, "M3": "XLIM_DSL"}


@pytest.mark.parametrize("breach", ["HOLD", "REJECT"])
@pytest.mark.parametrize("name", ["nop_limit", "dsl_limit"])
def test_an_exceeded_limit_stops_the_trade_and_stays_what_it_was(name: str, breach: str) -> None:
    lines = limited(name, "200_000", breach=breach)
    before = lines.clone()
    told = {"nop_limit": {"HOLD": "XLIM_NOP", "REJECT": "NOP"}, "dsl_limit": {"HOLD": "XLIM_DSL", "REJECT": "DSL"}}
    given = asked(trades_of(THREE), lines=lines)
    # The second is beyond the limit and uses none of it, so the third, which takes back the first, still has room.
    assert answers(given) == {"M1": None, "M2": told[name][breach], "M3": None}
    assert lines.equals(before)


@pytest.mark.parametrize(
    ("formula", "held"),
    [("GREATER_OF_LONG_SHORT", None), ("SUM_ABS", "XLIM_NOP"), ("NET_DOWNSIDE", None)],
)
def test_the_formula_of_the_line_says_what_an_open_position_is(formula: str, held: str | None) -> None:
    swap = ONE.replace("USD   ", "ETH   ").replace(
        "200_000", "50     "
    )  # Long 200,000 of bitcoin, short 175,000 of ether.
    lines = limited("nop_limit", "200_000", formula=formula)
    assert answers(asked(trades_of(swap), lines=lines)) == {"M1": held}
    long_only = limited("nop_limit", "174_999.99", formula=formula)
    assert answers(asked(trades_of(swap), lines=long_only)) == {"M1": "XLIM_NOP"}


def test_exposure_is_rounded_up_to_the_next_cent() -> None:
    dust = ONE.replace(" 2 ", " 0.00000001 ").replace("200_000", "0.01   ")  # Worth a tenth of a cent.
    assert answers(asked(trades_of(dust), lines=limited("nop_limit", "0"))) == {"M1": "XLIM_NOP"}
    assert answers(asked(trades_of(dust), lines=limited("nop_limit", "0.01"))) == {"M1": None}


def test_a_trade_that_one_broker_refuses_uses_nothing_of_the_others_limit() -> None:
    lines = lines_of("prime_broker client nop_limit\nPX A 250_000\nPY B 100_000")
    assert answers(asked(trades_of(THREE).filter(pl.col("chain_id") != "M3"), lines=lines)) == {
        "M1": "XLIM_NOP",
        "M2": None,
    }


def test_what_was_accepted_once_stays_accepted_and_waits_when_its_line_is_cut() -> None:
    nobody = designations_of("prime_broker client")
    assert answers(asked(trades_of(ONE), nobody, limited("fill_limit", "0"), accepted=True)) == {"M1": None}
    cut = limited("nop_limit", "1", breach="REJECT")
    assert answers(asked(trades_of(ONE), nobody, cut, accepted=True)) == {"M1": "XLIM_NOP"}
    gone = lines_of("prime_broker client")
    assert answers(asked(trades_of(ONE), nobody, gone, accepted=True)) == {"M1": "XLIM_NOP"}


def test_a_trade_without_brokers_needs_nobody() -> None:
    bilateral = trades_of(ONE.replace(" PX ", " -  ").replace(" PY ", " -  "))
    given = asked(bilateral, designations_of("prime_broker client"), lines_of("prime_broker client"))
    assert answers(given) == {"M1": None}


@pytest.mark.parametrize("hold", ["FUTU", "PRSY", "XPRC"])
def test_a_trade_that_nobody_can_value_is_not_asked_for_and_stops_nothing(hold: str) -> None:
    scale = value_scale(reference("A", "B", unpriced=("BTC",)), "USD")
    assert answers(asked(trades_of(ONE, hold_reason=hold), scale=scale)) == {"M1": hold}


def test_what_waits_for_its_date_is_exposure_all_the_same() -> None:
    trades = trades_of(THREE).filter(pl.col("chain_id") != "M3").with_columns(
        hold_reason=pl.when(pl.col("chain_id") == "M1").then(pl.lit("FUTU"))
    )  # fmt: skip
    assert answers(asked(trades, lines=limited("nop_limit", "200_000"))) == {"M1": "FUTU", "M2": "XLIM_NOP"}


def test_a_reversal_of_what_is_settled_needs_no_new_acceptance() -> None:
    back = trades_of(ONE, compensates="M0")
    assert answers(asked(back, designations_of("prime_broker client"), lines_of("prime_broker client"))) == {"M1": None}


@pytest.mark.parametrize("formula", ["GREATER_OF_LONG_SHORT", "SUM_ABS", "NET_DOWNSIDE"])
def test_what_is_stood_for_never_exceeds_a_limit_by_the_auditors_own_count(formula: str) -> None:
    rows = ["chain_id buyer buyer_broker seller seller_broker base quote base_amount quote_amount value_on"]
    for k in range(40):
        buyer, seller = ("A PX", "B PY") if k % 3 else ("B PY", "A PX")
        base, size = ("ETH", f"{1 + k * 7 % 11}.{k:018}") if k % 2 else ("BTC", f"0.{1 + k * 5 % 9}{k:07}")
        rows.append(f"M{k:02} {buyer} {seller} {base} USD {size} {1_000 + k * 317}.{k:02} 2026-11-2{k % 3}")
    trades = trades_of("\n".join(rows))
    lines = lines_of(
        "prime_broker client nop_limit dsl_limit\nPX A 60_000 30_000\nPY B 90_000 20_000", nop_formula=formula
    )
    given = asked(trades, lines=lines)
    stood_for = given.trades.filter(pl.col("hold_reason").is_null()).to_dicts()
    assert 0 < len(stood_for) < 40
    worth = {name: Fraction(units, divisor) for name, units, divisor in SCALE.rows()}
    for line in lines.to_dicts():
        open_position, payable = auditor.exposure(stood_for, line, worth, "USD")
        assert open_position <= line["nop_limit_atoms"]
        assert payable <= line["dsl_limit_atoms"]
    assert answers(asked(trades.reverse(), designations_of(BOTH).reverse(), lines.reverse())) == answers(given)


assert LONG_AGO < TRADED_AT < CUT_AT  # What the validity tests rest on.


def test_only_a_trade_that_its_brokers_were_asked_about_and_took_on_counts_as_accepted() -> None:
    def accepted(given: GiveUps) -> list[bool]:
        return given.trades["accepted"].to_list()

    assert accepted(asked(trades_of(ONE))) == [True]
    assert accepted(asked(trades_of(ONE), lines=limited("nop_limit", "0"))) == [False]
    assert accepted(asked(trades_of(ONE), scale=SCALE.filter(pl.col("instrument") != "USD"))) == [False]
    assert accepted(asked(trades_of(ONE), lines=limited("nop_limit", "0"), accepted=True)) == [True]


def test_a_give_up_waits_when_the_credit_data_are_not_complete_for_nobody_has_refused_it() -> None:
    nobody, no_lines = designations_of(BOTH).clear(), lines_of(BOTH).clear()
    assert answers(asked(trades_of(ONE), nobody)) == {"M1": "NO_DESIGNATION"}
    assert answers(asked(trades_of(ONE), nobody, complete=False)) == {"M1": "XCRD"}
    assert answers(asked(trades_of(ONE), lines=no_lines, complete=False)) == {"M1": "XCRD"}
    assert answers(asked(trades_of(ONE), lines=limited("fill_limit", "0"), complete=False)) == {"M1": "FILL_LIMIT"}
