"""Immutable frames on disk, named by their content. The records keep the digests of what was committed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from assets.durable import keep_name, write_file
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
        if path.exists():
            keep_name(path)
        else:
            write_file(path, to_disk(frame).write_parquet)
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
