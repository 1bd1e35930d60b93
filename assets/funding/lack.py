"""What chains would lack beside a set that settles: exact, and for a hundred thousand of them at once.

An *owner* is anything whose needs are asked for: one chain, or a chain with others that help it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from assets.funding.problem import WORD_BITS, Credit, Indices, Ints, Problem, ends

Mask = NDArray[np.bool_]


class Moves(NamedTuple):
    """What each owner does to each row, net: one entry per owner and row, in that order."""

    owner: Indices
    row: Indices
    atoms: Ints


class Lacks(NamedTuple):
    """What each entry of `Moves` lacks. All arrays are as long as the moves."""

    short: Mask  # An account that is short, whatever its limits say.
    top_up: Ints  # Funds that the account needs more, so that neither it nor a limit is in the way.
    broken: Mask  # A link or a position that no funds mend.
    limit: Indices  # The group whose limit the entry helps to break, else -1.


def add_up(owner: Indices, row: Indices, atoms: Ints, rows: int) -> Moves:
    """Return the moves with those of one owner and row in one entry."""
    order = np.argsort(owner * rows + row, kind="stable")
    owner, row, atoms = owner[order], row[order], atoms[order]
    first = np.flatnonzero(np.diff(owner * rows + row, prepend=-1))
    return Moves(owner[first], row[first], np.add.reduceat(atoms, first) if first.size else atoms)


def most(problem: Problem) -> int:
    """Return a number of atoms that no row can be moved by or lack."""
    highest = max(
        (abs(int(atoms)) for atoms in (problem.funds.max(initial=0), problem.funds.min(initial=0))), default=0
    )
    # An int64 array holds its sums by the promise of `ints`; `abs` keeps an object array exact.
    return highest + int(np.abs(problem.leg_atoms).sum()) + 1


def usage(used: Any, units: Any, divisor: Any) -> Any:
    """Return how much of a limit `used` atoms take, rounded up."""
    return -(-used * units // divisor)


def bears(problem: Problem, draws: dict[int, int] | None) -> tuple[Ints, dict[int, tuple[Credit, int]]]:
    """Return what the credits of each row bear whatever the limits, and (credit, cap) where one limit has a say.

    A row that draws under several limits keeps what is drawn there now; without `draws` it is taken to have each limit
    for itself.
    """
    ceiling = most(problem)
    free: Ints = np.zeros(len(problem.rows), dtype=object)
    limited: dict[int, list[int]] = {}
    for position, credit in enumerate(problem.credits):
        cap = ceiling if credit.cap_atoms is None else max(0, min(credit.cap_atoms, ceiling))
        if credit.group is None or not credit.units:
            free[credit.row] += cap
        elif cap:
            limited.setdefault(credit.row, []).append(position)
    single = {}
    for row, positions in limited.items():
        if len(positions) == 1:
            credit = problem.credits[positions[0]]
            cap = ceiling if credit.cap_atoms is None else min(credit.cap_atoms, ceiling)
            single[row] = credit, cap
            continue
        for position in positions:
            if draws is not None:
                free[row] += draws.get(position, 0)
            else:
                credit = problem.credits[position]
                group = problem.groups[credit.group or 0]
                alone = max(0, group.limit_atoms) * group.divisor // credit.units
                free[row] += min(alone, ceiling if credit.cap_atoms is None else credit.cap_atoms)
    return np.minimum(free, ceiling), single


class Ground:
    """A problem and a lawful set of its chains: what more its rows can bear."""

    def __init__(self, problem: Problem, units: Ints, draws: dict[int, int] | None) -> None:
        """`draws` None: nothing is drawn yet, and `units` are all 0."""
        # Two sums and their difference must fit a word.
        word = np.int64 if most(problem).bit_length() + 2 <= WORD_BITS else object
        free, single = bears(problem, draws)
        self.rows = len(problem.rows)
        self.settled = units
        self.end = ends(problem, units).astype(word)
        self.floor = np.minimum(problem.funds.astype(word), 0)
        self.account = np.array([row.kind == "ACCOUNT" for row in problem.rows], dtype=bool)
        self.free = free.astype(word)
        self.lent = np.zeros(self.rows, dtype=word)
        self.group = np.full(self.rows, -1)
        self.units = np.zeros(self.rows, dtype=object)
        self.divisor = np.ones(self.rows, dtype=object)
        for row, (credit, cap) in single.items():
            self.lent[row], self.group[row], self.units[row] = cap, credit.group, credit.units
            self.divisor[row] = problem.groups[self.group[row]].divisor
        self.used = np.minimum(np.maximum(self._lacking(self.end, self.floor) - self.free, 0), self.lent)
        taken = usage(self.used.astype(object), self.units, self.divisor)
        self.room = np.array([group.limit_atoms for group in problem.groups], dtype=object)
        for row in single:
            self.room[self.group[row]] -= taken[row]
        for position, atoms in (draws or {}).items():
            credit = problem.credits[position]
            if credit.group is not None and credit.row not in single:
                self.room[credit.group] -= usage(atoms, credit.units, problem.groups[credit.group].divisor)
        self.taken = taken

    @staticmethod
    def _lacking(end: Ints, floor: Ints) -> Ints:
        """A row lacks what it ends below zero, unless it began there and is no worse."""
        return np.where(end < floor, -end, 0)

    def lacks(self, moves: Moves) -> Lacks:
        """Return what each owner lacks if it settles beside the set."""
        row, account = moves.row, self.account[moves.row]
        short = self._lacking(self.end[row] + moves.atoms, self.floor[row])
        top_up = np.maximum(short - self.free[row] - self.lent[row], 0)
        itself = account & (top_up > 0)
        limit = np.full(len(row), -1)
        broken = ~account & (top_up > 0)
        at = np.flatnonzero(self.group[row] >= 0)
        if at.size:
            here, paid = row[at], account[at]
            used = np.minimum(np.maximum(short[at] - self.free[here], 0), self.lent[here])
            change = usage(used.astype(object), self.units[here], self.divisor[here]) - self.taken[here]
            over = self._over(moves.owner[at], here, change) & (change > 0)
            limit[at] = np.where(over, self.group[here], -1)
            # Funds for all that an account would draw more leave its limit as it is.
            more = np.maximum(short[at] - self.free[here] - self.used[here], 0)
            top_up[at] = np.where(over & paid, more, top_up[at])
            left = np.where(over & paid, 0, change)
            broken[at] |= self._over(moves.owner[at], here, left) & (left > 0)
        return Lacks(itself, np.where(account, top_up, 0), broken, limit)

    def _over(self, owner: Indices, row: Indices, change: Ints) -> Mask:
        """Return for each entry whether its owner breaks the limit of its row."""
        group = self.group[row]
        keys, place = np.unique(owner * len(self.room) + group, return_inverse=True)
        total: Ints = np.zeros(len(keys), dtype=object)
        np.add.at(total, place.ravel(), change)
        return ((total > self.room[keys % len(self.room)]) & (total > 0))[place.ravel()].astype(bool)
