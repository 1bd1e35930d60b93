"""Measures the log's proof kernel and prints a table: `python -m benchmarks.proof --help`."""

import argparse
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import polars as pl

from assets.ledger.canonical import canonical_rows
from assets.ledger.merkle import (
    Frontier,
    consistency_path,
    inclusion_path,
    leaf_hash,
    leaf_hashes,
    verify_consistency,
    verify_inclusion,
)
from assets.ledger.note import Checkpoint, SignerKey, sign_note
from assets.ledger.proof import Proof
from assets.ledger.tiles import TileReader, write_bodies, write_hashes


def postings(count: int) -> pl.DataFrame:
    """Postings as a cycle logs them, about 200 bytes each in canonical form."""
    row = pl.int_range(count, dtype=pl.Int64, eager=True).alias("row")
    return row.to_frame().select(
        pl.lit("postings").alias("table"),
        pl.format("2026-11-20.london-1600/CREDIT/custody:fund-{}/BTC", "row").alias("posting_id"),
        pl.lit("2026-11-20.london-1600#1").alias("batch_id"),
        pl.format("custody:fund-{}", "row").alias("account"),
        pl.lit("BTC").alias("instrument"),
        pl.format("{}000000000000000007", "row").str.to_integer(dtype=pl.Int128).alias("atoms"),
        pl.col("row").alias("seq"),
    )


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what the work gives, and its seconds by the clock and of the processor."""
    wall, cpu = perf_counter(), process_time()
    result = work()
    return result, perf_counter() - wall, process_time() - cpu


def each(work: Callable[[int], Any], indices: range) -> float:
    """Return the microseconds by the clock that one piece of work takes."""
    return timed(lambda: [work(index) for index in indices])[1] / len(indices) * 1e6


def measure(count: int) -> list[tuple[str, str]]:
    """Return each figure's name and value for a log of `count` leaves."""
    found: list[tuple[str, str]] = []

    def rate(name: str, wall: float, cpu: float) -> None:
        found.append((name, f"{count / wall:,.0f}/s by the clock, {count / cpu:,.0f} per CPU-second"))

    frame = postings(count)
    bodies, wall, cpu = timed(lambda: canonical_rows(frame))
    rate(f"canonical rows of {sum(map(len, bodies)) // count} bytes", wall, cpu)
    frontier = Frontier()
    hashes, wall, cpu = timed(lambda: leaf_hashes(bodies))
    _, wall_tree, cpu_tree = timed(lambda: frontier.append(hashes))
    rate("leaves hashed and in the tree", wall + wall_tree, cpu + cpu_tree)
    root = frontier.root()

    with tempfile.TemporaryDirectory(prefix="proof-") as name:
        folder = Path(name)
        _, wall, cpu = timed(lambda: (write_bodies(folder, 0, bodies), write_hashes(folder, 0, hashes)))
        rate("leaves written as tiles and synced", wall, cpu)
        chosen = range(0, count, max(1, count // 1000))
        paths = {index: inclusion_path(TileReader(folder, count).subtree, index, count) for index in chosen}
        made = each(lambda index: inclusion_path(TileReader(folder, count).subtree, index, count), chosen)
        growth = consistency_path(TileReader(folder, count).subtree, count - count // 3, count)
    found.append(("inclusion path made from tiles", f"{made:,.0f} us"))
    found.append(("inclusion path", f"{max(map(len, paths.values())) * 32} bytes at most"))
    checked = each(lambda i: verify_inclusion(leaf_hash(bodies[i]), i, count, paths[i], root), chosen)
    found.append(("inclusion path checked", f"{checked:,.1f} us"))

    signer = SignerKey.generate("benchmark.example/log")
    note = sign_note(Checkpoint(signer.name, count, root).text(), [signer])
    texts = {index: Proof(index, tuple(paths[index]), note, bodies[index]).text() for index in chosen}
    found.append(("proof file with record and signature", f"{max(map(len, texts.values())):,} bytes at most"))
    whole = each(lambda index: Proof.parse(texts[index]).verify([signer.verifier]), chosen)
    found.append(("proof file read and checked", f"{whole:,.0f} us"))

    earlier = Frontier()
    earlier.append(hashes[: count - count // 3])
    grown = each(lambda _: verify_consistency(earlier.size, earlier.root(), count, root, growth), range(1000))
    found.append(("consistency path checked", f"{grown:,.1f} us, {len(growth) * 32} bytes"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proof", description=__doc__)
    parser.add_argument("--leaves", type=int, default=1_000_000, help="how many the log has (default 1,000,000)")
    count = parser.parse_args().leaves
    sys.stdout.write(f"{count:,} leaves, Python {platform.python_version()}, Polars {pl.__version__}\n")
    for name, value in measure(count):
        sys.stdout.write(f"  {name:<40} {value}\n")


if __name__ == "__main__":
    main()
