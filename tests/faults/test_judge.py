"""The judge sees what it is there for, and only that."""

import sqlite3
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from tests.faults.judge import Kind, Undisturbed
from tests.faults.workload import life, records_in


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(tmp_path_factory.mktemp("undisturbed"))


def lived(folder: Path, calls: int) -> Path:
    """Live the first calls of a life in a folder."""
    for _ in islice(life(folder), calls):
        pass
    return folder


@pytest.mark.parametrize("calls", range(8))
def test_a_life_that_stops_between_two_calls_is_well_and_one_call_more_or_less_is_not(
    undisturbed: Undisturbed, calls: int, tmp_path: Path
) -> None:
    lived(tmp_path, calls)
    if calls:
        more = undisturbed.judge(tmp_path, calls + 1)
        assert more is not None
        assert (more.kind, more.what) == (Kind.LOST, f"{calls + 1} calls were acknowledged and {calls} are there")
    if calls > 1:
        fewer = undisturbed.judge(tmp_path, calls - 2)
        assert fewer is not None
        assert fewer.kind == Kind.DOUBLED
    assert undisturbed.judge(tmp_path, calls) is None


@pytest.mark.parametrize(
    "damage",
    ["DELETE FROM postings WHERE posting_id IN (SELECT min(posting_id) FROM postings)",
     "UPDATE holds SET held_atoms = held_atoms || '0'", "UPDATE batches SET state = 'PROPOSED'",
     "DROP INDEX uq_batches_committed_cycle"],
)  # fmt: skip
def test_a_row_that_is_missing_or_changed_is_seen(undisturbed: Undisturbed, damage: str, tmp_path: Path) -> None:
    lived(tmp_path, 8)
    with closing(sqlite3.connect(records_in(tmp_path))) as connection, connection:
        connection.execute(damage)
    flaw = undisturbed.judge(tmp_path, 8)
    assert flaw is not None
    assert flaw.kind == Kind.TORN


@pytest.mark.parametrize("name", ["records.sqlite", "*.parquet"])
def test_a_file_whose_second_half_is_zeros_is_seen(undisturbed: Undisturbed, name: str, tmp_path: Path) -> None:
    path = next(lived(tmp_path, 8).rglob(name))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    flaw = undisturbed.judge(tmp_path, 8)
    assert flaw is not None
    assert flaw.kind == Kind.TORN
    assert "cannot be read" in flaw.what


def test_work_that_cannot_be_ended_as_if_nothing_had_happened_is_seen(
    undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(tmp_path, 5)
    monkeypatch.setattr(undisturbed, "end", ({}, frozenset()))
    flaw = undisturbed.judge(tmp_path, 5)
    assert flaw is not None
    assert flaw.kind == Kind.DOUBLED
