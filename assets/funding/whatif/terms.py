"""What surrounds the chains of `trine select`: prices, limits, and links between chains."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from assets.funding.links import Joined, Links, close
from assets.funding.whatif.tables import Table
from assets.funding.worth import Price, Prices

OF_ACCOUNT_AND_INSTRUMENT = ("MINIMUM", "HOLD", "SHORT")
OF_ACCOUNT = ("AGGREGATE_SHORT", "DSL", "NOP")
BILATERAL = "BILATERAL"
LINKS = ("WITH", "BEFO", "AFTE", "POOL")


class Limit(NamedTuple):
    """One row of limits.csv, in atoms of `instrument`, or of the reference instrument where that is ''."""

    kind: str
    account: str
    other: str
    instrument: str
    atoms: int
    line: int


def read_prices(table: Table | None, reference: str | None) -> Prices:
    """Return what instruments are worth. The reference instrument is `reference`, or the first that is worth itself."""
    if table is None:
        return Prices()
    table.once("instrument")
    (names,) = table.identifiers("instrument")
    columns = (
        table.numbers("reference_atoms").tolist(),
        table.numbers("per_atoms", least=1).tolist(),
        table.numbers("haircut_bps", default=0).tolist(),
    )
    known = {name: Price(*price) for name, *price in zip(names.to_list(), *columns, strict=True)}
    worth_itself = [name for name, price in known.items() if price.reference_atoms == price.per_atoms]
    if reference is None:
        reference = worth_itself[0] if worth_itself else None
    elif reference not in known:
        known[reference] = Price(1, 1)
    elif reference not in worth_itself:
        table.findings.add(table.file, [0], "the reference instrument is not worth itself; give it 1 and 1, or no row")
    return Prices(known, reference)


def read_limits(table: Table | None) -> list[Limit]:
    """Return the limits in canonical order."""
    if table is None:
        return []
    table.once("kind", "account", "other", "instrument")
    columns = [c.to_list() for c in table.identifiers("account", "other", "instrument", blank=("other", "instrument"))]
    kinds = table.rows["kind"].fill_null("").to_list()
    limits = []
    cells = zip(kinds, *columns, table.numbers("limit_atoms").tolist(), table.lines.tolist(), strict=True)
    for n, row in enumerate(cells):
        limit = Limit(*row)
        flaw = _flaw_of_limit(limit)
        if flaw:
            table.refuse(np.array([n]), flaw)
        else:
            limits.append(limit)
    return sorted(limits)


def _flaw_of_limit(limit: Limit) -> str:
    kinds = (*OF_ACCOUNT_AND_INSTRUMENT, *OF_ACCOUNT, BILATERAL)
    if limit.kind not in kinds:
        return f"kind is none of ours; expected one of {', '.join(kinds)}"
    if bool(limit.other) != (limit.kind == BILATERAL):
        return f"other is {'given' if limit.other else 'blank'}; a {limit.kind} limit {'has none' if limit.other else 'needs it'}"
    if bool(limit.instrument) != (limit.kind in OF_ACCOUNT_AND_INSTRUMENT):
        found, due = ("given", "has none") if limit.instrument else ("blank", "needs it")
        return f"instrument is {found}; a {limit.kind} limit {due}"
    if limit.account == limit.other:
        return "account and other are the same; expected two accounts"
    return ""


def read_links(table: Table | None, chains: set[str]) -> Links:
    """Return what links make of `chains`."""
    if table is None or table.rows.is_empty():
        return Links()
    kinds = table.rows["kind"].fill_null("").to_list()
    ids, others = (column.to_list() for column in table.identifiers("chain_id", "other_id"))
    counts = table.numbers("pool_count", least=1, default=1).tolist()
    counted = set(table.given("pool_count").tolist())
    joined = Joined()
    links = Links()
    pools: dict[str, set[str]] = {}
    stated: dict[str, int] = {}
    before: set[tuple[str, str]] = set()
    for n, (kind, chain, other) in enumerate(zip(kinds, ids, others, strict=True)):
        flaw = ""
        if kind not in LINKS:
            flaw = f"kind is none of ours; expected one of {', '.join(LINKS)}"
        elif n in counted and (kind != "POOL" or stated.setdefault(other, counts[n]) != counts[n]):
            flaw = (
                "pool_count differs from an earlier line of the pool"
                if kind == "POOL"
                else "only a POOL has a pool_count"
            )
        elif kind != "POOL" and chain == other:
            flaw = "chain_id and other_id are the same; expected two chains"
        if flaw:
            table.refuse(np.array([n]), flaw)
            continue
        if kind == "POOL":
            pools.setdefault(other, set()).add(chain)
            continue
        if chain in chains and other in chains:
            links.whole |= {chain, other}
            if kind == "WITH":
                joined.join(chain, other)
            else:
                before.add((chain, other) if kind == "BEFO" else (other, chain))
        else:
            links.held |= {end: "LINK" for end in (chain, other) if end in chains}
    for pool, members in pools.items():
        if len(members) > stated.get(pool, len(members)):
            table.findings.add(table.file, [0], "a pool has more members than its pool_count; mend one or the other")
        present = sorted(members & chains)
        if len(present) < max(len(members), stated.get(pool, 0)):
            links.held |= {chain: links.held.get(chain, "INBC") for chain in present}
        links.whole |= set(present)
        for chain in present[1:]:
            joined.join(present[0], chain)
    return close(links, joined, before)
