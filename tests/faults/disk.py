"""A disk as the rules of POSIX leave it: what was synced is there after a power loss, what was not may be, or in part.

A file's sync keeps its bytes and its length, not its name: names are kept by a sync of their folder. A rename is one
change. SQLite's `-shm` is left out: it is memory that SQLite makes anew.
"""

import os
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.faults.calls import Call

SECTOR = 512  # Bytes that a disk writes whole or not at all.
Files = dict[str, bytes | None]  # By path within the root. None is a folder.


class Write(NamedTuple):
    """Bytes at an offset; or, with none, a new length."""

    offset: int
    data: bytes | None


@dataclass
class File:
    """The bytes that are synced, the writes since, and the bytes as the processes see them."""

    synced: bytes = b""
    writes: list[Write] = field(default_factory=list)
    seen: bytearray = field(default_factory=bytearray)

    def write(self, write: Write) -> None:
        self.writes.append(write)
        _apply(self.seen, write)

    def sync(self) -> None:
        self.synced = bytes(self.seen)
        self.writes.clear()


@dataclass
class Folder:
    """Names in a folder: those that are synced, the changes since, and the names as the processes see them."""

    synced: dict[str, "File | Folder"] = field(default_factory=dict)
    changes: list[dict[str, "File | Folder | None"]] = field(default_factory=list)
    seen: dict[str, "File | Folder"] = field(default_factory=dict)

    def change(self, names: dict[str, "File | Folder | None"]) -> None:
        self.changes.append(names)
        _rename(self.seen, names)

    def sync(self) -> None:
        self.synced = dict(self.seen)
        self.changes.clear()


class Fate(NamedTuple):
    """What a power loss does to what was not synced: each change is kept with a chance, and of those some in part."""

    dice: Random
    kept: float
    torn: float

    def happened(self) -> bool:
        return self.dice.random() < self.kept

    def parts(self, write: Write) -> list[Write]:
        """Return what of a write reached the disk: all; sectors of it; or only the length, with zeros for bytes."""
        if write.data is None or self.dice.random() >= self.torn:
            return [write]
        end = write.offset + len(write.data)
        grown = [Write(end, b"")] if self.dice.random() < 0.5 else []
        cuts = [write.offset, *range(write.offset // SECTOR * SECTOR + SECTOR, end, SECTOR), end]
        share = self.dice.choice((0, 0.5, 0.9))
        kept = [
            Write(begin, write.data[begin - write.offset : stop - write.offset])
            for begin, stop in pairwise(cuts)
            if self.dice.random() < share
        ]
        return grown + kept


class Disk:
    """What calls have done below one folder, which was empty and is itself synced."""

    def __init__(self, root: Path) -> None:
        self._root, self._top = str(root), Folder()
        self._places: dict[tuple[str, str], int] = {}  # Where an open file is written next.

    def apply(self, call: Call) -> bool:
        """Do what a call has done. False: it changed nothing here. Raises NotImplementedError for one not known."""
        here = [path for path in call.paths() if path.startswith(self._root) and not path.endswith("-shm")]
        if call.answer < 0 or not here:
            return False
        handler = getattr(self, f"_{call.name}", None)
        if handler is None:
            raise NotImplementedError(f"the disk does not know the call {call.name}")
        return bool(handler(call))

    def _openat(self, call: Call) -> bool:
        path, flags = call.path(1), call.arguments[2]
        self._places[str(call.answer), path] = 0
        if path == self._root:
            return False
        folder, name = self._split(path)
        if "O_CREAT" in flags and name not in folder.seen:
            folder.change({name: File()})
            return True
        if "O_TRUNC" in flags and self._file(path).seen:
            self._file(path).write(Write(0, None))
            return True
        if "O_APPEND" in flags:
            raise NotImplementedError("the disk does not know O_APPEND")
        return False

    def _lseek(self, call: Call) -> bool:
        self._places[call.descriptor()] = call.answer
        return False

    def _write(self, call: Call) -> bool:
        number, path = call.descriptor()
        place = self._places[number, path]
        self._places[number, path] = place + call.answer
        self._file(path).write(Write(place, call.data(1)[: call.answer]))
        return True

    def _pwrite64(self, call: Call) -> bool:
        self._file(call.descriptor()[1]).write(Write(int(call.arguments[3]), call.data(1)[: call.answer]))
        return True

    def _ftruncate(self, call: Call) -> bool:
        self._file(call.descriptor()[1]).write(Write(int(call.arguments[1]), None))
        return True

    def _fsync(self, call: Call) -> bool:
        self._find(call.descriptor()[1]).sync()
        return True

    _fdatasync = _fsync

    def _rename(self, call: Call) -> bool:
        (folder, before), (other, after) = self._split(call.path(0)), self._split(call.path(1))
        if folder is not other:
            raise NotImplementedError("the disk does not know a rename to another folder")
        folder.change({before: None, after: folder.seen[before]})
        return True

    def _unlink(self, call: Call) -> bool:
        folder, name = self._split(call.path(0))
        folder.change({name: None})
        return True

    _rmdir = _unlink

    def _mkdir(self, call: Call) -> bool:
        folder, name = self._split(call.path(0))
        folder.change({name: Folder()})
        return True

    def _find(self, path: str) -> File | Folder:
        if path == self._root:
            return self._top
        folder, name = self._split(path)
        return folder.seen[name]

    def _file(self, path: str) -> File:
        found = self._find(path)
        if not isinstance(found, File):
            raise NotImplementedError("the disk does not write to a folder")
        return found

    def _split(self, path: str) -> tuple[Folder, str]:
        above, name = os.path.split(path)
        folder = self._find(above)
        if not isinstance(folder, Folder):
            raise NotImplementedError("the disk has no names below a file")
        return folder, name

    def seen(self) -> Files:
        """Return what the processes see."""
        return _walk(self._top, "", None)

    def after(self, fate: Fate) -> Files:
        """Return one of the contents that a power loss may leave."""
        return _walk(self._top, "", fate)


def _walk(folder: Folder, above: str, fate: Fate | None) -> Files:
    names = dict(folder.synced if fate else folder.seen)
    if fate:
        for change in folder.changes:
            if fate.happened():
                _rename(names, change)
    files: Files = {}
    for name, what in sorted(names.items()):
        if isinstance(what, Folder):
            files[above + name] = None
            files |= _walk(what, f"{above}{name}/", fate)
            continue
        content = bytearray(what.synced) if fate else what.seen
        if fate:
            for part in (part for write in what.writes if fate.happened() for part in fate.parts(write)):
                _apply(content, part)
        files[above + name] = bytes(content)
    return files


def _apply(content: bytearray, write: Write) -> None:
    if len(content) < write.offset:
        content.extend(bytes(write.offset - len(content)))
    if write.data is None:
        del content[write.offset :]
    else:
        content[write.offset : write.offset + len(write.data)] = write.data


def _rename(names: dict[str, File | Folder], change: dict[str, File | Folder | None]) -> None:
    for name, what in change.items():
        if what is None:
            names.pop(name, None)
        else:
            names[name] = what


def read(root: Path) -> Files:
    """Return what is really on a disk."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
        if not path.name.endswith("-shm")
    }


def write(files: Files, root: Path) -> None:
    for name, content in files.items():
        if content is None:
            (root / name).mkdir(parents=True)
        else:
            (root / name).write_bytes(content)
