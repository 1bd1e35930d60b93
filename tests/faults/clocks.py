"""A clock that jumps, stands still or is years off: it decides when holds expire, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from assets.ledger.store import Store
from schemas.errors import CycleOutOfOrder
from tests.batches import NOON, STEPS, Life, life_of
from tests.faults.boundaries import both_engines
from tests.faults.campaign import Databases, Say, main, quiet
from tests.faults.inspection import Moment, broken_rules, content_of, differences, moment_of

Clock = Callable[[], datetime]
HOUR, YEAR = timedelta(hours=1), timedelta(days=365)
ATTEMPTS_MAX = 50


def standing_still(dice: random.Random) -> Clock:
    """The same moment always, perhaps long ago."""
    then = NOON + dice.randint(-50, 50) * YEAR
    return lambda: then


def years_off(dice: random.Random) -> Clock:
    """It goes as it should, in another decade."""
    now = [NOON + dice.choice((-40, -8, 9, 70)) * YEAR]

    def tick() -> datetime:
        now[0] += timedelta(seconds=1)
        return now[0]

    return tick


def back_and_forth(dice: random.Random) -> Clock:
    """Any moment of three days, in any order."""
    return lambda: NOON + dice.randint(-36, 36) * HOUR


def going_back(dice: random.Random) -> Clock:
    """Each moment is before the last."""
    now = [NOON]

    def tick() -> datetime:
        now[0] -= dice.randint(0, 5) * HOUR
        return now[0]

    return tick


def jumping_ahead(dice: random.Random) -> Clock:
    """It leaps now and then, perhaps while funds are held."""
    now = [NOON]

    def tick() -> datetime:
        now[0] += dice.choice((timedelta(), timedelta(seconds=1), 5 * HOUR))
        return now[0]

    return tick


CLOCKS = (standing_still, years_off, back_and_forth, going_back, jumping_ahead)


def under(clock: Clock, url: str, life: Life) -> list[str]:
    """Settle a cycle, again after each time that its holds expired, and return what was wrong."""
    found = []
    for attempt in range(1, ATTEMPTS_MAX + 1):
        store = Store(url, clock)
        claim = life.begin(store)
        if claim.batch_id != f"{life.cycle['cycle_id']}#{attempt}":
            found.append(f"attempt {attempt} is called {claim.batch_id}")
        try:
            for step in STEPS.values():
                step(store, claim, life)
        except CycleOutOfOrder:
            found += broken_rules(moment_of(url))
            if store.batch(claim.batch_id)["state"] != "ABORTED":
                found.append(f"the holds of {claim.batch_id} expired, and it is not aborted")
        else:
            return found
    return [*found, f"it has not settled in {ATTEMPTS_MAX} attempts"]


def _settled_as(moment: Moment, batch_id: str, attempt: str) -> tuple[dict[str, list[str]], list[tuple[Any, Any]]]:
    """Return a batch's rows without times, and the order of its leaves, both under the name of another attempt."""
    own = {name: [row for row in rows if row.get("batch_id") == batch_id] for name, rows in moment.tables.items()}
    content = {
        name: [row.replace(batch_id, attempt) for row in rows]
        for name, rows in content_of(Moment(own), times=False).items()
    }
    leaves = sorted(moment.tables["log_entries"], key=lambda row: int(row["position"]))
    order = [(row["source"], row["row_key"].replace(batch_id, attempt)) for row in leaves if batch_id in row["row_key"]]
    return content, order


def skew(databases: Databases, times: int, seed: int, say: Say = quiet) -> list[str]:
    """Settle under `times` clocks and compare each with a clock that goes well."""
    life, found, attempts = life_of(), [], 0
    with databases.fresh() as url:
        under(years_off(random.Random(0)), url, life)
        first = f"{life.cycle['cycle_id']}#1"
        expected, order = _settled_as(moment_of(url), first, first)
    for number in range(times):
        made = CLOCKS[number % len(CLOCKS)]
        with databases.fresh() as url:
            lines = under(made(random.Random(1000 * seed + number)), url, life)
            moment = moment_of(url)
            lines += broken_rules(moment)
            names = [row["batch_id"] for row in moment.tables["batches"] if row["state"] == "FINAL"]
            if len(names) == 1:
                attempts += len(moment.tables["batches"])
                content, leaves = _settled_as(moment, names[0], first)
                attempt = f"'attempt': {len(moment.tables['batches'])}"
                content["batches"] = [row.replace(attempt, "'attempt': 1") for row in content["batches"]]
                lines += differences(content, expected)
                lines += ["its leaves are in another order"] if leaves != order else []
            else:
                lines.append(f"{len(names)} batches are final")
        found += [f"{databases.engine}, clock {made.__name__}, seed {seed}, case {number}: {line}" for line in lines]
    say(f"{databases.engine}: {times} clocks, {attempts} attempts, {len(found)} found")
    return found


def run(times: int, seed: int, say: Say) -> list[str]:
    """Settle under `times` clocks on each engine."""
    with both_engines() as engines:
        return [line for databases in engines for line in skew(databases, times, seed, say)]


if __name__ == "__main__":
    main(run, 500)
