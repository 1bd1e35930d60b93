"""Netting: what many obligations come to, and what netting saves."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from assets.netting.net import merge_nets, net_by_chain, net_obligations, netting_effect, require_zero_sum
from assets.obligations.agree import value_scale
from assets.obligations.derive import derive_obligations
from assets.settlement.instruct import plan
from schemas.errors import BrokenInvariant
from schemas.instruction import CreditDraw
from schemas.net_position import NetPosition
from schemas.obligation import Obligation
from tests import auditor
from tests.market_days import (
    TODAY,
    accounts_of,
    amount,
    available,
    chosen_of,
    credit_of,
    frame,
    reference,
    table,
    trades_of,
)

SCALE = value_scale(reference("A", "B", "C"), "USD")


def owed(text: str) -> pl.DataFrame:
    """Obligations from lines of 'payer receiver instrument amount'."""
    rows = []
    for number, line in enumerate(text.strip().splitlines()):
        payer, receiver, instrument, size = line.split()
        rows.append(
            {"obligation_id": f"O{number}", "chain_id": f"C{number}", "payer": payer, "receiver": receiver,
             "instrument": instrument, "quantity_atoms": amount(size, instrument)}
        )  # fmt: skip
    return Obligation.hold(frame(Obligation, rows, venue="SPTX", value_on=TODAY))


def test_100_against_80_moves_20() -> None:
    obligations = owed("A B BTC 100\nB A BTC 80")
    (effect,) = netting_effect(obligations, SCALE).to_dicts()
    assert effect["gross_atoms"] == amount("180", "BTC")
    assert effect["bilateral_atoms"] == effect["multilateral_atoms"] == amount("20", "BTC")
    assert effect["bilateral_payments"] == 1
    assert effect["multilateral_value_atoms"] == amount("2_000_000", "USD")
    assert_frame_equal(
        net_obligations(obligations),
        table(
            """
            participant  instrument  debit_atoms     credit_atoms    net_atoms       obligations
            A            BTC         10_000_000_000  8_000_000_000   -2_000_000_000  2
            B            BTC         8_000_000_000   10_000_000_000  2_000_000_000   2
            """,
            NetPosition,
        ),
    )


def test_a_debt_that_runs_in_a_circle_is_gone_of_all_but_stands_per_pair() -> None:
    (effect,) = netting_effect(owed("A B ETH 5\nB C ETH 5\nC A ETH 5"), SCALE).to_dicts()
    assert (effect["bilateral_payments"], effect["bilateral_atoms"]) == (3, amount("15", "ETH"))
    assert effect["multilateral_atoms"] == 0


def test_one_coin_on_two_networks_is_not_netted() -> None:
    positions = net_obligations(owed("A B USDC.ETH 100\nB A USDC.BNB 100"))
    assert positions.select("participant", "instrument", "net_atoms").rows() == [
        ("A", "USDC.BNB", 100 * 10**18), ("A", "USDC.ETH", -100 * 10**6),
        ("B", "USDC.BNB", -100 * 10**18), ("B", "USDC.ETH", 100 * 10**6),
    ]  # fmt: skip


def test_what_two_venues_would_each_want_up_front_is_needed_once() -> None:
    trades = trades_of("""
        chain_id  venue  buyer  seller  base  quote  base_amount  quote_amount
        M1        SPTX   A      B       BTC   USD    10           1_000_000
        M2        VEN2   B      A       BTC   USD    9            900_000
    """)
    effect = {row["instrument"]: row for row in netting_effect(derive_obligations(trades), SCALE).to_dicts()}
    assert effect["BTC"]["prefunded_atoms"] == amount("19", "BTC")
    assert effect["BTC"]["multilateral_atoms"] == amount("1", "BTC")
    assert effect["USD"]["prefunded_value_atoms"] == amount("1_900_000", "USD")


def test_an_instrument_without_a_price_is_netted_and_worth_nothing() -> None:
    scale = value_scale(reference("A", unpriced=("NEAR",)), "USD")
    (effect,) = netting_effect(owed("A B NEAR 3"), scale).to_dicts()
    assert (effect["gross_atoms"], effect["gross_value_atoms"]) == (3 * 10**24, 0)


def test_nets_that_do_not_sum_to_zero_stop_everything() -> None:
    positions = net_obligations(owed("A B BTC 1\nB C USD 5"))
    require_zero_sum(positions)
    wrong = positions.with_columns(
        net_atoms=pl.when(pl.col("participant") == "C").then(pl.col("net_atoms") + 1).otherwise("net_atoms")
    )
    with pytest.raises(BrokenInvariant, match="USD"):
        require_zero_sum(wrong)


def test_no_obligations_make_no_positions() -> None:
    assert net_obligations(Obligation.empty()).is_empty()
    assert merge_nets([]).is_empty()
    assert netting_effect(Obligation.empty(), SCALE).is_empty()
    assert net_by_chain(Obligation.empty()).is_empty()


def large(count: int, atoms: int) -> pl.DataFrame:
    """`count` obligations of A to B over `atoms` each."""
    numbers = pl.int_range(count, eager=True).cast(pl.String)
    return pl.DataFrame({"obligation_id": numbers, "chain_id": numbers}).with_columns(
        venue=pl.lit("SPTX"), payer=pl.lit("A"), receiver=pl.lit("B"), instrument=pl.lit("NEAR"),
        quantity_atoms=pl.lit(atoms, dtype=pl.Int128), value_on=pl.lit(TODAY),
    )  # fmt: skip


def test_sums_near_38_digits_are_exact() -> None:
    atoms = 3 * 10**33 + 7
    positions = net_obligations(large(30_000, atoms))
    assert positions["net_atoms"].to_list() == [-30_000 * atoms, 30_000 * atoms]
    halves = merge_nets([net_obligations(large(15_000, atoms)), net_obligations(large(15_000, atoms))])
    assert_frame_equal(halves, positions)


def test_sums_beyond_38_digits_stop_and_never_wrap() -> None:
    with pytest.raises(BrokenInvariant, match="38 digits"):
        net_obligations(large(200_000, 10**33))
    halves = [net_obligations(large(100, 9 * 10**35)), net_obligations(large(100, 9 * 10**35))]
    with pytest.raises(BrokenInvariant, match="38 digits"):
        merge_nets(halves)


DAY = """
    chain_id  buyer  buyer_broker  seller  seller_broker  base  quote  base_amount  quote_amount
    M1        A      PX            B       PY             BTC   USD    2            200_000
    M2        B      PY            A       PX             ETH   USD    10           35_000
"""


def test_a_plan_moves_the_nets_and_balances() -> None:
    trades = trades_of(DAY)
    funds = accounts_of(trades, "A USD 150_000\nA ETH 10\nB BTC 2")
    chosen = chosen_of(trades, funds, credit_of("PX A USD 50_000"))
    made = plan(net_obligations(derive_obligations(trades)), chosen.draws, funds)
    moves = made.instructions.select("kind", "participant", "instrument", "quantity_atoms").rows()
    assert moves == [
        ("CREDIT_PAY_IN", "PX", "USD", amount("15_000", "USD")),
        ("PAY_IN", "A", "ETH", amount("10", "ETH")),
        ("PAY_IN", "A", "USD", amount("150_000", "USD")),
        ("PAY_IN", "B", "BTC", amount("2", "BTC")),
        ("PAY_OUT", "A", "BTC", amount("2", "BTC")),
        ("PAY_OUT", "B", "ETH", amount("10", "ETH")),
        ("PAY_OUT", "B", "USD", amount("165_000", "USD")),
    ]
    books = dict.fromkeys(("BTC", "ETH", "USD"), 0)
    for instrument, atoms in made.postings.select("instrument", "atoms").rows():
        books[instrument] += atoms
    assert books == {"BTC": 0, "ETH": 0, "USD": 0}
    ends = {(p, i): atoms for p, i, atoms in made.accounts.select("participant", "instrument", "closing_atoms").rows()}
    assert ends["A", "USD"] == 0
    assert {key: value for key, value in ends.items() if key[0] in ("PX", "PY")} == dict.fromkeys(
        [(broker, i) for broker in ("PX", "PY") for i in ("BTC", "ETH", "USD")], 0
    )
    assert auditor.movements(trades.to_dicts())["USD"].multilateral == amount("165_000", "USD")


def test_a_plan_that_would_leave_an_account_short_or_without_a_home_is_never_made() -> None:
    trades = trades_of(DAY)
    positions = net_obligations(derive_obligations(trades))
    for funds in (accounts_of(trades, "A ETH 10\nB BTC 2"), available({("A", "USD"): 10**9})):
        with pytest.raises(BrokenInvariant):
            plan(positions, CreditDraw.empty(), funds)
