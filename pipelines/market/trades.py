"""The trades of a synthetic market: drawn from a seed, or read from a tape and given two parties."""

import json
import random
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from pipelines.market.world import MARKETS, USD_PLACES, VENUES, Market, MarketPlan, Seat, World, usd_units
from schemas.atoms import divide, plain
from schemas.errors import RefusedInput

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
WALK_PLACES = 12  # Prices walk in 10^-12 of the quote, finer than any venue's tick.
PRINT_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,18})?", re.ASCII)


class Trade(NamedTuple):
    """What two clients agreed at a venue. Price and quantity are integers, with their places."""

    number: int
    market: Market
    at: int  # Microseconds since 1970, UTC.
    buyer: Seat
    seller: Seat
    taker: str  # FIX 54 of the side that took: 1 the buyer, 2 the seller.
    price: int
    price_places: int
    quantity: int
    quantity_places: int

    @property
    def price_text(self) -> str:
        """As the venue writes it."""
        return plain(self.price, self.price_places)

    @property
    def quantity_text(self) -> str:
        """As the venue writes it."""
        return plain(self.quantity, self.quantity_places)

    @property
    def quote_units(self) -> int:
        """Price x quantity in the venue's smallest quote step, half to even: the venue's own quote amount."""
        scale = 10 ** (self.price_places + self.quantity_places)
        return divide(self.price * self.quantity * 10**self.market.quote_places, scale, "half_even")

    @property
    def base_atoms(self) -> int:
        """The quantity, in the smallest unit of the base instrument."""
        return self.quantity * 10**self.market.base.decimals // 10**self.quantity_places

    @property
    def quote_atoms(self) -> int:
        """The venue's own quote amount, in the smallest unit of the quote instrument."""
        return self.quote_units * 10 ** (self.market.quote.decimals - self.market.quote_places)

    def moves(self) -> Iterator[tuple[tuple[str, str], int]]:
        """What each client receives (positive) and gives, as ((participant, instrument), atoms)."""
        base_atoms, quote_atoms = self.base_atoms, self.quote_atoms
        for seat, sign in ((self.buyer, 1), (self.seller, -1)):
            yield (seat.client.key, self.market.base.key), sign * base_atoms
            yield (seat.client.key, self.market.quote.key), -sign * quote_atoms


def microseconds(instant: datetime) -> int:
    """Return an instant as microseconds since 1970."""
    return (instant - EPOCH) // MICROSECOND


class Crowd:
    """Draws the two parties of a trade, the active ones more often."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.seats, self.rng = world.seats, rng
        self.weights = list(accumulate(seat.weight for seat in world.seats))

    def two(self) -> tuple[Seat, Seat]:
        """Return a buyer and a seller: never the same client."""
        buyer, seller = self.rng.choices(self.seats, cum_weights=self.weights, k=2)
        while seller.client is buyer.client:
            (seller,) = self.rng.choices(self.seats, cum_weights=self.weights)
        return buyer, seller


def drawn_trades(plan: MarketPlan, world: World, dialects: Mapping[int, Collection[str]]) -> Iterator[Trade]:
    """Yield `plan.trades` trades in the order of time, spread over the cycle.

    `dialects` says for some trades (by index, from 0) at which kinds of venue they must be. Prices walk in
    integers and are pulled back to where they began, so that reference prices hold for the whole cycle. Sizes
    run from 500 to 192,000 dollars.
    """
    rng = random.Random(f"{plan.seed} trades")
    crowd = Crowd(world, rng)
    weights = _weights(MARKETS)
    worth = {market.base.key: usd_units(market.base) for market in MARKETS}
    starts = {
        (market.base.key, market.quote.key): worth[market.base.key] * 10**WALK_PLACES // usd_units(market.quote)
        for market in MARKETS
    }
    walk = dict(starts)
    opens, window = microseconds(plan.opens_at), (plan.cut_at - plan.opens_at) // MICROSECOND
    for index in range(plan.trades):
        chosen, odds = MARKETS, weights
        if index in dialects:
            chosen = tuple(market for market in MARKETS if market.venue.dialect in dialects[index])
            odds = _weights(chosen)
        (market,) = rng.choices(chosen, cum_weights=odds)
        pair = (market.base.key, market.quote.key)
        start, step = starts[pair], starts[pair] // 10_000
        walk[pair] += rng.randint(-step, step) - (walk[pair] - start) // 100
        dollars = (1_000 << rng.randrange(8)) * rng.randrange(500_000, 1_500_000)  # In millionths.
        buyer, seller = crowd.two()
        whole = 10 ** (market.quantity_places + USD_PLACES)
        yield Trade(
            number=plan.first_trade + index + 1,
            market=market,
            at=opens + (index * window + rng.randrange(window)) // plan.trades,
            buyer=buyer,
            seller=seller,
            taker=rng.choice("12"),
            price=walk[pair] // 10 ** (WALK_PLACES - market.price_places),
            price_places=market.price_places,
            quantity=max(1, dollars * whole // (worth[market.base.key] * 10**6)),
            quantity_places=market.quantity_places,
        )


def _weights(markets: Collection[Market]) -> list[int]:
    within = {venue: sum(m.weight for m in MARKETS if m.venue == venue) for venue in VENUES}
    return list(accumulate(m.venue.weight * m.weight * 10_000 // within[m.venue] for m in markets))


def tape_trades(tape: Path, plan: MarketPlan, world: World) -> tuple[list[Trade], int]:
    """Return the prints of a Kraken public trades file as trades between clients, and how many were left out.

    Price, volume, trade id and taker are those of the print, to the digit. Its time is moved: the first
    print is at the opening: with the tape's own spacing where all of it then lies before the cut, else drawn
    together evenly. A print whose cost rounds to nothing is no trade and is left out. RefusedInput when the
    file is no such tape.
    """
    markets = {market.symbol: market for market in MARKETS if market.venue.dialect == "kraken"}
    crowd = Crowd(world, random.Random(f"{plan.seed} tape"))
    try:
        # Numbers stay text: a float would lose digits of the price.
        result = json.loads(tape.read_bytes(), parse_float=str, parse_int=str, parse_constant=str)["result"]
        pairs = {pair: rows for pair, rows in result.items() if pair != "last"}
        prints = [(markets[pair], row) for pair, rows in pairs.items() for row in rows]
        times = [_scaled(row[2], 6) for _, row in prints]
        trades = []
        first, opens = min(times, default=0), microseconds(plan.opens_at)
        span, window = max(times, default=0) - first, (plan.cut_at - plan.opens_at) // MICROSECOND
        for (market, (price, volume, _, side, _, _, trade_id)), time in zip(prints, times, strict=True):
            moved = time - first if span < window else (time - first) * (window - 1) // span
            buyer, seller = crowd.two()
            taker = {"b": "1", "s": "2"}[side]
            trades.append(
                Trade(
                    int(trade_id),
                    market,
                    opens + moved,
                    buyer,
                    seller,
                    taker,
                    *_digits(price),
                    *_digits(volume),
                )
            )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise RefusedInput(
            f"the tape {tape.name} cannot be read as Kraken public trades of {', '.join(sorted(markets))} "
            f"({type(error).__name__}). Nothing was written. Give a response of its public Trades endpoint."
        ) from None
    kept = [trade for trade in trades if trade.quote_units > 0]
    return kept, len(trades) - len(kept)


def _digits(text: str) -> tuple[int, int]:
    """'105433.60000' -> 10543360000 and 5."""
    if not PRINT_NUMBER.fullmatch(text):
        raise ValueError("not a plain decimal")
    whole, _, fraction = text.partition(".")
    return int(whole + fraction), len(fraction)


def _scaled(text: str, places: int) -> int:
    """'1762795433.9717445', 6 -> 1762795433971744: what is finer than `places` is cut off."""
    units, digits = _digits(text)
    return units * 10**places // 10**digits
