"""Links between chains: which settle together, which only beside another, and what a held one holds with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Links:
    """What links say, by chain id. A chain is in one of the sets of `together`, or alone."""

    together: dict[str, str] = field(default_factory=dict)  # Member to the smallest id of its set.
    before: set[tuple[str, str]] = field(default_factory=set)  # Smallest ids of an earlier and a later set.
    whole: set[str] = field(default_factory=set)  # Chains that links make all or nothing.
    held: dict[str, str] = field(default_factory=dict)  # Chains that wait whatever the funds, and why.


class Joined:
    """Sets of chains that only ever grow together, each known by its smallest id."""

    def __init__(self) -> None:
        self.above: dict[str, str] = {}

    def first(self, chain: str) -> str:
        path = []
        while self.above.get(chain, chain) != chain:
            path.append(chain)
            chain = self.above[chain]
        self.above.update(dict.fromkeys(path, chain))
        return chain

    def join(self, one: str, two: str) -> None:
        for chain in (one, two):
            self.above.setdefault(chain, chain)
        low, high = sorted((self.first(one), self.first(two)))
        self.above[high] = low


def close(links: Links, joined: Joined, before: Iterable[tuple[str, str]]) -> Links:
    """Fill in sets and pairs of sets, and hold with LINK what is all or none with a held chain, or comes after one."""
    links.together = {chain: joined.first(chain) for chain in joined.above}
    links.before = {(joined.first(one), joined.first(two)) for one, two in before}
    links.before = {(earlier, later) for earlier, later in links.before if earlier != later}
    members: dict[str, list[str]] = {}
    for chain, first in links.together.items():
        members.setdefault(first, []).append(chain)
    later: dict[str, list[str]] = {}
    for one, two in links.before:
        later.setdefault(one, []).append(two)
    open_sets = [links.together.get(chain, chain) for chain in links.held]
    seen: set[str] = set()
    while open_sets:
        first = open_sets.pop()
        if first not in seen:
            seen.add(first)
            links.held |= {chain: links.held.get(chain, "LINK") for chain in members.get(first, [first])}
            open_sets += later.get(first, [])
    return links
