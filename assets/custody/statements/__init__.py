"""The formats of custodians' statements: one module per format, chosen by the file's suffix.

Each reads a file into the same text, one row per account and instrument, flawed or not. What that text means
is judged once for all formats, in `assets.custody.balances`.
"""

from pathlib import PurePosixPath

import polars as pl

from assets.custody.statements import camt053, delimited
from assets.intake import SPAN, FileRefused, SourceFile
from assets.reference import Reference
from schemas.reasons import Flaw

READERS = {".csv": delimited.read, ".xml": camt053.read}


def read_statements(file: SourceFile, reference: Reference) -> pl.DataFrame:
    """Return record, offset, length, flaw, detail and the columns of `delimited` as text.

    Raises FileRefused when the file is of no known format or not what its suffix promises.
    """
    reader = READERS.get(PurePosixPath(file.name).suffix.lower())
    if reader is None:
        raise FileRefused(Flaw.FILE_UNREADABLE, f"expected {' or '.join(READERS)}")
    return reader(file, reference).select(*SPAN, "detail", *delimited.REQUIRED, *delimited.OPTIONAL)


__all__ = ["READERS", "read_statements"]
