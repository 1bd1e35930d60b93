"""Tampering: every column of every row, every byte of the log and of its files is changed, and the checker must say where.

The edits are made from SQLAlchemy's metadata, so a column that nothing binds fails by itself. Many independent edits are
made at once, and each must be named by its own row and column. Long run: `python -m tests.faults.tamper --times 10000000`.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from random import Random

from tests.faults.tamper_files import file_edits, tile_bytes
from tests.faults.tamper_history import rewritten, rolled_back
from tests.faults.tamper_home import World, build
from tests.faults.tamper_rows import (
    character_edits,
    column_edits,
    cut_edits,
    leaf_edits,
    row_edits,
)
from tests.faults.tamper_trial import Records, Tally


def tamper(world: World, edits: int, seed: int, files: int = 6) -> Tally:
    """Make about `edits` edits: the matrix of columns, rows and kinds first, then characters and bytes until it is enough."""
    random, tally, records = Random(seed), Tally(), Records(world)
    try:
        matrix = [
            *column_edits(records, random),
            *row_edits(records),
            *leaf_edits(records, random),
            *cut_edits(records),
        ]
        # Those that need the records for themselves are the slow ones: of each kind as many as there is time for.
        single = [edit for edit in matrix if edit.place == ("", "")]
        matrix = [edit for edit in matrix if edit.place != ("", "")]
        matrix += random.sample(single, min(len(single), edits // 200))
        if len(matrix) > edits:
            matrix = random.sample(matrix, edits)
        records.run(matrix, tally)
        rolled_back(records, tally)
        alone = [edit for edit in matrix if len(edit.statements) == 1]
        for edit in random.sample(alone, min(len(alone), edits // 200)):
            records.run([edit._replace(kind="one edit alone")], tally)
        if files:
            file_edits(world, records, random, files, tally)
            tile_bytes(world, records, random, max(1, edits // 2500), tally)
        while tally.made.total() < edits:
            left = edits - tally.made.total()
            characters = list(character_edits(records, random))[:left]
            records.run(characters, tally)
            records.run(list(column_edits(records, random))[: left - len(characters)], tally)
        assert records.check() == [], "everything was put back"
    finally:
        records.close()
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--url", default="", help="an empty PostgreSQL database; without it SQLite")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = build(asked.url or f"sqlite:///{folder / 'records.sqlite'}", folder / "home")
        tally = tamper(world, asked.times, asked.seed)
        rewritten(world, tally, folder / "rewritten")
    sys.stdout.write(tally.text() + "\n")
    return 1 if tally.unseen else 0


if __name__ == "__main__":
    sys.exit(main())
