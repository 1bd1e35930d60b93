"""Processes that race for one batch: one commits, the others hear that it was taken over or that it is done.

In every other round all have the same claim and race for the commit alone.
"""

from __future__ import annotations

import random
import time
from contextlib import nullcontext
from typing import Any

from assets.ledger.store import Claim, Store
from schemas.errors import TakenOver
from tests.batches import STEPS, Life, at_noon, life_of, live
from tests.faults.boundaries import Weakening, both_engines
from tests.faults.campaign import CONTEXT, Databases, Say, main, quiet, start
from tests.faults.inspection import broken_rules, content_of, differences, moment_of

MAY_HAPPEN = {"committed", "found it settled", "was taken over"}


def race(barrier: Any, rounds: Any, answers: Any, life: Life, seed: int, weakening: Weakening) -> None:
    """In each round, begin together with the others and say what came of it. A round is a URL and perhaps a claim."""
    dice = random.Random(seed)
    with weakening():
        while (round_ := rounds.get()) is not None:
            url, claim = round_
            store = Store(url, at_noon)
            barrier.wait()
            time.sleep(dice.choice((0, 0, dice.random() / 50)))
            answers.put(_try(store, life, claim))
            barrier.wait()


def _try(store: Store, life: Life, claim: Claim | None) -> str:
    said = "found it settled"
    try:
        if claim is None:
            turn = store.begin(life.cycle, lambda _: life.inputs_digest)
            claim = turn.claim
        for step in STEPS:
            answer = STEPS[step](store, claim, life)
            if step == "commit" and answer:
                said = "committed"
    except TakenOver:
        return f"{said} and then was taken over" if said == "committed" else "was taken over"
    except Exception as error:  # noqa: BLE001  Whatever it is, it is what a racer must not meet.
        return repr(error)
    return said


def race_for(
    databases: Databases,
    processes: int,
    times: int,
    seed: int = 1,
    weakening: Weakening = nullcontext,
    say: Say = quiet,
) -> list[str]:
    """Let processes race for as many batches, one after the other, and return what was wrong."""
    life, found = life_of(), []
    with databases.fresh() as url:
        live(Store(url, at_noon), life, "confirm")
        expected = content_of(moment_of(url))
    barrier, answers = CONTEXT.Barrier(processes, timeout=300), CONTEXT.SimpleQueue()
    rounds = [CONTEXT.SimpleQueue() for _ in range(processes)]
    racers = [
        start(race, barrier, queue, answers, life, 1000 * seed + number, weakening)
        for number, queue in enumerate(rounds)
    ]
    try:
        for time_ in range(times):
            with databases.fresh() as url:
                claim = live(Store(url, at_noon), life, "approve") if time_ % 2 else None
                for queue in rounds:
                    queue.put((url, claim))
                said = sorted(answers.get() for _ in racers)
                moment = moment_of(url)
                lines = broken_rules(moment) + differences(content_of(moment), expected)
                if said.count("committed") != 1 or set(said) - MAY_HAPPEN:
                    lines.append(f"they said {said}")
                found += [f"{databases.engine}, seed {seed}, race {time_}: {line}" for line in lines]
            if (time_ + 1) % 100 == 0:
                say(f"{databases.engine}: {time_ + 1} races of {processes}, {len(found)} found")
    finally:
        for queue in rounds:
            queue.put(None)
        for racer in racers:
            racer.join()
    return found


def run(times: int, seed: int, say: Say) -> list[str]:
    """Let 16 processes race `times` times on each engine."""
    found: list[str] = []
    with both_engines() as engines:
        for databases in engines:
            found += race_for(databases, 16, times, seed, say=say)
            say(f"{databases.engine}: {times} races of 16, {len(found)} found")
    return found


if __name__ == "__main__":
    main(run, 1000)
