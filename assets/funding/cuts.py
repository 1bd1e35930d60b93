"""Cuts: what it means, for the account that is short, that its chains settle whole or not at all.

The relaxation may settle 72 % of a large chain; no lawful set can. On one row, with the amounts rounded to multiples of
a divisor (mixed integer rounding: Nemhauser and Wolsey 1990), follows an inequality that every lawful set keeps and the
relaxation breaks. Its price makes the bound lower. Row, divisor and price are all that a verifier needs: it rounds the
integers itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from assets.funding.problem import Indices, Problem

ROW_LEGS_MAX = 4_000  # On a row with more chains than this, one of them more or less hardly shows.
VIOLATED = 1e-3


class Cut(NamedTuple):
    """Rounding of `row` by `divisor` atoms, and what its inequality is worth in the certificate's prices."""

    row: int
    divisor: int
    price: int = 0


class Facet(NamedTuple):
    """The inequality in floating point: sum of values x shares of the chains <= most, in units of value."""

    cut: Cut
    chains: Indices
    values: Any
    most: float


class Rows:
    """The chains of each row, and what they do to it; only rows without credit whose chains all settle whole can be cut."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._order = np.argsort(problem.leg_rows, kind="stable")
        self._starts = np.searchsorted(problem.leg_rows[self._order], np.arange(len(problem.rows) + 1))
        self._owner = np.repeat(np.arange(problem.count), np.diff(problem.starts))
        self._lent = {credit.row for credit in problem.credits}

    def legs(self, row: int) -> tuple[Indices, Any]:
        """Return the chains of the row and their atoms, one entry per leg."""
        legs = self._order[self._starts[row] : self._starts[row + 1]]
        return self._owner[legs], self.problem.leg_atoms[legs]

    def can_be_cut(self, row: int) -> bool:
        """Say whether rounding proves anything here."""
        chains, _ = self.legs(row)
        whole = bool((self.problem.lots[chains] == 1).all())
        return row not in self._lent and whole and len(np.unique(chains)) == len(chains)


def inequality(rows: Rows, cut: Cut) -> tuple[Indices, list[int], int]:
    """Return (chains, coefficients, most): every lawful set keeps sum(coefficient x settles) <= most, in integers.

    Raises ValueError for a row on which rounding proves nothing.
    """
    if cut.divisor < 1 or not 0 <= cut.row < len(rows.problem.rows) or not rows.can_be_cut(cut.row):
        raise ValueError("a cut rounds a row with credit, with divisible chains, or by no divisor: it proves nothing")
    chains, atoms = rows.legs(cut.row)
    uses = atoms.tolist()
    # If every chain settles the row has `room`, below zero when it is short; each chain that waits takes its `use` of it.
    steps, rest = divmod(int(rows.problem.funds[cut.row]) + sum(uses), cut.divisor)
    step = cut.divisor - rest
    # Of whole numbers y of waiting chains, sum(use y) <= room, rounded: sum(coefficient y) <= steps x step.
    waiting = [use // cut.divisor * step + max(0, use % cut.divisor - rest) for use in uses]
    return chains, [0 - coefficient for coefficient in waiting], steps * step - sum(waiting)


def separate(
    problem: Problem, rows: Rows, share: Any, prices: Any, scale: Any, known: set[tuple[int, int]]
) -> list[Facet]:
    """Return for each scarce row the cut that the shares break most, if any: new ones only, `known` by row and divisor."""
    found = []
    for row in np.flatnonzero(prices > 1e-7).tolist():
        chains, atoms = rows.legs(row)
        if len(chains) > ROW_LEGS_MAX or not rows.can_be_cut(row):
            continue
        uses, waits = atoms.astype(float), 1.0 - share[chains]
        split = waits > 1e-6
        if not split.any():
            continue
        room = float(problem.funds[row]) + uses.sum()
        sizes = np.abs(uses[split])
        divisor = _divisor(uses, waits, room, np.unique(np.concatenate([sizes, np.abs(uses).max() * np.ones(1),
                           abs(room) * np.array([1.01, 1.3, 2.0])])), split)  # fmt: skip
        if divisor is None or (row, divisor) in known:
            continue
        known.add((row, divisor))
        cut = Cut(row, divisor)
        _, coefficients, most = inequality(rows, cut)
        found.append(Facet(cut, chains, np.array(coefficients, dtype=float) * scale[row], float(most) * scale[row]))
    return found


def _divisor(uses: Any, waits: Any, room: float, candidates: Any, split: Any) -> int | None:
    best, found = VIOLATED, None
    for divisor in candidates:
        if divisor < 1:
            continue
        steps = np.floor(room / divisor)
        rest = room / divisor - steps
        if not 1e-3 < 1 - rest < 0.98:
            continue
        whole = np.floor(uses / divisor)
        coefficients = whole + np.maximum(0.0, uses / divisor - whole - rest) / (1 - rest)
        broken = ((coefficients * waits).sum() - steps) / np.sqrt((coefficients[split] ** 2).sum() + 1e-12)
        if broken > best:
            best, found = broken, int(divisor)
    return found


__all__: Sequence[str] = ["Cut", "Facet", "Rows", "inequality", "separate"]
