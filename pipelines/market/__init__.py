"""A synthetic market of any size, as the files that the outside world would send: also the load generator.

What the files mean is in docs/reference/inputs.md. Nothing here is read by the pipeline itself.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.market.custodians import Holdings, funded, write_custody
from pipelines.market.files import AllVenues
from pipelines.market.flaws import DIALECTS, FLAWS, add_broken_file, flawed_trades, reported
from pipelines.market.reference import write_credit, write_reference
from pipelines.market.totals import ControlTotals
from pipelines.market.trades import drawn_trades, tape_trades
from pipelines.market.world import MarketPlan, World
from schemas.errors import RefusedInput


@dataclass(frozen=True)
class MarketSummary:
    """What was written. `holdings` is what the custodians state in total, in atoms, for every account."""

    trades: int
    reports: int
    files: int
    bytes: int
    skipped: int  # Prints of the tape that are no trade: their cost rounds to nothing.
    flaws: dict[str, int]  # How many trades (or files) each flaw asked for has spoilt.
    holdings: Holdings


def write_market(
    plan: MarketPlan, folder: Path, holdings: Mapping[tuple[str, str], int] | None = None
) -> MarketSummary:
    """Write the market of `plan` as an input folder of one cycle.

    `holdings` says what each participant has in total, in atoms by (participant, instrument), instead of the
    plan's funding: the closing book of the cycle before, and deposits. What it does not name is zero. The
    same arguments give the same bytes, on any machine. RefusedInput when the plan cannot be, the tape cannot
    be read or the folder is not empty.
    """
    _require_possible(plan, folder)
    world = World.of(plan.clients, plan.brokers)
    if plan.tape is None:
        flawed = flawed_trades(plan.flaws, plan.trades, plan.seed, on_tape=False)
        trades, count, skipped = drawn_trades(plan, world, _where(flawed)), plan.trades, 0
    else:
        prints, skipped = tape_trades(plan.tape, plan, world)
        flawed = flawed_trades(plan.flaws, len(prints), plan.seed, on_tape=True)
        trades, count = iter(prints), len(prints)

    venues, totals, reports = AllVenues(folder / "venues"), ControlTotals(), 0
    net: defaultdict[tuple[str, str], int] = defaultdict(int)
    applied = dict.fromkeys(plan.flaws, 0)
    for index, trade in enumerate(trades):
        flaw = flawed.get(index)
        sent, standing = reported(trade, flaw, applied.get(flaw or "", 0))
        for report in sent:
            venues.add(report)
        totals.add(sent)
        for key, atoms in standing.moves() if standing else ():
            net[key] += atoms
        reports += len(sent)
        if flaw:
            applied[flaw] += 1
    venues.close()
    totals.write(folder / "venues" / "control_totals.csv")
    if "broken_file" in applied:
        applied["broken_file"] = int(add_broken_file(folder / "venues"))

    if holdings is None:
        held = funded(world, net, plan)
    else:
        held = {account.key: holdings.get(account.key, 0) for account in world.accounts}
    write_reference(world, plan, folder)
    write_credit(world, plan, folder)
    write_custody(world, plan, held, folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return MarketSummary(count, reports, len(files), size, skipped, applied, held)


def _where(flawed: Mapping[int, str]) -> dict[int, frozenset[str]]:
    return {index: DIALECTS[flaw] for index, flaw in flawed.items()}


def _require_possible(plan: MarketPlan, folder: Path) -> None:
    unknown = sorted(set(plan.flaws) - set(FLAWS))
    possible = plan.trades >= 0 and plan.clients >= 2 and plan.brokers >= 1 and plan.funding_percent >= 0
    if unknown or not possible or plan.opens_at >= plan.cut_at:
        found = f"unknown flaws {', '.join(unknown)}" if unknown else "a number or the window is out of range"
        raise RefusedInput(
            f"no such market: {found}. Nothing was written. "
            f"It needs two clients, one broker and a cut after its opening; flaws are {', '.join(FLAWS)}."
        )
    if folder.is_dir() and any(folder.iterdir()):
        raise RefusedInput(f"the folder {folder.name} is not empty. Nothing was written. Name a new or empty one.")


__all__ = ["FLAWS", "MarketPlan", "MarketSummary", "write_market"]
