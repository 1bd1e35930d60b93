"""Who takes part, in which role, and where their assets are."""

import pandera.polars as pa

from schemas.contract import Contract


class Participant(Contract):
    """One row per legal entity and role."""

    participant: str = pa.Field(unique=True, description="Our stable key, 'ALPHA'.")
    lei: str = pa.Field(unique=True, description="ISO 17442. A lapsed one is still valid.")
    name: str
    role: str = pa.Field(isin=["CLNT", "PB", "VENU", "CUST"])
    status: str = pa.Field(isin=["ACTIVE", "SUSPENDED", "DEFAULTED"])


class Account(Contract):
    """One row per standing settlement instruction: the one account where a participant settles an instrument."""

    account: str = pa.Field(description="The custodian's own id or IBAN.")
    custodian: str
    participant: str = pa.Field(description="Its owner and title. A venue's is refused: venues hold nothing.")
    instrument: str


class TradingAccount(Contract):
    """One row per client account at a venue whose files do not name the parties."""

    venue: str
    account: str
    client: str
    prime_broker: str = pa.Field(nullable=True)


class Symbol(Contract):
    """One row per market of a venue."""

    venue: str
    symbol: str
    base: str
    quote: str
    quote_increment: str = pa.Field(nullable=True, description="Decimal, in quote units. Null: one atom.")
