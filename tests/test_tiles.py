"""The log as files: grown in any steps it is the same folder, and a path is made from a few of its tiles."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.ledger import tiles
from assets.ledger.merkle import (
    consistency_path,
    inclusion_path,
    leaf_hashes,
    root_at,
    root_of,
    subtrees,
    verify_consistency,
    verify_inclusion,
)
from assets.ledger.tiles import TileReader, tile_path, tile_widths, write_bodies, write_checkpoint, write_hashes
from schemas.errors import BrokenInvariant

BODIES = [b'{"n":%d}' % n for n in range(70_000)]
HASHES = leaf_hashes(BODIES)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 70,000 leaves, the example of the specification."""
    folder = tmp_path_factory.mktemp("log")
    write_bodies(folder, 0, BODIES)
    write_hashes(folder, 0, HASHES)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def grow(folder: Path, first: int, size: int) -> None:
    write_bodies(folder, first, BODIES[first:size])
    write_hashes(folder, first, HASHES[first:size])


def test_a_tile_has_the_name_of_the_specification() -> None:
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_path(3, 0, 17) == "tile/3/000.p/17"
    assert tile_path("entries", 999) == "tile/entries/999"
    assert tile_path("entries", 1000, 255) == "tile/entries/x001/000.p/255"


def test_the_example_of_the_specification_has_its_tiles(log: Path) -> None:
    widths = tile_widths(70_000)
    assert sum(width == 256 for (level, _), width in widths.items() if level == 0) == 273
    assert {key: width for key, width in widths.items() if width < 256} == {(0, 273): 112, (1, 1): 17, (2, 0): 1}
    assert widths[1, 0] == 256
    assert tile_widths(256) == {(0, 0): 256, (1, 0): 1}
    bundles = {tile_path("entries", number, width) for (level, number), width in widths.items() if level == 0}
    assert set(files(log)) == bundles | {tile_path(*key, width) for key, width in widths.items()}


def test_tiles_hold_hashes_of_subtrees_and_bundles_hold_lengths_and_bodies(log: Path) -> None:
    assert (log / "tile/0/000").read_bytes() == b"".join(HASHES[:256])
    assert (log / "tile/1/000").read_bytes()[32:64] == root_of(HASHES[256:512])
    assert (log / "tile/2/000.p/1").read_bytes() == root_of(HASHES[:65_536])
    assert (log / "tile/entries/000").read_bytes()[:20] == b'\x00\x07{"n":0}\x00\x07{"n":1}\x00\x07'


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 700), min_size=1, max_size=5))
def test_a_log_grown_in_steps_serves_what_one_written_at_once_does(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int]
) -> None:
    grown, whole = tmp_path_factory.mktemp("grown"), tmp_path_factory.mktemp("whole")
    size = 0
    for step in steps:
        grow(grown, size, size + step)
        size += step
    grow(whole, 0, size)
    # Tiles of the sizes between stay, because there were checkpoints over them.
    assert files(whole).items() <= files(grown).items()
    assert TileReader(grown, size).leaf_hashes() == HASHES[:size]


def test_proofs_from_tiles_are_those_from_leaves(log: Path) -> None:
    reader, memory = TileReader(log, 70_000), subtrees(HASHES)
    root = root_of(HASHES)
    assert root_at(reader.subtree, 70_000) == root
    for index in (0, 1, 255, 256, 65_535, 65_536, 69_887, 69_888, 69_999):
        path = inclusion_path(reader.subtree, index, 70_000)
        assert path == inclusion_path(memory, index, 70_000)
        verify_inclusion(HASHES[index], index, 70_000, path, root)
        assert reader.body(index) == BODIES[index]
    for old in (1, 255, 256, 257, 65_536, 69_999, 70_000):
        path = consistency_path(reader.subtree, old, 70_000)
        assert path == consistency_path(memory, old, 70_000)
        verify_consistency(old, root_of(HASHES[:old]), 70_000, root, path)


def test_a_path_is_made_from_a_few_tiles(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    right = tiles._read

    def counted(folder: Path, partial: str, full: str) -> bytes:
        read.append(partial)
        return right(folder, partial, full)

    monkeypatch.setattr(tiles, "_read", counted)
    inclusion_path(TileReader(log, 70_000).subtree, 40_000, 70_000)
    # Its own tile at levels 0 and 1, and the two partial ones at the right edge.
    assert len(read) == 4


def test_growing_reads_the_right_edge_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(tmp_path, 0, 1000)
    read: list[str] = []
    right = tiles._read

    def counted(folder: Path, partial: str, full: str) -> bytes:
        read.append(partial)
        return right(folder, partial, full)

    monkeypatch.setattr(tiles, "_read", counted)
    grow(tmp_path, 1000, 1100)
    assert read == ["tile/entries/003.p/232", "tile/0/003.p/232", "tile/1/000.p/3"]


def test_writing_again_changes_nothing_also_after_the_log_went_on(tmp_path: Path) -> None:
    grow(tmp_path, 0, 300)
    grow(tmp_path, 300, 600)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    grow(tmp_path, 300, 600)
    grow(tmp_path, 0, 300)
    grow(tmp_path, 600, 600)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_log_grows_on_from_a_full_tile_whose_partial_one_was_removed(tmp_path: Path) -> None:
    grow(tmp_path, 0, 300)
    grow(tmp_path, 300, 600)
    (tmp_path / "tile/0/001.p/44").unlink()
    (tmp_path / "tile/entries/001.p/44").unlink()
    grow(tmp_path, 300, 600)
    assert TileReader(tmp_path, 300).leaf_hashes() == HASHES[:300]
    assert TileReader(tmp_path, 300).body(299) == BODIES[299]


@pytest.mark.parametrize("first", [256, 300, 0])
def test_another_history_is_refused_and_changes_nothing(tmp_path: Path, first: int) -> None:
    grow(tmp_path, 0, 600)
    before = files(tmp_path)
    with pytest.raises(BrokenInvariant, match="rewritten"):
        write_hashes(tmp_path, first, leaf_hashes([b"other"]) + HASHES[first + 1 : 600])
    with pytest.raises(BrokenInvariant, match="rewritten"):
        write_bodies(tmp_path, first, [b"other", *BODIES[first + 1 : 600]])
    assert files(tmp_path) == before


def test_a_log_does_not_grow_from_an_edge_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BrokenInvariant, match=r"tile/0/001\.p/44: the tile is missing"):
        write_hashes(tmp_path, 300, HASHES[300:310])
    with pytest.raises(BrokenInvariant, match="missing"):
        write_bodies(tmp_path, 300, BODIES[300:310])


def test_damaged_files_are_named(tmp_path: Path) -> None:
    grow(tmp_path, 0, 10)
    bundle, hashes = tmp_path / "tile/entries/000.p/10", tmp_path / "tile/0/000.p/10"
    whole, right = bundle.read_bytes(), hashes.read_bytes()
    bundle.write_bytes(whole.replace(b'"n":4', b'"n":5'))
    with pytest.raises(BrokenInvariant, match="entry 4 is not the one"):
        TileReader(tmp_path, 10).body(4)
    bundle.write_bytes(whole[:-1])
    with pytest.raises(BrokenInvariant, match=r"tile/entries/000\.p/10: 10 entries"):
        TileReader(tmp_path, 10).body(9)
    hashes.write_bytes(right[:-1])
    with pytest.raises(BrokenInvariant, match=r"tile/0/000\.p/10: 10 hashes"):
        TileReader(tmp_path, 10).leaf_hashes()


def test_an_entry_that_is_too_long_is_not_written(tmp_path: Path) -> None:
    write_bodies(tmp_path, 0, [b"", b"x" * 65_535])
    write_hashes(tmp_path, 0, leaf_hashes([b"", b"x" * 65_535]))
    assert [TileReader(tmp_path, 2).body(index) for index in (0, 1)] == [b"", b"x" * 65_535]
    with pytest.raises(BrokenInvariant, match="at most 65,535"):
        write_bodies(tmp_path, 2, [b"x" * 65_536])


def test_the_checkpoint_is_replaced_whole(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "first\n")
    write_checkpoint(tmp_path, "second\n")
    assert files(tmp_path) == {"checkpoint": b"second\n"}
