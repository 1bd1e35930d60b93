"""Two cycles in a row, with the outside world played by `pipelines.market`."""

import csv
import shutil
import sys
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from assets.ledger.report import summarise
from assets.partitions import cycle_of
from pipelines.market import FLAWS, MarketPlan, write_market
from pipelines.resources import CHECKOUT, home_resource
from pipelines.run import run_cycle
from pipelines.summary import print_summary

CYCLES = ("C4H-20261102-0800", "C4H-20261102-1200")
MARK = ".trine-demo"


def run_demo(trades: int, tape: Path | None, home: Path | None, out: Console, progress: Console) -> None:
    """Settle two cycles of a made-up market. The second one shows recycling: what waited is tried again.

    And it shows how a cycle ends: the custodians confirm what the first one instructed, and it is final.
    """
    folder = _emptied(home or CHECKOUT / "var" / "demo")
    holdings: dict[tuple[str, str], int] | None = None
    for turn, cycle_id in enumerate(CYCLES):
        cycle, source = cycle_of(cycle_id), folder / "inbox" / cycle_id
        plan = MarketPlan(
            cycle_id, cycle.opens_at, cycle.cut_at, trades=trades, flaws=tuple(FLAWS) if turn == 0 else (),
            first_trade=turn * trades, seed=7 + turn, tape=tape if turn == 0 else None,
        )  # fmt: skip
        written = write_market(plan, source, holdings)
        if turn:
            _custodians_confirm(folder / "outbox", source / "custody" / "confirmations.csv")
        out.print(
            f"\n[bold]Cycle {turn + 1}[/]: a market of {written.trades:,} trades, {written.reports:,} reports, "
            f"in {_shown(source)}"
        )
        done = run_cycle(cycle_id, source, home=folder, records_url="", console=progress)
        place = home_resource(str(folder))
        summary = summarise(
            place.store(),
            done.batch_id,
            place.frame(done.batch_id, "decisions"),
            place.frame(done.batch_id, "instruments"),
        )
        print_summary(summary, out)
        holdings = _custodians_execute(place, done.batch_id)
    first = place.store().batch(f"{CYCLES[0]}#1")
    out.print(f"\n{first['batch_id']} is {first['state'].lower()}: the custodians executed all of its instructions.")
    again = run_cycle(
        CYCLES[-1], folder / "inbox" / CYCLES[-1], home=folder, records_url="", console=Console(quiet=True)
    )
    out.print(f"\nRun again: {again.batch_id} was committed before; nothing was changed.")
    _point_onwards(folder, place, done.batch_id, out)


def _custodians_execute(place: Any, batch_id: str) -> dict[tuple[str, str], int]:
    """Return what the custodians hold at the next cut: the closing book, and deposits of half of those who were short."""
    holdings = {
        (participant, instrument): atoms
        for participant, instrument, atoms in place.store()
        .rows("positions", batch_id).select("participant", "instrument", "total_atoms").rows()
    }  # fmt: skip
    waiting = place.frame(batch_id, "decisions").filter(pl.col("short_participant").is_not_null())
    wanting = waiting.join(place.frame(batch_id, "trades"), on="chain_id").sort("chain_id")
    for row in wanting.iter_rows(named=True):
        key = row["short_participant"], row["short_instrument"]
        if sum(map(ord, row["chain_id"])) % 2:
            holdings[key] = (
                max(0, holdings.get(key, 0))
                + row["base_atoms" if row["base"] == row["short_instrument"] else "quote_atoms"]
            )
    return {key: max(0, atoms) for key, atoms in holdings.items()}


def _custodians_confirm(outbox: Path, target: Path) -> None:
    """Write what the custodians say of the instructions that they were given: all of it is done."""
    ids = []
    for path in sorted(outbox.glob("*/*.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            ids += [row["instruction_id"] for row in csv.DictReader(stream)]
    with target.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(
            [("instruction_id", "outcome"), *((name, "DONE") for name in ids)]
        )


def _point_onwards(folder: Path, place: Any, batch_id: str, out: Console) -> None:
    largest = max(
        place.store().rows("positions", batch_id).iter_rows(named=True), key=lambda row: abs(row["net_atoms"])
    )
    home, program = _shown(folder), Path(sys.argv[0])
    trine = _shown(program) if program.is_relative_to(Path.cwd()) else program.name
    account = f"{largest['participant']} {largest['instrument']}"
    out.print(
        f"\nNext:  {trine} trace {account} --home {home}   a settled amount, to its fills"
        f"\n       {trine} report --waiting --home {home}   each chain that waits, and why"
        f"\n       {trine} verify --home {home}   every record against the signed log"
        f"\n       {trine} prove {account} --home {home}   a proof to check without Trine"
        f"\n       {home}/quality/index.html   the quality report, in a browser"
        "\n       make dev   the same in Dagster, on http://127.0.0.1:3000",
        markup=False,
    )


def _shown(path: Path) -> Path:
    """Return the path as a person in this folder would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _emptied(folder: Path) -> Path:
    """Return the demo's own folder, empty. A folder that the demo did not make is left alone."""
    from schemas.errors import RefusedInput

    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise RefusedInput(f"{folder} is not empty and not the demo's. Nothing was written. Give another --home.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("Made by `trine demo`, which empties this folder each time.\n")
    return folder
