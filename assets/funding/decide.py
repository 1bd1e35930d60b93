"""Puts the decision together: all at once if all is funded, else the best of what search finds, with its certificate.

The solver only proposes. When it is missing, fails or talks nonsense, removal and refill decides: always lawful, and
the record says which path was taken.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from assets.funding.allowed import draw, refill, repair, short_rows
from assets.funding.certify import Certificate, bound_of, certify
from assets.funding.cuts import Facet, Rows, separate
from assets.funding.exact import branch_and_bound, count_states, enumerate_best, nearest
from assets.funding.problem import Ints, Problem, ends, impossible, restricted, worths
from schemas import limits
from schemas.errors import BrokenInvariant

TIER = 0.002  # Chains of one bundle whose gain above prices, in parts of their weight, differs by less stay together.
Floors = list[tuple[int, int]]  # Of each earlier class, and what it is worth.


class Answer(NamedTuple):
    """What settles of each chain, and why nothing better is to be had."""

    units: Ints
    certificates: list[Certificate]  # One per priority class, in order.
    draws: dict[int, int]  # Position of the credit -> atoms.
    path: str
    solver: str


class Priced(NamedTuple):
    """What the relaxation charges, and in which units: see `relax`."""

    relaxed: Any
    scale: Any
    unit: float
    facets: list[Facet]
    proof: Any = None  # The certificate that these prices make, of a set worth nothing.


class Order(NamedTuple):
    """Of each chain how sorry one is to give it up, and which comes first to be added: places, lowest first."""

    loss: np.ndarray
    rank: np.ndarray


def decide(problem: Problem, *, effort: str = "full") -> Answer:
    """Return the best set found, lawful and maximal: class by class, each worth no less for the sake of a later one.

    `effort` is "full" or "quick": how many trials the search of a large problem may take.
    """
    gone = impossible(problem)
    if gone.any():
        return _widened(problem, ~gone, decide(restricted(problem, ~gone), effort=effort))
    numbers = [int(number) for number in np.unique(problem.classes)]
    if not short_rows(problem, problem.lots):
        return _answer(problem, problem.lots.copy(), {}, "ALL_FUNDED", "none")
    order = _order(problem)
    prices: dict[int, Priced] = {}
    if count_states(problem) <= limits.STATES_MAX:
        return _answer(problem, enumerate_best(problem), prices, "ENUMERATED", "none", proof="ENUMERATION")
    # Where there are few chains it is cheap to have a second opinion.
    few = problem.count <= limits.SECOND_OPINION_CHAINS_MAX
    units = _lawful(problem, problem.lots.copy(), order) if few else None
    path, solver = "", ""
    floors: Floors = []
    for number in numbers:
        try:
            before = units if units is not None else np.zeros_like(problem.lots)
            units, paid, path = _search(problem, before, number, floors, order, effort)
            solver = _solver()
        except ImportError as missing:
            path, solver = "REMOVAL_REFILL", f"none ({missing.name or 'the solver'} is missing)"
            break
        except Exception as error:  # noqa: BLE001  A solver that fails never stops a cycle; the record says so.
            path, solver = f"REMOVAL_REFILL (the search failed: {type(error).__name__})", _solver()
            break
        prices[number] = paid
        floors.append((number, dict(worths(problem, units))[number]))
    if units is None:
        units = _lawful(problem, problem.lots.copy(), order)
    return _answer(problem, units, prices, path, solver)


def _solver() -> str:
    from assets.funding.relax import solver_version

    return solver_version()


def _widened(problem: Problem, kept: np.ndarray, answer: Answer) -> Answer:
    """Return the answer on the chains that are `kept` as one on all: the others wait, and their classes are worth nothing."""
    units = np.zeros_like(problem.lots)
    units[kept] = answer.units
    found = {one.priority: one for one in answer.certificates}
    certificates: list[Certificate] = []
    for number in np.unique(problem.classes).tolist():
        before = [one.priority for one in certificates]
        one = found.get(number, Certificate(number, 0, 0, 0, [0] * len(problem.rows), [0] * len(problem.groups), []))
        prices = dict(zip([earlier for earlier in before if earlier in found], one.floor_prices, strict=False))
        certificates.append(one._replace(floor_prices=[prices.get(earlier, 0) for earlier in before]))
    return answer._replace(units=units, certificates=certificates)


def _lawful(problem: Problem, units: Ints, order: Order) -> Ints:
    """Return `units` without what is worth least until nothing is short, and with what then fits. Needs no solver."""
    return refill(problem, repair(problem, units, order.loss), order.rank)


def _search(
    problem: Problem, start: Ints, number: int, floors: Floors, order: Order, effort: str
) -> tuple[Ints, Priced, str]:
    """Return a lawful, maximal set for class `number`, the prices of the relaxation, and how it was found."""
    from assets.funding.relax import Relaxation, signatures, view

    seen, bundle = view(problem), signatures(problem)
    first = Relaxation(problem, seen, bundle, number, floors).solve()
    priced = _proven(problem, number, floors, Priced(first, seen.scale, seen.unit, []))
    whole = np.asarray(problem.lots == 1, dtype=bool)
    if effort != "quick":
        priced = _sharpened(problem, seen, bundle, number, floors, priced)
    share = priced.relaxed.share
    trials = 0
    if whole.any():
        from assets.funding.board import board
        from assets.funding.search import improve, rounded

        if priced.relaxed is first:
            share = np.where(whole, rounded(share, bundle, seen.weights), share)
        table, funds = board(problem, seen, first.rows, number, floors)
        trials = limits.SEARCH_TRIALS_QUICK if effort == "quick" else limits.SEARCH_TRIALS
        trials = min(trials, problem.count * limits.SEARCH_TRIALS_PER_CHAIN)
    units, way = start, "LP_ROUNDED"
    # Of few chains the first set may already be the best that the prices allow.
    for count in (0, trials) if trials and problem.count <= limits.SOLVER_CHAINS_MAX else (trials,):
        if whole.any():
            chosen = improve(table, funds, share, count)
        found = np.where(whole, chosen.astype(float), share) if whole.any() else share
        found = _lawful(problem, nearest(problem, found), order)
        if not units.any() or _better(problem, found, units, number, floors):
            units, way = found, "LP_SEARCH" if count else "LP_ROUNDED"
        if priced.proof.bound == dict(worths(problem, units))[number]:
            return units, priced, way
    if problem.count <= limits.SOLVER_CHAINS_MAX:
        searched = branch_and_bound(problem, units, number, floors)
        if _better(problem, searched.units, units, number, floors):
            units = refill(problem, searched.units, order.rank)
        way = "MIP_OPTIMAL" if searched.optimal else "MIP_NODE_LIMIT"
    return units, priced, way


def _sharpened(problem: Problem, seen: Any, bundle: Any, number: int, floors: Floors, priced: Priced) -> Priced:
    """Return better prices: of the nearly indifferent chains one by one, and with the cuts of the scarce rows."""
    from assets.funding.relax import Relaxation, gains

    earned = gains(problem, seen, number, priced.relaxed)
    count = min(problem.count, max(limits.ACTIVE_CHAINS, problem.count * 3 // 10))
    active = np.zeros(problem.count, dtype=bool)
    active[np.argsort(np.abs(earned), kind="stable")[:count]] = True
    rounding = problem.count <= limits.CUT_CHAINS_MAX
    if rounding:
        # One by one the nearly indifferent; of the others what is sure to settle or to wait goes on in bundles.
        far = bundle * 2 + (earned > 0) + problem.count
        names, settled = np.where(active, np.arange(problem.count), far), None
    else:
        tiers = np.clip(np.round(earned / seen.weights / TIER), -1_000, 1_000).astype(np.int64) + 1_000
        names, settled = np.where(active, bundle * 2_001 + tiers, -1), earned > 0
    alone = np.unique(names, return_inverse=True)[1] - (0 if active.all() or rounding else 1)
    rows, facets, known = Rows(problem), list[Facet](), set[tuple[int, int]]()
    best = priced
    model = Relaxation(problem, seen, alone, number, floors, settled)
    for _ in range(limits.CUT_ROUNDS + 1 if rounding else 1):
        try:
            relaxed = model.solve()
        except ArithmeticError:
            break
        found = _proven(problem, number, floors, Priced(relaxed, seen.scale, seen.unit, list(facets)))
        if found.proof.bound > best.proof.bound:
            break
        best = found
        more = separate(problem, rows, relaxed.share, relaxed.rows, seen.scale, known) if rounding else []
        if not more:
            break
        model.add(more)
        facets += more
    return best


def _better(problem: Problem, units: Ints, than: Ints, number: int, floors: Floors) -> bool:
    """Say whether `units` keeps every floor and is worth more in class `number`."""
    mine, other = dict(worths(problem, units)), dict(worths(problem, than))
    return all(mine[earlier] >= value for earlier, value in floors) and mine[number] > other[number]


def _order(problem: Problem) -> Order:
    """Return in which order chains leave and join.

    Of the last class first, and in it what can be cut, the largest first, as it gives back no more than is needed. What
    waits is tried by class, then the greatest weight, then the id.
    """
    whole = np.asarray(problem.lots == 1, dtype=bool)
    leaves = np.lexsort((np.where(whole, problem.weights, 0 - problem.weights), whole, -problem.classes))
    joins = np.lexsort((np.arange(problem.count), 0 - problem.weights, problem.classes))
    loss, rank = np.empty(problem.count), np.empty(problem.count, dtype=np.int64)
    loss[leaves] = rank[joins] = np.arange(problem.count)
    return Order(loss, rank)


def _answer(
    problem: Problem, units: Ints, prices: dict[int, Priced], path: str, solver: str, *, proof: str = "PRICES"
) -> Answer:
    """Prove what can be proven. Raises BrokenInvariant if a row would end too low after all."""
    draws, short = draw(problem, ends(problem, units).tolist())
    if short:
        raise BrokenInvariant("a selection leaves an account short. Nothing was written. Please report it.")
    certificates: list[Certificate] = []
    for number, value in worths(problem, units):
        floors = [(one.priority, one.value) for one in certificates]
        nothing = [0] * len(problem.rows), [0] * len(problem.groups), [0] * len(certificates)
        if proof == "ENUMERATION":
            made = Certificate(number, value, value, 0, *nothing, proof)
        elif number in prices:
            made = prices[number].proof._replace(value=value)
            if any(made.floor_prices):
                # An earlier class may have come to be worth more while this one was searched.
                made = made._replace(bound=bound_of(problem, made, floors))
        else:
            made = certify(problem, number, floors, value, *nothing, 0)
        certificates.append(made)
    return Answer(units, certificates, draws, path, solver)


def _proven(problem: Problem, number: int, floors: Floors, priced: Priced) -> Priced:
    """Turn prices into integers, 2^-bits of a unit of weight, with digits enough for the cheapest that counts."""
    relaxed, scale, unit, facets, _ = priced
    rows = np.where(relaxed.rows > 1e-9, relaxed.rows, 0.0) * scale * unit
    cuts = [price * scale[facet.cut.row] * unit for facet, price in zip(facets, relaxed.cuts, strict=True)]
    counted = [price for price in (*rows, *relaxed.groups * unit) if price > 0]
    bits = max(0, min(1_000, 40 - math.floor(math.log2(min(counted, default=1.0)))))
    kept = [facet.cut._replace(price=_integer(price, bits)) for facet, price in zip(facets, cuts, strict=True) if price]
    proof = certify(
        problem, number, floors, 0, [_integer(price, bits) for price in rows],
        [_integer(price * unit, bits) for price in relaxed.groups], [_integer(price, bits) for price in relaxed.floors],
        bits, kept,
    )  # fmt: skip
    return priced._replace(proof=proof)


def _integer(price: float, bits: int) -> int:
    """Return price x 2^bits, rounded: exact, as a float is a fraction."""
    numerator, denominator = float(price).as_integer_ratio()
    return (numerator << bits) // denominator
