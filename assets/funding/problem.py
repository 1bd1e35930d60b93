"""What selection decides, as integers: chains that settle or wait, and the rows that must not end too low.

An account is a row. So is a link (who must come before whom) and a net position that a limit watches. One form for all
three keeps search, certificate and verifier free of special cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray  # Of int64 where all fit with room to add, else of Python integers. Always exact.
Indices = NDArray[np.int64]
WORD_BITS = 62


class RowName(NamedTuple):
    """`kind`: ACCOUNT, LINK (whole numbers, not atoms) or POSITION (only its limit group bounds it)."""

    kind: str
    party: str
    instrument: str


class Credit(NamedTuple):
    """How far a row may end below zero, and which limit that uses: `units` per atom of it. `cap_atoms` None: no end."""

    row: int
    cap_atoms: int | None
    group: int | None = None
    units: int = 0


class Group(NamedTuple):
    """A limit over several credits: the sum of ceil(used x units / divisor) must not exceed `limit_atoms`."""

    kind: str  # AGGREGATE_SHORT, NOP, DSL or BILATERAL.
    name: str
    limit_atoms: int
    divisor: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Chains in canonical order (by id). Chain k settles `units` of its `lots`: none, all, or what both sides allow.

    A leg that settles n of N lots moves floor(atoms x n / N), the same for payer and receiver. So a chain may touch a
    row in several legs, which must not be added up before they are cut.
    """

    chains: list[str]
    weights: Ints  # What settling chain k whole counts for: value x (2 + age). Never negative.
    classes: Indices  # Priority class; the lower comes first.
    lots: Ints  # 1: all or nothing.
    least: Ints  # The fewest lots that may settle, at least 1.
    starts: Indices  # Legs of chain k: starts[k] up to starts[k + 1].
    leg_rows: Indices
    leg_atoms: Ints  # Signed, never 0: what the leg does to its row.
    rows: list[RowName]
    funds: Ints  # What each row has to pay with: usable atoms, less the minimum that must stay. Never negative.
    credits: list[Credit] = field(default_factory=list)  # In the order in which a row draws them.
    groups: list[Group] = field(default_factory=list)
    # Atoms that a row lacks of its minimum before any can be used.
    missing: dict[int, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.chains)

    def legs_of(self, chain: int) -> list[tuple[int, int]]:
        """Return (row, atoms) of each leg of the chain when it settles whole."""
        span = slice(self.starts[chain], self.starts[chain + 1])
        return list(zip(self.leg_rows[span].tolist(), self.leg_atoms[span].tolist(), strict=True))

    def whole(self, chosen: Iterable[int]) -> Ints:
        """Return the units that settle the chains of `chosen` whole and no other."""
        settled = np.zeros(self.count, dtype=self.lots.dtype)
        positions = np.fromiter(chosen, dtype=np.int64)
        settled[positions] = self.lots[positions]
        return settled


def ints(values: Sequence[int] | Ints) -> Ints:
    """Return `values` as int64 if any sum of them fits in a word, else as Python integers."""
    if isinstance(values, np.ndarray) and values.dtype == np.int64:
        highest = max(abs(int(values.max(initial=0))), abs(int(values.min(initial=0))))
    else:
        values = list(values)
        highest = max((abs(value) for value in values), default=0)
    if highest.bit_length() + len(values).bit_length() <= WORD_BITS:
        return np.asarray(values, dtype=np.int64)
    exact = np.empty(len(values), dtype=object)
    exact[:] = values.tolist() if isinstance(values, np.ndarray) else values
    return exact


def moved(problem: Problem, units: Ints) -> Ints:
    """Return what each leg moves, signed: exact, cut towards zero."""
    of_chain = np.repeat(np.arange(problem.count), np.diff(problem.starts))
    settled, lots = units[of_chain], problem.lots[of_chain]
    whole = np.where(settled == lots, problem.leg_atoms, 0)
    cut = np.flatnonzero((settled != 0) & (settled != lots))
    if not cut.size:
        return whole
    if whole.dtype != object and (settled.dtype == object or _bits(problem.leg_atoms) + _bits(lots) > WORD_BITS):
        parts = [part_of(int(problem.leg_atoms[leg]), int(settled[leg]), int(lots[leg])) for leg in cut]
        whole[cut] = parts  # No part is larger than its leg.
    else:
        atoms = problem.leg_atoms[cut]
        whole[cut] = np.sign(atoms) * (np.abs(atoms) * settled[cut] // lots[cut])
    return whole


def part_of(atoms: int, units: int, lots: int) -> int:
    """Return what a leg of `atoms`, signed, moves when its chain settles `units` of its `lots`: cut towards zero."""
    return atoms * units // lots if atoms > 0 else -(-atoms * units // lots)


def _bits(values: Ints) -> int:
    return max((int(values.max()), -int(values.min())), default=0).bit_length() if values.size else 0


def worths(problem: Problem, units: Ints) -> list[tuple[int, int]]:
    """Return (class, value) of the settled chains for each class that occurs, in order. A part counts rounded down."""
    exact = problem.weights.astype(object)
    settled, lots = units.astype(object), problem.lots.astype(object)
    whole = units == problem.lots
    cut = np.flatnonzero((units != 0) & ~whole)
    found = []
    for number in np.unique(problem.classes):
        mine = problem.classes == number
        value = _sum(problem.weights[mine & whole])
        value += sum(int(exact[k] * settled[k] // lots[k]) for k in cut[mine[cut]])
        found.append((int(number), value))
    return found


def _sum(values: Ints) -> int:
    return int(values.sum()) if values.size else 0


def ends(problem: Problem, units: Ints) -> Ints:
    """Return what each row ends with, before credit."""
    amounts = moved(problem, units)
    total = problem.funds.astype(object) if amounts.dtype == object else problem.funds.copy()
    np.add.at(total, problem.leg_rows, amounts)
    return total


def room_of(problem: Problem) -> list[int | None]:
    """Return how far below zero each row can go at most, whatever the groups say; None: without end."""
    room: list[int | None] = [0] * len(problem.rows)
    for credit in problem.credits:
        have = room[credit.row]
        room[credit.row] = None if have is None or credit.cap_atoms is None else have + credit.cap_atoms
    return room


def impossible(problem: Problem) -> NDArray[np.bool_]:
    """Return which chains can settle in no lawful set: more is paid out of a row than it could ever have.

    That is its funds, its credit and whatever all other chains that are possible bring in; repeated until it finds none.
    """
    room = [
        None if lent is None else funds + lent
        for funds, lent in zip(problem.funds.tolist(), room_of(problem), strict=True)
    ]
    owner = np.repeat(np.arange(problem.count), np.diff(problem.starts))
    atoms = problem.leg_atoms
    pays = np.asarray(atoms < 0, dtype=bool) & np.asarray(problem.lots[owner] == 1, dtype=bool)
    brings = np.asarray(atoms > 0, dtype=bool)
    gone = np.zeros(problem.count, dtype=bool)
    while True:
        most = np.zeros(len(room), dtype=atoms.dtype)
        alive = brings & ~gone[owner]
        np.add.at(most, problem.leg_rows[alive], atoms[alive])
        limit = [None if have is None else have + more for have, more in zip(room, most.tolist(), strict=True)]
        endless = np.array([have is None for have in limit], dtype=bool)
        highest = 1 << (WORD_BITS if atoms.dtype != object else 20_000)
        least = np.array([min(have or 0, highest) for have in limit], dtype=atoms.dtype)
        short = pays & ~gone[owner] & ~endless[problem.leg_rows]
        short &= np.asarray(least[problem.leg_rows] + atoms < 0, dtype=bool)
        if not short.any():
            return gone
        gone[owner[short]] = True


def restricted(problem: Problem, keep: NDArray[np.bool_]) -> Problem:
    """Return the problem with the chains of `keep` alone."""
    legs = np.repeat(keep, np.diff(problem.starts))
    return replace(
        problem,
        chains=[chain for chain, stays in zip(problem.chains, keep.tolist(), strict=True) if stays],
        weights=problem.weights[keep], classes=problem.classes[keep], lots=problem.lots[keep],
        least=problem.least[keep], starts=np.concatenate([[0], np.cumsum(np.diff(problem.starts)[keep])]),
        leg_rows=problem.leg_rows[legs], leg_atoms=problem.leg_atoms[legs],
    )  # fmt: skip


def possible(problem: Problem) -> Problem:
    """Return the problem without the chains that can settle in no lawful set."""
    gone = impossible(problem)
    return restricted(problem, ~gone) if gone.any() else problem
