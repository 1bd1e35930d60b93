"""Checks every column of the stored records against the log, and the log against its signed checkpoints.

Each column is either in a leaf or follows from leaves; each leaf is under a root; each root was signed; each signed
checkpoint is in a second place. Frames and input files are checked by the digests that the leaves carry. What is found
names table, row and what differs, never an amount.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from sqlalchemy import Connection, Select, Table, Text, cast, select

from assets.frames import FrameStore
from assets.ledger.canonical import canonical, canonical_rows
from assets.ledger.database import Database, key_of, record_of
from assets.ledger.merkle import Frontier, leaf_hash, leaf_hashes
from assets.ledger.note import VerifierKey, verify_checkpoint
from assets.ledger.tiles import wrong_tiles
from schemas.digest import digest_of_record
from schemas.errors import BrokenInvariant, ProofRefused, RefusedInput
from schemas.records import FACTS, LOG, SETTLED_STATES, AtomsType, keys, metadata

Tables = dict[str, list[Any]]
DIGEST = re.compile("[0-9a-f]{64}")  # Anything else is not asked of the file system.


class Difference(NamedTuple):
    """What does not agree: where, and how."""

    table: str
    row: str  # Its primary key as a JSON list, or the name of a file.
    what: str


class Audit(NamedTuple):
    """What was checked, and what was found."""

    rows: int
    leaves: int
    signed: int  # Leaves under the newest checkpoint. What came after it is not signed yet.
    checkpoints: int
    frames: int
    files: int
    differences: list[Difference]


def audit(
    store: Database, frames: FrameStore, folder: Path, second_place: Path, inputs: Callable[[str], Path],
    trusted: Sequence[VerifierKey] = (),
) -> Audit:  # fmt: skip
    """Check everything. `folder` holds the log's tiles, `second_place` the copies of its checkpoints.

    `inputs` says where the frozen input files of a manifest digest are. `trusted` are keys that were got elsewhere;
    without any, those that the log itself names are believed, and a rewriting of everything would show only in the
    second place.
    """
    with store.engine.connect() as connection:
        _read_any_text(connection)
        tables: Tables = {
            table.name: list(connection.execute(_as_stored(table)).mappings()) for table in (*FACTS, *LOG)
        }
    heights: dict[str, int | None] = {}
    found = [*_rows_and_leaves(tables), *_derived(tables)]
    hashes, about, gaps = _leaves(tables, frames, heights)
    found += gaps
    found += _tiles(hashes, about, folder, tables)
    found += _checkpoints(hashes, tables, second_place, trusted)
    found += _frames(tables, frames, heights)
    found += _inputs(tables, inputs)
    return Audit(
        rows=sum(len(rows) for rows in tables.values()),
        leaves=len(hashes),
        signed=max((row["size"] for row in tables["checkpoints"]), default=0),
        checkpoints=len(tables["checkpoints"]),
        frames=len(tables["frames"]),
        files=len(tables["input_files"]),
        differences=sorted(set(found)),
    )


def _read_any_text(connection: Connection) -> None:
    """Let what is no UTF-8 be read and reported: SQLite would keep it, and the driver would stop at it."""
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        driver.text_factory = lambda data: data.decode(errors="surrogateescape")


def _as_stored(table: Table) -> Select[Any]:
    """Select a table with its amounts as they are written: 007 and 7 are one number, and two texts."""
    columns = [
        cast(column, Text).label(column.name) if isinstance(column.type, AtomsType) else column
        for column in table.columns
    ]
    return select(*columns).order_by(*table.primary_key.columns)


def _rows_and_leaves(tables: Tables) -> Iterable[Difference]:
    """Every row has one leaf that says the same, and every leaf its row."""
    entries: dict[tuple[str, str], Any] = {}
    for entry in tables["log_entries"]:
        place = json.dumps([entry["position"]])
        body = entry["body"].encode(errors="surrogatepass")
        if leaf_hash(body).hex() != entry["leaf_hash"]:
            yield Difference("log_entries", place, "leaf_hash is not that of body")
        record = _record(body)
        if record is None:
            yield Difference("log_entries", place, "body is not in canonical form")
        elif record.get("table") != entry["source"]:
            yield Difference("log_entries", place, "source is not the table that body names")
        elif entry["row_key"] != _key_said(record):
            yield Difference("log_entries", place, "row_key is not the key that body names")
        if (entry["source"], entry["row_key"]) in entries:
            yield Difference("log_entries", place, "source and row_key are those of another leaf")
        entries[entry["source"], entry["row_key"]] = record or {}
    for table in FACTS:
        for row in tables[table.name]:
            key = key_of(table, row)
            said = entries.pop((table.name, key), None)
            if said is None:
                yield Difference(table.name, key, "the row has no leaf: it was added or its key was changed")
                continue
            record = record_of(table, row)
            for name in sorted(record.keys() | said.keys()):
                if record.get(name) != said.get(name) or type(record.get(name)) is not type(said.get(name)):
                    yield Difference(table.name, key, f"{name} is not what was logged")
    for source, key in entries:
        yield Difference(source, key, "the row is gone, or its leaf names another")


def _record(body: bytes) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(body)
        return record if canonical(record) == body else None
    except (ValueError, AttributeError, RecursionError, BrokenInvariant):
        return None


def _key_said(record: dict[str, Any]) -> str | None:
    table = metadata.tables.get(record["table"])
    return None if table is None else key_of(table, {column.name: record.get(column.name) for column in table.columns})


def _derived(tables: Tables) -> Iterable[Difference]:
    """State, reason and fence of a batch, and the state of its holds, follow from its transitions."""
    told: dict[str, list[Any]] = {}
    for row in tables["transitions"]:
        told.setdefault(row["batch_id"], []).append(row)
    ends: dict[str, str] = {}
    for batch in tables["batches"]:
        state: str | None = None
        reason, fence = None, 0
        key = json.dumps([batch["batch_id"]])
        for number, row in enumerate(told.get(batch["batch_id"], []), start=1):
            if (row["number"], row["state_before"]) != (number, state):
                yield Difference("transitions", key_of_transition(row), "it does not follow the one before it")
            taken_over = number > 1 and row["fence"] != fence and row["state_after"] == state
            state, fence = row["state_after"], row["fence"]
            reason = reason if taken_over else row["reason"]
        for name, value in (("state", state), ("reason", reason), ("fence", fence)):
            if batch[name] != value:
                yield Difference("batches", key, f"{name} is not what the transitions say")
        settled = state in SETTLED_STATES or state == "COMPENSATED"
        ends[batch["batch_id"]] = "CONSUMED" if settled else "RELEASED" if state == "ABORTED" else "HELD"
    for hold in tables["holds"]:
        if hold["state"] != ends.get(hold["batch_id"]):
            key = json.dumps([hold["batch_id"], hold["account"], hold["instrument"]], separators=(",", ":"))
            yield Difference("holds", key, "state is not what the transitions of its batch say")


def key_of_transition(row: Any) -> str:
    """Return the key of a transition as the log writes it."""
    return json.dumps([row["batch_id"], row["number"]], separators=(",", ":"))


def _leaves(
    tables: Tables, frames: FrameStore, heights: dict[str, int | None]
) -> tuple[list[bytes], list[tuple[str, str]], list[Difference]]:
    """Return the hash of every leaf in order, the row that each is of, and where the order is broken.

    `heights` learns the rows of each frame that is read: to read one is the longest that there is to do.
    """
    spans = [(row["position"], 1, row) for row in tables["log_entries"]]
    spans += [(row["position"], row["rows"], row) for row in tables["log_frames"]]
    spans.sort(key=lambda span: span[0])
    hashes: list[bytes] = []
    about: list[tuple[str, str]] = []
    found = []
    named = {(row["batch_id"], row["name"]): row["digest"] for row in tables["frames"]}
    entries = {row["position"]: row for row in tables["log_entries"]}
    for position, count, row in spans:
        frame = "body" not in row
        table = "log_frames" if frame else "log_entries"
        if position != len(hashes):
            found.append(Difference(table, json.dumps([position]), "position does not follow the leaf before it"))
        if not frame:
            hashes.append(leaf_hash(row["body"].encode(errors="surrogatepass")))
            about.append((row["source"], row["row_key"]))
            continue
        # A batch is committed by the leaf after its settlements: two batches may have settled the same.
        committed = row["name"] == "settlements" and row["batch_id"] == _committed(entries.get(position + count))
        if not committed or named.get((row["batch_id"], row["name"])) != row["digest"]:
            what = "batch_id, name and digest are not those of the settlements of the batch that follows"
            found.append(Difference(table, json.dumps([position]), what))
        own = _own_leaves(frames, row["digest"], heights)
        if len(own) != count:
            found.append(Difference(table, json.dumps([position]), "the frame is gone or has another number of rows"))
            own = [b""] * count if 0 < count <= 10**7 else []
        hashes += own
        about += [(table, json.dumps([position]))] * len(own)
    return hashes, about, found


def _committed(entry: Any) -> str | None:
    """Return the batch that a leaf commits, if it does."""
    record = _record(entry["body"].encode(errors="surrogatepass")) if entry is not None else None
    if record is None or (record.get("table"), record.get("state_after")) != ("transitions", "COMMITTED"):
        return None
    return record.get("batch_id")


def _own_leaves(frames: FrameStore, digest: str, heights: dict[str, int | None]) -> list[bytes]:
    frame = _read_frame(frames, digest)
    heights[digest] = None if frame is None else frame.height
    try:
        return [] if frame is None else leaf_hashes(canonical_rows(frame))
    except BrokenInvariant:  # It is a frame, and none whose rows are leaves.
        return []


def _read_frame(frames: FrameStore, digest: str) -> pl.DataFrame | None:
    try:
        return frames.read(digest) if DIGEST.fullmatch(digest) else None
    except BrokenInvariant:
        return None


def _tiles(
    hashes: Sequence[bytes], about: Sequence[tuple[str, str]], folder: Path, tables: Tables
) -> Iterable[Difference]:
    """The files of the log hold the same leaves, as far as they were signed, and the newest checkpoint."""
    newest = max(tables["checkpoints"], key=lambda row: row["size"], default=None)
    for name, index, what in wrong_tiles(folder, hashes, min(newest["size"], len(hashes)) if newest else 0):
        yield Difference("tiles", name, what)
        if index is not None:
            yield Difference(*about[index], "its leaf is not the one in the log's files")
    signed = folder / "checkpoint"
    if newest and not (signed.is_file() and signed.read_bytes() == newest["note"].encode(errors="surrogatepass")):
        yield Difference("tiles", "checkpoint", "it is not the newest note of the records")


def _checkpoints(
    hashes: Sequence[bytes], tables: Tables, second_place: Path, trusted: Sequence[VerifierKey]
) -> Iterable[Difference]:
    """Each checkpoint is signed by a key that is believed, has the root of its leaves, and is in the second place."""
    places = {row["row_key"]: row["position"] for row in tables["log_entries"] if row["source"] == "keys"}
    named = [(places.get(key_of(keys, row)), _key(row["verifier_key"])) for row in tables["keys"]]
    believed = dict.fromkeys(trusted or [key for _, key in named if key is not None])
    copies = {path.name: path for path in second_place.glob("*.checkpoint")}
    frontier = Frontier()
    for row in tables["checkpoints"]:
        key = json.dumps([row["size"]])
        try:
            checkpoint, _ = verify_checkpoint(row["note"], believed)
        except (ProofRefused, UnicodeError) as error:
            yield Difference("checkpoints", key, f"note: {error}")
            continue
        finally:
            copy = copies.pop(f"{row['size']:012d}.checkpoint", None)
            if copy is None:
                yield Difference("checkpoints", key, "it has no copy in the second place")
            elif copy.read_bytes() != row["note"].encode(errors="surrogatepass"):
                yield Difference("checkpoints", key, "note is not the copy in the second place")
        if checkpoint.size != row["size"]:
            yield Difference("checkpoints", key, "size is not what was signed")
        if checkpoint.root.hex() != row["root"]:
            yield Difference("checkpoints", key, "root is not what was signed")
        if not frontier.size <= checkpoint.size <= len(hashes):
            yield Difference("checkpoints", key, "the log is shorter than what was signed")
            continue
        frontier.append(hashes[frontier.size : checkpoint.size])
        if frontier.root() != checkpoint.root:
            yield Difference("checkpoints", key, "the leaves do not lead to the root that was signed")
            continue
        # A key whose leaf is under a checkpoint that is believed may sign the next one: so keys are changed.
        believed |= {key: None for place, key in named if key and place is not None and place < checkpoint.size}
    for name in copies:
        yield Difference("checkpoints", name, "it is in the second place and not in the records: they were set back")


def _key(text: str) -> VerifierKey | None:
    try:
        return VerifierKey.parse(text)
    except (ProofRefused, UnicodeError):
        return None


def _frames(tables: Tables, frames: FrameStore, heights: dict[str, int | None]) -> Iterable[Difference]:
    """Every frame is there and has its digest and its rows."""
    for row in tables["frames"]:
        key = json.dumps([row["batch_id"], row["name"]], separators=(",", ":"))
        if row["digest"] not in heights:
            frame = _read_frame(frames, row["digest"])
            heights[row["digest"]] = None if frame is None else frame.height
        height = heights[row["digest"]]
        if height is None:
            yield Difference("frames", key, "the frame is gone or was changed")
        elif height != row["rows"]:
            yield Difference("frames", key, "the frame has another number of rows")


def _inputs(tables: Tables, inputs: Callable[[str], Path]) -> Iterable[Difference]:
    """The frozen input files are those that were read."""
    manifests = {row["batch_id"]: row["manifest_digest"] for row in tables["batches"]}
    read: dict[str, dict[str, str]] = {}
    for digest in set(filter(DIGEST.fullmatch, manifests.values())):
        folder = inputs(digest)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        read[digest] = {path.relative_to(folder).as_posix(): _sha256(path) for path in files}
        if digest_of_record([list(pair) for pair in sorted(read[digest].items())]) != digest:
            yield Difference("inputs", digest, "the frozen files are not those that were cut")
    for row in tables["input_files"]:
        kept = read.get(manifests.get(row["batch_id"], ""))
        if kept is not None and kept.get(row["file"]) != row["file_sha256"]:
            key = json.dumps([row["batch_id"], row["file"]], ensure_ascii=False, separators=(",", ":"))
            yield Difference("input_files", key, "the frozen file is gone or was changed")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def require_known(text: str) -> VerifierKey:
    """Read a key that a person gives. RefusedInput for what is none."""
    try:
        return VerifierKey.parse(text.strip())
    except ProofRefused as error:
        raise RefusedInput(f"that is no verifier key: {error}") from None
