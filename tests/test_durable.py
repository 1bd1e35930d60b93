"""What is kept is whole, is kept once it is said to be, and costs one sync."""

import os
from pathlib import Path

import pytest

from assets import durable
from assets.durable import keep_name, make_folder, write_file


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What is synced, in order, and nothing known of what was before."""
    found: list[Path] = []
    monkeypatch.setattr(durable, "_kept", set())
    monkeypatch.setattr(durable, "sync", found.append)
    return found


def test_a_file_is_synced_before_it_is_in_its_place_and_each_folder_above_it_from_the_top_down(
    tmp_path: Path, synced: list[Path]
) -> None:
    write_file(tmp_path / "a" / "b" / "file", b"x")
    beside = tmp_path / "a" / "b" / f"file.{os.getpid()}.part"
    assert synced == [tmp_path.parent, tmp_path, tmp_path / "a", beside, tmp_path / "a" / "b"]


def test_a_name_that_was_found_is_synced_once_and_one_that_is_made_anew_again(
    tmp_path: Path, synced: list[Path]
) -> None:
    (tmp_path / "found").mkdir()
    make_folder(tmp_path / "found")
    keep_name(tmp_path / "found")
    assert synced == [tmp_path]
    (tmp_path / "found").rmdir()
    make_folder(tmp_path / "found")
    assert synced[1:] == [tmp_path.parent, tmp_path]


def test_a_folder_below_one_that_we_may_not_read_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(durable, "sync", refuse)
    make_folder(tmp_path)
    with pytest.raises(PermissionError):
        make_folder(tmp_path / "made by us")


def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    def fail(beside: Path) -> None:
        beside.write_bytes(b"half")
        raise OSError("full")

    write_file(tmp_path / "file", b"whole")
    with pytest.raises(OSError, match="full"):
        write_file(tmp_path / "file", fail)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"whole")]


def test_a_file_that_must_be_new_is_never_written_over(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"first", over=False)
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "file", b"second", over=False)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"first")]
