"""What a user might pick to choose which chains settle, each a function of the problem: four known ways, and ours.

All are exact and lawful: they move integers, and what a solver proposes in floats is repaired in integers. They know
accounts only, no credit and no limits. Where amounts need more than 64 bits the same loops run uncompiled.
A chain that may settle in part is first tried whole; one pass at the end settles as much of it as is funded, as a
window for partial settlement does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numba
import numpy as np

from assets.funding.problem import Indices, Ints, Problem, moved

MIP_NODES_MAX = 1_000  # Nodes, not seconds: the same answer on any machine.


class Result(NamedTuple):
    """`units` per chain; `certificates` (one per priority class) only from an engine that proves a bound."""

    units: Ints
    certificates: tuple = ()
    path: str = ""


class Engine(NamedTuple):
    """`chains_max`: the largest problem that it answers in minutes."""

    solve: Callable[[Problem], Result]
    title: str
    chains_max: int = 10**9


def fifo(problem: Problem) -> Result:
    """Settle one by one in the order of arrival, gross; what is not funded is passed by and tried again."""
    return _completed(problem, problem.whole(()), _balances(problem), _arrival(problem))


def removal(problem: Problem) -> Result:
    """Net everything, drop the least chains of each short account until none is short, then refill, greatest first."""
    return _repaired(problem, problem.whole(range(problem.count)))


def bilateral(problem: Problem) -> Result:
    """Settle all that is between two participants together if its net is funded, the pair of most value first.

    Repeated until no pair moves: the loop of `fifo` over another problem, whose chains are the pairs. What then
    still waits is settled one by one.
    """
    parties = {name: number for number, name in enumerate(sorted({row.party for row in problem.rows}))}
    party = np.array([parties[row.party] for row in problem.rows])[problem.leg_rows]
    low = np.minimum.reduceat(party, problem.starts[:-1])
    high = np.maximum.reduceat(party, problem.starts[:-1])
    pairs, pair_of = np.unique(low * len(parties) + high, return_inverse=True)
    # What a pair does to a row is one leg of the pair.
    leg_pair = np.repeat(pair_of, np.diff(problem.starts))
    keys, leg_of = np.unique(leg_pair * len(problem.rows) + problem.leg_rows, return_inverse=True)
    atoms = np.zeros(keys.size, dtype=problem.leg_atoms.dtype)
    np.add.at(atoms, leg_of, problem.leg_atoms)
    value = np.zeros(pairs.size, dtype=object)
    np.add.at(value, pair_of, problem.weights.astype(object))
    order = np.array(sorted(range(pairs.size), key=lambda pair: (-value[pair], pair)), dtype=np.int64)
    starts = np.searchsorted(keys, np.arange(pairs.size + 1) * len(problem.rows))
    balance, settled = _balances(problem), np.zeros(pairs.size, dtype=np.bool_)
    _run(_admit, order, starts, keys % len(problem.rows), atoms, balance, settled)
    units = problem.whole(np.flatnonzero(settled[pair_of]))
    return _completed(problem, units, balance, _arrival(problem))


def mip(problem: Problem) -> Result:
    """Let HiGHS alone search for the optimum: one thread, a fixed seed, a limit on its nodes; repaired in integers."""
    import highspy

    largest = np.ones(len(problem.rows))
    np.maximum.at(largest, problem.leg_rows, np.abs(problem.leg_atoms).astype(float))
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = problem.count, len(problem.rows)
    model.sense_ = highspy.ObjSense.kMaximize
    model.col_cost_ = problem.weights.astype(float) / max(1.0, float(problem.weights.max(initial=0)))
    model.col_lower_, model.col_upper_ = np.zeros(problem.count), np.ones(problem.count)
    model.row_lower_ = -problem.funds.astype(float) / largest
    model.row_upper_ = np.full(len(problem.rows), highspy.kHighsInf)
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = problem.starts.astype(np.int32)
    model.a_matrix_.index_ = problem.leg_rows.astype(np.int32)
    model.a_matrix_.value_ = problem.leg_atoms.astype(float) / largest[problem.leg_rows]
    kinds = np.where(problem.lots > 1, int(highspy.HighsVarType.kContinuous), int(highspy.HighsVarType.kInteger))
    model.integrality_ = [highspy.HighsVarType(kind) for kind in kinds.tolist()]
    solver = highspy.Highs()
    options = {"output_flag": False, "threads": 1, "random_seed": 1, "mip_max_nodes": MIP_NODES_MAX, "mip_rel_gap": 0.0}
    for option, value in options.items():
        solver.setOptionValue(option, value)
    solver.passModel(model)
    solver.run()
    part = np.asarray(solver.getSolution().col_value)
    if part.size != problem.count:  # It found nothing in time.
        part = np.zeros(problem.count)
    scaled = [int(share * 2**40 + 0.5) for share in np.clip(part, 0.0, 1.0).tolist()]
    units = problem.whole(())
    for chain in np.flatnonzero(part > 1e-9).tolist():
        lots = int(problem.lots[chain])
        settled = (scaled[chain] * lots + (2**39 if lots == 1 else 0)) >> 40
        units[chain] = settled if settled >= problem.least[chain] else 0
    return _repaired(problem, units, str(solver.getModelStatus()).rpartition(".")[2])


def ours(problem: Problem, effort: str = "full") -> Result:
    """Trine's own selection."""
    from assets.funding.decide import decide

    answer = decide(problem, effort=effort)
    return Result(answer.units, tuple(answer.certificates), answer.path)


ENGINES = {
    "fifo": Engine(fifo, "first in, first out, with bypass"),
    "bilateral": Engine(bilateral, "bilateral netting, then one by one"),
    "removal": Engine(removal, "removal of the least, then refill"),
    "mip": Engine(mip, "MIP alone (HiGHS)", 2_000),
    "quick": Engine(partial(ours, effort="quick"), "Trine, --effort quick"),
    "ours": Engine(ours, "Trine"),
}


def _arrival(problem: Problem) -> Indices:
    return np.random.Generator(np.random.PCG64(problem.count)).permutation(problem.count)


def _balances(problem: Problem) -> Ints:
    if problem.credits or problem.groups or (problem.funds < 0).any():
        raise ValueError("this engine knows funded accounts only, and the problem has credit, limits or a shortage")
    return problem.funds.astype(problem.leg_atoms.dtype)


def _run(loop: Callable, *arrays: np.ndarray) -> None:
    """Run a compiled loop, or the same loop in Python where an array holds Python integers."""
    (loop.py_func if any(array.dtype == object for array in arrays) else loop)(*arrays)  # type: ignore[attr-defined]


@numba.njit(cache=True)
def _admit(order, starts, rows, atoms, balance, settled):
    """Settle chain after chain in `order`, each if no row then ends below zero, until a whole pass settles none."""
    waiting = order.copy()
    left = len(waiting)
    while True:
        kept = 0
        for place in range(left):
            chain = waiting[place]
            legs = range(starts[chain], starts[chain + 1])
            for leg in legs:
                balance[rows[leg]] += atoms[leg]
            funded = True
            for leg in legs:
                if balance[rows[leg]] < 0:
                    funded = False
            if funded:
                settled[chain] = True
            else:
                for leg in legs:
                    balance[rows[leg]] -= atoms[leg]
                waiting[kept] = chain
                kept += 1
        if kept == left:
            return
        left = kept


@numba.njit(cache=True)
def _remove(queue, queue_starts, starts, rows, amounts, balance, settled):
    """Take back the chains that pay from a short row, in the order of the row's queue, until no row is short."""
    place = queue_starts.copy()
    clean = False
    while not clean:
        clean = True
        for row in range(len(balance)):
            while balance[row] < 0:
                clean = False
                chain = queue[place[row]]
                place[row] += 1
                if settled[chain]:
                    settled[chain] = False
                    for leg in range(starts[chain], starts[chain + 1]):
                        balance[rows[leg]] -= amounts[leg]


def _repaired(problem: Problem, units: Ints, path: str = "") -> Result:
    """Return a lawful answer near `units`: the least chains of short rows removed, then completed."""
    balance, amounts = _balances(problem), moved(problem, units).astype(problem.leg_atoms.dtype)
    np.add.at(balance, problem.leg_rows, amounts)
    rising = np.argsort(problem.weights, kind="stable")
    rank = np.empty(problem.count, dtype=np.int64)
    rank[rising] = np.arange(problem.count)
    chain_of = np.repeat(np.arange(problem.count), np.diff(problem.starts))
    paying = np.flatnonzero(amounts < 0)
    paying = paying[np.lexsort((rank[chain_of[paying]], problem.leg_rows[paying]))]
    queue_starts = np.searchsorted(problem.leg_rows[paying], np.arange(len(problem.rows) + 1))
    settled = (units > 0).astype(np.bool_)
    _run(_remove, chain_of[paying], queue_starts, problem.starts, problem.leg_rows, amounts, balance, settled)
    return _completed(problem, np.where(settled, units, 0), balance, rising[::-1].copy(), path)


def _completed(problem: Problem, units: Ints, balance: Ints, order: Indices, path: str = "") -> Result:
    """Return `units` and, in `order`, whole chains while any is funded, then the funded parts of chains."""
    settled = (units > 0).astype(np.bool_)
    waiting = order[~settled[order]]
    _run(_admit, waiting, problem.starts, problem.leg_rows, problem.leg_atoms, balance, settled)
    units = np.where(settled & (units == 0), problem.lots, units)
    funds = balance.tolist()
    for chain in waiting[~settled[waiting] & (problem.lots[waiting] > 1).astype(np.bool_)].tolist():
        lots, legs = int(problem.lots[chain]), problem.legs_of(chain)
        # The most lots whose part, cut down to whole atoms, is at most what the payer has.
        part = min([lots, *(((funds[row] + 1) * lots - 1) // -atoms for row, atoms in legs if atoms < 0)])
        if part >= problem.least[chain] and len({row for row, _ in legs}) == len(legs):
            units[chain] = part
            for row, atoms in legs:
                funds[row] += abs(atoms) * part // lots * (1 if atoms > 0 else -1)
    return Result(units, path=path)
