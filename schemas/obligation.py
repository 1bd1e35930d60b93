"""Who owes what to whom: trades on which both sides agree, and the atomic chains made of them."""

import pandera.polars as pa
import polars as pl

from schemas.contract import Contract, Instant

HIGH, NORMAL = 3, 4  # Priorities of T2S; the lower settles first.


class Trade(Contract):
    """One row per trade on which both sides agree and whose prime brokers accepted it. Its id is the chain's."""

    chain_id: str = pa.Field(unique=True, description="The match id of its two fills.")
    venue: str
    buyer: str
    seller: str
    buyer_broker: str = pa.Field(nullable=True)
    seller_broker: str = pa.Field(nullable=True)
    base: str
    quote: str
    base_atoms: pl.Int128 = pa.Field(gt=0)
    quote_atoms: pl.Int128 = pa.Field(gt=0)
    value_atoms: pl.Int128 = pa.Field(ge=0, description="The quote amount in the reference instrument, rounded down.")
    traded_at: Instant
    value_on: pl.Date
    age: pl.UInt32
    priority: pl.UInt32 = pa.Field(description="Lower settles first: 1 reserved, 2 top, 3 high, 4 normal.")
    least_atoms: pl.Int128 = pa.Field(
        nullable=True, gt=0, description="Both sides allow parts: the fewest base atoms of one. Null: all or nothing."
    )
    lot_atoms: pl.Int128 = pa.Field(gt=0, description="A part is a whole number of these base atoms.")
    buy_fill_id: str
    sell_fill_id: str
    accepted: bool = pa.Field(description="The brokers of both sides stand for it, and still will in a later cycle.")
    compensates: str = pa.Field(nullable=True, description="The settled chain that this one reverses, after a bust.")
    hold_reason: str = pa.Field(
        nullable=True, description="schemas.reasons.HoldReason: it cannot settle in this cycle."
    )


class Outcome(Contract):
    """One row per accepted or carried fill: what became of it in this cycle (I6: none is missing, none twice)."""

    fill_id: str = pa.Field(unique=True)
    chain_id: str
    state: str = pa.Field(description="schemas.reasons.FillState.")
    reason: str = pa.Field(nullable=True, description="HoldReason or Rejection.")
    age: pl.UInt32


class Obligation(Contract):
    """One row per hop and leg of a chain. The quantity is positive; payer and receiver give direction.

    All obligations of a chain settle or none: seller -> seller's broker -> buyer's broker -> buyer carries the
    base forward and the quote backward: 6 with two brokers, 4 with one, 2 without.
    """

    obligation_id: str = pa.Field(unique=True, description="Chain, hop and leg: 'SPTX:2026-11-20:M1/2/quote'.")
    chain_id: str
    venue: str
    payer: str
    receiver: str
    instrument: str
    quantity_atoms: pl.Int128 = pa.Field(gt=0)
    value_on: pl.Date


class Decision(Contract):
    """One row per chain: settles now, in full or in part, or waits and why."""

    chain_id: str = pa.Field(unique=True)
    settles: bool
    reason: str = pa.Field(nullable=True, description="HoldReason. Null when it settles.")
    short_participant: str = pa.Field(nullable=True, description="Who is short, for LACK and MONY.")
    short_instrument: str = pa.Field(nullable=True)
    value_atoms: pl.Int128 = pa.Field(ge=0)
    age: pl.UInt32
    base_atoms: pl.Int128 = pa.Field(ge=0, description="What settles now, less than the trade's if it is a part.")
    quote_atoms: pl.Int128 = pa.Field(ge=0)
    top_up_value_atoms: pl.Int128 = pa.Field(
        nullable=True, ge=0, description="The least found that, added to accounts, lets a waiting chain settle."
    )
    top_up_exact: bool = pa.Field(nullable=True, description="No set of funds worth less would do.")
    priority_class: pl.Int64 = pa.Field(
        nullable=True, description="In which it was decided: the most urgent of all that is linked as one. Null: held."
    )
    regret: str = pa.Field(
        description="What it adds to the gap of that class, a whole number of 2^-scale_bits weight units (ClassBound). Of "
        "chains that are linked as one, it stands at the first."
    )


class Settlement(Contract):
    """One row per chain that settles, in full or in part: a leaf of the log, and what a participant is given proof of."""

    table: str = pa.Field(isin=["settlements"])
    cycle_id: str
    chain_id: str = pa.Field(unique=True)
    buyer: str
    buyer_broker: str = pa.Field(nullable=True)
    seller: str
    seller_broker: str = pa.Field(nullable=True)
    base: str
    base_atoms: pl.Int128 = pa.Field(gt=0)
    quote: str
    quote_atoms: pl.Int128 = pa.Field(ge=0)
    buy_fill_id: str
    sell_fill_id: str


class Link(Contract):
    """One row per condition between chains of one cycle that are both open."""

    kind: str = pa.Field(
        isin=["WITH", "BEFO", "AFTE"],
        description="The chain settles together with the other, or before it, or after it: in the same cycle counts.",
    )
    chain_id: str
    other_id: str
