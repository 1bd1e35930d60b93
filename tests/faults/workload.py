"""The work that faults are put into: a process that settles two cycles and says each call that has returned."""

import ctypes
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Generator, Iterator
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import polars as pl
from polars.exceptions import PolarsError
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

import assets.frames
from assets.frames import FrameStore
from assets.ledger.store import SQLITE_SETTINGS, DatabaseError, Proposal, Store
from assets.settlement.instruct import Plan
from schemas.errors import TrineError
from tests.test_store import CYCLE, NEXT, RULES, proposed, verdicts

ACKNOWLEDGED, DONE = b"this call has returned", b"done"
# What a process may say of a machine that fails it. Anything else is a fault of ours.
HONEST = (TrineError, DatabaseError, OSError, PolarsError)
PR_SET_PTRACER, ANYONE = 0x59616D61, -1
SECONDS_MAX = 60
# Imported once, then forked: the import takes seconds, and no Polars code has run when it is done.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
# Each takes one guard away, so that the harness can show that it would notice.
WEAKER: dict[str, Callable[[], None]] = {
    "synchronous": lambda: SQLITE_SETTINGS.update(synchronous=1),
    "sync": lambda: setattr(assets.frames, "_sync", lambda _: None),
    "patience": lambda: globals().update(life=_hasty(life)),
}


@cache
def plan_of(cycle_id: str, previous_batch_id: str | None) -> tuple[Proposal, Plan]:
    return proposed(cycle_id, previous_batch_id=previous_batch_id)


def records_in(folder: Path) -> Path:
    return folder / "records.sqlite"


def life(folder: Path) -> Iterator[str]:
    """Settle two cycles in a folder and give the name of each call that has returned.

    This is the one list of steps. Begun again on what an earlier one left it does what is missing. It asks no clock:
    two undisturbed lives write the same rows.
    """
    store = Store(f"sqlite:///{records_in(folder)}").prepare()
    yield "prepare"
    first = yield from cycle(store, folder, CYCLE, None)
    # While another process reads, SQLite does not move its log into the database at the end of each connection.
    with create_engine(store.url, poolclass=NullPool).connect() as reader:
        reader.exec_driver_sql("SELECT count(*) FROM batches").all()
        if not store.committed(NEXT):
            left = store.propose(plan_of(NEXT, first)[0])
            yield "propose what is given up"
            store.abort(left, "given up")
            yield "abort"
        yield from cycle(store, folder, NEXT, first)


def cycle(store: Store, folder: Path, cycle_id: str, previous: str | None) -> Generator[str, None, str]:
    """Keep a cycle's frames, propose, judge and commit it. Returns the batch that is committed."""
    proposal, plan = plan_of(cycle_id, previous)
    for name, frame in (("accounts", plan.accounts), ("instructions", plan.instructions), ("postings", plan.postings)):
        # The cycles' amounts are the same: without their name the second would find the frames of the first.
        FrameStore(folder / "frames").write(frame.with_columns(of=pl.lit(cycle_id)))
        yield f"keep {name}"
    if not store.committed(cycle_id):
        batch_id = store.propose(proposal)
        yield "propose"
        store.record_verdicts(batch_id, verdicts(*RULES))
        yield "record verdicts"
        store.commit(batch_id, plan.postings, RULES)
        yield "commit"
    return str(store.committed(cycle_id)[0]["batch_id"])


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
