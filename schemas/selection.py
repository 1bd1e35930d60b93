"""What a selection tells beside its decisions: what would release a chain, what to pay in, and how good it is at most."""

import pandera.polars as pa
import polars as pl

from schemas.contract import Contract


class TopUp(Contract):
    """One row per waiting chain and account: funds that, added, let the chain settle. All rows of a chain together."""

    chain_id: str
    participant: str
    instrument: str
    quantity_atoms: pl.Int128 = pa.Field(gt=0)


class PayIn(Contract):
    """One row per account that pays in what settles now, or would have to bring more for every chain to settle."""

    participant: str
    instrument: str
    pays_atoms: pl.Int128 = pa.Field(ge=0, description="Net, of what settles now: own funds and credit.")
    has_atoms: pl.Int128 = pa.Field(ge=0, description="What it may use of its own: less the minimum that must stay.")
    draws_atoms: pl.Int128 = pa.Field(ge=0, description="Of what it pays, what its prime brokers lend.")
    must_bring_atoms: pl.Int128 = pa.Field(ge=0, description="Beyond both, so that every chain settles.")


class ClassBound(Contract):
    """One row per priority class: what the settling chains weigh, and the most that any lawful set could."""

    priority: pl.Int64 = pa.Field(unique=True)
    weight_atoms: pl.Int128 = pa.Field(ge=0, description="Value x (2 + age), summed.")
    bound_atoms: pl.Int128 = pa.Field(ge=0)
    scale_bits: pl.Int64 = pa.Field(ge=0, description="Prices are integers of 2^-scale_bits weight units.")
    proof: str = pa.Field(isin=["PRICES", "ENUMERATION"])


class ShadowPrice(Contract):
    """One row per class and row, limit or other class that has a price in its proof, or a part in its gap.

    The gap, (bound_atoms - weight_atoms) x 2^scale_bits, is the sum of all `idle` and of the regret of the class's own
    chains (Decision), less what was cut off to make the bound a whole number.
    """

    priority: pl.Int64
    kind: str = pa.Field(
        isin=["ACCOUNT", "LINK", "POSITION", "AGGREGATE_SHORT", "DSL", "NOP", "BILATERAL", "FLOOR", "CUT"],
        description="ACCOUNT, LINK and POSITION are rows, FLOOR is another class, CUT the rounding of an account, the "
        "others are limits.",
    )
    party: str
    instrument: str = pa.Field(description="'' for a limit or a class.")
    divisor: str = pa.Field(description="Of a CUT: the atoms by which its row is rounded. Else ''.")
    price: str = pa.Field(description="A whole number, of any length. Of a FLOOR: of being worth what the class is.")
    idle: str = pa.Field(
        description="In the unit of the price: price x room that is left. Of a FLOOR: the regret of that class's chains."
    )
