"""SIGKILL before and after every statement and COMMIT of a batch's life; then it is taken up again to its end.

What the killed process was told is done must be there; of the step that it was in, all or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import count
from typing import Any, NamedTuple

from sqlalchemy import Engine, event, select
from sqlalchemy.engine.default import DefaultDialect

from assets.ledger.store import Store
from schemas.records import batches
from tests.batches import RULES, STEPS, Life, at_noon, life_of, verdicts
from tests.faults.campaign import (
    CONTEXT,
    Databases,
    Say,
    die_here,
    main,
    postgres_databases,
    quiet,
    sqlite_databases,
    start,
)
from tests.faults.inspection import broken_rules, content_of, differences, moment_of

Content = dict[str, list[str]]
Weakening = Callable[[], AbstractContextManager[Any]]
EVERY = 25


def settled(store: Store, life: Life) -> Iterator[None]:
    """Begin a batch and take it to FINAL. Yields after each step, like all lives: what is yielded is done."""
    claim = life.begin(store)
    yield
    for step in STEPS.values():
        step(store, claim, life)
        yield


def aborted(store: Store, life: Life) -> Iterator[None]:
    """Take a batch as far as its approval and give it up."""
    if _state(store, life) != "ABORTED":
        claim = life.begin(store)
        yield
        for name in list(STEPS)[: list(STEPS).index("commit")]:
            STEPS[name](store, claim, life)
            yield
        store.abort(claim, "the custodian is closed")
    yield


def blocked(store: Store, life: Life) -> Iterator[None]:
    """Take a batch to a verdict that stops it."""
    if _state(store, life) != "ABORTED":
        claim = life.begin(store)
        yield
        STEPS["propose"](store, claim, life)
        yield
        store.judge(claim, verdicts(*RULES, success=0))
    yield


def reversed_(store: Store, life: Life) -> Iterator[None]:
    """Settle a batch of which a custodian knows nothing, and reverse it."""
    if _state(store, life) != "COMPENSATED":
        claim = life.begin(store)
        yield
        for name in list(STEPS)[: list(STEPS).index("confirm")]:
            STEPS[name](store, claim, life)
            yield
        one, *others = life.instructions_of(claim)
        store.confirm(claim.batch_id, {one: "REJECTED", **dict.fromkeys(others, "DONE")}, "custodian")
        yield
        store.compensate(claim.batch_id, "the custodian refuses", "ann")
    yield


LIVES = {"settled": settled, "aborted": aborted, "blocked": blocked, "reversed": reversed_}


def _state(store: Store, life: Life) -> str | None:
    """Return the state of the cycle's first attempt."""
    wanted = f"{life.cycle['cycle_id']}#1"
    with store.engine.connect() as connection:
        return connection.execute(select(batches.c.state).where(batches.c.batch_id == wanted)).scalar()


def watch(boundary: Callable[[str], None]) -> None:
    """Call `boundary` before and after everything that this process says to a database, from now on."""

    def around(owner: Any, name: str, label: str) -> None:
        inner = getattr(owner, name)

        def outer(*given: Any, **named: Any) -> Any:
            boundary(f"before {label}")
            answer = inner(*given, **named)
            boundary(f"after {label}")
            return answer

        setattr(owner, name, outer)

    around(DefaultDialect, "do_commit", "COMMIT")
    event.listen(Engine, "before_cursor_execute", lambda *given: boundary(f"before {_said(given[2])}"))
    event.listen(Engine, "after_cursor_execute", lambda *given: boundary(f"after {_said(given[2])}"))
    try:
        from psycopg import Copy, Cursor
    except ImportError:
        return
    around(Copy, "write", "COPY's rows")
    around(Cursor, "copy", "COPY")
    around(Copy, "__exit__", "COPY's end")


def _said(statement: str) -> str:
    return " ".join(statement.split())[:60]


def live_until(life_name: str, life: Life, url: str, kill_at: int, pipe: Any, weakening: Weakening) -> None:
    """Live a life in a process of its own, that dies at a boundary; tell each step that is done, and where it died."""
    numbers = count()

    def boundary(label: str) -> None:
        if next(numbers) == kill_at:
            pipe.send(label)
            die_here()

    with weakening():
        watch(boundary)
        for _ in LIVES[life_name](Store(url, at_noon), life):
            pipe.send(None)
    pipe.send("the end")


class Death(NamedTuple):
    """Where a process died, after how many steps that were done."""

    where: str
    steps: int


def killed_at(life_name: str, life: Life, url: str, kill_at: int, weakening: Weakening) -> Death:
    """Live a life in another process and kill it at a boundary."""
    ours, theirs = CONTEXT.Pipe(duplex=False)
    process = start(live_until, life_name, life, url, kill_at, theirs, weakening)
    theirs.close()
    told = []
    with ours:
        try:
            while True:
                told.append(ours.recv())
        except EOFError:
            process.join()
    labels = [label for label in told if label]
    if not labels:
        return Death(f"an error (exit code {process.exitcode})", len(told))
    return Death(labels[0], len(told) - 1)


def ladder_of(life_name: str, life: Life, databases: Databases) -> list[Content]:
    """Return all that is recorded before a life, and after each of its steps, when nobody kills it."""
    with databases.fresh() as url:
        contents = [content_of(moment_of(url))]
        for _ in LIVES[life_name](Store(url, at_noon), life):
            contents.append(content_of(moment_of(url)))
    return contents


class Count(NamedTuple):
    """How many kills there were, and what was found."""

    kills: int
    found: list[str]


def kill_everywhere(
    life_name: str, databases: Databases, *, at: Iterable[int] = (), twice: bool = False,
    weakening: Weakening = nullcontext, say: Say = quiet,
) -> Count:  # fmt: skip
    """Kill a life at each boundary (or those of `at`), `twice` also at each of its recovery, and let it end."""
    life, kills = life_of(), 0
    ladder = ladder_of(life_name, life, databases)
    found: list[str] = []
    where: list[str] = []
    for first in at or count():
        for second in count() if twice else [None]:
            with databases.fresh() as url, ExitStack() as weak:
                where, stood, lines = [], 0, []
                for kill_at in (first,) if second is None else (first, second):
                    death = killed_at(life_name, life, url, kill_at, weakening)
                    where.append(death.where)
                    stood, more = _stands(url, ladder, max(stood, death.steps))
                    lines += more
                weak.enter_context(weakening())
                lines += _ends(life_name, life, url, ladder)
            kills += sum(label.startswith(("before", "after")) for label in where)
            name = f"{databases.engine}, {life_name}, killed {' and then '.join(where)} ({first}, {second})"
            found += [f"{name}: {line}" for line in lines]
            if "the end" in where or any(label.startswith("an error") for label in where):
                break
            if kills % EVERY == 0:
                say(f"{databases.engine} {life_name}: {kills} kills, {len(found)} found, now {where}")
        if where[0] == "the end":
            break
        if where[0].startswith("an error"):
            found.append(f"{databases.engine}, {life_name}: {where[0]}")
            break
    return Count(kills, found)


def _stands(url: str, ladder: list[Content], steps: int) -> tuple[int, list[str]]:
    """Find the step whose records these are: the last that was done, or the one in which the process died."""
    moment = moment_of(url)
    content, found = content_of(moment), broken_rules(moment)
    allowed = range(steps, min(steps + 2, len(ladder)))
    stands = [step for step in allowed if ladder[step] == content]
    if stands:
        return stands[-1], found
    at = " or ".join(map(str, allowed))
    return steps, [*found, f"what is recorded is not that of step {at}: {differences(content, ladder[steps])}"]


def _ends(life_name: str, life: Life, url: str, ladder: list[Content]) -> list[str]:
    """Live the life to its end and compare with one that nobody killed."""
    try:
        for _ in LIVES[life_name](Store(url, at_noon), life):
            pass
    except Exception as error:  # noqa: BLE001  Whatever it is, it was not there without the kill.
        return [f"it cannot go on: {error!r}", *broken_rules(moment_of(url))]
    moment = moment_of(url)
    return broken_rules(moment) + differences(content_of(moment), ladder[-1])


@contextmanager
def both_engines() -> Iterator[tuple[Databases, Databases]]:
    """Databases of both kinds."""
    with sqlite_databases() as sqlite, postgres_databases() as postgres:
        yield sqlite, postgres


def run(times: int, seed: int, say: Say) -> list[str]:
    """Kill each life once at each boundary on both engines, and, `times` above 1, at each ordered pair."""
    found: list[str] = []
    with both_engines() as engines:
        for databases in engines:
            for life_name in LIVES:
                counted = kill_everywhere(life_name, databases, twice=times > 1, say=say)
                say(f"{databases.engine} {life_name}: {counted.kills} kills, {len(counted.found)} found")
                found += counted.found
    return found


if __name__ == "__main__":
    main(run, 1)
