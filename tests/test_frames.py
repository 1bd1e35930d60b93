"""Frames on disk are what was written, whole, or are noticed."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from assets.attempts import FrameIOManager
from assets.frames import FrameStore
from assets.partitions import cycles
from schemas.atoms import to_disk
from schemas.digest import digest_of
from schemas.errors import BrokenInvariant
from tests.input_folders import CYCLE

WORST = 10**38 - 1
FRAME = pl.DataFrame(
    {
        "name": ["zeta", "alpha", None, 'quote"d, and\nbroken'],
        "atoms": [WORST, -WORST, 0, 1],
        "at": [datetime(2026, 11, 2, 9, tzinfo=UTC), None, datetime(1970, 1, 1, tzinfo=UTC), None],
        "raw": [b"\x00\xff", b"", None, b"abc"],
    },
    schema={"name": pl.String, "atoms": pl.Int128, "at": pl.Datetime("ns", "UTC"), "raw": pl.Binary},
)


@pytest.fixture
def store(tmp_path: Path) -> FrameStore:
    return FrameStore(tmp_path / "frames")


def test_a_frame_comes_back_as_it_was_to_the_last_of_38_digits(store: FrameStore) -> None:
    assert_frame_equal(store.read(store.write(FRAME)), FRAME)


def test_an_empty_frame_keeps_its_columns(store: FrameStore) -> None:
    assert_frame_equal(store.read(store.write(FRAME.clear())), FRAME.clear())


@pytest.mark.parametrize("atoms", [WORST + 1, -WORST - 1])
def test_an_amount_of_39_digits_is_not_written(store: FrameStore, atoms: int) -> None:
    with pytest.raises(BrokenInvariant, match="beyond 38 digits"):
        store.write(pl.DataFrame({"atoms": [atoms]}, schema={"atoms": pl.Int128}))
    assert not [path for path in store.folder.rglob("*") if path.is_file()]


def test_the_same_rows_in_another_order_are_the_same_frame_and_kept_once(store: FrameStore) -> None:
    assert store.write(FRAME) == store.write(FRAME.reverse()) == store.write(FRAME.sample(fraction=1, shuffle=True))
    assert len([path for path in store.folder.rglob("*") if path.is_file()]) == 1


@pytest.mark.parametrize(
    "other",
    [
        FRAME.with_columns(atoms=pl.col("atoms") + pl.when(pl.col("atoms") == 1).then(1).otherwise(0)),
        FRAME.with_columns(pl.col("name").fill_null("")),
        FRAME.with_columns(pl.col("at").dt.offset_by("1ns")),
        FRAME.with_columns(raw=pl.col("raw").fill_null(b"")),
        FRAME.rename({"raw": "bytes"}),
        FRAME.head(3),
        pl.concat([FRAME, FRAME.tail(1)]),
    ],
    ids=["an atom", "null is not blank", "a nanosecond", "null is not no bytes", "a name", "a row less", "a row twice"],
)
def test_whatever_differs_has_another_digest(other: pl.DataFrame) -> None:
    assert digest_of(other) != digest_of(FRAME)


def test_cells_cannot_move_between_columns_unnoticed() -> None:
    assert digest_of(pl.DataFrame({"a": ['x","y'], "b": ["z"]})) != digest_of(
        pl.DataFrame({"a": ["x"], "b": ['y","z']})
    )


@pytest.mark.parametrize("compression", ["uncompressed", "snappy", "zstd"])
def test_the_digest_does_not_depend_on_how_parquet_is_written(store: FrameStore, compression: str) -> None:
    digest = store.write(FRAME)
    to_disk(FRAME.reverse()).write_parquet(store.path(digest), compression=compression, row_group_size=1)  # type: ignore[arg-type]
    assert_frame_equal(store.read(digest), FRAME.reverse())


def test_a_changed_file_is_noticed(store: FrameStore) -> None:
    digest = store.write(FRAME)
    to_disk(FRAME.with_columns(atoms=0 - pl.col("atoms"))).write_parquet(store.path(digest))
    with pytest.raises(BrokenInvariant, match="no longer has its digest"):
        store.read(digest)


def test_a_damaged_file_is_noticed(store: FrameStore) -> None:
    digest = store.write(FRAME)
    content = bytearray(store.path(digest).read_bytes())
    for damaged in (content[: len(content) // 2], bytearray(len(content)), b""):
        store.path(digest).write_bytes(damaged)
        with pytest.raises(BrokenInvariant, match="the file was changed"):
            store.read(digest)


def test_a_file_that_is_gone_is_noticed(store: FrameStore) -> None:
    with pytest.raises(BrokenInvariant, match="is not in the frame store"):
        store.read("0" * 64)


def test_a_writer_that_is_killed_leaves_no_frame_and_the_next_one_writes_it(store: FrameStore) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from assets.frames import FrameStore
from tests.test_frames import FRAME
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
FrameStore(Path(sys.argv[1])).write(FRAME)
"""
    killed = subprocess.run([sys.executable, "-c", program, str(store.folder)], check=False)
    assert killed.returncode == -9
    left = [path.suffix for path in store.folder.rglob("*") if path.is_file()]
    assert left == [".part"], "the frame was on its way"
    with pytest.raises(BrokenInvariant, match="is not in the frame store"):
        store.read(digest_of(FRAME))
    assert_frame_equal(store.read(store.write(FRAME)), FRAME)


def test_a_run_reads_its_own_frames_whatever_another_run_of_the_cycle_writes_meanwhile(tmp_path: Path) -> None:
    said, place = iter(["mine", "another's"]), {"io_manager": FrameIOManager(home=str(tmp_path))}

    @dg.asset(partitions_def=cycles)
    def told() -> dict[str, str]:
        return {"word": next(said)}

    @dg.asset(partitions_def=cycles)
    def overtaken(told: dict[str, str]) -> dict[str, str]:
        dg.materialize([told_asset], resources=place, partition_key=CYCLE)
        return {}

    @dg.asset(partitions_def=cycles)
    def repeated(told: dict[str, str], overtaken: dict[str, str]) -> dict[str, str]:
        return {"word": told["word"]}

    told_asset = told
    run = dg.materialize([told, overtaken, repeated], resources=place, partition_key=CYCLE)
    assert run.output_for_node("repeated") == {"word": "mine"}
    later = dg.materialize([told, overtaken, repeated], resources=place, partition_key=CYCLE, selection=[repeated])
    assert later.output_for_node("repeated") == {"word": "another's"}, "a run of one asset takes what was said last"
