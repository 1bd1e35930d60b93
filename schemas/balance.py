"""What the custodians hold."""

import pandera.polars as pa
import polars as pl

from schemas.contract import Contract, Instant


class Balance(Contract):
    """One row per account and instrument of a custodian's latest statement. All amounts are atoms."""

    participant: str
    instrument: str
    account: str
    custodian: str
    statement_id: str
    statement_seq: pl.UInt32
    as_of: Instant
    update: str = pa.Field(isin=["COMPLETE", "DELTA"], description="DELTA: amounts are changes since the last cut.")
    total_atoms: pl.Int128
    available_atoms: pl.Int128
    encumbered_atoms: pl.Int128 = pa.Field(description="Held, pledged, staked and restricted: total - available.")
    file: str
    record: pl.UInt32
    offset: pl.UInt64


class Available(Contract):
    """One row per participant and instrument: what can be used to settle in this cycle."""

    participant: str
    instrument: str
    account: str
    custodian: str
    book_atoms: pl.Int128 = pa.Field(nullable=True, description="Closing of the last cycle. Null: no book yet.")
    statement_atoms: pl.Int128 = pa.Field(
        nullable=True, description="Available by COMPLETE statement. Null: none came."
    )
    available_atoms: pl.Int128 = pa.Field(
        ge=0, description="The statement's where one came; else the book, with a DELTA added, and at least 0."
    )
    total_atoms: pl.Int128 = pa.Field(description="All that the account holds, encumbered or not, by the same source.")
    break_atoms: pl.Int128 = pa.Field(
        description="Statement's total - book, where both are known: 0 or an open break, for a person to explain."
    )
