"""A system call on the data fails, or kills the process: it says so or it goes on, and nothing that it said is gone.

Run as `python -m tests.faults.syscalls --times 0` for every call in every way.
"""

import argparse
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.faults.calls import Strace
from tests.faults.judge import Flaw, Kind, Undisturbed, say, summary
from tests.faults.power_loss import Recording, record, scratch
from tests.faults.workload import WEAKER, Driver

FAULTS = ("error=EIO", "error=ENOSPC", "signal=SIGKILL")


class Case(NamedTuple):
    """One call of a name on the data, counted from 1 in each thread, and what becomes of it."""

    name: str
    number: int
    fault: str


class Tried(NamedTuple):
    """How many cases there were, in how many the fault was met, and the flaws."""

    cases: int
    met: int
    flaws: list[Flaw]


def cases_of(recording: Recording, cases_max: int) -> list[Case]:
    """Return the cases of the calls that an undisturbed life makes on the data; spread evenly if there are too many.

    Every name has its share, and every fault its turn.
    """
    numbers: dict[str, set[int]] = {}
    count: Counter[tuple[str, str]] = Counter()
    for call in recording.touched:
        count[call.thread, call.name] += 1
        numbers.setdefault(call.name, set()).add(count[call.thread, call.name])
    if not cases_max:
        return [Case(name, number, fault) for name in sorted(numbers) for number in numbers[name] for fault in FAULTS]
    chosen: set[Case] = set()
    for place, name in enumerate(sorted(numbers)):
        found, share = sorted(numbers[name]), cases_max // len(numbers) + (place < cases_max % len(numbers))
        for turn in range(share):
            number = found[turn * (len(found) - 1) // max(1, share - 1)]
            chosen.add(Case(name, number, FAULTS[(place + turn) % len(FAULTS)]))
    return sorted(chosen)


def fail_calls(cases_max: int, weaker: tuple[str, ...] = ()) -> Tried:
    """Run one life for each case and judge what it left. `cases_max` 0 is every case."""
    flaws: list[Flaw] = []
    met = 0
    with scratch() as place, tempfile.TemporaryDirectory() as disk:
        (Path(place) / "undisturbed").mkdir()
        undisturbed = Undisturbed(Path(place) / "undisturbed")
        recording = record(Path(disk), weaker)
        cases = cases_of(recording, cases_max)
        for tried, case in enumerate(cases, 1):
            with scratch() as folder:
                hit, flaw = _fail(case, Path(folder), undisturbed, recording, weaker)
            met += hit
            if flaw:
                flaws.append(flaw)
                say(f"{case.name} number {case.number}, {case.fault}: {flaw.kind}: {flaw.what}")
            if tried % 100 == 0:
                say(summary("system calls so far", tried, "cases", flaws))
    return Tried(len(cases), met, flaws)


def _fail(
    case: Case, folder: Path, undisturbed: Undisturbed, recording: Recording, weaker: tuple[str, ...]
) -> tuple[bool, Flaw | None]:
    data, log = (folder / "data").resolve(), folder / "calls"
    data.mkdir()
    driver = Driver(data, weaker=weaker)
    inject = f"inject={case.name}:{case.fault}:when={case.number}"
    paths = [f"--trace-path={path}" for path in _paths(recording, data, driver.pid)]
    trace = Strace(driver.pid, log, "-e", f"trace={case.name}", "-e", inject, *paths)
    driver.go()
    ended = driver.end()
    trace.end()
    hit = bool(re.search(r"\(INJECTED\)|killed by SIGKILL", log.read_text()))
    if not ended.honest:
        return hit, Flaw(Kind.TORN, f"it ended as it must not ({ended.exit_code}): {ended.said}")
    return hit, undisturbed.judge(data, ended.acknowledged)


def _paths(recording: Recording, data: Path, pid: int) -> set[str]:
    """Return what the life's files are called in another folder and another process. The other calls are let alone."""
    root = str(recording.root)
    return {
        path.replace(root, str(data)).replace(f".{recording.pid}.", f".{pid}.")
        for call in recording.touched
        for path in call.paths()
        if path.startswith(root)
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Let system calls fail, and judge what is left.")
    parser.add_argument("--times", type=int, default=60, help="0 is every call in every way")
    parser.add_argument("--seed", type=int, default=1, help="has no part in it: the cases are spread evenly")
    parser.add_argument("--weaker", action="append", choices=WEAKER, default=[], help="take a guard away")
    given = parser.parse_args()
    tried = fail_calls(given.times, tuple(given.weaker))
    say(summary(f"system calls ({tried.met} faults met)", tried.cases, "cases", tried.flaws))
    return 1 if tried.flaws else 0


if __name__ == "__main__":
    raise SystemExit(main())
