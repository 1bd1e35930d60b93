"""Which chains settle: gridlocks, coins promised twice, reasons, and solvers that cannot be trusted."""

from collections.abc import Callable

import polars as pl
import pytest

from assets.funding.select import Problem, Proposal, remove_and_refill, require_funded, solve_exactly
from assets.obligations.derive import derive_obligations
from schemas.errors import BrokenInvariant
from schemas.instruction import CreditDraw
from tests import auditor
from tests.market_days import (
    accounts_of,
    atoms_by_account,
    available,
    chosen_of,
    credit_of,
    ring,
    settled,
    trades_from,
    trades_of,
)

WEI = 10**21 + 7
SIZES = {"bitcoin": ("BTC", 123_456_789), "wei": ("ETH", 10**18 + 1), "24 digits": ("NEAR", 10**27 + 3)}


@pytest.mark.parametrize("coin", list(SIZES))
@pytest.mark.parametrize("size", [10, 100, 1_000])
def test_a_ring_of_clients_without_a_coin_settles_whole_where_one_by_one_nothing_does(size: int, coin: str) -> None:
    base, atoms = SIZES[coin]
    trades = ring(size, atoms, base)
    funds = accounts_of(trades)
    selection = chosen_of(trades, funds)
    assert len(settled(selection)) == size
    assert selection.path == "ALL_FUNDED"
    assert auditor.one_by_one(trades.to_dicts(), atoms_by_account(funds)) == set()


def uneven_ring(size: int, atoms: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A ring of clients that each pass on another amount, and accounts that hold exactly the difference."""
    amounts = [atoms + 10**9 * ((k * 7) % 13) + k for k in range(size)]
    trades = trades_from(
        {
            "chain_id": f"R{k:05}", "seller": f"C{k}", "buyer": f"C{(k + 1) % size}", "base": "ETH", "quote": "USD",
            "base_atoms": amounts[k], "quote_atoms": 350_000, "value_atoms": 350_000 + k,
        }
        for k in range(size)
    )  # fmt: skip
    lacking = auditor.shortages(trades.to_dicts(), {})
    return trades, accounts_of(trades, extra=lacking)


@pytest.mark.parametrize("atoms", [10**8, WEI, 10**27 + 1], ids=["1e8", "wei", "1e27"])
@pytest.mark.parametrize("size", [10, 100])
def test_the_exact_solver_settles_a_whole_ring_beside_a_chain_that_cannot(size: int, atoms: int) -> None:
    trades, funds = uneven_ring(size, atoms)
    broke = trades_from(
        [{"chain_id": "Z", "seller": "C0", "buyer": "C1", "base": "ETH", "quote": "USD", "base_atoms": 1,
          "quote_atoms": 1, "value_atoms": 10**9}]
    )  # fmt: skip
    day = pl.concat([trades, broke])
    selection = chosen_of(day, funds)
    assert selection.path == "MIP_OPTIMAL"
    assert settled(selection) == set(trades["chain_id"])
    assert auditor.complaints(day.to_dicts(), selection.decisions.to_dicts(), atoms_by_account(funds), {}, []) == []


def test_one_wei_too_few_holds_the_ring() -> None:
    trades, funds = uneven_ring(10, WEI)
    short = funds.with_columns(
        available_atoms=pl.when(pl.col("available_atoms") > 0)
        .then(pl.col("available_atoms") - 1)
        .otherwise("available_atoms")
    )
    selection = chosen_of(trades, short)
    assert settled(selection) == set()
    assert auditor.best_weight(trades.to_dicts(), atoms_by_account(short)) == 0


TWICE = """
    chain_id  buyer  seller  base  quote  base_amount  quote_amount  age
    M1        A      B       BTC   USD    1            100_000       0
    M2        C      B       BTC   USD    1            110_000       0
"""


def test_of_two_settlements_on_the_same_coins_only_the_better_one_is_selected() -> None:
    trades = trades_of(TWICE)
    funds = accounts_of(trades, "A USD 100_000\nB BTC 1\nC USD 110_000")
    selection = chosen_of(trades, funds)
    assert settled(selection) == {"M2"}
    assert selection.decisions.select("chain_id", "reason", "short_participant", "short_instrument").row(0) == (
        "M1", "CYCL", "B", "BTC",
    )  # fmt: skip


def test_what_has_waited_two_cycles_counts_double() -> None:
    funds = accounts_of(trades_of(TWICE), "A USD 100_000\nB BTC 1\nC USD 110_000")
    waited = [TWICE.replace("100_000       0", f"100_000       {age}") for age in (0, 1, 2)]
    assert [settled(chosen_of(trades_of(text), funds)) for text in waited] == [{"M2"}, {"M1"}, {"M1"}]


def test_chains_of_equal_worth_are_chosen_by_their_ids_whatever_the_order_of_rows() -> None:
    trades = trades_of(TWICE.replace("110_000", "100_000"))
    funds = accounts_of(trades, "A USD 100_000\nB BTC 1\nC USD 100_000")
    there, back = chosen_of(trades, funds), chosen_of(trades.reverse(), funds.reverse())
    assert there.decisions.equals(back.decisions)
    assert len(settled(there)) == 1


@pytest.mark.parametrize(
    ("holdings", "reason", "who", "what"),
    [("A USD 100_000", "LACK", "B", "BTC"), ("B BTC 1", "MONY", "A", "USD"), ("", "LACK", "B", "BTC")],
)
def test_the_seller_lacks_the_instrument_or_the_buyer_the_money(
    holdings: str, reason: str, who: str, what: str
) -> None:
    trades = trades_of(TWICE).head(1)
    decision = chosen_of(trades, accounts_of(trades, holdings)).decisions.to_dicts()[0]
    assert (decision["reason"], decision["short_participant"], decision["short_instrument"]) == (reason, who, what)


def test_without_an_account_a_chain_is_blocked_and_the_rest_settles() -> None:
    trades = trades_of(TWICE)
    everyone = accounts_of(trades, "A USD 100_000\nB BTC 2\nC USD 110_000")
    homeless = everyone.filter((pl.col("participant") != "C") | (pl.col("instrument") != "BTC"))
    selection = chosen_of(trades, homeless)
    assert selection.decisions.select("chain_id", "settles", "reason").rows() == [
        ("M1", True, None),
        ("M2", False, "BLOC"),
    ]


@pytest.mark.parametrize("hold", ["FUTU", "PRSY", "XPRC", "XLIM_NOP"])
def test_what_is_on_hold_waits_for_that_reason_however_well_it_is_funded(hold: str) -> None:
    trades = trades_of(TWICE, hold_reason=hold)
    selection = chosen_of(trades, accounts_of(trades, "A USD 100_000\nB BTC 2\nC USD 110_000"))
    assert selection.decisions["reason"].to_list() == [hold, hold]
    assert selection.weight_atoms == 0


def test_credit_that_is_drawn_already_is_not_lent_again() -> None:
    trades = trades_of(TWICE).head(1)
    funds = accounts_of(trades, "A USD 60_000\nB BTC 1")
    assert settled(chosen_of(trades, funds, credit_of("PX A USD 50_000 10_000"))) == {"M1"}
    assert settled(chosen_of(trades, funds, credit_of("PX A USD 50_000 10_000.01"))) == set()
    assert settled(chosen_of(trades, funds, credit_of("PX A USD 50_000 60_000"))) == set()


def test_two_lines_are_drawn_in_the_order_of_their_ids() -> None:
    trades = trades_of(TWICE).head(1)
    funds = accounts_of(trades, "A USD 60_000\nB BTC 1")
    selection = chosen_of(trades, funds, credit_of("PY A USD 25_000\nPX A USD 30_000"))
    assert selection.draws.select("line_id", "drawn_atoms").rows() == [("PX-A", 3_000_000), ("PY-A", 1_000_000)]


def test_chains_worth_nothing_still_settle() -> None:
    trades = trades_of(TWICE, value_atoms=0)
    selection = chosen_of(trades, accounts_of(trades, "A USD 100_000\nB BTC 1\nC USD 110_000"))
    assert len(settled(selection)) == 1


def test_no_chains_need_no_decision() -> None:
    selection = chosen_of(trades_of(TWICE).clear(), available({}))
    assert selection.decisions.is_empty()
    assert (selection.weight_atoms, selection.bound_atoms) == (0, 0)


def fails(_: Problem) -> Proposal:
    raise RuntimeError("no licence")


def proposes(chosen: set[int]) -> Callable[[Problem], Proposal]:
    return lambda _: Proposal(chosen, 10**9, "SAYS_SO")


@pytest.mark.parametrize(
    ("solve", "path"),
    [(fails, "failed: RuntimeError"), (proposes({0, 1}), "proposed what is not funded"), (proposes({0, 99}), "proposed"),
     (proposes({-1}), "proposed"), (proposes({True}), "proposed"), (lambda _: None, "failed: AttributeError")],
)  # fmt: skip
def test_a_solver_that_fails_or_lies_changes_the_path_and_never_the_safety(
    solve: Callable[[Problem], Proposal], path: str
) -> None:
    trades = trades_of(TWICE)
    funds = accounts_of(trades, "A USD 100_000\nB BTC 1\nC USD 110_000")
    selection = chosen_of(trades, funds, solve=solve)
    assert path in selection.path
    assert auditor.complaints(trades.to_dicts(), selection.decisions.to_dicts(), atoms_by_account(funds), {}, []) == []
    assert len(settled(selection)) == 1


def test_a_timid_solver_is_completed_until_nothing_more_fits() -> None:
    trades = trades_of(TWICE)
    funds = accounts_of(trades, "A USD 100_000\nB BTC 1\nC USD 110_000")
    assert settled(chosen_of(trades, funds, solve=proposes(set()))) == {"M2"}


def test_wide_amounts_do_not_hide_a_funded_set_from_the_exact_solver() -> None:
    # With tolerances of 1e-9 the solver called the empty set optimal here.
    legs = [
        [(0, 168414731632913968587910215409), (1, -227132933775355982617485106427),
         (3, -168414731632913968587910215409), (4, 227132933775355982617485106427)],
        [(0, 689475624550219177267060945475), (2, -217696935611002877957081357818),
         (3, -689475624550219177267060945475)],
        [(0, -798358785114689695659372683564), (1, 565226390263488526014420994950),
         (3, 798358785114689695659372683564), (4, -565226390263488526014420994950)],
        [(1, 489865094366177586532197396818), (2, -331789868628264362303583651864),
         (5, -489865094366177586532197396818)],
    ]  # fmt: skip
    funds = [0, 0, 217696935611002877957081357818, 59531571068443450195598477320, 338093456488132543396935888523, 0]
    problem = Problem(list("abcd"), [7, 5, 3, 9], legs, [(f"p{row}", "X") for row in range(6)], funds)
    proposal = solve_exactly(problem)
    assert proposal.chosen == auditor.enumerate_sets(problem).chosen == {0, 1, 2}
    assert proposal.bound == 15


def test_whole_lots_are_not_bought_with_half_a_lot() -> None:
    # Eight want one lot each and three and a half are there: rounded up, the search would try every four of them.
    lot = 10**30
    problem = Problem(
        list("abcdefgh"), [7] * 8, [[(0, 0 - lot), (1, lot)]] * 8, [("A", "X"), ("B", "X")], [7 * lot // 2, 0]
    )
    proposal = solve_exactly(problem)
    assert (len(proposal.chosen), proposal.bound, proposal.path) == (3, 21, "MIP_OPTIMAL")


def test_removal_and_refill_drops_the_least_value_that_cures_a_shortage() -> None:
    problem = Problem(list("abc"), [5, 3, 4], [[(0, -10)], [(0, -10)], [(0, -10)]], [("A", "X")], [20])
    assert remove_and_refill(problem, {0, 1, 2}).chosen == {0, 2}


def test_a_decision_that_leaves_an_account_short_is_caught_by_netting() -> None:
    trades = trades_of(TWICE)
    funds = accounts_of(trades, "A USD 100_000\nB BTC 1\nC USD 110_000")
    decisions = chosen_of(trades, funds).decisions
    require_funded(derive_obligations(trades), decisions, funds, CreditDraw.empty())
    with pytest.raises(BrokenInvariant, match="below zero"):
        require_funded(
            derive_obligations(trades), decisions.with_columns(settles=pl.lit(True)), funds, CreditDraw.empty()
        )
