"""The judge: what a disk holds after a fault is what was acknowledged, whole and once, and the work can be ended on it."""

import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from assets.frames import FrameStore
from schemas.errors import BrokenInvariant
from tests.faults.workload import HONEST, life, records_in

Rows = dict[str, list[str]]  # Every row of every table as text, and each table's own definition.


class Held(NamedTuple):
    """What a folder holds: the records, and the digests of the frames."""

    records: Rows
    frames: frozenset[str]


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
    return Held(_rows(records_in(folder)), _frames(folder / "frames"))


def _rows(path: Path) -> Rows:
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path)) as connection:
        [(said,)] = connection.execute("PRAGMA integrity_check(1)")
        if said != "ok":
            raise sqlite3.DatabaseError(said)
        made = connection.execute("SELECT name, type, sql FROM sqlite_master ORDER BY name").fetchall()
        rows = {name: sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"')))
                for name, kind, _ in made if kind == "table"}  # fmt: skip
        return {"": [repr(row) for row in made], **rows} if made else {}


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
        call that was acknowledged or after the next one, to the row.
        """
        try:
            found = held(folder)
        except (sqlite3.DatabaseError, BrokenInvariant) as error:
            return Flaw(Kind.TORN, f"what is there cannot be read: {error}")
        for part, whole in zip(found, zip(*self.after, strict=True), strict=True):
            if part in whole[acknowledged : acknowledged + 2]:
                continue
            if times := [time for time, was in enumerate(whole) if was == part]:
                kind, happened = (Kind.LOST, times[-1]) if times[-1] < acknowledged else (Kind.DOUBLED, times[0])
                return Flaw(kind, f"{acknowledged} calls were acknowledged and {happened} are there")
            return Flaw(Kind.TORN, f"what is there was there at no time ({acknowledged} calls were acknowledged)")
        if found not in self.after[acknowledged : acknowledged + 2]:
            return Flaw(Kind.TORN, f"a call happened by half ({acknowledged} calls were acknowledged)")
        try:
            for _ in life(folder):
                pass
            again = held(folder)
        except (sqlite3.DatabaseError, *HONEST) as error:
            return Flaw(Kind.TORN, f"the work cannot be ended: {type(error).__name__}: {error}")
        if settled(again) != self.end:
            return Flaw(Kind.DOUBLED, "the work was ended and its records are not those of an undisturbed life")
        return None


def settled(what: Held) -> Any:
    """Return what is final, whichever attempt it was: the rows of attempts that were given up are left out."""
    batches = what.records["batches"]
    aborted = {row.split("'")[1] for row in batches if "'ABORTED'" in row}
    rows = {
        table: sorted(re.sub(r"#\d+", "#", row) for row in lines if not any(f"'{batch}'" in row for batch in aborted))
        for table, lines in what.records.items()
    }
    # The number of the attempt is a column of its own.
    rows["batches"] = [re.sub(r"^('[^']*', '[^']*'), \d+", r"\1", row.strip("()")) for row in rows["batches"]]
    return rows, what.frames


def summary(name: str, tried: int, of_what: str, flaws: Iterable[Flaw]) -> str:
    count = Counter(flaw.kind for flaw in flaws)
    found = ", ".join(f"{count[kind]} {kind}" for kind in Kind)
    return f"{name}: {tried} {of_what}: {found}"


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
