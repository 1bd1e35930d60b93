"""What a venue says it reported in a cycle, against what was read of it."""

import pandera.polars as pa
import polars as pl

from schemas.contract import Contract


class StatedTotal(Contract):
    """One row per accepted row of venues/control_totals.csv."""

    venue: str
    symbol: str = pa.Field(description="The venue's own.")
    base: str
    quote: str
    side: str = pa.Field(isin=["BUY", "SELL"])
    reports: pl.Int64 = pa.Field(ge=0)
    base_atoms: pl.Int128 = pa.Field(ge=0)
    quote_atoms: pl.Int128 = pa.Field(nullable=True, ge=0, description="Null: the venue does not sum it.")


class ControlTotal(Contract):
    """One row per market and side of each venue that states totals. What such a venue does not name, it states as 0.

    Both sides count the trade and correction reports (F, G) that are new in the cycle, busted later or not.
    """

    venue: str
    base: str
    quote: str
    side: str = pa.Field(isin=["BUY", "SELL"])
    stated_reports: pl.Int64 = pa.Field(ge=0)
    counted_reports: pl.Int64 = pa.Field(ge=0)
    stated_base_atoms: pl.Int128 = pa.Field(ge=0)
    counted_base_atoms: pl.Int128 = pa.Field(ge=0)
    stated_quote_atoms: pl.Int128 = pa.Field(nullable=True, ge=0, description="Null: not stated, so not compared.")
    counted_quote_atoms: pl.Int128 = pa.Field(ge=0)
    quarantined: pl.Int64 = pa.Field(ge=0, description="Rows and files of the whole venue that were kept out.")
