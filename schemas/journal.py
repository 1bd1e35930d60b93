"""Double entry: postings that stand or fall together."""

import pandera.polars as pa
import polars as pl

from schemas.contract import Contract


class Posting(Contract):
    """One row per account, instrument and kind. Positive is received. The postings of an instrument sum to zero."""

    leg: str = pa.Field(
        unique=True, description="'<kind>/<account>/<instrument>'. With its batch before it, the posting's id."
    )
    kind: str = pa.Field(isin=["DEBIT", "CREDIT", "DRAW", "LENT"])
    account: str = pa.Field(description="A custody account, or 'credit:<broker>:<client>' for LENT.")
    participant: str
    instrument: str
    atoms: pl.Int128
