"""Runs alone, as a script, under limits: reads one Parquet file of text and hands it back as Arrow IPC.

    parquet_child.py IN OUT ROWS_MAX CELL_BYTES_MAX

Ends with 0, or with 3 and the reason on standard output. Anything else is a crash, and the file is refused.
It imports nothing of Trine, so that it starts fast and holds nothing worth reading.
"""

import os
import resource
import sys
from pathlib import Path

GIB = 2**30
REFUSED = 3
COLUMNS_MAX = 64


def read(source: Path, target: Path, rows_max: int, cell_bytes_max: int) -> str | None:
    """Write the rows of `source` to `target`, or return why not."""
    import polars as pl

    schema = pl.read_parquet_schema(source)
    if len(schema) > COLUMNS_MAX:
        return f"more than {COLUMNS_MAX} columns"
    for name, dtype in schema.items():
        if dtype != pl.String:
            return f"column {name[:64]} is {dtype}; expected String, because amounts are exact text"
    # The footer may lie about the number of rows: the reader is told where to stop.
    rows = pl.read_parquet(source, n_rows=rows_max + 1)
    if rows.height > rows_max:
        return f"more than {rows_max:,} rows: split it"
    for name in rows.columns:
        if (rows[name].str.len_bytes() > cell_bytes_max).any():
            return f"column {name[:64]} holds a cell of more than {cell_bytes_max:,} bytes"
    rows.write_ipc(target)
    return None


def main() -> None:
    """Set the limits, read, and leave."""
    for what, most in (
        (resource.RLIMIT_AS, 4 * GIB),
        (resource.RLIMIT_CPU, 120),
        (resource.RLIMIT_FSIZE, 2 * GIB),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    os.environ["POLARS_MAX_THREADS"] = "2"  # Each thread reserves address space.
    refused = read(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    if refused is not None:
        sys.stdout.write(refused)
        sys.exit(REFUSED)


if __name__ == "__main__":
    main()
