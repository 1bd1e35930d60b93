"""Runs one engine on one instance in a process of its own: `python -m benchmarks.select.worker FOLDER ENGINE`.

Only the solve is timed, and the check of its certificate apart: the instance is in memory, and the engine has run on
small instances of the same kind, so that its imports and compiled loops are ready. Prints one line of JSON; the answer
goes into FOLDER.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import polars as pl

from assets.funding.certify import verify
from assets.funding.problem import Problem
from benchmarks.select.engines import ENGINES, Result
from benchmarks.select.instances import Case, generate, read
from schemas.errors import BrokenInvariant

WARM_UP_SIZES = (12, 300)  # Small enough to try all sets of, and large enough for all else.


def run(folder: Path, engine: str) -> dict:
    """Solve the instance in `folder`, write answer and certificate beside it, and return what it cost.

    Raises BrokenInvariant when the engine's own certificate does not hold.
    """
    problem, solve = read(folder), ENGINES[engine].solve
    for size in WARM_UP_SIZES[:1] if engine == "mip" else WARM_UP_SIZES:
        divisible, wei = bool((problem.lots > 1).any()), problem.leg_atoms.dtype == object
        solve(generate(Case(size, "short", Fraction(3, 4), 1, divisible, wei)))
    with suppress(OSError):  # Linux forgets the peak so far. Elsewhere it includes the reading of the files.
        Path("/proc/self/clear_refs").write_text("5")
    began, worked = time.perf_counter(), time.process_time()
    result = solve(problem)
    cost = {
        "seconds": round(time.perf_counter() - began, 3),
        "cpu_seconds": round(time.process_time() - worked, 3),
        "peak_mib": _peak_mib(),
        "path": result.path,
    }
    _write(problem, result, folder, engine)
    if result.certificates:
        worked = time.process_time()
        if wrong := verify(problem, result.units, {}, result.certificates):
            raise BrokenInvariant(wrong[0])
        cost["check_seconds"] = round(time.process_time() - worked, 3)
    return cost


def _write(problem: Problem, result: Result, folder: Path, engine: str) -> None:
    chosen = np.flatnonzero(result.units > 0)
    lots = [str(units) for units in result.units[chosen].tolist()]
    ids = [problem.chains[chain] for chain in chosen.tolist()]
    answer = pl.DataFrame(
        {"chain_id": ids, "lots_settled": lots}, schema={"chain_id": pl.String, "lots_settled": pl.String}
    )
    answer.write_csv(folder / f"answer-{engine}.csv")
    if result.certificates:
        # Numbers as text: many readers of JSON keep only 53 bits of a number.
        content = [
            {
                **{name: str(getattr(each, name)) for name in ("priority", "value", "bound", "scale_bits", "proof")},
                "row_prices": [str(price) for price in each.row_prices],
                "cuts": [{name: str(part) for name, part in cut._asdict().items()} for cut in each.cuts],
            }
            for each in result.certificates
        ]
        (folder / f"certificate-{engine}.json").write_text(json.dumps(content))


def _peak_mib() -> int:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(Path(sys.argv[1]), sys.argv[2])) + "\n")
