"""What the parties ask of a settlement beyond the trade itself."""

import pandera.polars as pa
import polars as pl

from schemas.contract import Contract

# Not in parts; in any; in parts of a least quantity; in parts of a least quote amount.
PARTIAL = ("NPAR", "PART", "PARQ", "PARC")
LINKS = ("WITH", "BEFO", "AFTE")


class Terms(Contract):
    """One row per trade and party that asks for something. It holds in every cycle until the party says otherwise."""

    venue: str
    match_id: str = pa.Field(description="The venue's own.")
    party: str
    priority: pl.UInt32 = pa.Field(
        nullable=True, description="1 reserved, 2 top, 3 high, 4 normal. Null: none is asked."
    )
    partial: str = pa.Field(isin=PARTIAL)
    least: str = pa.Field(nullable=True, description="Decimal: of the base with PARQ, of the quote with PARC.")
    lot: str = pa.Field(nullable=True, description="Decimal, of the base: a part is a whole number of it.")
    on_hold: bool
    link: str = pa.Field(nullable=True, isin=LINKS)
    linked_to: str = pa.Field(nullable=True, description="The match id of another trade at the venue.")
    pool: str = pa.Field(nullable=True, description="The party's own name for trades that settle together.")
    pool_count: pl.UInt32 = pa.Field(nullable=True, description="How many trades the pool has.")
    age: pl.UInt32 = pa.Field(description="Cycles since the party said it.")


class Minimum(Contract):
    """One row per account: what must stay in it."""

    participant: str
    instrument: str
    minimum_atoms: pl.Int128 = pa.Field(ge=0)


class Disagreement(Contract):
    """One row per wish that has no effect, and why."""

    chain_id: str
    party: str
    kind: str = pa.Field(
        isin=["PATD", "DECIMALS", "STRANGER"],
        description="Only one side allows parts; an amount has more digits than the instrument; no party of the trade.",
    )
