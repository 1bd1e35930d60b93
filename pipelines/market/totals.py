"""The venues' own control totals: what they reported, as it really was."""

from collections.abc import Iterable
from pathlib import Path

from pipelines.market.reference import write_table
from pipelines.market.venues import Report
from pipelines.market.world import MARKETS
from schemas.atoms import plain


class ControlTotals:
    """Sums per market and side. A flaw spoils what is sent and not what the venue knows."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str, str], list[int]] = {}  # Reports, base atoms, quote atoms.

    def add(self, sent: Iterable[Report]) -> None:
        """Count all reports of one trade: each once, and no bust."""
        for report in {report.exec_id: report for report in sent if report.kind != "H"}.values():
            trade = report.trade
            key = trade.market.venue.mic, trade.market.symbol, report.side
            sums = self.sums.setdefault(key, [0, 0, 0])
            for index, amount in enumerate((1, trade.base_atoms, trade.quote_atoms)):
                sums[index] += amount

    def write(self, path: Path) -> None:
        """Write the file control_totals.csv."""
        rows = []
        for market in MARKETS:
            for side in "12":
                reports, base, quote = self.sums.get((market.venue.mic, market.symbol, side), (0, 0, 0))
                if reports:
                    amounts = plain(base, market.base.decimals), plain(quote, market.quote.decimals)
                    rows.append((market.venue.mic, market.symbol, side, reports, *amounts))
        write_table(path, "venue symbol side reports quantity quote_quantity", rows)
