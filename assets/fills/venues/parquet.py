"""Parquet with text columns, read in a child process: a bad file can crash its reader or fill the memory.

Columns are those of the delimited dialect. A record has a number but no bytes of its own.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl

from assets.fills.venues.delimited import OPTIONAL, REQUIRED
from assets.intake import FileRefused, Slice, SourceFile, require_readable
from schemas import limits
from schemas.fill import Report
from schemas.reasons import Flaw

READER = Path(__file__).with_name("parquet_child.py")
SECONDS_MAX = 300
REFUSED = 3  # The child's exit code for a file that it read and did not like.


def cut(file: SourceFile) -> list[Slice]:
    """Return the file as one slice."""
    require_readable(file)
    return [Slice(file, 1, 0, file.size)]


def parse(piece: Slice) -> pl.DataFrame:
    """Return the Report of a file. FileRefused when it is beyond the limits, or has other columns."""
    with tempfile.TemporaryDirectory(prefix="trine-parquet-") as folder:
        out = Path(folder) / "rows.arrow"
        command = [sys.executable, "-P", str(READER), str(piece.file.path), str(out)]
        limit = [str(limits.SLICE_RECORDS), str(limits.RECORD_BYTES_MAX)]
        try:
            child = subprocess.run([*command, *limit], capture_output=True, timeout=SECONDS_MAX, check=False)
        except subprocess.TimeoutExpired:
            raise FileRefused(Flaw.FILE_UNREADABLE, f"not read within {SECONDS_MAX} s") from None
        if child.returncode == REFUSED:
            raise FileRefused(Flaw.FILE_UNREADABLE, child.stdout.decode(errors="replace")[:200])
        if child.returncode != 0:
            raise FileRefused(Flaw.FILE_UNREADABLE, "not Parquet, or damaged: its reader failed")
        rows = pl.read_ipc(out.read_bytes())
    missing, unknown = set(REQUIRED) - set(rows.columns), set(rows.columns) - {*REQUIRED, *OPTIONAL}
    if missing or unknown:
        raise FileRefused(Flaw.FILE_BAD_HEADER, f"missing: {sorted(missing)}; unknown: {sorted(unknown)}"[:200])
    return rows.select(
        pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).alias("record"),
        pl.lit(0, dtype=pl.UInt64).alias("offset"),
        pl.lit(0, dtype=pl.UInt32).alias("length"),
        *(
            pl.col(name) if name in rows.columns else pl.lit(None, dtype=pl.String).alias(name)
            for name in Report.names()[3:]
        ),
    )
