"""The plain CSV that any venue can write: one report a line, under the names of schemas.fill.Report."""

import polars as pl

from assets.intake import Slice, SourceFile, cut_lines, read_delimited
from schemas.fill import Report

REQUIRED = ("exec_type", "exec_id", "match_id", "symbol", "side", "quantity", "price", "traded_at")
OPTIONAL = (
    "exec_ref_id", "quote_quantity", "trade_on", "value_on", "client", "prime_broker", "custodian", "account",
    "fee", "fee_symbol",
)  # fmt: skip


def cut(file: SourceFile) -> list[Slice]:
    """Cut the file at line ends. FileRefused when it is no text file with a header."""
    return cut_lines(file, header=True)


def parse(piece: Slice) -> pl.DataFrame:
    """Return the Report of a slice. FileRefused when a column is missing or unknown."""
    rows = read_delimited(piece, REQUIRED, OPTIONAL)
    return rows.with_columns(pl.lit(None, dtype=pl.String).alias("venue")).select(Report.names())
