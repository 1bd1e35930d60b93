"""Statements as CSV: the columns that every other format is brought to."""

import polars as pl

from assets.intake import SourceFile, first_flaw, read_table
from assets.reference import Reference

REQUIRED = (
    "statement_id", "statement_seq", "custodian_lei", "account", "account_title_lei", "segregation", "as_of",
    "update", "instrument", "total", "available", "held", "pledged", "staked", "restricted",
)  # fmt: skip
OPTIONAL = ("pending_in", "pending_out", "finality")


def read(file: SourceFile, reference: Reference) -> pl.DataFrame:
    """Return the rows of the file as text, with their spans and what is wrong with their form."""
    return first_flaw(read_table(file, REQUIRED, OPTIONAL), [])
