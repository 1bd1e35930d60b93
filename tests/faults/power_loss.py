"""Power loss: every disk that unsynced writes allow is built from a recording, and judged.

Run as `python -m tests.faults.power_loss --times 100000 --seed 1`.
"""

import argparse
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.faults.calls import TRACED, Call, Strace, calls_of
from tests.faults.disk import Disk, Fate, Files, read, write
from tests.faults.judge import Flaw, Undisturbed, say, summary
from tests.faults.workload import ACKNOWLEDGED, WEAKER, Driver

MEMORY = Path("/dev/shm")  # A sync costs nothing there.
STRIDE = 8


class Recording(NamedTuple):
    """A life: where and by whom, the calls that changed the disk or acknowledged, and all that were about the disk."""

    root: Path
    pid: int
    calls: list[Call]
    touched: list[Call]


class State(NamedTuple):
    """A disk after a power loss: after which call it came, how many calls were acknowledged then, what is there."""

    number: int
    moment: int
    acknowledged: int
    files: Files


def scratch() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder for disks that need not last."""
    return tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)


def record(folder: Path, weaker: tuple[str, ...] = ()) -> Recording:
    """Record an undisturbed life in a new folder. Raises OSError when it ends badly or a call was not understood."""
    root = (folder / "root").resolve()
    root.mkdir()
    driver = Driver(root, weaker=weaker)
    trace = Strace(driver.pid, folder / "calls", "-e", f"trace={','.join(TRACED)}")
    driver.go()
    ended = driver.end()
    trace.end()
    if ended.exit_code:
        raise OSError(f"the life to record ended with: {ended.said}")
    calls = list(calls_of(folder / "calls"))
    disk = Disk(root)
    kept = [call for call in calls if _acknowledges(call) or disk.apply(call)]
    if disk.seen() != read(root):
        raise OSError("the recorded calls do not make the files that are there: one of them is not understood")
    touched = [call for call in calls if any(path.startswith(str(root)) for path in call.paths())]
    return Recording(root, driver.pid, kept, touched)


def _acknowledges(call: Call) -> bool:
    return call.name == "write" and call.answer > 0 and call.data(1).endswith(ACKNOWLEDGED)


def states(recording: Recording, seed: int) -> Iterator[State]:
    """Return disks that a power loss may leave, each once and without an end.

    First, after every call, the disk that has only what was synced. Then in turns, each spread over the whole life: the
    disks that have all, and disks by dice that have some, in part.
    """
    seen: set[bytes] = set()
    nothing, everything = Fate(Random(seed), 0, 0), Fate(Random(seed), 1, 0)
    for turn in count(-1):
        dice = Random(f"{seed}/{turn}")
        some = Fate(dice, dice.choice((0.1, 0.5, 0.9)), dice.choice((0, 0.1, 0.5)))
        moments = range(len(recording.calls))[turn % STRIDE :: STRIDE] if turn >= 0 else range(len(recording.calls))
        for state in _states_at(set(moments), recording, [everything, some] if turn >= 0 else [nothing]):
            mark = hashlib.sha256(repr((state.acknowledged, state.files)).encode()).digest()
            if mark not in seen:
                yield state._replace(number=len(seen))
                seen.add(mark)


def _states_at(moments: set[int], recording: Recording, fates: Sequence[Fate]) -> Iterator[State]:
    disk, acknowledged = Disk(recording.root), 0
    for moment, call in enumerate(recording.calls):
        acknowledged += _acknowledges(call)
        disk.apply(call)
        if moment in moments:
            for fate in fates:
                yield State(0, moment, acknowledged, disk.after(fate))


def lose_power(states_max: int, seed: int, weaker: tuple[str, ...] = ()) -> tuple[int, list[Flaw]]:
    """Judge that many disks and return how many there were and the flaws that were found."""
    flaws: list[Flaw] = []
    tried = 0
    with scratch() as place, tempfile.TemporaryDirectory() as disk:
        (Path(place) / "undisturbed").mkdir()
        undisturbed = Undisturbed(Path(place) / "undisturbed")
        recording = record(Path(disk), weaker)
        for state in states(recording, seed):
            with scratch() as folder:
                write(state.files, Path(folder))
                flaw = undisturbed.judge(Path(folder), state.acknowledged)
            tried += 1
            if flaw:
                flaws.append(flaw)
                where = f"after call {state.moment} of {len(recording.calls)}"
                say(f"seed {seed} state {state.number}, {where}: {flaw.kind}: {flaw.what}")
            if tried % 1000 == 0:
                say(summary("power loss so far", tried, "states", flaws))
            if tried == states_max:
                break
    return tried, flaws


def main() -> int:
    parser = argparse.ArgumentParser(description="Lose power at every moment, and judge what is left.")
    parser.add_argument("--times", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weaker", action="append", choices=WEAKER, default=[], help="take a guard away")
    given = parser.parse_args()
    tried, flaws = lose_power(given.times, given.seed, tuple(given.weaker))
    say(summary("power loss", tried, "states", flaws))
    return 1 if flaws else 0


if __name__ == "__main__":
    raise SystemExit(main())
