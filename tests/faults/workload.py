"""The work that faults are put into: a process that settles two cycles and says each call that has returned."""

import ctypes
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from polars.exceptions import PolarsError
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

import assets.durable
import assets.ledger.database
from assets.frames import FrameStore
from assets.ledger.database import SQLITE_SETTINGS
from assets.ledger.log import Log
from assets.ledger.note import SignerKey
from assets.ledger.store import DatabaseError, Store
from schemas.digest import digest_of_record
from schemas.errors import TrineError
from tests.batches import CYCLE, NEXT, STEPS, Life, at_noon, life_of

ACKNOWLEDGED, DONE = b"this call has returned", b"done"
# What a process may say of a machine that fails it. Anything else is a fault of ours.
HONEST = (TrineError, DatabaseError, OSError, PolarsError)
PR_SET_PTRACER, ANYONE = 0x59616D61, -1
SECONDS_MAX = 60
SIGNER = SignerKey("trine.example/log", bytes(32))
NO_INPUTS = digest_of_record([])
# Imported once, then forked: the import takes seconds, and no Polars code has run when it is done.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
# Each takes one guard away, so that the harness can show that it would notice.
WEAKER: dict[str, Callable[[], None]] = {
    "synchronous": lambda: SQLITE_SETTINGS.update(synchronous=1),
    "sync": lambda: setattr(assets.durable, "sync", lambda _: None),
    "folder": lambda: setattr(assets.ledger.database, "make_folder", lambda folder: folder.mkdir(exist_ok=True)),
    "patience": lambda: globals().update(life=_hasty(life)),
}


@cache
def batch_of(cycle_id: str) -> Life:
    batch = life_of(cycle_id)
    return replace(batch, cycle={**batch.cycle, "manifest_digest": NO_INPUTS})


class Home:
    """Where a life keeps its things, in a folder that is empty at first."""

    def __init__(self, folder: Path) -> None:
        self.records = folder / "home" / "records.sqlite"  # In a folder that is made for it.
        self.frames, self.log, self.copies = folder / "frames", folder / "log", folder / "second place"

    def store(self) -> Store:
        return Store(f"sqlite:///{self.records}", at_noon)


def life(folder: Path, now: str = "2026-11-02T12:00:00+00:00") -> Iterator[str]:
    """Settle two cycles in a folder, sign the log after each, and give the name of each call that has returned.

    This is the one list of steps. Begun again on what an earlier one left it does what is missing. It asks no clock:
    two undisturbed lives write the same rows. `now` is when a key is introduced.
    """
    home = Home(folder)
    store = home.store().prepare()
    yield "prepare"
    yield from cycle(home, store, CYCLE, now)
    # While another process reads, SQLite does not move its log into the database at the end of each connection.
    with create_engine(store.url, poolclass=NullPool).connect() as reader:
        reader.exec_driver_sql("SELECT count(*) FROM batches").all()
        yield from cycle(home, store, NEXT, now)


def cycle(home: Home, store: Store, cycle_id: str, now: str) -> Iterator[str]:
    """Begin a cycle's batch or take it over, keep its frames, take it through its life, and sign the log."""
    batch, frames = batch_of(cycle_id), FrameStore(home.frames)
    claim = batch.begin(store)
    yield "begin"
    for name, frame in (("postings", batch.planned.postings), ("settlements", batch.settlements)):
        frames.write(frame)
        yield f"keep {name}"
    for name, step in STEPS.items():
        step(store, claim, batch)
        yield name
    log = Log(store, frames, home.log)
    log.introduce([SIGNER], now)  # What `publish` does first, in a transaction of its own.
    yield "introduce"
    log.publish([SIGNER], home.copies, now)
    yield "publish"


def _hasty(patient: Callable[[Path], Iterator[str]]) -> Callable[[Path], Iterator[str]]:
    """Return a life that acknowledges each call before it is made."""

    def life(folder: Path) -> Iterator[str]:
        yield "nothing yet"
        yield from patient(folder)

    return life


class Ended(NamedTuple):
    """How a process ended: calls that had returned, what it said of the fault ("" if nothing), its exit code."""

    acknowledged: int
    said: str
    exit_code: int

    @property
    def honest(self) -> bool:
        """It did all, was killed, or ended with an error of a kind that a user can read."""
        return self.exit_code in (0, 3, -signal.SIGKILL)


class Driver:
    """A process that waits for `go`, then lives one life in `folder`, as weak as asked and with files as short."""

    def __init__(self, folder: Path, *, weaker: tuple[str, ...] = (), file_bytes_max: int | None = None) -> None:
        self._pipe, end = PROCESSES.Pipe()
        self._process = PROCESSES.Process(target=_drive, args=(end, folder, weaker, file_bytes_max))
        self._process.start()
        end.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def go(self) -> None:
        self._pipe.send_bytes(b"go")

    def end(self) -> Ended:
        """Wait until the process has ended. One that hangs is killed and has said so."""
        acknowledged, said = 0, ""
        while True:
            if not self._pipe.poll(SECONDS_MAX):
                self._process.kill()
                said = "it hangs"
            try:
                word = self._pipe.recv_bytes()
            except (EOFError, ConnectionError):
                break
            if word == ACKNOWLEDGED:
                acknowledged += 1
            elif word != DONE:
                said = word.decode()
        self._process.join()
        self._pipe.close()
        assert self._process.exitcode is not None
        return Ended(acknowledged, said, 4 if said == "it hangs" else self._process.exitcode)


def _drive(pipe: Connection, folder: Path, weaker: tuple[str, ...], file_bytes_max: int | None) -> None:
    # Some systems let only a parent trace its child.
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANYONE, 0, 0, 0)
    for name in weaker:
        WEAKER[name]()
    if file_bytes_max is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))
    pipe.recv_bytes()
    try:
        for _ in life(folder):
            pipe.send_bytes(ACKNOWLEDGED)
        pipe.send_bytes(DONE)
    except BaseException as error:  # noqa: BLE001  Which kind of error came is what the test asks.
        _say(pipe, f"{type(error).__name__}: {error}")
        os._exit(3 if isinstance(error, HONEST) else 5)
    os._exit(0)


def _say(pipe: Connection, what: str) -> None:
    try:
        pipe.send_bytes(" ".join(what.split())[:500].encode())
    except OSError:
        return
