"""The optimum itself, where there are few chains: by trying all sets, or by branch and bound on coarse integers."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from assets.funding.allowed import draw, repair, short_rows
from assets.funding.problem import Ints, Problem, ints, part_of, room_of, worths
from schemas import limits
from schemas.atoms import divide

# Measured against enumeration: wider numbers, or tighter tolerances than its own, make HiGHS miss sets it calls optimal.
SEARCH_BITS = 24


class States(NamedTuple):
    """All sets of a small problem, the canonical first: what settles of each chain, and what each row ends with."""

    units: Ints  # States x chains.
    ends: Ints  # States x rows.


def count_states(problem: Problem) -> int:
    """Return how many sets there are, or one more than we would try."""
    total = 1
    for lots, least in zip(problem.lots.tolist(), problem.least.tolist(), strict=True):
        total *= lots - least + 2
        if total > limits.STATES_MAX:
            return limits.STATES_MAX + 1
    return total


def states(problem: Problem) -> States:
    """Return every set, lawful or not. Of two, the one that settles more of the first chain where they differ is first."""
    units = np.zeros((1, 0), dtype=problem.lots.dtype)
    ends: Ints = problem.funds.astype(_wide(problem)).reshape(1, -1)
    for chain in range(problem.count):
        lots, least = int(problem.lots[chain]), int(problem.least[chain])
        choices = [*range(lots, least - 1, -1), 0]
        effect = np.zeros((len(choices), ends.shape[1]), dtype=ends.dtype)
        for place, choice in enumerate(choices):
            for row, atoms in problem.legs_of(chain):
                effect[place, row] += part_of(atoms, choice, lots)
        ends = (ends[:, None, :] + effect[None, :, :]).reshape(-1, ends.shape[1])
        column = np.tile(np.array(choices, dtype=units.dtype), len(units)).reshape(-1, 1)
        units = np.concatenate([np.repeat(units, len(choices), axis=0), column], axis=1)
    return States(units, ends)


def _wide(problem: Problem) -> type:
    return object if object in (problem.funds.dtype, problem.leg_atoms.dtype) else np.int64


def values_of(problem: Problem, units: Ints) -> list[Ints]:
    """Return the worth of each state (states x chains), class by class in order."""
    found = []
    for number in np.unique(problem.classes):
        mine = np.flatnonzero(problem.classes == number)
        weights, lots = problem.weights[mine].astype(object), problem.lots[mine].astype(object)
        parts = units[:, mine].astype(object) * weights // lots
        found.append(ints(parts.sum(axis=1)) if parts.size else np.zeros(len(units), dtype=np.int64))
    return found


def enumerate_best(problem: Problem) -> Ints:
    """Return the best set: class by class the most valuable, and of equal ones the canonical first."""
    if not problem.count:
        return np.zeros(0, dtype=np.int64)
    every = states(problem)
    room = room_of(problem)
    bounded = np.array([atoms is not None for atoms in room], dtype=bool)
    spare = np.array([atoms if atoms is not None else 0 for atoms in room], dtype=object)
    spare = spare.astype(np.int64) if every.ends.dtype != object and max(spare, default=0) < 2**61 else spare
    possible = np.asarray((every.ends[:, bounded] + spare[bounded] >= 0).all(axis=1), dtype=bool)
    alive = np.flatnonzero(possible)
    values = values_of(problem, every.units[alive])
    # Stable, so that of equal sets the canonical one comes first.
    order = np.lexsort([np.arange(len(alive)), *[0 - value for value in reversed(values)]])
    grouped = any(credit.group is not None for credit in problem.credits)
    for place in order.tolist():
        if not grouped or not draw(problem, every.ends[alive[place]].tolist())[1]:
            return every.units[alive[place]]
    return np.zeros(problem.count, dtype=problem.lots.dtype)


class Searched(NamedTuple):
    """The best set that branch and bound came upon, and whether it says that there is none better."""

    units: Ints
    optimal: bool


def branch_and_bound(problem: Problem, start: Ints, target: int, floors: list[tuple[int, int]]) -> Searched:
    """Return the best set for class `target` by HiGHS, from `start` on. Raises what the solver raises.

    The search sees each row in coarse units, rounded so that no funded set is lost and every number is a small
    integer. A proposal that breaks a row in atoms is cut off by what is wrong with it, and the search goes on.
    """
    import highspy

    model = _model(problem, target, floors)
    best, best_value = start, _value(problem, start, target)
    whole = bool((problem.lots == 1).all())
    for _ in range(limits.SOLVER_ROUNDS_MAX):
        first = highspy.HighsSolution()
        first.col_value = [*(best / problem.lots).astype(float).tolist(), *[0.0] * len(problem.credits)]
        if not problem.credits:
            model.setSolution(first)
        model.run()
        share = np.asarray(model.getSolution().col_value)[: problem.count]
        if len(share) != problem.count or not np.isfinite(share).all():
            return Searched(best, optimal=False)
        proposal = nearest(problem, share)
        short = short_rows(problem, proposal)
        kept = repair(problem, proposal, problem.weights.astype(float)) if short else proposal
        holds = all(_value(problem, kept, number) >= least for number, least in floors)
        if holds and _value(problem, kept, target) > best_value:
            best, best_value = kept, _value(problem, kept, target)
        done = model.getModelStatus() == highspy.HighsModelStatus.kOptimal
        if not short or not whole:
            return Searched(best, optimal=done and not short and holds)
        for row in short:
            legs = _of_row(problem, row)
            payers = [k for k, atoms in legs if atoms < 0 and proposal[k]]
            absent = [k for k, atoms in legs if atoms > 0 and not proposal[k]]
            if problem.credits:
                return Searched(best, optimal=False)
            model.addRow(
                1.0 - len(payers), highspy.kHighsInf, len(payers) + len(absent), [*payers, *absent],
                [-1.0] * len(payers) + [1.0] * len(absent),
            )  # fmt: skip
    return Searched(best, optimal=False)


def _value(problem: Problem, units: Ints, number: int) -> int:
    return dict(worths(problem, units)).get(number, 0)


def nearest(problem: Problem, share: np.ndarray) -> Ints:
    """Return the units nearest to the shares: whole chains rounded, divisible ones cut down to what may settle."""
    units = np.where(share > 0.5, problem.lots, 0)
    parts = np.flatnonzero(np.asarray(problem.lots > 1, dtype=bool) & (share < 1 - 1e-9))
    for k in parts.tolist():
        part = int(share[k] * (1 << 53)) * int(problem.lots[k]) >> 53
        units[k] = part if part >= problem.least[k] else 0
    return units


def _of_row(problem: Problem, row: int) -> list[tuple[int, int]]:
    legs = np.flatnonzero(problem.leg_rows == row)
    owner = np.searchsorted(problem.starts, legs, side="right") - 1
    return list(zip(owner.tolist(), problem.leg_atoms[legs].tolist(), strict=True))


def _model(problem: Problem, target: int, floors: list[tuple[int, int]]):
    import highspy

    model = highspy.Highs()
    for option, value in {
        "output_flag": False, "threads": 1, "random_seed": 7, "mip_rel_gap": 0.0, "mip_abs_gap": 0.0,
        "mip_max_nodes": limits.SOLVER_NODES_MAX,
    }.items():  # fmt: skip
        model.setOptionValue(option, value)
    count = problem.count
    every = np.arange(count, dtype=np.int32)
    model.addVars(count, np.zeros(count), np.ones(count))
    weights = [int(w) if c == target else 0 for w, c in zip(problem.weights, problem.classes, strict=True)]
    unit = max(weights, default=1) / 1e6 or 1.0
    # Worth nothing still beats waiting.
    model.changeColsCost(count, every, np.array([weight / unit + 1e-6 for weight in weights]))
    model.changeObjectiveSense(highspy.ObjSense.kMaximize)
    whole = np.flatnonzero(problem.lots == 1).astype(np.int32)
    model.changeColsIntegrality(len(whole), whole, np.full(len(whole), highspy.HighsVarType.kInteger))
    by_row: dict[int, list[tuple[int, int]]] = {row: [] for row in range(len(problem.rows))}
    for k in range(count):
        sums: dict[int, int] = {}
        for row, atoms in problem.legs_of(k):
            sums[row] = sums.get(row, 0) + atoms
        for row, atoms in sums.items():
            if atoms:
                by_row[row].append((k, atoms))
    lent: dict[int, list[int]] = {}
    for index, credit in enumerate(problem.credits):
        lent.setdefault(credit.row, []).append(index)
    if problem.credits:
        model.addVars(
            len(problem.credits), np.zeros(len(problem.credits)), np.full(len(problem.credits), highspy.kHighsInf)
        )
    grouped: dict[int, list[tuple[int, float]]] = {}
    for row, touching in by_row.items():
        if sum(atoms for _, atoms in touching if atoms < 0) + int(problem.funds[row]) >= 0:
            continue  # Whatever settles, this row is funded.
        common = math.gcd(*(atoms for _, atoms in touching))
        coarse = max(common, max(abs(atoms) for _, atoms in touching) >> SEARCH_BITS)
        columns = [k for k, _ in touching]
        values: list[float] = [divide(atoms, coarse, "ceil") for _, atoms in touching]
        for index in lent.get(row, ()):
            credit = problem.credits[index]
            columns.append(count + index)
            values.append(1.0)
            if credit.cap_atoms is not None:
                model.changeColBounds(count + index, 0.0, float(divide(credit.cap_atoms, coarse, "ceil")))
            if credit.group is not None:
                size = max(1, problem.groups[credit.group].limit_atoms * problem.groups[credit.group].divisor)
                grouped.setdefault(credit.group, []).append((count + index, credit.units * coarse / size))
        # In common units only whole ones can be used; in coarser ones a funded set must not be lost. Divisible
        # chains and credit move any number of atoms.
        exact = coarse == common and not lent.get(row) and bool((problem.lots[[k for k, _ in touching]] == 1).all())
        model.addRow(
            divide(0 - int(problem.funds[row]), coarse, "ceil" if exact else "floor"), highspy.kHighsInf, len(columns),
            columns, values,
        )  # fmt: skip
    for group, entries in grouped.items():
        limit = 1.0 if problem.groups[group].limit_atoms else 0.0
        model.addRow(-highspy.kHighsInf, limit, len(entries), [c for c, _ in entries], [v for _, v in entries])
    for number, least in floors:
        members = [k for k in range(count) if problem.classes[k] == number]
        size = max([1, *(int(problem.weights[k]) for k in members)])
        model.addRow(
            least / size - 1e-9, highspy.kHighsInf, len(members), members,
            [int(problem.weights[k]) / size for k in members],
        )  # fmt: skip
    return model
