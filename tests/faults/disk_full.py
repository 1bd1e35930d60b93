"""A full disk: the process says so at the call that did not fit, and goes on from there when there is room again.

Run as `python -m tests.faults.disk_full --times 0` for every size, byte by byte and page by page.
"""

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.faults.judge import Flaw, Kind, Undisturbed, say, summary
from tests.faults.power_loss import scratch
from tests.faults.workload import Driver, Ended

PAGE = 4096  # A tmpfs grows by whole pages.


class Filled(NamedTuple):
    """How many sizes were tried, in how many the disk was too small, and the flaws."""

    sizes: int
    full: int
    flaws: list[Flaw]


@contextmanager
def small_disk(size_bytes: int) -> Iterator[Path]:
    """Give a disk of that many bytes, a whole number of pages. Raises OSError where mounting is not permitted."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", folder]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode:
            raise OSError(f"a small tmpfs cannot be mounted: {answer.stderr.strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def limit_files(sizes_max: int) -> Filled:
    """Live with files that may not grow beyond a size, from nothing to enough; 0 is every byte."""
    return _fill("file size", sizes_max, range(2**20), _with_short_files)


def fill_disks(sizes_max: int) -> Filled:
    """Live on disks from one page to enough; 0 is every page. Raises OSError where mounting is not permitted."""
    return _fill("disk size", sizes_max, range(PAGE, 2**20, PAGE), _on_a_small_disk)


def _fill(what: str, sizes_max: int, every: range, live: Callable[[int, Path], Ended]) -> Filled:
    flaws: list[Flaw] = []
    full = 0
    with scratch() as place:
        undisturbed = Undisturbed(Path(place))
        chosen = [every[turn * (len(every) - 1) // max(1, sizes_max - 1)] for turn in range(sizes_max)] or every
        for tried, size_bytes in enumerate(chosen, 1):
            with scratch() as folder:
                ended = live(size_bytes, Path(folder) / "data")
                full += ended.exit_code != 0
                flaw = undisturbed.judge(Path(folder) / "data", ended.acknowledged)
            if not ended.honest:
                flaw = Flaw(Kind.TORN, f"it ended as it must not ({ended.exit_code}): {ended.said}")
            if flaw:
                flaws.append(flaw)
                say(f"{what} {size_bytes}: {flaw.kind}: {flaw.what}")
            if tried % 1000 == 0:
                say(summary(f"disk full by {what} so far", tried, "sizes", flaws))
    return Filled(len(chosen), full, flaws)


def _with_short_files(size_bytes: int, data: Path) -> Ended:
    data.mkdir()
    driver = Driver(data, file_bytes_max=size_bytes)
    driver.go()
    return driver.end()


def _on_a_small_disk(size_bytes: int, data: Path) -> Ended:
    with small_disk(size_bytes) as disk:
        driver = Driver(disk)
        driver.go()
        ended = driver.end()
        shutil.copytree(disk, data)  # The work is ended where there is room again.
    return ended


def main() -> int:
    parser = argparse.ArgumentParser(description="Let the disk be full at every size, and judge what is left.")
    parser.add_argument("--times", type=int, default=10, help="0 is every byte of a file and every page of a disk")
    parser.add_argument("--seed", type=int, default=1, help="has no part in it: the cases are spread evenly")
    given = parser.parse_args()
    files, disks = limit_files((given.times + 1) // 2), fill_disks(given.times // 2)
    say(summary("disk full by file size", files.sizes, f"sizes ({files.full} too small)", files.flaws))
    say(summary("disk full by disk size", disks.sizes, f"sizes ({disks.full} too small)", disks.flaws))
    return 1 if files.flaws or disks.flaws else 0


if __name__ == "__main__":
    raise SystemExit(main())
