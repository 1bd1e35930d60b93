"""Rows of a `trine select` problem: accounts, positions that limits watch, links; and what every leg does to them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from assets.funding.assemble import Terms, assemble
from assets.funding.problem import Credit, Group, Indices, Ints, Problem, RowName
from assets.funding.whatif.chains import Legs
from assets.funding.whatif.tables import Findings
from assets.funding.whatif.terms import BILATERAL, Limit
from assets.funding.worth import Prices

Key = tuple[str, str]  # Account and instrument.


class Entries(NamedTuple):
    """What each leg does to each side of it: the account, its counterparty, the instrument, signed atoms."""

    chain: Indices
    party: Indices
    other: Indices
    instrument: Indices
    atoms: Ints


class Rows:
    """Rows of a problem as they are added: accounts first, then positions that limits watch, then links."""

    def __init__(
        self, legs: Legs, entries: Entries, opening: dict[Key, int], prices: Prices, limits: list[Limit],
        limits_file: str, findings: Findings,
    ) -> None:  # fmt: skip
        self.legs, self.prices, self.file, self.findings = legs, prices, limits_file, findings
        width = max(1, len(legs.instruments))
        keys, row = ranked(entries.party * width + entries.instrument, width * len(legs.parties))
        named = [(legs.parties[p], legs.instruments[i]) for p, i in (divmod(key, width) for key in keys.tolist())]
        self.names = [RowName("ACCOUNT", *key) for key in named]
        self.code_of = {party: code for code, party in enumerate(legs.parties)}
        self.row_of = {key: n for n, key in enumerate(named)}
        self.funds = [opening[key] for key in named]
        self.credits: list[Credit] = []
        self.groups: list[Group] = []
        self.parts = [(entries.chain, row, entries.atoms)]  # Chain, row and atoms of entries, in runs.
        by_party = np.argsort(entries.party, kind="stable") if limits else np.empty(0, dtype=np.int64)
        self.entries = Entries(*(column[by_party] for column in entries))
        self._limit(limits)

    def _limit(self, limits: list[Limit]) -> None:
        shorts: dict[str, list[Limit]] = {}
        lower: dict[frozenset[str], Limit] = {}
        for limit in limits:
            row = self.row_of.get((limit.account, limit.instrument))
            if limit.kind == BILATERAL:
                pair = frozenset((limit.account, limit.other))
                lower[pair] = min(lower.get(pair, limit), limit, key=lambda limit: limit.atoms)
            elif limit.kind == "SHORT" and row is not None and limit.atoms:
                shorts.setdefault(limit.account, []).append(limit)
            elif limit.kind in ("MINIMUM", "HOLD") and row is not None:
                self.funds[row] -= limit.atoms
        together = {limit.account: limit for limit in limits if limit.kind == "AGGREGATE_SHORT"}
        for account, of_account in shorts.items():
            self._credit(of_account, together.get(account))
        for limit in limits:
            if limit.kind in ("DSL", "NOP"):
                self._watch(limit, limit.account)
        for pair, limit in sorted(lower.items(), key=lambda item: sorted(item[0])):
            for account, other in (sorted(pair), sorted(pair, reverse=True)):
                self._watch(limit, account, other)

    def _credit(self, shorts: list[Limit], together: Limit | None) -> None:
        """Let the account end below zero in each instrument, and in all of them by value if that is limited too."""
        rows = [self.row_of[limit.account, limit.instrument] for limit in shorts]
        if together is None:
            self.credits += [Credit(row, limit.atoms) for row, limit in zip(rows, shorts, strict=True)]
        elif self._priced(together, [limit.instrument for limit in shorts]):
            units, divisor = self.prices.units([limit.instrument for limit in shorts], shorts=True)
            group = self._group(together, together.account, divisor)
            self.credits += [
                Credit(row, limit.atoms, group, units[limit.instrument])
                for row, limit in zip(rows, shorts, strict=True)
            ]

    def _watch(self, limit: Limit, account: str, other: str = "") -> None:
        """Bound the value of what `account` pays net (to `other`), and for NOP also of what it receives net."""
        found = self._of(account, other)
        if found is None:
            return
        chain, code, atoms = found
        label = f"{account} to {other}" if other else account
        sides = [(label, atoms)]
        if limit.kind == "NOP":
            if self.prices.reference is None:
                self.findings.add(
                    self.file, [limit.line], "NOP needs a reference instrument; price one 1 for 1, or name it"
                )
                return
            open_ = np.array([name != self.prices.reference for name in self.legs.instruments])[code]
            chain, code, atoms = chain[open_], code[open_], atoms[open_]
            sides = [(f"{account} short", atoms), (f"{account} long", -atoms)]
        codes, row = np.unique(code, return_inverse=True)
        instruments = [self.legs.instruments[c] for c in codes.tolist()]
        if not instruments or not self._priced(limit, instruments):
            return
        units, divisor = self.prices.units(instruments)
        for name, moves in sides:
            group, first = self._group(limit, name, divisor), len(self.names)
            self.names += [RowName("POSITION", f"{limit.kind} {name}", instrument) for instrument in instruments]
            self.funds += [0] * len(instruments)
            self.credits += [Credit(first + n, None, group, units[name]) for n, name in enumerate(instruments)]
            self.parts.append((chain, row + first, moves))

    def _of(self, account: str, other: str) -> tuple[Indices, Indices, Ints] | None:
        """Return chain, instrument and atoms of the entries of `account` (with `other`), None where there are none."""
        if account not in self.code_of:
            return None
        party = self.code_of[account]
        span = slice(*np.searchsorted(self.entries.party, [party, party + 1]).tolist())
        chain, _, others, code, atoms = (column[span] for column in self.entries)
        if other:
            meant = others == self.code_of.get(other, -1)
            chain, code, atoms = chain[meant], code[meant], atoms[meant]
        return (chain, code, atoms) if chain.size else None

    def _group(self, limit: Limit, name: str, divisor: int) -> int:
        self.groups.append(Group(limit.kind, name, limit.atoms, divisor))
        return len(self.groups) - 1

    def _priced(self, limit: Limit, instruments: list[str]) -> bool:
        lacking = [name for name in instruments if name not in (self.prices.known or {})]
        if lacking:
            what = f"{limit.kind} needs the prices of {', '.join(lacking[:5])}{' and others' if lacking[5:] else ''}"
            self.findings.add(self.file, [limit.line], f"{what}; add them to the prices")
        return not lacking

    def link(self, pairs: list[tuple[int, int, str, str]]) -> None:
        """Add a row per (earlier, later) chain: it ends below zero when the later settles and the earlier does not."""
        if not pairs:
            return
        first = len(self.names)
        self.names += [RowName("LINK", one, two) for _, _, one, two in pairs]
        self.funds += [0] * len(pairs)
        rows = np.arange(first, first + len(pairs))
        for side, sign in ((0, 1), (1, -1)):
            chain = np.array([pair[side] for pair in pairs])
            self.parts.append((chain, rows, np.full(len(pairs), sign)))

    def problem(self, ids: list[str], terms: Terms) -> Problem:
        """Return the problem."""
        return assemble(ids, terms, self.parts, self.names, self.funds, self.credits, self.groups)


def ranked(keys: Indices, end: int) -> tuple[Indices, Indices]:
    """Return the distinct keys in order, and the rank of each key. All are below `end`."""
    if end > 10 * len(keys) + 1_000_000:
        return np.unique(keys, return_inverse=True)
    seen = np.zeros(end, dtype=bool)
    seen[keys] = True
    return np.flatnonzero(seen), (np.cumsum(seen) - 1)[keys]
