"""SIGKILL at random moments of whole cycles through Dagster: once or more on each home, then one run to the end.

Afterwards the home holds the same records and frames as one that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assets.ledger.note import SignerKey
from assets.partitions import cycle_of
from pipelines.market import MarketPlan, write_market
from pipelines.resources import CHECKOUT, home_resource
from schemas.digest import digest_of
from tests.faults.boundaries import both_engines
from tests.faults.campaign import CONTEXT, Databases, Say, main, memory_folder, start
from tests.faults.inspection import Moment, broken_rules, content_of, differences, moment_of
from tests.input_folders import CYCLE

KILLS_PER_HOME_MAX = 4
POSTGRES_EVERY = 10  # One home in so many keeps its records in PostgreSQL.
IMPORTED = (
    "pipelines.cli", "pipelines.run", "pipelines.definitions", "great_expectations", "psycopg", "highspy", "ccxt", "numba",
    "assets.funding.anneal", "assets.funding.search", "assets.funding.exact", "dagster._daemon", "dagster._grpc.client",
    "alembic", "sqlalchemy.dialects.postgresql.psycopg", "cryptography.hazmat.primitives.asymmetric.ed25519",
)  # fmt: skip


def settle(source: Path, home: Path, url: str) -> None:
    """Settle the cycle in this process as `trine settle` does; what it says goes to a file."""
    home.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home / "dagster")
    os.environ["TRINE_SIGNING_KEY"] = SignerKey(
        "trine.example/log", bytes(32)
    ).text()  # One key, so that leaves compare.
    with (home / "said").open("a") as said, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        from pipelines.cli import main as trine

        trine(["settle", "--input", str(source), "--home", str(home), "--records", url])


@contextlib.contextmanager
def fresh_home(databases: Databases, folder: Path) -> Iterator[tuple[Path, str]]:
    """Give an empty home with a Dagster of its own, and empty records."""
    with databases.fresh() as url, tempfile.TemporaryDirectory(dir=folder) as home:
        (Path(home) / "dagster").mkdir()
        shutil.copy(CHECKOUT / "dagster_home" / "dagster.yaml", Path(home) / "dagster")
        yield Path(home), url


def wrong_frames(moment: Moment, home: Path, url: str) -> list[str]:
    """Return a line for each recorded frame that is not in the home as it was recorded."""
    place, found = home_resource(str(home), records_url=url), []
    for row in moment.tables["frames"]:
        if row["name"] in ("postings",):
            continue  # Its rows are in the records.
        try:
            frame = place.frame(row["batch_id"], row["name"])
        except Exception as error:  # noqa: BLE001  Torn, gone or refused: it cannot be read.
            found.append(f"frame {row['name']}: {error!r}")
        else:
            if (digest_of(frame), frame.height) != (row["digest"], row["rows"]):
                found.append(f"frame {row['name']} is another")
    return found


def finish(process: Any) -> str | None:
    """Wait for a run that nobody kills. Return what went wrong."""
    process.join()
    return None if process.exitcode == 0 else f"the last run ended with {process.exitcode}"


def kill_cycles(
    times: int, seed: int, say: Say, engines: tuple[Databases, Databases], postgres_every: int = POSTGRES_EVERY
) -> list[str]:
    """Kill `times` cycles, and return what was wrong."""
    dice, cycle, found, kills, homes = random.Random(seed), cycle_of(CYCLE), [], 0, 0
    CONTEXT.set_forkserver_preload([*IMPORTED])
    with memory_folder() as folder:
        write_market(MarketPlan(CYCLE, cycle.opens_at, cycle.cut_at, trades=40), folder / "in")
        with fresh_home(engines[0], folder) as (home, url):
            start(settle, folder / "in", home, url).join()  # The first fork waits for the imports.
        with fresh_home(engines[0], folder) as (home, url):
            began = time.monotonic()
            wrong = finish(start(settle, folder / "in", home, url))
            seconds = time.monotonic() - began
            moment = moment_of(url)
            expected = content_of(moment, times=False)
            found += [wrong] if wrong else [*broken_rules(moment), *wrong_frames(moment, home, url)]
        say(f"a cycle takes {seconds:.1f} s")
        while kills < times and not (found and homes == 0):
            homes += 1
            databases = engines[homes % postgres_every == 0]
            with fresh_home(databases, folder) as (home, url):
                moments = sorted(dice.random() for _ in range(dice.randint(1, KILLS_PER_HOME_MAX)))
                for moment_ in moments:
                    process = start(settle, folder / "in", home, url)
                    time.sleep(seconds * moment_)
                    process.kill()
                    process.join()
                    kills += process.exitcode != 0
                wrong = finish(start(settle, folder / "in", home, url))
                moment = moment_of(url)
                lines = [*([wrong] if wrong else []), *broken_rules(moment), *wrong_frames(moment, home, url)]
                lines += differences(content_of(moment, times=False), expected)
                name = f"{databases.engine}, seed {seed}, home {homes}, killed at {[f'{one:.3f}' for one in moments]}"
                found += [f"{name}: {line}" for line in lines]
            if homes % 10 == 0 or lines:
                say(f"{kills} kills in {homes} homes, {len(found)} found")
    say(f"{kills} kills in {homes} homes, {len(found)} found")
    return found


def run(times: int, seed: int, say: Say) -> list[str]:
    """Kill `times` cycles, a tenth of the homes on PostgreSQL."""
    with both_engines() as engines:
        return kill_cycles(times, seed, say, engines)


if __name__ == "__main__":
    main(run, 10_000)
