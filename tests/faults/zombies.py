"""A process is stopped between two steps, another takes its batch over, and the first goes on: it must write nothing.

On PostgreSQL it is also stopped in the middle of a transaction. The other then waits for the lock until the server ends
the first one's session; without `idle_in_transaction_session_timeout` that is for ever, which is safe and is no progress.
On SQLite it would hold the file's lock, and nothing can take that from it: so there it is stopped between steps only.
"""

from __future__ import annotations

import os
import random
import signal
from contextlib import nullcontext
from itertools import count
from typing import Any

from sqlalchemy.engine import make_url

from assets.ledger.store import DatabaseError, Store
from schemas.errors import TakenOver
from tests.batches import STEPS, Life, at_noon, life_of, live
from tests.faults.boundaries import Weakening, both_engines, watch
from tests.faults.campaign import CONTEXT, Databases, Say, main, quiet, start, stop_here, wait_until_stopped
from tests.faults.inspection import broken_rules, content_of, moment_of

PATIENCE = "-c idle_in_transaction_session_timeout=300"
SETTLED_FROM = list(STEPS).index("commit")  # From here on a batch is not taken over: whoever finds it helps to end it.


def fall_asleep(url: str, life: Life, after: int, statement: int | None, pipe: Any, weakening: Weakening) -> None:
    """Take a batch through some steps, stop, and when woken try to go on. Tell what came of it.

    With a `statement`, stop after so many statements of the next step, in the middle of its transaction.
    """
    with weakening():
        store = Store(url, at_noon)
        claim = life.begin(store)
        steps = list(STEPS.values())
        for step in steps[:after]:
            step(store, claim, life)
        if statement is None:
            stop_here()
        else:
            numbers = count()
            watch(lambda _: stop_here() if next(numbers) == statement else None)
        try:
            for step in steps[after:-1]:
                step(store, claim, life)
            pipe.send("went on")
        except TakenOver:
            pipe.send("taken over")
        except DatabaseError:
            pipe.send("cut off")


def wake_after(
    databases: Databases, life: Life, after: int, until: int, statement: int | None = None,
    weakening: Weakening = nullcontext,
) -> list[str]:  # fmt: skip
    """Stop A after `after` steps, let B go as far as step `until`, wake A, and say what it should not have done."""
    with databases.fresh() as url:
        patient = make_url(url).update_query_dict({"options": PATIENCE}).render_as_string(hide_password=False)
        ours, theirs = CONTEXT.Pipe(duplex=False)
        asleep = start(fall_asleep, patient if statement else url, life, after, statement, theirs, weakening)
        theirs.close()
        try:
            wait_until_stopped(asleep)
            live(Store(url, at_noon), life, list(STEPS)[until])
            before = content_of(moment_of(url))
        finally:
            os.kill(asleep.pid, signal.SIGCONT)
        said = ours.recv() if ours.poll(60) else "nothing"
        asleep.join()
        moment = moment_of(url)
        found = broken_rules(moment)
        if content_of(moment) != before:
            found.append("who was taken over wrote something")
        expected = {"taken over"} if after <= SETTLED_FROM else {"went on"}
        if said not in expected | ({"cut off"} if statement else set()):
            found.append(f"it said '{said}', expected {expected}")
    name = f"{databases.engine}, A asleep after {after} steps, statement {statement}, B up to {list(STEPS)[until]}"
    return [f"{name}: {line}" for line in found]


def wake(
    databases: Databases, times: int, seed: int, weakening: Weakening = nullcontext, say: Say = quiet
) -> list[str]:
    """Do that `times` times, at random steps."""
    dice, life, found = random.Random(seed), life_of(), []
    for number in range(times):
        after = dice.randrange(len(STEPS))
        until = dice.randrange(max(after, 1) - 1, len(STEPS))
        inside = databases.engine == "PostgreSQL" and after <= SETTLED_FROM and dice.random() < 1 / 2
        found += wake_after(databases, life, after, until, dice.randrange(2, 6) if inside else None, weakening)
        if (number + 1) % 50 == 0:
            say(f"{databases.engine}: {number + 1} woken, {len(found)} found")
    return found


def run(times: int, seed: int, say: Say) -> list[str]:
    """Wake `times` on each engine."""
    found: list[str] = []
    with both_engines() as engines:
        for databases in engines:
            found += wake(databases, times, seed, say=say)
            say(f"{databases.engine}: {times} woken, {len(found)} found")
    return found


if __name__ == "__main__":
    main(run, 1000)
