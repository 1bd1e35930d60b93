"""What a certificate proves: its bound from integer prices alone, and whatever is wrong with an answer."""

from random import Random
from typing import Any

import pytest

from assets.funding import certify
from assets.funding.certify import Certificate
from assets.funding.decide import Answer, decide
from assets.funding.problem import Problem, possible
from tests import brute
from tests.selection_cases import SIZES, market, random_problem, worked

# The smallest case of each kind: one account pays, several credits, a limit, lots.
CASES = [
    random_problem(
        Random(f"certify:{number}"),
        1 + number % 7,
        size=list(SIZES)[number % len(SIZES)],
    )
    for number in range(400)
]


@pytest.fixture(autouse=True)
def priced(monkeypatch: pytest.MonkeyPatch) -> None:
    """No case is so small that trying everything proves more than prices do."""
    monkeypatch.setattr("schemas.limits.STATES_MAX", 0)


def any_prices(problem: Problem, rng: Random, priority: int) -> Certificate:
    """Return prices drawn at random, of the order of weights per atom: valid, and mostly far from the best."""
    bits = rng.choice([0, 8, 64])
    weight, atoms = int(max(problem.weights, default=0)), max(1, int(min(abs(problem.leg_atoms), default=1)))
    highest = max(1, (weight << bits) // atoms)
    rows = [rng.choice([0, rng.randint(0, highest), rng.randint(0, 4 * highest)]) for _ in problem.rows]
    groups = [rng.choice([0, rng.randint(0, highest)]) for _ in problem.groups]
    for credit in problem.credits:
        if credit.cap_atoms is None and credit.group is None:
            rows[credit.row] = 0
        elif credit.cap_atoms is None:
            groups[credit.group] = max(groups[credit.group], -(-rows[credit.row] // credit.units))
    earlier = sorted({int(each) for each in problem.classes if each < priority})
    floors = [rng.choice([0, rng.randint(0, 3 << bits)]) for _ in earlier]
    return Certificate(priority, 0, 0, bits, rows, groups, floors)


def wrong_with(problem: Problem, answer: Answer) -> list[str]:
    return certify.verify(problem, answer.units, answer.draws, answer.certificates)


def priorities(problem: Problem) -> list[int]:
    return sorted({int(each) for each in problem.classes})


def test_by_the_judge_no_prices_prove_a_bound_below_what_the_best_set_is_worth() -> None:
    close = 0
    for number, problem in enumerate(CASES):
        rng, best = Random(number), brute.best(problem)[0]
        for position, priority in enumerate(priorities(problem)):
            for _ in range(20):
                bound = brute.bound_of(problem, any_prices(problem, rng, priority), best[:position])
                assert bound is not None
                assert bound >= best[position]
                close += bound == best[position]
    assert close > 100  # Or the formula is only ever far too large, and this says nothing.


def test_the_bound_is_what_the_judge_makes_of_the_same_prices() -> None:
    for number, problem in enumerate(CASES):
        rng, achieved = Random(number), brute.best(problem)[0]
        for position, priority in enumerate(priorities(problem)):
            floors = list(zip(priorities(problem), achieved, strict=True))[:position]
            for _ in range(5):
                certificate = any_prices(problem, rng, priority)
                bound = brute.bound_of(problem, certificate, achieved[:position])
                assert certify.bound_of(possible(problem), certificate, floors) == bound


@pytest.mark.parametrize("shift", [60, 100, 300])
def test_the_same_prices_in_finer_units_prove_the_same_bound(shift: int) -> None:
    # Wide prices are added up in limbs, and wider ones in Python.
    for number, problem in enumerate([market(Random(1), 60, tightness=0.5), *CASES[:60]]):
        certificate = any_prices(problem, Random(number), priorities(problem)[0])
        finer = certificate._replace(
            scale_bits=certificate.scale_bits + shift,
            row_prices=[price << shift for price in certificate.row_prices],
            group_prices=[price << shift for price in certificate.group_prices],
        )
        assert certify.bound_of(problem, finer, []) == certify.bound_of(problem, certificate, [])


def test_the_answer_of_the_engine_is_without_fault_by_the_judge_and_by_the_verifier() -> None:
    later = 0
    for problem in CASES:
        answer = decide(problem)
        values = [certificate.value for certificate in answer.certificates]
        for position, certificate in enumerate(answer.certificates):
            assert certificate.bound == brute.bound_of(problem, certificate, values[:position])
            later += position
        assert wrong_with(problem, answer) == []
    assert later > 50


def test_wrong_prices_only_weaken_what_is_proved() -> None:
    for number, problem in enumerate(CASES):
        answer, rng = decide(problem), Random(number)
        wrong = any_prices(problem, rng, priorities(problem)[0])
        certificate = wrong._replace(value=answer.certificates[0].value)
        certificate = certificate._replace(bound=certify.bound_of(possible(problem), certificate, []))
        assert certificate.bound >= certificate.value
        assert wrong_with(problem, answer._replace(certificates=[certificate, *answer.certificates[1:]])) == []


# Whatever is wrong is seen


@pytest.fixture(scope="module")
def case() -> tuple[Problem, Answer]:
    """A market with classes, credit and lots, and what was decided of it."""
    problem = market(Random("tampered"), 120, tightness=0.5)
    answer = decide(problem)
    assert wrong_with(problem, answer) == []
    return problem, answer


def first(answer: Answer, **changes: Any) -> Answer:
    """Return the answer with its first certificate changed."""
    certificate, *others = answer.certificates
    return answer._replace(certificates=[certificate._replace(**changes), *others])


def units_with(answer: Answer, chain: int, count: int) -> Answer:
    units = answer.units.copy()
    units[chain] = count
    return answer._replace(units=units)


def test_each_chain_that_waits_is_missed_if_it_is_added(case: tuple[Problem, Answer]) -> None:
    problem, answer = case
    waiting = [k for k, count in enumerate(answer.units) if not count]
    assert waiting
    for chain in waiting:
        assert wrong_with(problem, units_with(answer, chain, int(problem.lots[chain])))


def test_each_chain_that_settles_is_missed_if_it_is_taken_out(case: tuple[Problem, Answer]) -> None:
    problem, answer = case
    for chain in (k for k, count in enumerate(answer.units) if count):
        assert wrong_with(problem, units_with(answer, chain, 0))


def test_more_lots_than_there_are_fewer_than_the_least_and_fewer_than_none_are_seen() -> None:
    problem = market(Random("lots"), 60, tightness=5)
    answer = decide(problem)
    partial = next(k for k in range(problem.count) if problem.least[k] > 1 and answer.units[k])
    for count in (int(problem.lots[partial]) + 1, int(problem.least[partial]) - 1, -1):
        assert wrong_with(problem, units_with(answer, partial, count))


def test_an_answer_for_other_chains_is_seen(case: tuple[Problem, Answer]) -> None:
    problem, answer = case
    assert wrong_with(problem, answer._replace(units=answer.units[:-1]))
    assert wrong_with(problem, answer._replace(certificates=answer.certificates[1:]))
    assert wrong_with(problem, answer._replace(certificates=[*answer.certificates, answer.certificates[-1]]))
    assert wrong_with(problem, answer._replace(certificates=answer.certificates[::-1]))


@pytest.mark.parametrize("change", [1, -1, 10**30])
def test_a_value_or_a_bound_off_by_one_is_seen(case: tuple[Problem, Answer], change: int) -> None:
    problem, answer = case
    certificate = answer.certificates[0]
    assert wrong_with(problem, first(answer, value=certificate.value + change))
    assert wrong_with(problem, first(answer, bound=certificate.bound + change))


def test_prices_below_zero_prove_nothing(case: tuple[Problem, Answer]) -> None:
    problem, answer = case
    for position in range(len(problem.rows)):
        prices = list(answer.certificates[0].row_prices)
        prices[position] = -1
        assert wrong_with(problem, first(answer, row_prices=prices))


def test_prices_for_other_rows_or_groups_prove_nothing(case: tuple[Problem, Answer]) -> None:
    problem, answer = case
    certificate = answer.certificates[0]
    assert wrong_with(problem, first(answer, row_prices=certificate.row_prices[:-1]))
    assert wrong_with(problem, first(answer, row_prices=[*certificate.row_prices, 0]))
    assert wrong_with(problem, first(answer, group_prices=[*certificate.group_prices, 0]))
    assert wrong_with(problem, first(answer, floor_prices=[*certificate.floor_prices, 0]))
    assert wrong_with(problem, first(answer, scale_bits=-1))


def test_a_price_on_a_row_with_credit_without_end_proves_nothing() -> None:
    found = 0
    for problem in CASES:
        endless = [credit for credit in problem.credits if credit.cap_atoms is None and credit.group is not None]
        if not endless:
            continue
        answer = decide(problem)
        certificate = answer.certificates[0]
        prices = list(certificate.row_prices)
        prices[endless[0].row] = certificate.group_prices[endless[0].group] * endless[0].units + 1
        assert wrong_with(problem, first(answer, row_prices=prices))
        found += 1
    assert found > 5


def test_draws_that_do_not_cover_exactly_what_is_lacking_are_seen() -> None:
    problem = worked({("A", "USD"): 40_000_000, ("B", "ETH"): 100 * 10**18, ("C", "BTC"): 10**8}, line=5_000_000)
    answer = decide(problem)
    assert answer.draws == {0: 4_250_000}
    for draws in ({}, {0: 4_249_999}, {0: 4_250_001}, {0: 5_000_001}, {0: -1}, {1: 4_250_000}):
        assert wrong_with(problem, answer._replace(draws=draws))
