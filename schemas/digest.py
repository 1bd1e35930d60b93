"""The digest of a frame: of its logical records, never of file bytes, which differ from writer to writer."""

import hashlib
import json
from typing import Any

import polars as pl

NULL = "\x00"  # No text that we read can hold it, so a null is never taken for a text.


def digest_of(frame: pl.DataFrame) -> str:
    """Return SHA-256 in hex over the columns' names and the sorted rows, whatever their order was."""
    columns, rows = digested_text(frame)
    digest = hashlib.sha256(columns.encode())
    digest.update(rows.encode())
    return digest.hexdigest()


def digested_text(frame: pl.DataFrame) -> tuple[str, str]:
    """Return what the digest of a frame is taken over, one after the other: its columns as JSON, its sorted rows as CSV.

    Amounts are written as integers, instants in UTC to the nanosecond, bytes in hex.
    """
    columns = []
    for name, dtype in frame.schema.items():
        column = pl.col(name)
        if isinstance(dtype, pl.Datetime):
            column = column.dt.strftime("%Y-%m-%dT%H:%M:%S%.9fZ")
        elif dtype == pl.Binary:
            column = column.bin.encode("hex")
        columns.append(column.cast(pl.String).fill_null(NULL).alias(name))
    text = frame.select(columns)
    if text.width and text.height:
        text = text.sort(text.columns)
    return json.dumps(frame.columns), text.write_csv(include_header=False, quote_style="always")


def digest_of_record(record: Any) -> str:
    """Return SHA-256 in hex over a record of strings, integers, lists and dicts, keys sorted."""
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
