"""What the prime brokers allow. A limit that is missing is zero, not infinite (R8)."""

import pandera.polars as pa
import polars as pl

from schemas.contract import Contract, Instant


class Designation(Contract):
    """One row per notice: for which client a prime broker stands, where and in what."""

    designation_id: str = pa.Field(unique=True)
    prime_broker: str
    client: str
    venue: str = pa.Field(nullable=True, description="MIC. Null: any.")
    instruments: str = pa.Field(nullable=True, description="Our keys, separated by ';'. Null: any.")
    valid_from: Instant
    valid_to: Instant = pa.Field(nullable=True, description="First instant at which it no longer holds.")
    status: str = pa.Field(isin=["ACTIVE", "SUSPENDED", "TERMINATED"])


class CreditLine(Contract):
    """One row per prime broker and client. Limits are atoms of the reference instrument."""

    line_id: str = pa.Field(unique=True)
    prime_broker: str
    client: str
    status: str = pa.Field(isin=["ACTIVE", "SUSPENDED", "TERMINATED"])
    valid_from: Instant
    valid_to: Instant = pa.Field(nullable=True)
    fill_limit_atoms: pl.Int128 = pa.Field(ge=0, description="The most that one fill may be worth.")
    nop_limit_atoms: pl.Int128 = pa.Field(ge=0, description="Net open position.")
    nop_formula: str = pa.Field(isin=["GREATER_OF_LONG_SHORT", "SUM_ABS", "NET_DOWNSIDE"])
    dsl_limit_atoms: pl.Int128 = pa.Field(ge=0, description="Daily settlement limit: net payable per value date.")
    draw_limit_atoms: pl.Int128 = pa.Field(
        nullable=True, ge=0, description="The most that all draws on the line may be worth. Null: no such limit."
    )
    breach_action: str = pa.Field(
        isin=["REJECT", "HOLD"], description="What happens to the fill that breaks NOP or DSL."
    )


class SettlementCredit(Contract):
    """One row per line and instrument: what the prime broker lends at settlement when its client is short."""

    line_id: str
    prime_broker: str
    client: str
    instrument: str
    credit_atoms: pl.Int128 = pa.Field(ge=0)
    drawn_atoms: pl.Int128 = pa.Field(
        nullable=True, ge=0, description="Already drawn, by the prime broker's own account. Null: it does not say."
    )


class BilateralLimit(Contract):
    """One row per party and counterparty: the most that it lets the other owe it net, in the reference instrument."""

    party: str
    counterparty: str
    limit_atoms: pl.Int128 = pa.Field(ge=0)
