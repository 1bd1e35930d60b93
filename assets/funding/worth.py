"""What instruments are worth in the reference instrument, as whole numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

BPS = 10_000


class Price(NamedTuple):
    """`per_atoms` of the instrument are worth `reference_atoms`; a short of it is worth `haircut_bps` more."""

    reference_atoms: int
    per_atoms: int
    haircut_bps: int = 0


@dataclass(frozen=True, slots=True)
class Prices:
    """Values in the reference instrument. `known` is None where no prices were given."""

    known: dict[str, Price] | None = None
    reference: str | None = None

    def worth(self) -> dict[str, tuple[int, int]] | None:
        """Return instrument -> (reference atoms, per atoms), None where no prices were given."""
        if self.known is None:
            return None
        return {name: (price.reference_atoms, price.per_atoms) for name, price in self.known.items()}

    def units(self, instruments: Iterable[str], *, shorts: bool = False) -> tuple[dict[str, int], int]:
        """Return whole numbers such that q atoms are worth q x units / divisor, and that divisor."""
        prices = {instrument: (self.known or {})[instrument] for instrument in instruments}
        scale = BPS if shorts else 1
        divisor = math.lcm(*(price.per_atoms * scale for price in prices.values()))
        return {
            name: price.reference_atoms
            * (BPS + price.haircut_bps if shorts else 1)
            * divisor
            // (price.per_atoms * scale)
            for name, price in prices.items()
        }, divisor
