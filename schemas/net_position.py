"""Many obligations become few positions."""

import pandera.polars as pa
import polars as pl

from schemas.contract import Contract


class NetPosition(Contract):
    """One row per participant and instrument that a settling chain touches, riskless brokers (net 0) included."""

    participant: str
    instrument: str
    debit_atoms: pl.Int128 = pa.Field(ge=0, description="Sum of what it pays, gross.")
    credit_atoms: pl.Int128 = pa.Field(ge=0, description="Sum of what it receives, gross.")
    net_atoms: pl.Int128 = pa.Field(description="credit - debit. The nets of an instrument sum to zero.")
    obligations: pl.UInt32


class NettingEffect(Contract):
    """One row per instrument: what would have to move without netting, and what does."""

    instrument: str = pa.Field(unique=True)
    prefunded_atoms: pl.Int128 = pa.Field(description="Net debits venue by venue: what pre-funding each venue ties up.")
    gross_atoms: pl.Int128 = pa.Field(description="Every obligation by itself.")
    bilateral_atoms: pl.Int128 = pa.Field(description="Net per pair of participants.")
    bilateral_payments: pl.UInt32
    multilateral_atoms: pl.Int128 = pa.Field(description="Pay-in: sum of net debits.")
