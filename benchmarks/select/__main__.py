"""Runs engines over instances, judges each answer, and prints a table: `python -m benchmarks.select --help`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from statistics import median_low
from typing import NamedTuple

import polars as pl

from assets.funding.problem import Problem
from benchmarks.select.engines import ENGINES
from benchmarks.select.instances import Case, family, generate, write
from benchmarks.select.judge import Unlawful, proven_bound, ratio, read_answer, settled_value

OUT = Path(__file__).parent / "out"


class Run(NamedTuple):
    """One engine on one instance. `ratio` is to the bound that the engine proves, else to the least that another does."""

    family: str
    size: int
    seed: int
    engine: str
    status: str  # "lawful", or what went wrong.
    value: str | None = None
    bound: str | None = None
    ratio: str | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_mib: int | None = None
    check_seconds: float | None = None  # CPU time of the engine's own verifier.
    path: str = ""


def measure(case: Case, label: str, engines: list[str], out: Path, timeout: int) -> list[Run]:
    """Return one run per engine on the instance, which is written first. Bounds are proven anew from certificates."""
    folder = out / case.name
    problem = generate(case)
    write(problem, folder)
    costs: dict[str, dict | str] = {}
    for engine in engines:
        if case.size > ENGINES[engine].chains_max:
            continue
        costs[engine] = _solve(folder, engine, timeout)
    bounds = {engine: _bound(problem, folder, engine) for engine in costs}
    least = min((bound for bound in bounds.values() if bound is not None), default=None)
    runs = []
    for engine, cost in costs.items():
        head = (label, case.size, case.seed, engine)
        if isinstance(cost, str):
            runs.append(Run(*head, cost))
            continue
        try:
            value = settled_value(problem, read_answer(folder / f"answer-{engine}.csv"))
        except Unlawful as why:
            runs.append(Run(*head, f"unlawful: {why}"))
            continue
        bound = least if bounds[engine] is None else bounds[engine]
        of_bound = None if bound is None else ratio(value, bound)
        runs.append(Run(*head, "lawful", str(value), None if bound is None else str(bound), of_bound, **cost))
        say(
            f"  {engine:9} {of_bound or value} in {cost['seconds']} s, CPU {cost['cpu_seconds']} s, {cost['peak_mib']} MiB"
        )
    return runs


def _solve(folder: Path, engine: str, timeout: int) -> dict | str:
    """Return what the run cost, or what went wrong in it."""
    for stale in (f"answer-{engine}.csv", f"certificate-{engine}.json"):
        (folder / stale).unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.select.worker", str(folder.resolve()), engine]
    root = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=root, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {timeout} s"
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        say(f"  {engine} failed: {lines[-1]}")
        return f"failed: {lines[-1]}"
    return json.loads(done.stdout.splitlines()[-1])


def _bound(problem: Problem, folder: Path, engine: str) -> int | None:
    """Return the bound that the engine's certificate proves, if there is one that proves what it claims."""
    path = folder / f"certificate-{engine}.json"
    if not path.exists():
        return None
    try:
        (certificate,) = json.loads(path.read_text())
        return proven_bound(problem, certificate)
    except Unlawful as why:
        say(f"  {why}")
        return None


def table(runs: list[Run]) -> str:
    """Return the runs as a Markdown table: medians over the seeds, and the worst."""
    lines = [
        "| family | chains | engine | seeds | ratio: worst | median | seconds: median | worst | CPU: median | worst "
        "| check | peak MiB |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    groups: dict[tuple[str, int, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.family, run.size, run.engine), []).append(run)
    for (label, size, engine), group in groups.items():
        title = ENGINES[engine].title
        if bad := [run.status for run in group if run.status != "lawful"]:
            lines.append(f"| {label} | {size:,} | {title} | {len(group)} | {bad[0]} | | | | | | | |")
            continue
        seconds, worked = ([getattr(run, name) or 0.0 for run in group] for name in ("seconds", "cpu_seconds"))
        ratios = [run.ratio for run in group if run.ratio is not None]
        ratio_cells = f"{min(ratios)} | {median_low(ratios)}" if len(ratios) == len(group) else "? | ?"
        checks = [run.check_seconds for run in group if run.check_seconds is not None]
        check = f"{max(checks):.2f}" if checks else ""
        peak = max(run.peak_mib or 0 for run in group)
        cells = " | ".join(f"{median_low(each):.2f} | {max(each):.2f}" for each in (seconds, worked))
        cells = f"{ratio_cells} | {cells} | {check} | {peak:,}"
        lines.append(f"| {label} | {size:,} | {title} | {len(group)} | {cells} |")
    return "\n".join(lines) + "\n"


def say(what: str) -> None:
    sys.stderr.write(what + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for. Returns 1 when an answer is unlawful or an engine failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.select", description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000", help="chains, separated by commas")
    parser.add_argument("--families", default="part:.9,mix:.9", help="mix:F, part:F, short, half")
    parser.add_argument("--seeds", default="1-3", help="one, or from-to")
    parser.add_argument("--engines", default=",".join(ENGINES), help="separated by commas")
    parser.add_argument("--divisible", action="store_true", help="every chain may settle in part")
    parser.add_argument("--wei", action="store_true", help="amounts with all digits of their chain, beyond 64 bits")
    parser.add_argument("--out", type=Path, default=OUT, help="where instances, answers and results go")
    parser.add_argument("--timeout", type=int, default=900, help="seconds that a run may take")
    options = parser.parse_args(arguments)
    engines = options.engines.split(",")
    first, _, last = options.seeds.partition("-")
    try:
        families = {label: family(label) for label in options.families.split(",")}
        cases = [
            (label, Case(int(size), *families[label], seed, options.divisible, options.wei))
            for label, size, seed in product(
                families, options.sizes.split(","), range(int(first), int(last or first) + 1)
            )
        ]
    except ValueError as why:
        parser.error(str(why))
    if unknown := set(engines) - ENGINES.keys():
        parser.error(f"no engine {', '.join(sorted(unknown))}: there are {', '.join(ENGINES)}")
    runs: list[Run] = []
    began = time.monotonic()
    for number, (label, case) in enumerate(cases, start=1):
        say(f"{number} of {len(cases)}, after {time.monotonic() - began:.0f} s: {case.name}")
        runs += measure(case, label, engines, options.out, options.timeout)
        # After each instance, so that a run that is stopped leaves what it has.
        pl.DataFrame(runs, infer_schema_length=None, orient="row", schema=Run._fields).write_csv(
            options.out / "results.csv"
        )
        (options.out / "results.md").write_text(table(runs))
    sys.stdout.write(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n\n{table(runs)}"
    )
    return int(any(run.status != "lawful" for run in runs))


if __name__ == "__main__":
    sys.exit(main())
