"""Immutable frames on disk, named by their content, and the IO manager that hands them from asset to asset.

A file is written beside its final place, synced, renamed, and its folder synced, so that a kill or a power loss leaves a
whole file or none. What an attempt at a cycle produced is a small JSON file per asset that names the digests; the records
keep the digests of what was committed.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from schemas.atoms import from_disk, to_disk
from schemas.digest import digest_of
from schemas.errors import BrokenInvariant

Product = Mapping[str, Any]  # What an asset returns: frames and plain JSON values, by name.


class FrameStore:
    """Frames by digest, under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, digest: str) -> Path:
        """Return where the frame of that digest is, or will be."""
        return self.folder / digest[:2] / f"{digest}.parquet"

    def write(self, frame: pl.DataFrame) -> str:
        """Keep a frame and return its digest. The same frame twice is kept once."""
        digest = digest_of(frame)
        path = self.path(digest)
        _make(path.parent)
        if path.exists():
            _sync(path.parent)  # Whoever put it there may have been stopped before that.
        else:
            _put(path, to_disk(frame).write_parquet)
        return digest

    def read(self, digest: str) -> pl.DataFrame:
        """Return the frame of that digest. BrokenInvariant if it is gone or is no longer what it was."""
        path = self.path(digest)
        if not path.exists():
            raise BrokenInvariant(f"the frame {digest[:12]} is not in the frame store. Restore it from a copy.")
        try:
            frame = from_disk(pl.read_parquet(path, glob=False))
            same = digest_of(frame) == digest
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
            same = False
        if not same:
            raise BrokenInvariant(
                f"the frame {digest[:12]} no longer has its digest: the file was changed. Restore it from a copy."
            )
        return frame


def _put(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file, and put it at `path` whole and for good."""
    beside = path.with_suffix(f".{os.getpid()}.part")
    try:
        write(beside)
        _sync(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)  # On a full disk the start of a file only takes place.
    _sync(path.parent)


def _make(folder: Path) -> None:
    """Make a folder for good: its name and that of each folder made for it are synced, from the top down.

    The name of the first one that is there is synced too: whoever made it may have been stopped before that.
    """
    if not folder.exists():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class FrameIOManager(dg.ConfigurableIOManager):
    """Keeps an asset's frames in the frame store and its plain values beside their digests."""

    home: str

    def _pointer(self, asset: str, cycle_id: str, run_id: str = "") -> Path:
        return Path(self.home) / "attempts" / cycle_id / run_id / f"{asset}.json"

    def handle_output(self, context: dg.OutputContext, obj: Product) -> None:
        """Write what the asset of this cycle returned. Counts go to Dagster, rows and amounts never."""
        store = FrameStore(Path(self.home) / "frames")
        frames = {name: value for name, value in obj.items() if isinstance(value, pl.DataFrame)}
        said = {
            "frames": {name: store.write(frame) for name, frame in frames.items()},
            "values": {name: value for name, value in obj.items() if name not in frames},
        }
        text = json.dumps(said, indent=1, sort_keys=True)
        for run_id in (context.run_id, ""):
            path = self._pointer(context.asset_key.path[-1], context.partition_key, run_id)
            _make(path.parent)
            _put(path, lambda beside: beside.write_text(text))
        context.add_output_metadata({f"{name} rows": frame.height for name, frame in frames.items()})

    def load_input(self, context: dg.InputContext) -> dict[str, Any]:
        """Return what the asset upstream returned for this cycle: in this run if it was part of it, else last.

        So two runs of one cycle at the same time never mix their inputs.
        """
        asset, cycle_id = context.asset_key.path[-1], context.asset_partition_key
        own, last = self._pointer(asset, cycle_id, context.step_context.run_id), self._pointer(asset, cycle_id)
        said = json.loads((own if own.exists() else last).read_text())
        store = FrameStore(Path(self.home) / "frames")
        return {**said["values"], **{name: store.read(digest) for name, digest in said["frames"].items()}}
