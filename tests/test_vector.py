"""The worked example of the settlement model: five fills, three clients, two prime brokers."""

from fractions import Fraction

import polars as pl
import pytest

from assets.funding.decide import decide
from assets.funding.select import Engine
from assets.netting.net import net_obligations, netting_effect, require_zero_sum
from assets.obligations.agree import agree, value_scale
from assets.obligations.derive import derive_obligations
from schemas.cycle import Policy
from schemas.obligation import Trade
from tests import auditor
from tests.market_days import (
    CUT_AT,
    accounts_of,
    amount,
    atoms_by_account,
    chosen_of,
    credit_of,
    fills_of,
    reference,
    removed_and_refilled,
    searched,
    settled,
)

FILLS = """
    chain_id  venue  buyer  buyer_broker  seller  seller_broker  base  quote  base_amount  quote_amount
    F1        SPTX   A      PX            B       PY             BTC   USD    10           1_000_000.00
    F2        SPTX   B      PY            C       PX             BTC   USD    4            402_000.00
    F3        VEN2   C      PX            A       PX             BTC   USD    3            301_500.00
    F4        SPTX   B      PY            A       PX             BTC   USD    6            606_000.00
    F5        SPTX   A      PX            B       PY             ETH   USD    100          350_000.00
"""
ALL, FOUR = {"F1", "F2", "F3", "F4", "F5"}, {"F1", "F2", "F3", "F4"}
WHOLE = "A USD 442_500\nB ETH 100\nC BTC 1"
SHORT = "A USD 400_000\nB ETH 100\nC BTC 1"
NO_ETHER = "A USD 442_500\nC BTC 1"


both_engines = pytest.mark.parametrize("engine", [decide, searched], ids=["every set tried", "searched"])


@pytest.fixture(scope="module")
def trades() -> pl.DataFrame:
    agreed = agree(fills_of(FILLS), Trade.empty(), reference=reference("A", "B", "C"), cut_at=CUT_AT, policy=Policy())
    assert agreed.outcomes.is_empty()
    return Trade.hold(agreed.trades.select(Trade.names()))


def test_five_fills_make_28_obligations(trades: pl.DataFrame) -> None:
    obligations = derive_obligations(trades)
    assert obligations.height == 28
    owed = obligations.select("payer", "receiver", "instrument", "quantity_atoms").rows()
    assert sorted(owed) == sorted(row for trade in trades.to_dicts() for row in auditor.obligations(trade))


def test_netting_moves_less_and_less(trades: pl.DataFrame) -> None:
    scale = value_scale(reference("A", "B", "C"), "USD")
    effect = netting_effect(derive_obligations(trades), scale)
    columns = ["instrument", "gross_atoms", "bilateral_atoms", "bilateral_payments", "multilateral_atoms"]
    assert effect.select(columns).rows() == [
        ("BTC", amount("66", "BTC"), amount("2", "BTC"), 2, amount("1", "BTC")),
        ("ETH", amount("300", "ETH"), amount("300", "ETH"), 3, amount("100", "ETH")),
        ("USD", amount("7_677_000", "USD"), amount("1_227_000", "USD"), 4, amount("442_500", "USD")),
    ]
    assert {row[0]: row[1:] for row in effect.select(columns).rows()} == auditor.movements(trades.to_dicts())
    assert effect["multilateral_value_atoms"].to_list() == [
        amount("100_000", "USD"), amount("350_000", "USD"), amount("442_500", "USD"),
    ]  # fmt: skip


def test_clients_net_to_the_worked_figures_and_both_prime_brokers_to_zero(trades: pl.DataFrame) -> None:
    positions = net_obligations(derive_obligations(trades))
    require_zero_sum(positions)
    nets = {(p, i): net for p, i, net in positions.select("participant", "instrument", "net_atoms").rows()}
    assert {key: net for key, net in nets.items() if key[0] in ("PX", "PY")} == {
        ("PX", "BTC"): 0, ("PX", "ETH"): 0, ("PX", "USD"): 0, ("PY", "BTC"): 0, ("PY", "ETH"): 0, ("PY", "USD"): 0,
    }  # fmt: skip
    assert {key: net for key, net in nets.items() if key[0] not in ("PX", "PY")} == {
        ("A", "BTC"): amount("1", "BTC"), ("A", "ETH"): amount("100", "ETH"), ("A", "USD"): amount("-442_500", "USD"),
        ("B", "BTC"): 0, ("B", "ETH"): amount("-100", "ETH"), ("B", "USD"): amount("342_000", "USD"),
        ("C", "BTC"): amount("-1", "BTC"), ("C", "USD"): amount("100_500", "USD"),
    }  # fmt: skip
    assert nets == auditor.nets(trades.to_dicts())


@both_engines
@pytest.mark.parametrize(
    ("holdings", "credit", "settling", "value", "drawn"),
    [
        pytest.param(WHOLE, "", ALL, "2_659_500", None, id="S1: exactly what all need, all settle"),
        pytest.param(SHORT, "", {"F5"}, "350_000", None, id="S2: A is short, the ether trade is best"),
        pytest.param(f"{SHORT}\nB USD 8_000", "", FOUR, "2_309_500", None, id="S2b: with 8,000 more for B the four are"),
        pytest.param(SHORT, "PX A USD 50_000", ALL, "2_659_500", "42_500.00", id="S3: A draws exactly what it lacks"),
        pytest.param(NO_ETHER, "", set(), "0", None, id="S4: B has no ether, nothing settles"),
        pytest.param(f"{NO_ETHER}\nB USD 8_000.00", "", FOUR, "2_309_500", None, id="S4b: 8,000.00 for B releases four"),
        pytest.param(f"{NO_ETHER}\nB USD 7_999.99", "", set(), "0", None, id="S4c: 7,999.99 does not"),
    ],
)  # fmt: skip
def test_each_case_of_the_worked_example_settles_exactly_the_best_set(
    trades: pl.DataFrame,
    engine: Engine,
    holdings: str,
    credit: str,
    settling: set[str],
    value: str,
    drawn: str | None,
) -> None:
    funds, lent = accounts_of(trades, holdings), credit_of(credit)
    selection = chosen_of(trades, funds, lent, engine=engine)
    assert settled(selection) == settling
    assert selection.decisions.filter("settles")["value_atoms"].sum() == amount(value, "USD")
    assert selection.weight_atoms == 2 * amount(value, "USD")
    assert selection.path != "ENUMERATED" or selection.bound_atoms == selection.weight_atoms
    expected = [("PX-A", "PX", "A", "USD", amount(drawn, "USD"))] if drawn else []
    assert selection.draws.rows() == expected
    own = atoms_by_account(funds)
    credit_by_account = {(c, i): atoms for c, i, atoms in lent.select("client", "instrument", "credit_atoms").rows()}
    assert auditor.complaints(
        trades.to_dicts(), selection.decisions.to_dicts(), own, credit_by_account, selection.draws.to_dicts()
    ) == []  # fmt: skip
    together = {account: atoms + credit_by_account.get(account, 0) for account, atoms in own.items()}
    assert auditor.best_weight(trades.to_dicts(), together) == selection.weight_atoms


@pytest.mark.parametrize("holdings", [WHOLE, SHORT, f"{SHORT}\nB USD 8_000", NO_ETHER, f"{NO_ETHER}\nB USD 8_000"])
def test_removal_and_refill_is_feasible_and_maximal_in_every_case(trades: pl.DataFrame, holdings: str) -> None:
    funds = accounts_of(trades, holdings)
    selection = chosen_of(trades, funds, engine=removed_and_refilled)
    assert selection.path in ("ALL_FUNDED", "REMOVAL_REFILL")
    assert auditor.complaints(trades.to_dicts(), selection.decisions.to_dicts(), atoms_by_account(funds), {}, []) == []


def test_one_by_one_settles_only_the_ether_trade_where_all_five_can(trades: pl.DataFrame) -> None:
    funds = accounts_of(trades, WHOLE)
    assert auditor.one_by_one(trades.to_dicts(), atoms_by_account(funds)) == {"F5"}
    assert settled(chosen_of(trades, funds)) == ALL


@pytest.mark.parametrize("chain", sorted(FOUR))
def test_the_cheapest_topup_that_releases_the_four_is_8000_dollars_for_b(trades: pl.DataFrame, chain: str) -> None:
    accounts = accounts_of(trades, NO_ETHER)
    prices = {"BTC": Fraction(10**7, 10**8), "ETH": Fraction(350_000, 10**18), "USD": Fraction(1)}
    topup = auditor.cheapest_topup(trades.to_dicts(), atoms_by_account(accounts), chain, prices)
    assert topup == {("B", "USD"): amount("8_000.00", "USD")}
    selection = chosen_of(trades, accounts, scale=value_scale(reference("A", "B", "C"), "USD"))
    told = selection.top_ups.filter(chain_id=chain).select("participant", "instrument", "quantity_atoms").rows()
    assert told == [(*account, atoms) for account, atoms in topup.items()]
    decision = selection.decisions.row(by_predicate=pl.col("chain_id") == chain, named=True)
    assert (decision["top_up_value_atoms"], decision["top_up_exact"]) == (amount("8_000.00", "USD"), True)


def test_for_all_to_settle_a_must_bring_what_it_lacks_and_the_schedule_says_what_each_pays(
    trades: pl.DataFrame,
) -> None:
    schedule = chosen_of(trades, accounts_of(trades, SHORT), credit_of("PX A USD 20_000")).schedule
    assert schedule.rows() == [
        ("A", "USD", amount("350_000", "USD"), amount("400_000", "USD"), 0, amount("22_500", "USD")),
        ("B", "ETH", amount("100", "ETH"), amount("100", "ETH"), 0, 0),
    ]  # fmt: skip


def test_who_waits_is_told_who_is_short_of_what(trades: pl.DataFrame) -> None:
    decisions = chosen_of(trades, accounts_of(trades, NO_ETHER)).decisions
    told = decisions.select("chain_id", "reason", "short_participant", "short_instrument").rows()
    assert told == [
        ("F1", "LACK", "B", "BTC"), ("F2", "LACK", "C", "BTC"), ("F3", "LACK", "A", "BTC"),
        ("F4", "LACK", "A", "BTC"), ("F5", "LACK", "B", "ETH"),
    ]  # fmt: skip
