"""The same inputs must give the same digests: on any number of threads, hash seed, time zone and database, in any order.

`python -m tests.faults.same_digests --times N` tries N market days. A day is two cycles, so that fills are carried over,
with every flaw that a market can have.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from assets.partitions import cycle_of
from pipelines.market import FLAWS, MarketPlan, write_market
from pipelines.resources import CHECKOUT
from tests.deployment import Deployment
from tests.input_folders import CYCLE, NEXT

TRADES = 40
MACHINES = (
    {"POLARS_MAX_THREADS": "1", "PYTHONHASHSEED": "0", "TZ": "UTC"},
    {"POLARS_MAX_THREADS": "2", "PYTHONHASHSEED": "1", "TZ": "Asia/Kathmandu"},
    {"POLARS_MAX_THREADS": "8", "PYTHONHASHSEED": "2", "TZ": "America/New_York"},
)
WHERE_READ = ("file", "file_sha256", "record", "offset", "length")
PLACED = {"fills", "quarantined"}  # Frames that say where a record was read, which another order changes.


def settle_day(place: Path, seed: int = 1, trades: int = TRADES) -> Deployment:
    """Write the input folders of two cycles below `place`, settle them, and return the deployment."""
    deployment = Deployment(place / "home")
    for turn, cycle_id in enumerate((CYCLE, NEXT)):
        cycle = cycle_of(cycle_id)
        plan = MarketPlan(
            cycle_id, cycle.opens_at, cycle.cut_at, trades=trades, seed=seed + turn, first_trade=turn * trades,
            flaws=tuple(FLAWS),
        )  # fmt: skip
        write_market(plan, place / cycle_id)
        deployment.settle(place / cycle_id, exit_code=3)
    return deployment


def replay_on(machine: dict[str, str], deployment: Deployment, *options: str) -> dict[str, Any]:
    """Replay both cycles of a day from their inputs alone, in a process of its own; return what `trine replay` found."""
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "replay", NEXT, "--from-the-first"]
    given = [*command, "--json", "--home", str(deployment.folder), *options]
    done = subprocess.run(
        given, env=os.environ | machine, cwd=CHECKOUT, capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode not in (0, 8):
        raise RuntimeError(f"the replay failed with {done.returncode}: {done.stderr[-2_000:]}")
    return dict(json.loads(done.stdout))


def shuffle_day(place: Path, target: Path, seed: int = 1) -> None:
    """Write the input folders of a day with the rows of every table and message file in another order."""
    dice = random.Random(seed)
    for cycle_id in (CYCLE, NEXT):
        shutil.copytree(place / cycle_id, target / cycle_id)
        for path in sorted((target / cycle_id).rglob("*")):
            if path.suffix in (".csv", ".fix"):
                lines = path.read_bytes().splitlines(keepends=True)
                rows = lines[path.suffix == ".csv" :]
                dice.shuffle(rows)
                path.write_bytes(b"".join([*lines[: len(lines) - len(rows)], *rows]))
            elif path.suffix == ".parquet":
                frame = pl.read_parquet(path)
                frame[dice.sample(range(frame.height), frame.height)].write_parquet(path)


def outcome_of(deployment: Deployment) -> list[Any]:
    """Return, for each settled batch, all that the order of its rows must not change: plan, frames, fills, counts."""
    found = []
    for batch in deployment.store.settled():
        digests = deployment.store.frame_digests(batch["batch_id"])
        frames = {name: digest for name, digest in digests.items() if name not in PLACED}
        fills = deployment.home.frame(batch["batch_id"], "fills").drop(WHERE_READ).rows()
        flaws = deployment.store.rows("flaws", batch["batch_id"]).rows()
        found.append((batch["plan_digest"], frames, fills, flaws))
    return found


def tried(place: Path, seed: int, trades: int) -> list[str]:
    """Try one market day in every way, and return what differed."""
    deployment, found = settle_day(place / "day", seed, trades), []
    for machine in MACHINES:
        for cycle in replay_on(machine, deployment)["cycles"]:
            found += [f"seed {seed}, {machine}, {cycle['cycle_id']}: {one['what']}" for one in cycle["differences"]]
    shuffle_day(place / "day", place / "shuffled", seed)
    shuffled = Deployment(place / "shuffled" / "home")
    for cycle_id in (CYCLE, NEXT):
        shuffled.settle(place / "shuffled" / cycle_id, exit_code=3)
    if outcome_of(shuffled) != outcome_of(deployment):
        found.append(f"seed {seed}: another order of rows gives another outcome")
    return found


def main() -> None:
    """Try market days one after the other; exit 1 when anything differed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trades", type=int, default=TRADES)
    given, found = parser.parse_args(), []
    for turn in range(given.times):
        with tempfile.TemporaryDirectory(prefix="trine-digests-") as folder:
            shutil.copy(CHECKOUT / "dagster_home" / "dagster.yaml", folder)
            os.environ["DAGSTER_HOME"] = folder
            new = tried(Path(folder), given.seed + 10 * turn, given.trades)
        found += new
        print(f"{turn + 1} of {given.times} days, {len(found)} differences", *new, sep="\n", flush=True)  # noqa: T201
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
