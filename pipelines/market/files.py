"""The files of the venues: which report goes where.

Reports are written as they come, in files of bounded size, so that a market of any size needs little memory.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import polars as pl

from pipelines.market.venues import (
    COLUMNS,
    Report,
    binance,
    bybit,
    coinbase,
    columns,
    delimited,
    fix44,
    kraken,
)
from pipelines.market.world import ANONYMOUS, VENUES, Venue

REPORTS_PER_FILE = 100_000
REPORTS_IN_MEMORY = 20_000


class Form(NamedTuple):
    """A text dialect: how a file begins, what stands between records and how it ends. A record is a line."""

    record: Callable[[Report, int], str]
    suffix: str
    head: str = ""
    between: str = "\n"
    foot: str = "\n"


FORMS = {
    "fix44": Form(fix44, ".fix"),
    "delimited": Form(delimited, ".csv", ",".join(COLUMNS) + "\n"),
    "kraken": Form(kraken, ".json", '{"error": [], "result": {"trades": {\n', ",\n", "\n}}}\n"),
    "coinbase": Form(coinbase, ".json", '{"fills": [\n', ",\n", '\n], "cursor": ""}\n'),
    "bybit": Form(
        bybit, ".json",
        '{"retCode": 0, "retMsg": "OK", "result": {"nextPageCursor": "", "category": "spot", "list": [\n',
        ",\n", '\n]}, "retExtInfo": {}, "time": 0}\n',
    ),
    "binance": Form(binance, ".json", "[\n", ",\n", "\n]\n"),
}  # fmt: skip


@dataclass
class Page:
    """A file being written. `waiting` is not on disk yet."""

    path: Path
    reports: int = 0
    waiting: list[str] = field(default_factory=list)


class TextFiles:
    """The files of one venue in a text dialect: one per trading account if they do not name parties."""

    def __init__(self, venue: Venue, folder: Path) -> None:
        self.venue, self.folder, self.form = venue, folder, FORMS[venue.dialect]
        self.pages: dict[str, Page] = {}
        self.parts: dict[str, int] = {}
        self.reports = self.waiting = 0

    def add(self, report: Report) -> None:
        """Write a report, some time before `close` returns."""
        stem = report.seat.account(self.venue.mic) if self.venue.dialect in ANONYMOUS else "dropcopy"
        page = self.pages.get(stem)
        if page is not None and page.reports >= REPORTS_PER_FILE:
            self._finish(page)
            page = None
        if page is None:
            part = self.parts[stem] = self.parts.get(stem, 0) + 1
            name = f"{stem}{self.form.suffix}" if part == 1 else f"{stem}.{part}{self.form.suffix}"
            page = self.pages[stem] = Page(self.folder / name, waiting=[self.form.head])
        self.reports += 1
        page.waiting.append((self.form.between if page.reports else "") + self.form.record(report, self.reports))
        page.reports += 1
        self.waiting += 1
        if self.waiting >= REPORTS_IN_MEMORY:
            for each in self.pages.values():
                _flush(each)
            self.waiting = 0

    def close(self) -> None:
        """Complete every file."""
        for page in self.pages.values():
            self._finish(page)

    def _finish(self, page: Page) -> None:
        page.waiting.append(self.form.foot)
        _flush(page)


def _flush(page: Page) -> None:
    page.path.parent.mkdir(parents=True, exist_ok=True)
    with page.path.open("ab") as stream:
        stream.write("".join(page.waiting).encode())
    page.waiting.clear()


class ParquetFiles:
    """The files of one venue in Parquet: every column a string."""

    def __init__(self, venue: Venue, folder: Path) -> None:
        self.folder = folder
        self.rows: list[tuple[str | None, ...]] = []
        self.parts = 0

    def add(self, report: Report) -> None:
        """Write a report, some time before `close` returns."""
        self.rows.append(tuple(value or None for value in columns(report)))
        if len(self.rows) >= REPORTS_PER_FILE:
            self.close()

    def close(self) -> None:
        """Write what waits as one file."""
        if not self.rows:
            return
        self.parts += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        frame = pl.DataFrame(self.rows, schema=dict.fromkeys(COLUMNS, pl.String), orient="row")
        frame.write_parquet(self.folder / f"trades.{self.parts}.parquet", compression="zstd", statistics=False)
        self.rows.clear()


class AllVenues:
    """The folder venues/."""

    def __init__(self, folder: Path) -> None:
        self.files = {
            venue.mic: (ParquetFiles if venue.dialect == "parquet" else TextFiles)(venue, folder / venue.mic)
            for venue in VENUES
        }

    def add(self, report: Report) -> None:
        """Write a report to the files of its venue."""
        self.files[report.trade.market.venue.mic].add(report)

    def close(self) -> None:
        """Complete every file."""
        for files in self.files.values():
            files.close()
