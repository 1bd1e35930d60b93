"""From entries (what each chain does to each row) to a problem: sorted by chain, and added up where that changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from assets.funding.problem import Credit, Group, Indices, Ints, Problem, RowName, ints


class Terms(NamedTuple):
    """One entry per chain."""

    classes: Indices
    weights: Ints
    lots: Ints
    least: Ints
    lot_atoms: Ints  # Atoms of what it is divided by, in one lot.


Part = tuple[Indices, Indices, Ints]  # Chain, row and signed atoms of some entries.


def assemble(
    ids: list[str], terms: Terms, parts: Sequence[Part], names: Sequence[RowName], funds: Sequence[int],
    lent: Sequence[Credit], groups: list[Group],
) -> Problem:  # fmt: skip
    """Return the problem. Rows that nothing touches, once what cancels is gone, are no part of it, nor their credits."""
    chain = np.concatenate([part[0] for part in parts])
    row = np.concatenate([part[1] for part in parts])
    atoms = ints(np.concatenate([part[2] for part in parts]))
    chain, row, atoms = _netted(chain, row, atoms, terms.lots)
    starts = np.concatenate([[0], np.cumsum(np.bincount(chain, minlength=len(ids)))])
    used = np.zeros(len(names), dtype=bool)
    used[row] = True
    new = np.cumsum(used) - 1
    kept = np.flatnonzero(used).tolist()
    return Problem(
        ids, terms.weights, terms.classes, terms.lots, terms.least, starts, new[row], atoms,
        [names[r] for r in kept], ints([max(0, funds[r]) for r in kept]),
        [credit._replace(row=int(new[credit.row])) for credit in lent if used[credit.row]],
        groups, {int(new[r]): -funds[r] for r in kept if funds[r] < 0},
    )  # fmt: skip


def _netted(chain: Indices, row: Indices, atoms: Ints, lots: Ints) -> Part:
    """Return the entries by chain and row, added up where that changes nothing.

    All or nothing: all entries of a row. Divisible: only equal amounts that come and go, because each is cut by itself.
    """
    if not chain.size:
        return chain, row, atoms
    divisible = np.asarray(lots > 1, dtype=bool)
    size = np.zeros(len(chain), dtype=np.int64)
    cut = np.flatnonzero(divisible[chain])
    size[cut] = np.unique(np.abs(atoms[cut]), return_inverse=True)[1]
    order = (
        np.lexsort((size, row, chain)) if cut.size else np.argsort(chain * (int(row.max()) + 1) + row, kind="stable")
    )
    chain, row, atoms, size = chain[order], row[order], atoms[order], size[order]
    fresh = (np.diff(chain, prepend=-1) != 0) | (np.diff(row, prepend=-1) != 0) | (np.diff(size, prepend=-1) != 0)
    first = np.flatnonzero(fresh)
    total, one, chain, row = np.add.reduceat(atoms, first), np.abs(atoms[first]), chain[first], row[first]
    copies = np.where(divisible[chain], np.abs(total) // one, total != 0).astype(np.int64)
    amount = np.where(divisible[chain], np.sign(total) * one, total)
    return np.repeat(chain, copies), np.repeat(row, copies), np.repeat(amount, copies)
