"""What moves at the custodians, and what is reserved before it does."""

import pandera.polars as pa
import polars as pl

from schemas.contract import Contract, Instant


class Instruction(Contract):
    """One row per account that pays in or is paid out. Pay-ins of an instrument equal its pay-outs."""

    leg: str = pa.Field(
        unique=True, description="'PAY_IN/<participant>/<instrument>'. With its batch before it, the instruction's id."
    )
    kind: str = pa.Field(
        isin=["PAY_IN", "PAY_OUT", "CREDIT_PAY_IN"],
        description="CREDIT_PAY_IN: a prime broker pays for its client under a credit line; funded by credit, not funds.",
    )
    participant: str
    account: str
    custodian: str
    instrument: str
    quantity_atoms: pl.Int128 = pa.Field(gt=0)


class CreditDraw(Contract):
    """One row per client and instrument that settles on its prime broker's credit: an obligation of its own."""

    line_id: str
    prime_broker: str
    client: str
    instrument: str
    drawn_atoms: pl.Int128 = pa.Field(gt=0)


class Confirmation(Contract):
    """One row per instruction that a custodian's file speaks of."""

    instruction_id: str = pa.Field(unique=True, description="As Trine wrote it into the custodian's instructions.")
    outcome: str = pa.Field(isin=["DONE", "REJECTED", "UNKNOWN"])
    executed_at: Instant = pa.Field(nullable=True)
    reference: str = pa.Field(nullable=True, description="The custodian's own name for the movement.")
