"""The judge: what a disk holds after a fault is what was acknowledged, whole and once, and the work can be ended on it."""

import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from assets.frames import FrameStore
from assets.ledger.audit import audit
from schemas.errors import BrokenInvariant
from tests.faults.workload import HONEST, SIGNER, Home, life

Rows = dict[str, list[dict[str, Any]]]  # Every row of every table, and each table's own definition.
# What depends on how often a batch was taken over and the log signed. The audit checks them.
OF_ATTEMPTS = {"log_entries", "log_frames", "checkpoints"}
LATER = "2026-11-02T13:00:00+00:00"


class Held(NamedTuple):
    """What a folder holds: the records, the digests of the frames, and the files of the log and its second place."""

    records: Rows
    frames: frozenset[str]
    files: dict[str, bytes]


class Kind(StrEnum):
    LOST = "lost"
    TORN = "torn"
    DOUBLED = "doubled"


class Flaw(NamedTuple):
    """A broken promise."""

    kind: Kind
    what: str


def held(folder: Path) -> Held:
    """Read a folder with no code of the records'. Raises sqlite3.DatabaseError or BrokenInvariant if it cannot be."""
    home = Home(folder)
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for place in (home.log, home.copies)
        for path in place.rglob("*")
        if path.is_file() and path.suffix != ".part"
    }
    return Held(_rows(home.records), _frames(home.frames), files)


def _rows(path: Path) -> Rows:
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        [said] = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if said != "ok":
            raise sqlite3.DatabaseError(said)
        made = [dict(row) for row in connection.execute("SELECT name, type, sql FROM sqlite_master ORDER BY name")]
        rows = {one["name"]: sorted(map(dict, connection.execute(f'SELECT * FROM "{one["name"]}"')), key=repr)
                for one in made if one["type"] == "table"}  # fmt: skip
        return {"": made, **rows} if made else {}


def _frames(folder: Path) -> frozenset[str]:
    digests = frozenset(path.stem for path in folder.rglob("*.parquet"))
    for digest in digests:
        FrameStore(folder).read(digest)
    return digests


class Undisturbed:
    """A life that nothing happened to: what is held before the first call and after each."""

    def __init__(self, folder: Path) -> None:
        self.after = [held(folder)]
        self.after += [held(folder) for _ in life(folder)]
        self.end = settled(self.after[-1])

    def judge(self, folder: Path, acknowledged: int) -> Flaw | None:
        """Judge what a fault left when that many calls had returned, then end the work on it. None: all is well.

        The call that was under way happened or did not: the folder holds what an undisturbed life held after the last
        call that was acknowledged or after the next one, to the row. Of the files of the log, which are written one
        after the other, it holds the former and of the latter some. When the work was ended, everything agrees.
        """
        try:
            found = held(folder)
        except (sqlite3.DatabaseError, BrokenInvariant) as error:
            return Flaw(Kind.TORN, f"what is there cannot be read: {error}")
        before, after = (self.after[min(time, len(self.after) - 1)] for time in (acknowledged, acknowledged + 1))
        # A call changes the records or the frames, never both, so each may be looked at for itself.
        for part, whole in zip(found[:2], zip(*(was[:2] for was in self.after), strict=True), strict=True):
            if part in whole[acknowledged : acknowledged + 2]:
                continue
            if times := [time for time, was in enumerate(whole) if was == part]:
                kind, happened = (Kind.LOST, times[-1]) if times[-1] < acknowledged else (Kind.DOUBLED, times[0])
                return Flaw(kind, f"{acknowledged} calls were acknowledged and {happened} are there")
            return Flaw(Kind.TORN, f"what is there was there at no time ({acknowledged} calls were acknowledged)")
        for name in sorted(found.files.keys() | before.files.keys()):
            if name not in found.files:
                return Flaw(Kind.LOST, f"{name} is gone ({acknowledged} calls were acknowledged)")
            if found.files[name] not in (before.files.get(name), after.files.get(name)):
                return Flaw(Kind.TORN, f"{name} is what it never was ({acknowledged} calls were acknowledged)")
        try:
            for _ in life(folder, LATER):
                pass
            again, differences = held(folder), _audit(folder)
        except (sqlite3.DatabaseError, *HONEST) as error:
            return Flaw(Kind.TORN, f"the work cannot be ended: {type(error).__name__}: {error}")
        if settled(again) != self.end:
            return Flaw(Kind.DOUBLED, "the work was ended and its records are not those of an undisturbed life")
        if differences:
            return Flaw(Kind.TORN, f"the work was ended and does not agree with the log: {differences[0]}")
        return None


def _audit(folder: Path) -> list[Any]:
    home = Home(folder)
    frames = FrameStore(home.frames)
    return audit(
        home.store(), frames, home.log, home.copies, lambda _: folder / "inputs", [SIGNER.verifier]
    ).differences


def settled(what: Held) -> Any:
    """Return what is final, however often a batch was taken over."""
    rows = {table: lines for table, lines in what.records.items() if table not in OF_ATTEMPTS}
    rows["batches"] = _without(rows["batches"], "fence")
    rows["keys"] = _without(rows["keys"], "recorded_at")
    moves = [row for row in rows["transitions"] if row["state_before"] != row["state_after"]]
    rows["transitions"] = sorted(_without(moves, "number", "fence"), key=repr)
    return rows, what.frames


def _without(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


def summary(name: str, tried: int, of_what: str, flaws: Iterable[Flaw]) -> str:
    count = Counter(flaw.kind for flaw in flaws)
    found = ", ".join(f"{count[kind]} {kind}" for kind in Kind)
    return f"{name}: {tried} {of_what}: {found}"


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
