"""A cycle that is killed at any moment and run again ends as if nothing had happened, and once."""

import subprocess
import sys

import pytest

from pipelines.resources import CHECKOUT


def campaign(times: int, seed: int) -> str:
    """Run the campaign in a process of its own: what it forks from must have imported Dagster and run nothing."""
    command = [sys.executable, "-m", "tests.faults.kills", "--times", str(times), "--seed", str(seed)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_cycle_killed_again_and_again_ends_as_if_nothing_had_happened() -> None:
    assert "kills in" in campaign(times=3, seed=2)


@pytest.mark.full
def test_fifty_cycles_killed_end_as_if_nothing_had_happened() -> None:
    assert "kills in" in campaign(times=50, seed=1)
