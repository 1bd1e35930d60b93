"""Who and what there is: instruments, participants, their accounts, the venues and their symbols, prices."""

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, slots=True)
class Venue:
    """One entry of reference/venues.toml."""

    mic: str
    name: str
    dialect: str


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference data of a cycle, each frame held to its contract, with what had to be kept out."""

    instruments: pl.DataFrame  # schemas.instrument.Instrument
    prices: pl.DataFrame  # schemas.instrument.Price, the reference instrument included
    participants: pl.DataFrame  # schemas.participant.Participant
    accounts: pl.DataFrame  # schemas.participant.Account
    trading_accounts: pl.DataFrame  # schemas.participant.TradingAccount
    symbols: pl.DataFrame  # schemas.participant.Symbol
    venues: dict[str, Venue]
    quarantined: pl.DataFrame  # schemas.fill.Quarantined
    counts: pl.DataFrame  # schemas.fill.FileCount
