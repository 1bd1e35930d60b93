"""A power loss at any moment takes nothing that was acknowledged, and a weaker setting would be found out."""

from pathlib import Path

import polars as pl
import pytest

from assets import frames
from assets.frames import FrameStore
from tests.faults.calls import require_strace
from tests.faults.judge import Kind
from tests.faults.power_loss import lose_power

STATES = 500


@pytest.fixture(autouse=True)
def strace() -> None:
    require_strace()


def test_whatever_a_power_loss_leaves_holds_all_that_was_acknowledged_whole_and_once() -> None:
    assert lose_power(STATES, seed=1) == (STATES, [])


@pytest.mark.parametrize("guard", ["synchronous", "sync"])
def test_without_a_sync_the_harness_finds_what_is_lost(guard: str) -> None:
    _, flaws = lose_power(STATES // 5, seed=1, weaker=(guard,))
    assert Kind.LOST in {flaw.kind for flaw in flaws}


def test_who_finds_a_frame_of_a_writer_that_was_stopped_syncs_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, synced = FrameStore(tmp_path / "frames"), set[Path]()
    digest = store.write(pl.DataFrame({"a": [1]}))
    monkeypatch.setattr(frames, "_sync", synced.add)
    assert store.write(pl.DataFrame({"a": [1]})) == digest
    assert {store.path(digest).parent, store.folder} <= synced
