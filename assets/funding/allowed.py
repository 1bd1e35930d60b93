"""What may settle, exactly: one chain at a time on integers, until nothing is short and nothing more fits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from assets.funding.problem import WORD_BITS, Ints, Problem, ends, part_of, room_of

PAYERS_LOOKED_AT = 200
GROWING_ROUNDS = 50


def draw(problem: Problem, end: Sequence[int], among: Sequence[int] | None = None) -> tuple[dict[int, int], list[int]]:
    """Return what each credit is drawn for, so that no row ends below zero, and the rows for which that fails.

    First the credits that use no limit, then the others in order, as far as their caps and limits have room. Only the
    rows of `among` (positions, in `in_order`) are looked at if they are given.
    """
    left: dict[int, int] = {}
    draws: dict[int, int] = {}
    if among is None:
        among, rows = in_order(problem), range(len(end))
    else:
        rows = dict.fromkeys(problem.credits[index].row for index in among)  # type: ignore[assignment]
    lacking = {row: -end[row] for row in rows if end[row] < 0}
    for index in among if lacking else ():
        credit = problem.credits[index]
        short = lacking.get(credit.row, 0)
        if short <= 0:
            continue
        atoms = short if credit.cap_atoms is None else min(short, credit.cap_atoms)
        if credit.group is not None and credit.units:
            group = problem.groups[credit.group]
            room = left.get(credit.group, group.limit_atoms)
            atoms = min(atoms, room * group.divisor // credit.units)
            left[credit.group] = room + -atoms * credit.units // group.divisor
        if atoms:
            draws[index] = atoms
            lacking[credit.row] = short - atoms
    return draws, [row for row, short in lacking.items() if short > 0]


def in_order(problem: Problem) -> list[int]:
    """Return the positions of the credits in the order in which they are drawn."""
    return sorted(range(len(problem.credits)), key=lambda index: problem.credits[index].group is not None)


def short_rows(problem: Problem, units: Ints) -> list[int]:
    """Return the rows that would end too low, credit included."""
    return draw(problem, ends(problem, units).tolist())[1]


class Book:
    """Where each row stands with the chains that settle so far. Moves are tried, and taken back if they break a rule."""

    def __init__(self, problem: Problem, units: Ints) -> None:
        self.problem = problem
        self.units = units.astype(object) if problem.lots.dtype == object else units.copy()
        self.end: list[int] = ends(problem, units).tolist()
        # Rows that share a limit, be it through a third, are judged together: the credits of each such circle.
        circle: dict[int, int] = {}
        for credit in problem.credits:
            if credit.group is not None:
                mine, other = circle.get(credit.row), circle.get(~credit.group)
                if mine is None:
                    mine = credit.row if other is None else other
                elif other is not None and other != mine:
                    circle |= {key: mine for key, number in circle.items() if number == other}
                circle[credit.row] = circle[~credit.group] = mine
        self._circle = {row: number for row, number in circle.items() if row >= 0}
        self._credits: dict[int, list[int]] = defaultdict(list)
        for index in in_order(problem):
            row = problem.credits[index].row
            if row in self._circle:
                self._credits[self._circle[row]].append(index)
        self.room = room_of(problem)

    def broken(self, rows: Iterable[int]) -> list[int]:
        """Return which of `rows`, and of the rows that share a limit with them, end too low."""
        below = [row for row in set(rows) if self.end[row] < 0]
        found = [row for row in below if row not in self._circle and self.lacks(row) > 0]
        for number in {self._circle[row] for row in below if row in self._circle}:
            found += draw(self.problem, self.end, self._credits[number])[1]
        return sorted(found)

    def lacks(self, row: int) -> int:
        """Return how far the row ends below what credit can reach, leaving limits aside."""
        room = self.room[row]
        return 0 if room is None else max(0, -self.end[row] - room)

    def legs(self, chain: int, units: int) -> list[tuple[int, int]]:
        """Return (row, atoms) of what the chain moves when it settles `units` of its lots."""
        lots = int(self.problem.lots[chain])
        legs = self.problem.legs_of(chain)
        if units == lots:
            return legs
        return [(row, part_of(atoms, units, lots)) for row, atoms in legs]

    def set(self, chain: int, units: int) -> list[int]:
        """Settle `units` of the chain instead of what settled of it, and return the rows it touches."""
        before = int(self.units[chain])
        for row, atoms in self.legs(chain, before) if before else ():
            self.end[row] -= atoms
        for row, atoms in self.legs(chain, units) if units else ():
            self.end[row] += atoms
        self.units[chain] = units
        return self.problem.leg_rows[self.problem.starts[chain] : self.problem.starts[chain + 1]].tolist()

    def fits(self, chain: int, units: int) -> bool:
        """Settle `units` of the chain if every row allows it, and say whether it did."""
        before = int(self.units[chain])
        rows = self.set(chain, units)
        if self.broken(rows):
            self.set(chain, before)
            return False
        return True


def repair(problem: Problem, units: Ints, loss: np.ndarray) -> Ints:
    """Return `units` without what makes a row end too low: of its payers, those whose `loss` is least go first.

    A divisible payer only gives back what is needed. Each step settles less than before, so it comes to an end.
    """
    book = Book(problem, units)
    open_rows = set(book.broken(range(len(book.end))))
    if not open_rows:
        return book.units
    order = np.lexsort((loss[np.repeat(np.arange(problem.count), np.diff(problem.starts))], problem.leg_rows))
    order = order[np.asarray(problem.leg_atoms[order] < 0, dtype=bool)]
    first = np.searchsorted(problem.leg_rows[order], np.arange(len(problem.rows) + 1)).tolist()
    owner = np.searchsorted(problem.starts, order, side="right") - 1
    at = list(first[:-1])
    stuck: set[int] = set()
    while open_rows:
        row = min(open_rows)
        if row not in book.broken([row]):
            open_rows.discard(row)
            continue
        while at[row] < first[row + 1] and book.units[owner[at[row]]] == 0:
            at[row] += 1
        if at[row] == first[row + 1]:
            # Nothing of its own to give back: a peer of its limit must.
            stuck.add(row)
            open_rows.discard(row)
            continue
        chain = int(owner[at[row]])
        if problem.lots[chain] > 1:
            chain = _kindest(book, row, owner[at[row] : first[row + 1]].tolist())
        touched = book.set(chain, _less(book, chain, row))
        open_rows |= set(book.broken(touched)) - stuck
    if stuck and book.broken(range(len(book.end))):
        return np.zeros(problem.count, dtype=problem.lots.dtype)
    return book.units


def _kindest(book: Book, row: int, payers: list[int]) -> int:
    """Return the divisible payer that makes the fewest other rows short when it gives the row what it lacks.

    Otherwise a shortage of an atom can wander from account to account, and grow by the rounding at each.
    """
    best, fewest, looked = payers[0], len(book.end), 0
    for chain in payers:
        now = int(book.units[chain])
        if now == 0 or book.problem.lots[chain] == 1:
            continue
        looked += 1
        touched = book.set(chain, _less(book, chain, row))
        short = sum(book.lacks(other) > 0 for other in set(touched) - {row})
        book.set(chain, now)
        if short < fewest:
            best, fewest = chain, short
        if not short or looked == PAYERS_LOOKED_AT:
            break
    return best


def _less(book: Book, chain: int, row: int) -> int:
    """Return the most units below the present ones with which the row is no longer short, or 0."""
    lots, now, least = int(book.problem.lots[chain]), int(book.units[chain]), int(book.problem.least[chain])
    if lots == 1:
        return 0
    paid = -sum(atoms for at, atoms in book.legs(chain, lots) if at == row)
    short = book.lacks(row)
    if paid <= 0 or short <= 0:
        return 0
    less = now - (-(-short * lots // paid))
    return less if least <= less < now else 0


def refill(problem: Problem, units: Ints, rank: np.ndarray) -> Ints:
    """Add what still fits, lowest `rank` first, until nothing does (I11): whole, or of a divisible chain what it can.

    Rounds go on while chains that waited join in. Divisible chains may help each other grow lot by lot for long: of
    rounds in which they only grow there are GROWING_ROUNDS, and after the last what waits is tried once more.
    """
    book, grown = Book(problem, units), 0
    while True:
        joined, grew = _round(book, rank, waiting_only=False)
        grown += grew and not joined
        if not joined and grown > GROWING_ROUNDS:
            joined, grew = _round(book, rank, waiting_only=True)
        if not joined and not grew:
            return book.units


def _round(book: Book, rank: np.ndarray, *, waiting_only: bool) -> tuple[bool, bool]:
    """Try each candidate once. Say whether a chain that waited joined in, and whether another settles more than before."""
    joined = grew = False
    candidates = _candidates(book.problem, book)
    for chain in candidates[np.argsort(rank[candidates], kind="stable")].tolist():
        waited = book.units[chain] == 0
        if waiting_only and not waited:
            continue
        lots = int(book.problem.lots[chain])
        more = book.fits(chain, 1) if lots == 1 else _fill(book, chain, lots)
        joined |= bool(more and waited)
        grew |= bool(more and not waited)
    return joined, grew


def _fill(book: Book, chain: int, lots: int) -> bool:
    """Settle the most lots of a divisible chain that fit. Say whether it is more than before."""
    now = int(book.units[chain])
    least = max(int(book.problem.least[chain]), now + 1)
    most = _most(book, chain, now, lots)
    if most < least:
        return False
    if book.fits(chain, most):
        return True
    if most == least or not book.fits(chain, least):
        return False
    low, high = least, most  # `low` fits, `high` does not.
    while high - low > 1:
        middle = (low + high) // 2
        if book.fits(chain, middle):
            low = middle
        else:
            high = middle
    return True


def _most(book: Book, chain: int, now: int, lots: int) -> int:
    """Return the most lots that any one paying leg allows; `lots` for a chain that pays and receives on one row."""
    legs = book.problem.legs_of(chain)
    if len({row for row, _ in legs}) < len(legs):
        return lots
    most = lots
    for row, atoms in legs:
        room = book.room[row]
        if atoms < 0 and room is not None:
            # What it pays now comes back first. floor(paid x n / lots) <= room holds up to this n.
            left = max(0, book.end[row] + room + -atoms * now // lots)
            most = min(most, ((left + 1) * lots - 1) // -atoms)
    return most


def _candidates(problem: Problem, book: Book) -> np.ndarray:
    """Return the chains that do not settle whole and whose every payment has some room: what refill must look at."""
    waits = np.flatnonzero(np.asarray(book.units != problem.lots, dtype=bool))
    if not waits.size:
        return waits
    spare = [None if more is None else atoms + more for atoms, more in zip(book.end, book.room, strict=True)]
    wide = problem.leg_atoms.dtype == object
    huge = 1 << (20_000 if wide else WORD_BITS)  # More than any row can need.
    most = [min(atoms, huge) if atoms is not None else huge for atoms in spare]
    limit = np.array(most, dtype=object if wide or any(abs(atoms) > huge for atoms in most) else np.int64)
    counts = (problem.starts[waits + 1] - problem.starts[waits]).astype(np.int64)
    firsts = np.repeat(problem.starts[waits] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    legs = firsts + np.arange(counts.sum())
    atoms = problem.leg_atoms[legs]
    lots, now = np.repeat(problem.lots[waits], counts), np.repeat(book.units[waits], counts)
    step = np.maximum(now + 1, np.repeat(problem.least[waits], counts))
    whole = np.asarray(lots == 1, dtype=bool)
    needs = np.where(whole, np.where(atoms < 0, atoms, 0), 0)
    parts = np.flatnonzero(~whole & np.asarray(atoms < 0, dtype=bool))
    if parts.size:
        paid, of = np.abs(atoms[parts]), lots[parts]
        if max(int(paid.max()), 1).bit_length() + int(step[parts].max()).bit_length() > WORD_BITS:
            paid = paid.astype(object)
        more = paid * step[parts] // of - paid * now[parts] // of
        needs[parts] = 0 - more.astype(needs.dtype)
    # A chain may give back to a row what it takes from it in another leg: such rows are left to the exact test.
    tight = np.asarray(limit[problem.leg_rows[legs]] + needs < 0, dtype=bool) & np.asarray(needs < 0, dtype=bool)
    owner = np.repeat(np.arange(len(waits)), counts)
    blocked = np.zeros(len(waits), dtype=bool)
    blocked[owner[tight & ~_repeated(owner, problem.leg_rows[legs])]] = True
    return waits[~blocked]


def _repeated(owner: np.ndarray, rows: np.ndarray) -> np.ndarray:
    key = owner * (int(rows.max(initial=0)) + 1) + rows
    order = np.argsort(key, kind="stable")
    same = np.zeros(len(key), dtype=bool)
    twin = key[order][1:] == key[order][:-1]
    same[order[1:][twin]] = True
    same[order[:-1][twin]] = True
    return same


__all__ = ["Book", "draw", "refill", "repair", "short_rows"]
