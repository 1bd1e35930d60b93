"""The system calls of a process, recorded or made to fail by strace."""

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

TRACED = (
    "openat", "open", "creat", "lseek", "write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile",
    "copy_file_range", "splice", "fallocate", "ftruncate", "truncate", "fsync", "fdatasync", "sync_file_range",
    "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "link", "linkat", "symlink",
)  # fmt: skip
LINE = re.compile(r"^(?:(\d+) +)?(\w+)\((.*)\) += (-?\d+|\?)(.*)$")
UNFINISHED = re.compile(r"^(?:(\d+) +)?(\w+)\((.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"^(?:(\d+) +)?<\.\.\. (\w+) resumed>(.*)$")
DESCRIPTOR = re.compile(r"^(-?\d+|AT_FDCWD)<(.*)>$")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


class Call(NamedTuple):
    """A call that has returned. `number` counts those of its name in its thread from 1, as strace does."""

    thread: str
    name: str
    number: int
    arguments: tuple[str, ...]
    answer: int

    def descriptor(self, place: int = 0) -> tuple[str, str]:
        """Return an argument that is an open file, as its number and its path. ("", "") if it is not."""
        found = DESCRIPTOR.match(self.arguments[place])
        return (found[1], _plain(found[2])) if found else ("", "")

    def path(self, place: int) -> str:
        """Return an argument that is a path, whole: a relative one follows its folder, in the place before."""
        path = os.fsdecode(self.data(place))
        return path if path.startswith("/") or not place else os.path.join(self.descriptor(place - 1)[1], path)  # noqa: PTH118

    def data(self, place: int) -> bytes:
        """Return the bytes of an argument, all its parts in one."""
        return b"".join(bytes.fromhex(part.replace("\\x", "")) for part in TEXT.findall(self.arguments[place]))

    def paths(self) -> list[str]:
        """Return every path that the call is about."""
        found = [self.descriptor(place)[1] for place in range(len(self.arguments))]
        named = [place for place, argument in enumerate(self.arguments) if argument.startswith('"')]
        if self.name not in ("write", "pwrite64"):
            found += [self.path(place) for place in named]
        return [path for path in found if path]


class Strace:
    """strace, attached to a process and all its threads until that ends."""

    def __init__(self, pid: int, log: Path, *options: str) -> None:
        command = ["strace", "-f", "-y", "-xx", "-s", "100000000", "-o", str(log), *options, "-p", str(pid)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        said = self._process.stderr.readline()
        if "attached" not in said:
            raise OSError(f"strace does not attach: {said.strip()}")

    def end(self) -> None:
        self._process.communicate()


def calls_of(log: Path) -> Iterator[Call]:
    """Return the calls of a log in the order in which they returned."""
    begun: dict[tuple[str, str], str] = {}
    count: Counter[tuple[str, str]] = Counter()
    with log.open() as lines:
        for line in lines:
            text = line.rstrip("\n")
            if half := UNFINISHED.match(text):
                begun[half[1] or "", half[2]] = half[3]
                continue
            if rest := RESUMED.match(text):
                text = f"{rest[1] or 0} {rest[2]}({begun.pop((rest[1] or '', rest[2]))}{rest[3]}"
            if whole := LINE.match(text):
                thread, name = whole[1] or "0", whole[2]
                count[thread, name] += 1
                if whole[4] != "?":
                    arguments = tuple(_split(whole[3]))
                    yield Call(thread, name, count[thread, name], arguments, int(whole[4]))


def _split(arguments: str) -> Iterator[str]:
    """Part the arguments of a call. Texts are in hexadecimal, so a comma in one cannot be."""
    depth, start = 0, 0
    for found in re.finditer(r"[\[\]{}]|, ", arguments):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if found[0] == ", " and not depth:
            yield arguments[start : found.start()]
            start = found.end()
    yield arguments[start:]


def _plain(path: str) -> str:
    return re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), path)


def require_strace() -> None:
    """Skip the test aloud where strace is missing or may not trace; under CI=true fail it."""
    if not shutil.which("strace"):
        absent("no strace: install it from the system's packages, as `apt-get install strace`")
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        absent(f"strace may not trace here: {tried.stderr.strip()}")


def absent(why: str) -> NoReturn:
    """Skip the test aloud; under CI=true fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)
