"""Write an evidence pack: a folder that holds a cycle's records, frames and proofs, for `verify.py` to check."""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from assets.ledger.note import VerifierKey, verify_checkpoint
from assets.ledger.tiles import read_tile, tile_path, tile_widths
from schemas.digest import digested_text
from schemas.errors import BrokenInvariant, RefusedInput

VERIFIER = Path(__file__).with_name("verify.py")
FRAME_NAME = re.compile(r"[A-Za-z0-9_]+")


def write_pack(
    target: Path,
    *,
    entries: Sequence[tuple[int, bytes]],
    tiles_folder: Path,
    checkpoint_note: str,
    keys: Sequence[VerifierKey],
    frames: Mapping[str, pl.DataFrame],
    consistency: str | None = None,
) -> None:
    """Write the pack into the new folder `target`: all of it or nothing.

        manifest.json      {"files": {name: SHA-256 in hex}} of every other file
        checkpoint, key    the signed note, and the keys that it can be checked with, one on a line
        entries.jsonl      {"index": place in the log, "body": the record's canonical text}, a line for each record
        frames/<name>.csv  the columns as JSON on the first line, then the rows: what the logged digest is taken over
        tile/...           the hashes of the whole log at the checkpoint's size
        consistency        the proof that the log grew from the previous checkpoint to this one
        verify.py          what checks all of this, with Python and `cryptography` alone

    `entries` are the cycle's records with their places in the log. Raises ProofRefused when none of `keys` signed the
    checkpoint, RefusedInput when `target` is there with other contents; with the same contents it is left alone.
    """
    checkpoint, _ = verify_checkpoint(checkpoint_note, keys)
    if wrong := [name for name in frames if not FRAME_NAME.fullmatch(name)]:
        raise BrokenInvariant(f"evidence pack: {wrong[0]!a} cannot be the name of a frame's file.")
    beside = target.with_name(f"{target.name}.part")
    shutil.rmtree(beside, ignore_errors=True)  # What an interrupted attempt left.
    digests: dict[str, str] = {}

    def put(name: str, data: bytes) -> None:
        (beside / name).parent.mkdir(parents=True, exist_ok=True)
        (beside / name).write_bytes(data)
        digests[name] = hashlib.sha256(data).hexdigest()

    put("checkpoint", checkpoint_note.encode())
    put("key", "".join(f"{key.text()}\n" for key in keys).encode())
    lines = (json.dumps({"index": index, "body": body.decode()}) + "\n" for index, body in sorted(entries))
    put("entries.jsonl", "".join(lines).encode())
    for (level, number), width in tile_widths(checkpoint.size).items():
        put(tile_path(level, number, width), read_tile(tiles_folder, level, number, width))
    for name, frame in frames.items():
        put(f"frames/{name}.csv", "\n".join(digested_text(frame)).encode())
    if consistency is not None:
        put("consistency", consistency.encode())
    put("verify.py", VERIFIER.read_bytes())
    manifest = json.dumps({"files": digests}, indent=1, sort_keys=True) + "\n"
    (beside / "manifest.json").write_text(manifest)

    if target.exists():
        written = target / "manifest.json"
        same = written.is_file() and written.read_text() == manifest
        shutil.rmtree(beside)
        if not same:
            raise RefusedInput(f"{target.name} is there already and holds something else. Name a new folder.")
    else:
        beside.rename(target)
