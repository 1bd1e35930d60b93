"""Every kind of edit of the files of a home: tiles, copies of checkpoints, frozen inputs, frames."""

import json
from pathlib import Path
from random import Random
from typing import Any

from assets.ledger import audit as checker
from assets.ledger.database import key_of
from assets.ledger.merkle import HASH_BYTES
from assets.ledger.tiles import TILE_NAME
from schemas.records import metadata
from tests.faults.tamper_home import World
from tests.faults.tamper_trial import Records, Tally, said_of


def file_edits(world: World, records: Records, random: Random, limit: int, tally: Tally) -> None:
    """Each file of the home removed, emptied, made longer, exchanged, and changed in places; strange ones added."""
    files = sorted(
        path for part in ("log", "copies", "inputs") for path in (world.folder / part).rglob("*") if path.is_file()
    )
    frames = sorted(world.frames.folder.rglob("*.parquet"))
    newest = {str(max(row["size"] for row in records.rows["checkpoints"]) % 256)}
    for path in (*files, *frames):
        good, kind = path.read_bytes(), path.relative_to(world.folder).parts[0]
        others = [other for other in (*files, *frames) if other.parent == path.parent and other != path]
        changes: list[tuple[str, bytes | None]] = [("emptied", b"")]
        if ".p" not in path.parent.suffix or path.name in newest:  # An outgrown partial tile may be taken away.
            changes += [("removed", None)]
        if kind != "frames":  # Behind its end a Parquet file may hold anything: it is found by its rows.
            changes += [("made longer", good + b"\n")]
        changes += [("exchanged", other.read_bytes()) for other in others[:1] or frames[:1] if other != path]
        places = range(len(good)) if len(good) <= limit else random.sample(range(len(good)), limit)
        changes += [("one byte", _flipped(good, at, random)) for at in places]
        for change, data in changes:
            if data == good:
                continue
            if data is None:
                path.unlink()
            else:
                path.write_bytes(data)
            same = kind == "frames" and data is not None and _reads_the_same(world, path)
            if not same:
                said = said_of(records.check())
                tally.judge(f"file in {kind}, {change}", str(path), _names_file(said, world, path, records))
            path.write_bytes(good)
    for part in ("log/tile/0/x001/000", "log/tile/0/abc", "copies/000000000007.checkpoint", "inputs/"):
        folder = world.inputs(records.rows["batches"][0]["manifest_digest"])
        path = folder / "more.csv" if part == "inputs/" else world.folder / part
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * HASH_BYTES * 256)
        said = said_of(records.check())
        tally.judge("file added", part, _names_file(said, world, path, records))
        path.unlink()
    assert records.check() == [], "everything was put back"


def _flipped(data: bytes, at: int, random: Random) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]


def _reads_the_same(world: World, path: Path) -> bool:
    """A flipped bit in a Parquet file's own bookkeeping changes no row: it is no edit of the records."""
    return checker._read_frame(world.frames, path.stem) is not None


def _names_file(said: dict[Any, set[str]], world: World, path: Path, records: Records) -> bool:
    parts = path.relative_to(world.folder).parts
    if parts[0] == "log":
        return ("tiles", "/".join(parts[1:])) in said
    if parts[0] == "copies":
        size = int(path.stem)
        return ("checkpoints", json.dumps([size])) in said or ("checkpoints", path.name) in said
    if parts[0] == "inputs":
        listed = [row for row in records.rows["input_files"] if row["file"] == "/".join(parts[2:])]
        manifests = {row["batch_id"]: row["manifest_digest"] for row in records.rows["batches"]}
        mine = [row for row in listed if manifests[row["batch_id"]] == parts[1]]
        table = metadata.tables["input_files"]
        return ("inputs", parts[1]) in said and all(("input_files", key_of(table, row)) in said for row in mine)
    table = metadata.tables["frames"]
    return all(("frames", key_of(table, row)) in said for row in records.rows["frames"] if row["digest"] == path.stem)


def tile_bytes(world: World, records: Records, random: Random, rounds: int, tally: Tally) -> None:
    """A byte of every leaf in the newest tiles and bundles at once: each must be named by the row that it is of."""
    size = max(row["size"] for row in records.rows["checkpoints"])
    about: dict[int, tuple[str, str | None]] = {
        row["position"]: (row["source"], row["row_key"]) for row in records.rows["log_entries"]
    }
    for row in records.rows["log_frames"]:
        span = range(row["position"], row["position"] + row["rows"])
        about |= dict.fromkeys(span, ("log_frames", json.dumps([row["position"]])))
    newest: dict[tuple[str, int], tuple[int, Path]] = {}
    for path in (world.log / "tile").rglob("*"):
        parts = TILE_NAME.fullmatch(path.relative_to(world.log).as_posix()) if path.is_file() else None
        if parts and parts[1] in ("0", "entries"):
            place = (parts[1], int(parts[2]))
            newest[place] = max(newest.get(place, (0, path)), (int(parts[3] or 256), path))
    assert sum(width for (kind, _), (width, _) in newest.items() if kind == "0") == size
    good = {path: path.read_bytes() for _, path in newest.values()}
    for _ in range(rounds):
        changed = {}
        for (kind, number), (width, path) in newest.items():
            data, at = bytearray(good[path]), 0
            for index in range(number * 256, number * 256 + width):
                start = at if kind == "0" else at + 2
                length = HASH_BYTES if kind == "0" else int.from_bytes(data[at:start], "big")
                place = start + random.randrange(length)
                # Not both of one leaf, or one would answer for the other.
                if index not in changed and kind == random.choice(("0", "entries")):
                    data[place] ^= 1 << random.randrange(8)
                    changed[index] = kind
                at = start + length
            path.write_bytes(data)
        said = said_of(records.check())
        for index, kind in changed.items():
            name = "a leaf's byte in a tile" if kind == "0" else "a body's byte in a bundle"
            tally.judge(name, str(about[index]), "leaf" in said.get(about[index], set()))
    for path, data in good.items():
        path.write_bytes(data)
