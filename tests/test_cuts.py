"""Cuts: whatever divisor is chosen, every lawful set keeps the inequality."""

from random import Random

import numpy as np
import pytest

from assets.funding.cuts import Cut, Rows, inequality, separate
from assets.funding.problem import Credit, Problem, RowName, ints

ACCOUNT = RowName("ACCOUNT", "A", "BTC")


def one_account(atoms: list[int], funds: int, *, lots: int = 1, lent: list[Credit] | None = None) -> Problem:
    """Each chain pays out of or into one account."""
    count = len(atoms)
    ones = np.ones(count, dtype=np.int64)
    return Problem(
        [f"K{k}" for k in range(count)], ints([1] * count), ones, ones * lots, ones, np.arange(count + 1),
        np.zeros(count, dtype=np.int64), ints(atoms), [ACCOUNT], ints([funds]), lent or [],
    )  # fmt: skip


@pytest.mark.parametrize("unit", [1, 10**18 + 9, 10**30 + 57])
def test_every_lawful_set_keeps_every_cut(unit: int) -> None:
    rng, tight = Random(unit), 0
    for _ in range(300):
        count = rng.randint(1, 7)
        atoms = [rng.choice([-1, 1]) * (rng.randint(1, 20) * unit + rng.randrange(unit)) for _ in range(count)]
        funds = rng.randint(0, 30) * unit
        cut = Cut(0, rng.randint(1, 25 * unit))
        chains, coefficients, most = inequality(Rows(one_account(atoms, funds)), cut)
        for bits in range(1 << count):
            chosen = [bits >> k & 1 for k in range(count)]
            if funds + sum(a * x for a, x in zip(atoms, chosen, strict=True)) >= 0:
                left = sum(c * chosen[k] for k, c in zip(chains, coefficients, strict=True))
                assert left <= most
                tight += left == most
    assert tight > 100


def test_three_of_ten_cannot_be_had_out_of_twenty_five() -> None:
    problem = one_account([-10, -10, -10], 25)
    (facet,) = separate(problem, Rows(problem), np.array([1, 1, 0.5]), np.ones(1), np.ones(1), set())
    _, coefficients, most = inequality(Rows(problem), facet.cut)
    assert sum(coefficients) > most
    assert coefficients[0] + coefficients[1] <= most
    assert sum(facet.values * np.array([1, 1, 0.5])) > facet.most


@pytest.mark.parametrize(
    ("problem", "cut"),
    [
        (one_account([-10, -10], 15, lent=[Credit(0, 5)]), Cut(0, 10)),
        (one_account([-10, -10], 15, lots=5), Cut(0, 10)),
        (one_account([-10, -10], 15), Cut(0, 0)),
        (one_account([-10, -10], 15), Cut(1, 10)),
    ],
    ids=["credit", "divisible", "no divisor", "no row"],
)
def test_where_rounding_proves_nothing_a_cut_is_refused(problem: Problem, cut: Cut) -> None:
    with pytest.raises(ValueError, match="proves nothing"):
        inequality(Rows(problem), cut)
