"""What is decided about every chain: the best where all can be tried, lawful and maximal everywhere, whatever fails."""

import hashlib
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from assets.funding.decide import Answer, decide
from assets.funding.problem import Group, Problem, RowName
from tests import brute
from tests.selection_cases import (
    SIZES,
    Case,
    Loan,
    Way,
    account,
    market,
    permuted,
    random_problem,
    renamed,
    ring,
    scaled,
    with_funds,
    worked,
)

ROOT = Path(__file__).parents[1]
BITCOIN = 10**8


def units_of(answer: Answer) -> tuple[int, ...]:
    return tuple(int(count) for count in answer.units)


def values_of(answer: Answer) -> tuple[int, ...]:
    return tuple(certificate.value for certificate in answer.certificates)


def settled(problem: Problem, answer: Answer) -> set[str]:
    return {name for name, count in zip(problem.chains, units_of(answer), strict=True) if count}


def require_sound(problem: Problem, answer: Answer) -> None:
    """An answer's set is lawful and maximal, is worth what it says, and its prices prove its bounds."""
    units = units_of(answer)
    assert brute.lawful(problem, units)
    assert brute.addable(problem, units) == []
    assert brute.draws_fit(problem, units, answer.draws)
    assert values_of(answer) == brute.value(problem, units)
    assert [certificate.priority for certificate in answer.certificates] == sorted(set(problem.classes.tolist()))
    for position, certificate in enumerate(answer.certificates):
        if certificate.proof == "ENUMERATION":
            assert certificate.bound == brute.best(problem)[0][position]
        else:
            assert certificate.bound == brute.bound_of(problem, certificate, values_of(answer)[:position])
        assert certificate.bound >= certificate.value


def random_cases(chains: int, count: int, seed: int = 0, **limits: Any) -> list[Problem]:
    """Return `count` random problems of at most, and every third of exactly, so many chains, in amounts of every size."""
    cases = []
    for number in range(count):
        rng = Random(f"{seed}:{chains}:{number}")
        size = list(SIZES)[number % len(SIZES)]
        cases.append(random_problem(rng, chains if number % 3 == 0 else rng.randint(1, chains), size=size, **limits))
    return cases


# The best, where everything can be tried


def require_best(problem: Problem) -> None:
    answer = decide(problem)
    value, units = brute.best(problem)
    assert values_of(answer) == value
    if answer.path == "ENUMERATED":
        assert units_of(answer) == units
    require_sound(problem, answer)


@pytest.mark.parametrize("block", range(15))
def test_up_to_eight_chains_the_engine_finds_what_trying_everything_finds(block: int) -> None:
    for problem in random_cases(8, 100, block):
        require_best(problem)


@pytest.mark.parametrize(("chains", "count", "lots"), [(11, 80, True), (11, 120, False), (14, 20, False)])
def test_of_more_chains_it_still_finds_the_best_of_all_sets(chains: int, count: int, lots: bool) -> None:
    for problem in random_cases(chains, count, lots=lots):
        require_best(problem)


def test_where_nothing_is_enumerated_the_bound_holds_and_the_best_is_missed_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    best = 0
    problems = random_cases(8, 300, seed=4)
    monkeypatch.setattr("schemas.limits.STATES_MAX", 0)
    for problem in problems:
        answer = decide(problem)
        require_sound(problem, answer)
        top = brute.best(problem)[0]
        assert answer.certificates[0].bound >= top[0]
        best += values_of(answer) == top
    assert best >= 290


def test_the_order_in_which_a_problem_is_told_changes_nothing() -> None:
    for number, problem in enumerate(random_cases(8, 200, seed=1)):
        told = permuted(problem, Random(number))
        assert told.chains == problem.chains
        first, second = decide(problem), decide(told)
        assert (units_of(first), values_of(first)) == (units_of(second), values_of(second))


def test_a_chain_among_equals_settles_if_it_comes_first_by_its_name() -> None:
    legs = ((account("A", "BTC"), -10), (account("B", "BTC"), 10))
    names = ["K3", "K1", "K2"]
    funds = {account("A", "BTC"): 20, account("B", "BTC"): 0}
    problem = Case([Way(name, 5, legs) for name in names], funds).problem()
    assert settled(problem, decide(problem)) == {"K1", "K2"}


def test_other_names_of_the_parties_change_no_value() -> None:
    for number, problem in enumerate(random_cases(8, 100, seed=2)):
        assert values_of(decide(renamed(problem, Random(number)))) == values_of(decide(problem))


def test_amounts_a_quintillion_times_as_large_settle_the_same_chains() -> None:
    for problem in random_cases(8, 100, seed=3, lots=False, limits=False):
        small, large = decide(problem), decide(scaled(problem))
        assert units_of(large) == units_of(small)
        assert values_of(large) == tuple(10**18 * worth for worth in values_of(small))


def test_more_funds_never_settle_less() -> None:
    for number, problem in enumerate(random_cases(8, 200, seed=4)):
        rng = Random(number)
        rows = [row for row, name in enumerate(problem.rows) if name.kind == "ACCOUNT"]
        extra = {rng.choice(rows): rng.randint(1, 10) * rng.choice([1, 10**18])}
        assert values_of(decide(with_funds(problem, extra))) >= values_of(decide(problem))


# Days that a person can read


def test_two_sales_of_the_same_coins_do_not_both_settle() -> None:
    bitcoin, dollars = account("A", "BTC"), account("A", "USD")
    ways = [
        Way("K1", 900, ((bitcoin, -BITCOIN), (account("B", "BTC"), BITCOIN), (account("B", "USD"), -90), (dollars, 90))),
        Way("K2", 910, ((bitcoin, -BITCOIN), (account("C", "BTC"), BITCOIN), (account("C", "USD"), -91), (dollars, 91))),
    ]  # fmt: skip
    funds = {bitcoin: BITCOIN, dollars: 0, **{account(name, "BTC"): 0 for name in "BC"}}
    funds |= {account("B", "USD"): 90, account("C", "USD"): 91}
    problem = Case(ways, funds).problem()
    assert settled(problem, decide(problem)) == {"K2"}
    richer = with_funds(problem, {problem.rows.index(bitcoin): BITCOIN})
    assert settled(richer, decide(richer)) == {"K1", "K2"}


def test_an_urgent_chain_of_little_value_goes_before_a_large_one() -> None:
    legs = ((account("A", "USD"), -100), (account("B", "USD"), 100))
    problem = Case(
        [Way("K1", 10**30, legs, priority=4), Way("K2", 1, legs, priority=1)],
        {account("A", "USD"): 100, account("B", "USD"): 0},
    ).problem()
    answer = decide(problem)
    assert settled(problem, answer) == {"K2"}
    assert values_of(answer) == (1, 0)


def test_a_chain_that_must_come_after_one_without_funds_waits_too() -> None:
    link = RowName("LINK", "L1", "")
    ways = [
        Way("K1", 5, ((account("A", "BTC"), -10), (account("B", "BTC"), 10), (link, 1))),
        Way("K2", 50, ((account("C", "BTC"), -10), (account("B", "BTC"), 10), (link, -1))),
    ]
    funds = {account("A", "BTC"): 9, account("B", "BTC"): 0, account("C", "BTC"): 10, link: 0}
    problem = Case(ways, funds).problem()
    assert settled(problem, decide(problem)) == set()
    richer = with_funds(problem, {0: 1})
    assert settled(richer, decide(richer)) == {"K1", "K2"}


def test_a_divisible_chain_settles_as_many_lots_as_are_funded_and_none_below_its_least() -> None:
    payer, payee = account("A", "BTC"), account("B", "BTC")

    def chain(least: int) -> Problem:
        return Case([Way("K1", 100, ((payer, -10), (payee, 10)), lots=4, least=least)], {payer: 6, payee: 0}).problem()

    # Of 10 atoms in 4 lots, two lots are 5 and three are 7.
    assert units_of(decide(chain(1))) == (2,)
    assert units_of(decide(chain(3))) == (0,)


def test_a_limit_over_two_instruments_stops_what_each_line_alone_would_allow() -> None:
    ways = [Way(f"K{coin}", 10, ((account("A", coin), -5), (account("B", coin), 5))) for coin in ("BTC", "ETH")]
    funds = {account(party, coin): 0 for party in "AB" for coin in ("BTC", "ETH")}
    loans = [Loan(account("A", coin), 5, "A", 10) for coin in ("BTC", "ETH")]

    def with_limit(atoms: int) -> Problem:
        return Case(ways, funds, loans, [Group("AGGREGATE_SHORT", "A", atoms)]).problem()

    assert units_of(decide(with_limit(99))) == (1, 0)
    assert units_of(decide(with_limit(100))) == (1, 1)


def test_an_account_without_funds_may_receive_but_not_pay() -> None:
    low, other = account("A", "USD"), account("B", "USD")
    ways = [Way("K1", 1, ((other, -3), (low, 3))), Way("K2", 100, ((low, -4), (other, 4)))]
    problem = Case(ways, {low: 0, other: 3}).problem()
    assert settled(problem, decide(problem)) == {"K1"}


@pytest.mark.parametrize("tail", [0, 7, 10**18 + 1])
@pytest.mark.parametrize("size", [10, 100, 1_000, 10_000])
def test_a_ring_without_funds_settles_whole_where_one_by_one_nothing_does(size: int, tail: int) -> None:
    problem = ring(size, 10**20 + tail).problem()
    answer = decide(problem)
    assert sum(units_of(answer)) == size
    assert answer.certificates[0].value == answer.certificates[0].bound
    assert brute.one_by_one(problem) == []


def uneven(size: int) -> Case:
    """A ring in uneven amounts of wei, each client with just the difference, and one chain that nobody can fund."""
    amounts = [10**21 + 7 + 10**9 * (k * 7 % 13) + k for k in range(size)]
    # C00001 passes on more than it gets, so it has nothing over; C00000 gets more, and keeps it.
    broke = Way("Z", 10, ((account("C00001", "ETH"), -1), (account("C00000", "ETH"), 1)))
    return ring(size, amounts, [broke])


@pytest.mark.parametrize("size", [10, 100, 1_000])
def test_a_ring_in_uneven_wei_settles_whole_beside_a_chain_that_cannot(size: int) -> None:
    problem = uneven(size).problem()
    answer = decide(problem)
    assert units_of(answer) == (1,) * size + (0,)
    assert brute.lawful(problem, answer.units)
    # A part of the other chain is funded if a part of the ring waits: prices alone do not prove that this is the best.
    assert answer.certificates[0].value <= answer.certificates[0].bound <= answer.certificates[0].value + 10


WHOLE = {("A", "USD"): 44_250_000, ("B", "ETH"): 100 * 10**18, ("C", "BTC"): BITCOIN}
SHORT = WHOLE | {("A", "USD"): 40_000_000}
NO_ETHER = {account: atoms for account, atoms in WHOLE.items() if account != ("B", "ETH")}
ALL, FOUR = {"F1", "F2", "F3", "F4", "F5"}, {"F1", "F2", "F3", "F4"}


@pytest.mark.parametrize(
    ("holdings", "line", "settling", "cents"),
    [
        pytest.param(WHOLE, None, ALL, 265_950_000, id="S1: exactly what all need"),
        pytest.param(SHORT, None, {"F5"}, 35_000_000, id="S2: A is short, the ether trade is best"),
        pytest.param(SHORT | {("B", "USD"): 800_000}, None, FOUR, 230_950_000, id="S2b: 8,000 for B, the four are"),
        pytest.param(SHORT, 5_000_000, ALL, 265_950_000, id="S3: A draws what it lacks"),
        pytest.param(NO_ETHER, None, set(), 0, id="S4: B has no ether"),
        pytest.param(NO_ETHER | {("B", "USD"): 800_000}, None, FOUR, 230_950_000, id="S4b: 8,000.00 for B"),
        pytest.param(NO_ETHER | {("B", "USD"): 799_999}, None, set(), 0, id="S4c: 7,999.99 is not enough"),
    ],
)
def test_the_worked_example_settles_the_best_set_in_each_case(
    holdings: dict[tuple[str, str], int], line: int | None, settling: set[str], cents: int
) -> None:
    problem = worked(holdings, line)
    answer = decide(problem)
    assert settled(problem, answer) == settling
    assert values_of(answer) == (2 * cents,)
    assert {atoms for atoms in answer.draws.values() if atoms} == ({4_250_000} if line else set())
    require_sound(problem, answer)


def test_one_by_one_the_worked_example_settles_the_ether_trade_alone() -> None:
    assert brute.one_by_one(worked(WHOLE)) == [4]


def test_the_judge_finds_that_8_000_dollars_for_b_release_the_four() -> None:
    problem = worked(NO_ETHER)
    cents = {"BTC": Fraction(10_000_000, BITCOIN), "ETH": Fraction(350_000, 10**18), "USD": Fraction(1)}
    cost = {row: cents[name.instrument] for row, name in enumerate(problem.rows)}
    dollars = problem.rows.index(account("B", "USD"))
    assert [brute.cheapest_topup(problem, k, cost) for k in range(4)] == [{dollars: 800_000}] * 4


# Too many to try


@pytest.mark.parametrize("size", ["small", "wei"])
@pytest.mark.parametrize(("chains", "tightness"), [(200, 0.3), (200, 0.8), (1_000, 0.5), (1_500, 0.4)])
def test_of_a_market_the_set_is_lawful_and_maximal_and_the_bound_is_proved(
    chains: int, tightness: float, size: str
) -> None:
    problem = market(Random(f"{chains}:{tightness}"), chains, size=size, tightness=tightness)
    answer = decide(problem)
    require_sound(problem, answer)
    assert 0 < sum(units_of(answer)) < sum(problem.lots)


@pytest.mark.parametrize("number", range(8))
def test_limits_links_and_lots_hold_among_hundreds_of_chains(number: int) -> None:
    problem = random_problem(Random(f"hundreds:{number}"), 150 + 20 * number)
    require_sound(problem, decide(problem))


DIGEST = """
from random import Random
from assets.funding.decide import decide
from tests.selection_cases import market, random_problem
problem = {problem}
answer = decide(problem)
print([int(count) for count in answer.units], [tuple(c) for c in answer.certificates], sorted(answer.draws.items()))
print(answer.path, answer.solver)
"""


def told_by_another_process(problem: str, *, before: str = "", **settings: str) -> list[str]:
    """Return what a new interpreter prints of its answer: the decision, and how it came about."""
    done = subprocess.run(
        [sys.executable, "-c", before + DIGEST.format(problem=problem)],
        cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("problem", ["market(Random(5), 600)", "random_problem(Random(5), 150)"])
def test_two_processes_with_other_hashes_and_threads_decide_the_same_to_the_letter(problem: str) -> None:
    told = [
        told_by_another_process(
            problem, PYTHONHASHSEED=seed, NUMBA_NUM_THREADS=threads, OMP_NUM_THREADS=threads, POLARS_MAX_THREADS=threads
        )
        for seed, threads in (("0", "1"), ("4711", "2"))
    ]
    assert told[0] == told[1]


# A solver that cannot be trusted


@pytest.fixture(scope="module")
def busy() -> Problem:
    """A market that only a solver, or what stands in for it, can decide."""
    return market(Random("busy"), 300, tightness=0.5)


def test_without_the_solver_chains_still_settle_and_the_path_says_so() -> None:
    decided, how = told_by_another_process(
        'market(Random("busy"), 300, tightness=0.5)', before="import sys\nsys.modules['highspy'] = None\n"
    )
    assert "REMOVAL_REFILL" in how
    assert "missing" in how
    assert "1" in decided


def test_a_solver_that_raises_stops_nothing_and_the_path_says_so(
    busy: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    import highspy

    def fail(*_args: object, **_named: object) -> None:
        raise RuntimeError("singular basis")

    healthy = decide(busy)
    monkeypatch.setattr(highspy.Highs, "run", fail)
    answer = decide(busy)
    require_sound(busy, answer)
    assert answer.path != healthy.path
    assert "REMOVAL_REFILL" in answer.path
    assert sum(units_of(answer)) > 0


NONSENSE = {"not numbers": float("nan"), "infinite": float("inf"), "negative": -1e30, "huge": 1e300, "a half": 0.5}


@pytest.mark.parametrize("wrong", list(NONSENSE))
def test_a_solver_that_returns_nonsense_never_makes_a_set_unlawful(
    busy: Problem, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import highspy

    def nonsense(solver: Any) -> SimpleNamespace:
        columns, rows = [NONSENSE[wrong]] * solver.getNumCol(), [NONSENSE[wrong]] * solver.getNumRow()
        return SimpleNamespace(
            col_value=columns, col_dual=columns, row_value=rows, row_dual=rows, value_valid=True, dual_valid=True
        )

    monkeypatch.setattr(highspy.Highs, "getSolution", nonsense)
    require_sound(busy, decide(busy))


def test_a_solver_that_returns_too_little_stops_nothing(busy: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    import highspy

    little = SimpleNamespace(col_value=[1.0], col_dual=[], row_value=[], row_dual=[], value_valid=True, dual_valid=True)
    monkeypatch.setattr(highspy.Highs, "getSolution", lambda _solver: little)
    require_sound(busy, decide(busy))


def test_the_answers_of_these_tests_do_not_all_look_alike() -> None:
    digests = {hashlib.sha256(repr(units_of(decide(case))).encode()).digest() for case in random_cases(8, 60, seed=9)}
    assert len(digests) > 20
