"""Funds that are enough for a chain to settle beside all that settles now: an upper bound, for many chains at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from assets.funding.lack import Ground, Lacks, Mask, Moves, add_up
from assets.funding.problem import Indices, Ints, Problem, ends, moved
from assets.funding.topup import TopUp

HELP_ROUNDS = 3  # Chains sent in beside the one that waits, one by one.


class Waiting(NamedTuple):
    """The chains that wait, and what each does to each row with its least lots and whole. Owners are positions."""

    chains: Indices
    least: Moves
    whole: Moves


def chains_waiting(problem: Problem, units: Ints) -> Waiting:
    """Return the chains of which `units` settles nothing."""
    waits = units == 0
    chains = np.flatnonzero(waits)
    of_chain = np.repeat(np.arange(problem.count), np.diff(problem.starts))
    legs = np.flatnonzero(waits[of_chain])
    owner = (np.cumsum(waits) - 1)[of_chain[legs]]

    def moves(settling: Ints) -> Moves:
        atoms = moved(problem, np.where(waits, settling, 0))[legs]
        return add_up(owner, problem.leg_rows[legs], atoms, len(problem.rows))

    return Waiting(chains, moves(problem.least), moves(problem.lots))


def enough(problem: Problem, ground: Ground, waiting: Waiting, prices: Sequence[int]) -> dict[int, TopUp]:
    """Return by owner the cheapest funds found with which it settles beside all that settles now, if any were.

    Tried are the chain alone, the chain with one to HELP_ROUNDS chains that pay into what costs most, and everything.
    """
    cost_of: Ints = np.array(prices, dtype=object)
    helpers = _Helpers(ground, waiting)
    owners, moves = np.arange(len(waiting.chains)), waiting.least
    members = owners[:, None]
    found: dict[int, TopUp] = {}
    for last in range(HELP_ROUNDS + 1):
        lacks = ground.lacks(moves)
        cost: Ints = np.zeros(len(owners), dtype=object)
        blocked = np.zeros(len(owners), dtype=bool)
        paying = np.flatnonzero(lacks.top_up > 0)
        worth: Ints = np.zeros(len(moves.row), dtype=object)
        worth[paying] = lacks.top_up[paying].astype(object) * cost_of[moves.row[paying]]
        np.add.at(cost, moves.owner[paying], worth[paying])
        blocked[moves.owner[lacks.broken]] = True
        _keep(found, owners, cost, blocked, moves, lacks)
        if last == HELP_ROUNDS:
            break
        owners, members, moves = helpers.join(owners, members, moves, lacks, worth)
        if not owners.size:
            break
    funds, possible = for_everything(problem, ground.settled, ground)
    if possible:
        everything = TopUp(funds, sum(atoms * prices[row] for row, atoms in funds.items()), False)
        for owner in range(len(waiting.chains)):
            found[owner] = min(found.get(owner, everything), everything, key=lambda it: it.cost)
    return found


def _keep(found: dict[int, TopUp], owners: Indices, cost: Ints, blocked: Mask, moves: Moves, lacks: Lacks) -> None:
    """Put what each owner lacks into `found`, where nothing cheaper is there."""
    better = ~blocked
    for place in np.flatnonzero(better).tolist():
        earlier = found.get(int(owners[place]))
        better[place] = earlier is None or cost[place] < earlier.cost
    funds: dict[int, dict[int, int]] = {place: {} for place in np.flatnonzero(better).tolist()}
    needs = np.flatnonzero((lacks.top_up > 0) & better[moves.owner])
    for place, row, atoms in zip(
        moves.owner[needs].tolist(), moves.row[needs].tolist(), lacks.top_up[needs].tolist(), strict=True
    ):
        funds[place][row] = atoms
    for place, lacking in funds.items():
        found[int(owners[place])] = TopUp(lacking, cost[place], False)


class _Helpers:
    """The chains that wait, by the rows that they pay into, the largest payment first."""

    def __init__(self, ground: Ground, waiting: Waiting) -> None:
        self.rows = ground.rows
        self.whole = waiting.whole
        self.spans = np.searchsorted(self.whole.owner, np.arange(len(waiting.chains) + 1))
        pays = np.flatnonzero(self.whole.atoms > 0)
        # Stable: of equal payments the first chain helps.
        pays = pays[np.argsort(-self.whole.atoms[pays], kind="stable")]
        pays = pays[np.argsort(self.whole.row[pays], kind="stable")]
        self.who = self.whole.owner[pays]
        self.starts = np.searchsorted(self.whole.row[pays], np.arange(self.rows + 1))

    def join(
        self, owners: Indices, members: Indices, moves: Moves, lacks: Lacks, worth: Ints
    ) -> tuple[Indices, Indices, Moves]:
        """Return the owners that found one more helper, their members, and what they then do."""
        wrong = np.flatnonzero(lacks.broken | (worth > 0).astype(bool))
        # What no funds mend comes first, then what costs most.
        place = np.unique(worth[wrong], return_inverse=True)[1].ravel() + len(worth) * lacks.broken[wrong]
        order = wrong[np.lexsort((moves.row[wrong], -place, moves.owner[wrong]))]
        first = order[np.flatnonzero(np.diff(moves.owner[order], prepend=-1))]
        group, row = moves.owner[first], moves.row[first]
        at = self.starts[row]
        for _ in range(members.shape[1]):
            at = at + self._taken(at, row, members[group])
        there = at < self.starts[row + 1]
        there[there] &= ~self._member(at[there], members[group[there]])
        group, helper = group[there], self.who[at[there]]
        counts = self.spans[helper + 1] - self.spans[helper]
        new = np.arange(len(group))
        entries = np.repeat(self.spans[helper] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        position = np.full(len(owners), -1)
        position[group] = new
        mine = np.flatnonzero(position[moves.owner] >= 0)
        joined = add_up(
            np.concatenate([position[moves.owner[mine]], np.repeat(new, counts)]),
            np.concatenate([moves.row[mine], self.whole.row[entries]]),
            np.concatenate([moves.atoms[mine], self.whole.atoms[entries]]),
            self.rows,
        )
        return owners[group], np.column_stack([members[group], helper]), joined

    def _member(self, at: Indices, members: Indices) -> Mask:
        return (self.who[at][:, None] == members).any(axis=1)

    def _taken(self, at: Indices, row: Indices, members: Indices) -> Mask:
        """Return where the helper is in the company already, so that the next one is due."""
        taken = at < self.starts[row + 1]
        taken[taken] = self._member(at[taken], members[taken])
        return taken


def for_everything(problem: Problem, units: Ints, ground: Ground) -> tuple[dict[int, int], bool]:
    """Return the funds that each account lacks if every chain settles, and whether no link or limit forbids that."""
    atoms = ends(problem, problem.lots) - ends(problem, units)
    rows = np.flatnonzero(atoms)
    lacks = ground.lacks(Moves(np.zeros(len(rows), dtype=np.int64), rows, atoms[rows]))
    needs = np.flatnonzero(lacks.top_up > 0)
    funds = dict(zip(rows[needs].tolist(), map(int, lacks.top_up[needs]), strict=True))
    return funds, not lacks.broken.any()
