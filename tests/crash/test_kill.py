"""A cycle that is killed at any moment and run again ends as if nothing had happened, and once."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from assets.partitions import cycle_of
from pipelines.market import MarketPlan, write_market
from pipelines.resources import CHECKOUT
from tests.deployment import Deployment
from tests.input_folders import CYCLE

KILLS_PER_HOME = 3
MOVED = ("positions", "instructions", "holds", "postings", "netting_effects", "credit_draws", "verdicts", "frames")


def start(source: Path, home: Path) -> subprocess.Popen[str]:
    """Start `trine settle` in a process of its own and return it when its first asset is done."""
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "settle", "--input", str(source)]
    process = subprocess.Popen(
        [*command, "--home", str(home)], cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline(), "a process that says nothing has failed"
    return process


def finish(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate()
    assert process.returncode == 0, said


class Undisturbed(NamedTuple):
    """A cycle that nobody killed, and how long it worked from its first asset on."""

    source: Path
    deployment: Deployment
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    place, cycle = tmp_path_factory.mktemp("undisturbed"), cycle_of(CYCLE)
    write_market(MarketPlan(CYCLE, cycle.opens_at, cycle.cut_at, trades=40), place / "in")
    process = start(place / "in", place / "home")
    began = time.monotonic()
    finish(process)
    return Undisturbed(place / "in", Deployment(place / "home"), time.monotonic() - began)


def settled(deployment: Deployment) -> tuple[str, dict[str, list[Any]]]:
    """Return the plan and the rows of the one committed batch, whichever attempt it was."""
    [batch] = deployment.store.settled()
    rows = {
        name: deployment.store.rows(name, batch["batch_id"]).drop("batch_id", "expires_at", strict=False).rows()
        for name in MOVED
    }
    return batch["plan_digest"], rows


@pytest.mark.parametrize("seed", [1, 2])
def test_a_cycle_killed_again_and_again_ends_as_if_nothing_had_happened(
    undisturbed: Undisturbed, seed: int, tmp_path: Path
) -> None:
    deployment, dice = Deployment(tmp_path / "home"), random.Random(seed)
    for kill in range(KILLS_PER_HOME):
        process = start(undisturbed.source, deployment.folder)
        # Each kill comes in a later third of the work than the one before.
        time.sleep(undisturbed.seconds * (kill + dice.random()) / KILLS_PER_HOME)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0)
    finish(start(undisturbed.source, deployment.folder))

    assert settled(deployment) == settled(undisturbed.deployment)
    dump = deployment.dump()
    states = [row["state"] for row in dump["batches"]]
    assert states == ["EXECUTING"], "a batch left behind is taken over, not attempted again"
    [batch] = deployment.store.settled()
    for name in ("holds", "postings"):
        assert deployment.store.rows(name, batch["batch_id"]).height == len(dump[name]), "only what is final moved"
    assert {row["state"] for row in dump["holds"]} == {"CONSUMED"}
