"""What would settle? Tables of a treasurer become the same problem that a cycle decides; nothing is settled or kept.

    rows of chains.csv -> legs -> chains -> what links join -> entries on rows -> Problem

Every figure is exact at any size. The order of rows in a file changes nothing, except that the first and the last leg
of a divisible chain are what its terms are about.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from assets.funding.assemble import Terms
from assets.funding.links import Links
from assets.funding.problem import Indices, Ints, Problem, ints
from assets.funding.whatif.chains import COLUMNS, Legs, read_legs, read_terms
from assets.funding.whatif.rows import Entries, Key, Rows, ranked
from assets.funding.whatif.tables import Findings, Table, read_table
from assets.funding.whatif.terms import Limit, read_limits, read_links, read_prices
from assets.funding.worth import Prices
from schemas.errors import RefusedInput


@dataclass(frozen=True, slots=True)
class Case:
    """A problem, and what it leaves out but its reader asks for."""

    problem: Problem
    opening: dict[Key, int]  # What every account has that is named in balances or touched by a chain; canonical order.
    prices: Prices
    lot_atoms: Ints  # Per chain of the problem: atoms of its first leg in one lot.
    members: dict[int, list[str]] = field(default_factory=dict)  # Chains of the problem that stand for several ids.
    held: dict[str, str] = field(default_factory=dict)  # Chains kept out of the problem: LINK or INBC.
    made_whole: dict[str, str] = field(default_factory=dict)  # Divisible on a leg, yet all or nothing: PATD or LINK.


def read_case(
    chains: Path,
    balances: Path,
    limits: Path | None = None,
    prices: Path | None = None,
    links: Path | None = None,
    reference: str | None = None,
) -> Case:
    """Return the case that the files state. RefusedInput names what is wrong in all of them, by file and line."""
    if reference is not None and prices is None:
        raise RefusedInput(
            "--reference is given without --prices, where values have no unit. Give both. Nothing was written."
        )
    findings = Findings()

    def table(path: Path | None, required: tuple[str, ...], *optional: str) -> Table | None:
        return read_table(path, required, optional, findings) if path else None

    worth = read_prices(table(prices, ("instrument", "reference_atoms", "per_atoms"), "haircut_bps"), reference)
    opening = _read_balances(read_table(balances, ("account", "instrument", "available_atoms"), (), findings))
    bounds = read_limits(table(limits, ("kind", "account", "other", "instrument", "limit_atoms")))
    rows = read_table(chains, COLUMNS, ("weight_atoms",), findings)
    legs, order = read_legs(rows)
    tied = read_links(table(links, ("kind", "chain_id", "other_id"), "pool_count"), set(legs.ids) if links else set())
    terms, disagreed = read_terms(rows, legs, order, worth)
    findings.require_none()
    made_whole = {legs.ids[k]: "PATD" for k in disagreed.tolist()}
    case = _case(legs, order, terms, opening, worth, bounds, tied, made_whole, (limits or chains).name, findings)
    findings.require_none()
    return case


def _read_balances(table: Table) -> dict[Key, int]:
    table.once("account", "instrument")
    accounts, instruments = table.identifiers("account", "instrument")
    atoms = table.numbers("available_atoms").tolist()
    return dict(zip(zip(accounts.to_list(), instruments.to_list(), strict=True), atoms, strict=True))


def _case(
    legs: Legs, order: Indices, terms: Terms, opening: dict[Key, int], prices: Prices, limits: list[Limit], links: Links,
    made_whole: dict[str, str], limits_file: str, findings: Findings,
) -> Case:  # fmt: skip
    """Join what links join, keep out what they hold, and put what remains on rows."""
    opening = {key: opening.get(key, 0) for key in sorted(_touched(legs) | opening.keys())}
    set_of, terms, members = _join(legs, terms, links, made_whole)
    place = {chain: k for k, chain in enumerate(legs.ids)} if links.held else {}
    stands = set_of == np.arange(len(legs.ids))
    for held in links.held:  # With all that it is joined to.
        stands[place[held]] = False
    firsts = np.flatnonzero(stands)
    chain = np.where(stands, np.cumsum(stands) - 1, -1)[set_of[legs.chain[order]]]
    kept = order[chain >= 0]
    payer, receiver = legs.payer[kept], legs.receiver[kept]
    sides = np.tile([-1, 1], len(kept))
    entries = Entries(
        np.repeat(chain[chain >= 0], 2),
        np.column_stack([payer, receiver]).ravel(),
        np.column_stack([receiver, payer]).ravel(),
        np.repeat(legs.instrument[kept], 2),
        np.repeat(legs.atoms[kept], 2) * sides,
    )
    terms = Terms(*(column[firsts] for column in terms))
    ids = [legs.ids[k] for k in firsts.tolist()]
    rows = Rows(legs, entries, opening, prices, limits, limits_file, findings)
    place = {chain: k for k, chain in enumerate(ids)} if links.whole else {}
    rows.link(
        [(place[one], place[two], one, two) for one, two in sorted(links.before) if one in place and two in place]
    )
    problem = rows.problem(ids, terms)
    standing = {place[first]: chains for first, chains in members.items() if first in place}
    return Case(problem, opening, prices, terms.lot_atoms, standing, links.held, made_whole)


def _touched(legs: Legs) -> set[Key]:
    width = len(legs.instruments)
    keys = np.concatenate([legs.payer * width + legs.instrument, legs.receiver * width + legs.instrument])
    found = (divmod(key, width) for key in ranked(keys, width * len(legs.parties))[0].tolist())
    return {(legs.parties[party], legs.instruments[instrument]) for party, instrument in found}


def _join(
    legs: Legs, terms: Terms, links: Links, made_whole: dict[str, str]
) -> tuple[Indices, Terms, dict[str, list[str]]]:
    """Return for each chain the first of its set, the terms with those of a set on its first, and the sets' members."""
    place = {chain: k for k, chain in enumerate(legs.ids)} if links.whole else {}
    weights, lots = terms.weights.copy(), terms.lots.copy()
    classes, least, lot_atoms = terms.classes.copy(), terms.least.copy(), terms.lot_atoms.astype(object)
    for chain in links.whole:
        k = place[chain]
        if lots[k] > 1:
            made_whole[chain] = "LINK"
        lot_atoms[k] = int(lots[k]) * int(lot_atoms[k])
        lots[k] = least[k] = 1
    set_of = np.arange(len(legs.ids))
    members: dict[str, list[str]] = {}
    for chain, first in sorted(links.together.items()):
        members.setdefault(first, []).append(chain)
        k, head = place[chain], place[first]
        set_of[k] = head
        if k != head:
            weights[head] += weights[k]
            classes[head] = min(classes[head], classes[k])
    members = {first: chains for first, chains in members.items() if len(chains) > 1}
    return set_of, Terms(classes, ints(weights), lots, least, lot_atoms), members
