"""What goes wrong in a market, on request: each flaw turns the reports of a trade into what is sent."""

import random
from collections.abc import Sequence
from pathlib import Path

from pipelines.market.trades import Trade
from pipelines.market.venues import Report, both_sides
from pipelines.market.world import lei_of

FLAWS = {
    "duplicates": "A report is sent twice.",
    "busts": "Both sides of a trade are busted after they were reported (ExecType H).",
    "corrections": "Both sides of a trade are corrected to twice the quantity (ExecType G).",
    "one_sided": "The seller's report of a trade is missing.",
    "bad_numbers": "A quantity is no plain decimal, or has more digits than the instrument.",
    "unknown_parties": "A report names a client by a well-formed LEI that nobody registered.",
    "broken_file": "One more file arrives, cut off in the middle.",
}
_FOUR = frozenset({"kraken", "coinbase", "bybit", "binance"})
# At which venues a flaw can show: only some dialects can bust and correct, or name a party in the report, and
# Kraken keys its trades by id, so that one cannot stand twice in a file.
DIALECTS = {
    "duplicates": frozenset({"fix44", "delimited", "parquet", "coinbase", "bybit", "binance"}),
    "busts": frozenset({"fix44", "delimited", "parquet"}),
    "corrections": frozenset({"fix44", "delimited", "parquet"}),
    "one_sided": frozenset({"fix44", "delimited", "parquet", *_FOUR}),
    "bad_numbers": frozenset({"fix44", "delimited", "parquet", *_FOUR}),
    "unknown_parties": frozenset({"fix44", "delimited"}),
}
STRANGER = lei_of("STRANGER")


def flawed_trades(flaws: Sequence[str], trades: int, seed: int, on_tape: bool) -> dict[int, str]:
    """Return which trades (by index, from 0) get which flaw: one in 1,000 each, but three at least.

    A tape is all Kraken's, so only what can go wrong there is chosen.
    """
    able = [flaw for flaw in flaws if flaw in DIALECTS and (not on_tape or "kraken" in DIALECTS[flaw])]
    count = min(trades, max(3, trades // 1000) * len(able))
    chosen = random.Random(f"{seed} flaws").sample(range(trades), count)
    return {index: able[turn % len(able)] for turn, index in enumerate(chosen)}


def reported(trade: Trade, flaw: str | None, turn: int) -> tuple[list[Report], Trade | None]:
    """Return the reports of a trade as sent, and the trade that then stands, if any. `turn` varies a flaw."""
    buy, sell = both_sides(trade)
    match flaw:
        case None:
            return [buy, sell], trade
        case "duplicates":
            return [buy, sell, buy], trade
        case "busts":
            return [buy, sell, buy._replace(kind="H"), sell._replace(kind="H")], None
        case "corrections":
            corrected = trade._replace(quantity=2 * trade.quantity)
            return [buy, sell, *(report._replace(kind="G") for report in both_sides(corrected))], corrected
        case "one_sided":
            return [buy], None
        case "bad_numbers":
            return [buy._replace(quantity=_bad_number(trade, turn)), sell], None
        case "unknown_parties":
            return [buy._replace(client_lei=STRANGER), sell], None
    raise ValueError(f"no such flaw: {flaw}")


def _bad_number(trade: Trade, turn: int) -> str:
    whole, _, fraction = trade.quantity_text.partition(".")
    excess = f"{whole}.{fraction:0<{trade.market.base.decimals}}1"
    return ("1e5", "NaN", excess, f"{whole}O")[turn % 4]


def add_broken_file(venues: Path) -> bool:
    """Add the first half of a copy of a venue's largest file of text, as a transfer cut short leaves it."""
    files = sorted(venues.glob("*/*.json"), key=lambda path: (-path.stat().st_size, path.as_posix()))
    if not files:
        return False
    whole = files[0].read_bytes()
    files[0].with_name(f"{files[0].stem}.resent.json").write_bytes(whole[: len(whole) // 2])
    return True
