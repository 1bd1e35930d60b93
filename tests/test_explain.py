"""Why a chain waits and what would release it: in the domain's words, and against a judge that tries everything."""

from collections.abc import Sequence
from fractions import Fraction
from random import Random
from typing import Any, NamedTuple

import pytest

from assets.funding.explain import Explanation, PayIn, explain, pay_in_schedule
from assets.funding.problem import Credit, Group, Ints, Problem, RowName, ends, ints
from assets.funding.topup import enumerable
from schemas.reasons import MEANING, HoldReason
from tests import brute
from tests.selection_cases import Case, Loan, Way, account, market, random_problem, ring, with_funds, worked

WORTH = {"BTC": (7, 1), "ETH": (3, 2), "USD": (1, 1), "SOL": (2, 3)}
CENTS = 100
A_BTC, A_USD, B_USD = account("A", "BTC"), account("A", "USD"), account("B", "USD")


class Decided(NamedTuple):
    """A set of chains, and what it draws."""

    units: Ints
    draws: dict[int, int]


def decided(problem: Problem, units: Sequence[int]) -> Decided:
    """Return a set with its draws, credit outside any limit first."""
    settled, draws = ints(list(units)), {}
    lacks = {row: -int(end) for row, end in enumerate(ends(problem, settled)) if end < min(0, int(problem.funds[row]))}
    positions = sorted(range(len(problem.credits)), key=lambda at: (problem.credits[at].group is not None, at))
    for position in positions:
        credit = problem.credits[position]
        need = lacks.get(credit.row, 0)
        drawn = need if credit.cap_atoms is None else min(need, credit.cap_atoms)
        if drawn:
            draws[position], lacks[credit.row] = drawn, need - drawn
    return Decided(settled, draws)


def best(problem: Problem) -> Decided:
    return decided(problem, brute.best(problem)[1])


def costs(problem: Problem, worth: dict[str, tuple[int, int]] | None) -> dict[int, Fraction]:
    accounts = [(row, name.instrument) for row, name in enumerate(problem.rows) if name.kind == "ACCOUNT"]
    return {row: Fraction(*(worth[instrument] if worth else (1, 1))) for row, instrument in accounts}


def why(case: Case, **options: Any) -> dict[str, tuple[str, RowName | None, dict[RowName, int] | None]]:
    """Return by chain that waits its reason, the row it is about and its top-up, in names."""
    problem = case.problem()
    return {
        problem.chains[it.chain]: (
            it.reason,
            None if it.row is None else problem.rows[it.row],
            None if it.top_up is None else {problem.rows[row]: atoms for row, atoms in it.top_up},
        )
        for it in explain(problem, best(problem), **options)
    }


def sale(name: str, seller: str, buyer: str, coins: int, cents: int, weight: int = 1, **terms: int) -> Way:
    """Return a chain in which the seller delivers bitcoin and the buyer pays dollars."""
    legs = ((account(seller, "BTC"), -coins), (account(buyer, "BTC"), coins),
            (account(buyer, "USD"), -cents), (account(seller, "USD"), cents))  # fmt: skip
    return Way(name, weight, legs, **terms)


def funded(ways: list[Way], funds: dict[RowName, int], loans: list[Loan] | None = None, groups: Any = ()) -> Case:
    rows = {name: 0 for way in ways for name, _ in way.legs}
    return Case(ways, rows | funds, loans or [], list(groups))


# The worked example


def test_without_ether_eight_thousand_dollars_to_b_release_the_four_bitcoin_fills() -> None:
    problem = worked({("A", "USD"): 400_000 * CENTS, ("C", "BTC"): 10**8})
    explanations = explain(problem, best(problem), {"USD": (1, 1), "BTC": (9_000_000, 10**8), "ETH": (350_000, 10**18)})
    b_dollars = problem.rows.index(B_USD)
    assert [problem.chains[it.chain] for it in explanations] == ["F1", "F2", "F3", "F4", "F5"]
    assert all(it.top_up == [(b_dollars, 8_000 * CENTS)] and it.exact for it in explanations[:4])
    assert explanations[0].cost == 800_000
    released = best(with_funds(problem, {b_dollars: 8_000 * CENTS}))
    assert released.units.tolist() == [1, 1, 1, 1, 0]
    assert not best(with_funds(problem, {b_dollars: 8_000 * CENTS - 1})).units.any()


def test_the_pay_in_schedule_tells_what_is_paid_what_credit_covers_and_what_is_missing_for_all() -> None:
    everything = {("A", "USD"): 400_000 * CENTS, ("B", "ETH"): 100 * 10**18, ("C", "BTC"): 10**8}
    lent = worked(everything, line=50_000 * CENTS)
    schedule = {(it.party, it.instrument): it for it in pay_in_schedule(lent, best(lent))}
    assert schedule.keys() == {("A", "USD"), ("B", "ETH"), ("C", "BTC")}
    assert schedule["A", "USD"] == PayIn("A", "USD", 442_500 * CENTS, 400_000 * CENTS, 42_500 * CENTS, 0)
    alone = worked(everything)
    schedule = {(it.party, it.instrument): it for it in pay_in_schedule(alone, best(alone))}
    assert schedule["A", "USD"].must_bring_atoms == 42_500 * CENTS
    assert schedule["B", "ETH"].must_bring_atoms == 0
    brought = with_funds(alone, {alone.rows.index(A_USD): 42_500 * CENTS})
    assert best(brought).units.all()


# Reasons


def test_a_seller_without_the_coins_lacks_them_and_a_buyer_without_dollars_lacks_money() -> None:
    found = why(funded([sale("K1", "A", "B", 5, 70)], {B_USD: 70, A_BTC: 4}))
    assert found == {"K1": ("LACK", A_BTC, {A_BTC: 1})}
    found = why(funded([sale("K1", "A", "B", 5, 70)], {A_BTC: 5, B_USD: 60}), base=["BTC"])
    assert found == {"K1": ("MONY", B_USD, {B_USD: 10})}
    found = why(funded([sale("K1", "A", "B", 5, 70)], {A_BTC: 5, B_USD: 60}), base=["USD"])
    assert found["K1"][0] == "LACK"  # Dollars are what is sold.


def test_what_is_sold_goes_before_what_is_paid_when_both_are_short() -> None:
    assert why(funded([sale("K1", "B", "A", 5, 70)], {}), base=["BTC"])["K1"][:2] == ("LACK", account("B", "BTC"))


def test_of_two_chains_on_the_same_coins_the_lesser_waits_for_the_next_cycle() -> None:
    ways = [sale("K1", "A", "B", 5, 70, weight=3), sale("K2", "A", "C", 5, 70, weight=2)]
    found = why(funded(ways, {A_BTC: 5, B_USD: 70, account("C", "USD"): 70}))
    assert found == {"K2": ("CYCL", A_BTC, {A_BTC: 5})}


def test_funds_that_a_more_valuable_chain_would_take_do_not_release_the_lesser_one() -> None:
    # Four coins short are four for K1, which is worth more: K2 settles only when there is enough for both.
    ways = [Way("K1", 9, ((A_BTC, -5),)), Way("K2", 2, ((A_BTC, -5),))]
    assert why(funded(ways, {A_BTC: 1})) == {"K1": ("LACK", A_BTC, {A_BTC: 4}), "K2": ("LACK", A_BTC, {A_BTC: 9})}


def test_a_chain_that_may_only_follow_another_waits_for_its_link_and_is_released_with_it() -> None:
    link = RowName("LINK", "", "K1>K2")
    ways = [Way("K1", 1, ((A_BTC, -5), (link, 1))), Way("K2", 1, ((A_USD, -1), (link, -1)))]
    found = why(funded(ways, {A_USD: 1}))
    assert found == {"K1": ("LACK", A_BTC, {A_BTC: 5}), "K2": ("LINK", link, {A_BTC: 5})}
    assert why(funded(ways, {A_USD: 1}), enumerate_max=1) == found  # The first is sent in as its helper.


@pytest.mark.parametrize(("kind", "code"), [("NOP", "XLIM_NOP"), ("DSL", "XLIM_DSL"), ("BILATERAL", "XLIM_BILAT")])
@pytest.mark.parametrize("enumerate_max", [1, 65_536])
def test_a_full_position_limit_is_the_reason_and_no_money_helps(kind: str, code: str, enumerate_max: int) -> None:
    position = RowName("POSITION", "A", "BTC")
    case = funded(
        [Way("K1", 1, ((A_BTC, -5), (position, -5)))],
        {A_BTC: 5},
        [Loan(position, None, "L", 3)],
        [Group(kind, "L", 4, 2)],
    )
    assert why(case, enumerate_max=enumerate_max) == {"K1": (code, position, None)}


def test_a_limit_that_others_have_used_up_is_the_reason_even_of_a_chain_that_is_fine_alone() -> None:
    position = RowName("POSITION", "A", "BTC")
    ways = [Way(name, 3, ((A_BTC, -5), (position, -5))) for name in ("K1", "K2")]
    case = funded(ways, {A_BTC: 50}, [Loan(position, None, "L", 1)], [Group("NOP", "L", 9)])
    assert why(case) == {"K2": ("XLIM_NOP", position, None)}


def test_what_credit_cannot_bear_over_all_instruments_is_brought_where_it_costs_least() -> None:
    # Five coins and seventy dollars are drawn under a limit of 100, of which a coin takes 14 and a dollar 1.
    case = funded(
        [Way("K1", 1, ((A_BTC, -5), (A_USD, -70)))], {},
        [Loan(A_BTC, None, "L", 14), Loan(A_USD, None, "L", 1)], [Group("AGGREGATE_SHORT", "L", 100)],
    )  # fmt: skip
    reason, _, top_up = why(case, worth={"BTC": (7, 1), "USD": (1, 1)})["K1"]
    assert (reason, top_up) == ("XLIM_SHORT", {A_BTC: 3})
    assert why(case, worth={"BTC": (70, 1), "USD": (1, 1)})["K1"][2] == {A_USD: 40}


def test_a_minimum_that_is_not_met_stops_only_what_makes_it_worse() -> None:
    ways = [Way("K1", 1, ((A_BTC, 3),)), Way("K2", 1, ((A_USD, -1),))]
    assert why(funded(ways, {A_BTC: -10, A_USD: -5})) == {"K2": ("LACK", A_USD, {A_USD: 6})}


def test_of_what_is_divisible_the_least_part_is_what_must_be_funded() -> None:
    case = funded([Way("K1", 10, ((A_BTC, -10),), lots=5, least=2)], {A_BTC: 3})
    assert why(case) == {"K1": ("LACK", A_BTC, {A_BTC: 1})}


def test_a_set_that_is_not_the_best_is_explained_with_an_empty_top_up() -> None:
    problem = funded([Way("K1", 1, ((A_BTC, -1),))], {A_BTC: 1}).problem()
    assert explain(problem, decided(problem, [0])) == [Explanation(0, "CYCL", None, [], Fraction(0), True)]


def test_nothing_waits_and_nothing_is_explained() -> None:
    problem = ring(5, 7).problem()
    assert explain(problem, best(problem)) == []
    assert pay_in_schedule(problem, best(problem)) == []


def test_every_reason_has_a_meaning() -> None:
    assert set(MEANING) == set(HoldReason)


# Against the judge


@pytest.mark.parametrize("size", ["small", "wei", "24 digits"])
def test_a_top_up_that_is_called_exact_is_the_cheapest_there_is(size: str) -> None:
    rng, exact = Random(f"exact {size}"), 0
    for _ in range(150):
        problem = random_problem(rng, rng.randint(1, 7), size=size)
        worth = rng.choice([None, WORTH])
        if not enumerable(problem, 65_536):
            continue
        chosen, cost = best(problem), costs(problem, worth)
        for it in explain(problem, chosen, worth):
            try:
                cheapest = brute.cheapest_topup(problem, it.chain, cost)
            except ValueError:
                continue  # Too many ways to draw for the judge.
            if it.exact:
                assert (None if it.top_up is None else dict(it.top_up)) == cheapest
                assert cheapest is None or it.cost == sum(cost[row] * atoms for row, atoms in cheapest.items())
                exact += 1
            elif it.top_up is not None:
                assert brute.best(with_funds(problem, dict(it.top_up)))[1][it.chain]
    assert exact > 100


def test_of_twelve_chains_the_top_up_equals_what_trying_everything_finds() -> None:
    rng = Random(12)
    for _ in range(6):
        problem = random_problem(rng, 12, lots=False, limits=False)
        for it in explain(problem, best(problem), WORTH)[:3]:
            cheapest = brute.cheapest_topup(problem, it.chain, costs(problem, WORTH))
            assert it.exact
            assert (None if it.top_up is None else dict(it.top_up)) == cheapest


def test_with_an_upper_bound_the_chain_can_settle_beside_all_that_settles_now() -> None:
    rng, found = Random("bound"), 0
    for _ in range(300):
        problem = random_problem(rng, rng.randint(1, 6))
        chosen = best(problem)
        for it in explain(problem, chosen, WORTH, 1):
            assert not it.exact
            if it.top_up is not None:
                richer = with_funds(problem, dict(it.top_up))
                beside = (
                    units for units in brute.every(richer)
                    if units[it.chain] and all(more >= now for more, now in zip(units, chosen.units, strict=True))
                )  # fmt: skip
                assert any(brute.lawful(richer, units) for units in beside)
                found += 1
    assert found > 100


def test_funds_shared_by_several_accounts_under_one_limit_always_release_the_chain() -> None:
    rng, shared = Random("shared"), 0
    for _ in range(150):
        problem = random_problem(rng, rng.randint(1, 5), credit=False, limits=False, lots=False)
        rows = [row for row, name in enumerate(problem.rows) if name.kind == "ACCOUNT"]
        problem.groups.append(Group("AGGREGATE_SHORT", "L", rng.randint(0, 12), rng.choice([1, 3, 10])))
        problem.credits.extend(
            Credit(row, rng.choice([None, rng.randint(1, 8)]), 0, rng.randint(1, 20))
            for row in rows
            if rng.random() < 0.6
        )
        cost = costs(problem, WORTH)
        for it in explain(problem, best(problem), WORTH):
            cheapest = brute.cheapest_topup(problem, it.chain, cost)
            if it.top_up is None:
                assert cheapest is None
                continue
            assert cheapest is not None
            least = sum(cost[row] * atoms for row, atoms in cheapest.items())
            assert it.cost == least if it.exact else it.cost >= least
            assert brute.best(with_funds(problem, dict(it.top_up)))[1][it.chain]
            shared += not it.exact
    assert shared > 10


@pytest.mark.parametrize("size", ["small", "24 digits"])
def test_a_large_market_is_explained_within_what_would_settle_everything(size: str) -> None:
    problem = market(Random(3), 2_000, size=size)
    nothing = decided(problem, [0] * problem.count)
    explanations = explain(problem, nothing, {})
    assert [it.chain for it in explanations] == list(range(problem.count))
    needs = {it.chain: it.top_up for it in explanations}
    schedule = pay_in_schedule(problem, nothing)
    everything = {(it.party, it.instrument): it.must_bring_atoms for it in schedule if it.must_bring_atoms}
    lacking = ends(problem, problem.lots)
    credit = {it.row: it.cap_atoms or 0 for it in problem.credits}
    short = {row: -int(end) - credit.get(row, 0) for row, end in enumerate(lacking) if -end > credit.get(row, 0)}
    assert everything == {
        (problem.rows[row].party, problem.rows[row].instrument): atoms for row, atoms in short.items()
    }
    for it in explanations:
        assert needs[it.chain] is not None
        assert it.cost == sum(atoms for _, atoms in it.top_up or []) <= sum(everything.values())
        parts = [(row, abs(atoms) * int(problem.least[it.chain]) // int(problem.lots[it.chain]), atoms)
                 for row, atoms in problem.legs_of(it.chain)]  # fmt: skip
        alone = any(part > int(problem.funds[row]) + credit.get(row, 0) for row, part, atoms in parts if atoms < 0)
        assert (it.reason in ("LACK", "MONY")) == alone
