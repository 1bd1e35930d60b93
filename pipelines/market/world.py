"""Who takes part in the synthetic market and what trades there: everything but the trades.

The world depends only on how many clients and brokers it has, so that cycles with different seeds share it.
Clients, brokers and custodians are made up; the venues' symbols and record shapes are those of the real ones.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from stdnum.iso7064 import mod_97_10

USD_PLACES = 8  # The worth of one whole unit is kept in 10^-8 dollars.


@dataclass(frozen=True)
class MarketPlan:
    """What market to write. The same plan always gives the same bytes.

    `tape` is a Kraken public trades file whose prints replace the generated trades. `first_trade` is added to
    every generated trade's number, so that two cycles do not share ids. `funding_percent` is what the
    custodians hold of what their clients must pay in after netting, on average.
    """

    cycle_id: str
    opens_at: datetime
    cut_at: datetime
    trades: int = 600
    seed: int = 7
    clients: int = 12
    brokers: int = 3
    funding_percent: int = 90
    flaws: tuple[str, ...] = ()
    tape: Path | None = None
    first_trade: int = 0


class Instrument(NamedTuple):
    """What settles. `usd` is what one whole unit is worth."""

    key: str
    name: str
    kind: str
    network: str
    decimals: int
    dti: str
    caip19: str
    iso4217: str
    usd: str


INSTRUMENTS = {
    instrument.key: instrument
    for instrument in (
        Instrument("BTC", "Bitcoin", "CRYPTO", "bitcoin", 8, "4H95J0R2X",
                   "bip122:000000000019d6689c085ae165831e93/slip44:0", "", "105400"),
        Instrument("ETH", "Ether", "CRYPTO", "ethereum", 18, "X9J9K872S", "eip155:1/slip44:60", "", "3500"),
        Instrument("SOL", "Solana", "CRYPTO", "solana", 9, "",
                   "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/slip44:501", "", "160"),
        Instrument("NEAR", "NEAR", "CRYPTO", "near", 24, "", "near:mainnet/slip44:397", "", "2.75"),
        Instrument("USDC.ETH", "USD Coin on Ethereum", "CRYPTO", "ethereum", 6, "",
                   "eip155:1/erc20:0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48", "", "1"),
        Instrument("USDC.BNB", "USD Coin on BNB Chain", "CRYPTO", "bnb", 18, "",
                   "eip155:56/erc20:0x8ac76a51cc950d9822d68b83fe1ad97b32cd580d", "", "1"),
        Instrument("USDT.ETH", "Tether on Ethereum", "CRYPTO", "ethereum", 6, "",
                   "eip155:1/erc20:0xdac17f958d2ee523a2206206994597c13d831ec7", "", "1"),
        Instrument("USD", "US dollar", "FIAT", "", 2, "", "", "USD", "1"),
        Instrument("EUR", "Euro", "FIAT", "", 2, "", "", "EUR", "1.16"),
        Instrument("JPY", "Yen", "FIAT", "", 0, "", "", "JPY", "0.0065"),
    )
}  # fmt: skip


class Venue(NamedTuple):
    """Where trades are made. `weight` is its share of them, in percent."""

    mic: str
    name: str
    dialect: str
    weight: int


VENUES = (
    Venue("SPTX", "Spotex", "fix44", 40),
    Venue("KRKN", "Kraken", "kraken", 12),
    Venue("CBSE", "Coinbase", "coinbase", 12),
    Venue("BYBT", "Bybit", "bybit", 10),
    Venue("BNCE", "Binance", "binance", 10),
    Venue("CALX", "Calyx Exchange", "delimited", 9),
    Venue("QUAY", "Quayside Matching", "parquet", 7),
)
# Their reports name the trading account; who owns it is reference data.
ANONYMOUS = frozenset({"kraken", "coinbase", "bybit", "binance", "parquet"})


class Market(NamedTuple):
    """One symbol of a venue, with the digits after the point that the venue writes."""

    venue: Venue
    symbol: str
    base: Instrument
    quote: Instrument
    price_places: int
    quantity_places: int
    quote_places: int
    weight: int


# Venue, symbol, base, quote, digits of price, quantity and quote amount, weight within its venue.
SYMBOLS = """
    SPTX  BTC/USD    BTC   USD       2  8   2  8      CBSE  BTC-USD   BTC   USD       2  8   2  5
    SPTX  ETH/USD    ETH   USD       2  8   2  5      CBSE  ETH-USD   ETH   USD       2  8   2  3
    SPTX  EUR/USD    EUR   USD       5  2   2  3      CBSE  BTC-USDC  BTC   USDC.ETH  2  8   6  2
    SPTX  BTC/JPY    BTC   JPY       0  8   0  2      CBSE  NEAR-USD  NEAR  USD       4  8   2  1
    SPTX  BTC/USDC   BTC   USDC.ETH  2  8   6  2      BYBT  BTCUSDT   BTC   USDT.ETH  2  6   6  4
    SPTX  SOL/USD    SOL   USD       3  9   2  2      BYBT  ETHUSDT   ETH   USDT.ETH  2  5   6  3
    SPTX  ETH/BTC    ETH   BTC       5  8   8  1      BYBT  SOLUSDT   SOL   USDT.ETH  2  4   6  2
    KRKN  XBTUSDT    BTC   USDT.ETH  5  8   6  4      BNCE  BTCUSDT   BTC   USDT.ETH  2  5   6  4
    KRKN  XXBTZUSD   BTC   USD       1  8   2  3      BNCE  BTCUSDC   BTC   USDC.BNB  2  5   8  2
    KRKN  XETHZUSD   ETH   USD       2  8   2  2      BNCE  ETHBTC    ETH   BTC       5  4   8  2
    KRKN  SOLUSD     SOL   USD       3  8   2  1      BNCE  NEARUSDT  NEAR  USDT.ETH  3  1   6  1
    CALX  BTC_USD    BTC   USD       2  8   2  4      QUAY  NEAR.USD  NEAR  USD       4  24  2  2
    CALX  EUR_USD    EUR   USD       5  2   2  2      QUAY  ETH.USDC  ETH   USDC.BNB  2  18  18 3
    CALX  BTC_JPY    BTC   JPY       0  8   0  1      QUAY  BTC.EUR   BTC   EUR       2  8   2  2
"""


def _markets() -> tuple[Market, ...]:
    venues = {venue.mic: venue for venue in VENUES}
    words = SYMBOLS.split()
    markets = []
    for at in range(0, len(words), 8):
        mic, symbol, base, quote, *numbers = words[at : at + 8]
        markets.append(Market(venues[mic], symbol, INSTRUMENTS[base], INSTRUMENTS[quote], *map(int, numbers)))
    return tuple(markets)


MARKETS = _markets()


class Participant(NamedTuple):
    """A legal entity in one role."""

    key: str
    lei: str
    name: str
    role: str


def lei_of(key: str) -> str:
    """Return a made-up LEI for a key of at most 12 letters and digits, its check digits right."""
    stem = f"TRNE00{key.rjust(12, '0')}"
    return stem + mod_97_10.calc_check_digits(stem)


def _entities(role: str, count: int, named: Iterable[str], rest: str) -> tuple[Participant, ...]:
    names = [*named, *(f"{rest} {number}" for number in range(1, count + 1))][:count]
    keys = [name.split()[0].upper() if name.split()[0] != rest else name.upper().replace(" ", "") for name in names]
    return tuple(Participant(key, lei_of(key), name, role) for key, name in zip(keys, names, strict=True))


CLIENT_NAMES = (
    "Aurumfield Capital", "Bluefjord Trading", "Cobaltine Fund", "Dunmarsh Macro", "Eastquay Quant",
    "Fernhollow Family Office", "Granitarch Partners", "Halcyonne Bank", "Ironbirch Digital",
    "Junivale Arbitrage", "Kestrelmoor Systematic", "Larkenspire Treasury",
)  # fmt: skip
BROKER_NAMES = ("Northwarden Prime", "Orrerine Prime", "Pallasgate Prime")
WALLETS = Participant("STRONGVAULT", lei_of("STRONGVAULT"), "Strongvault Digital Custody", "CUST")
BANK = Participant("HARBOURVALE", lei_of("HARBOURVALE"), "Harbourvale Bank", "CUST")


class Seat(NamedTuple):
    """A client as one of its prime brokers backs it, or as it trades alone."""

    client: Participant
    broker: Participant | None
    weight: int

    def account(self, mic: str) -> str:
        """Its trading account at a venue."""
        return f"{mic}-{self.client.key}-{self.broker.key if self.broker else 'OWN'}"


class Account(NamedTuple):
    """Where a participant settles an instrument."""

    account: str
    custodian: Participant
    participant: Participant
    instrument: Instrument

    @property
    def key(self) -> tuple[str, str]:
        """Participant and instrument."""
        return self.participant.key, self.instrument.key


class Loan(NamedTuple):
    """Settlement credit: what a broker lends its client on the day, in atoms."""

    seat: Seat
    instrument: Instrument
    atoms: int


@dataclass(frozen=True)
class World:
    """All participants and how they stand to each other."""

    clients: tuple[Participant, ...]
    brokers: tuple[Participant, ...]
    seats: tuple[Seat, ...]
    accounts: tuple[Account, ...]
    loans: tuple[Loan, ...]

    @classmethod
    def of(cls, clients: int, brokers: int) -> "World":
        """Return the world of so many clients and brokers. The first clients are the most active ones.

        Every sixth client has no broker; every third has two. Every fourth line carries settlement credit.
        """
        people = _entities("CLNT", clients, CLIENT_NAMES, "Client")
        backers = _entities("PB", brokers, BROKER_NAMES, "Broker")
        seats, loans = [], []
        for rank, client in enumerate(people):
            weight = 3_000_000 // (rank + 1)  # Zipf's law: the second trades half as much as the first.
            first = (rank // 2) % brokers
            if rank % 6 == 5:
                seats.append(Seat(client, None, weight))
                continue
            seats.append(Seat(client, backers[first], weight))
            if rank % 4 == 0:
                loans.append(Loan(seats[-1], INSTRUMENTS["USD"], 250_000_00))
            if rank % 3 == 0 and brokers > 1:
                seats.append(Seat(client, backers[(first + 1) % brokers], weight // 3))
        accounts = [
            Account(_account_id(owner, number, instrument), custodian_of(instrument), owner, instrument)
            for number, owner in enumerate((*people, *backers), start=1)
            for instrument in INSTRUMENTS.values()
        ]
        return cls(people, backers, tuple(seats), tuple(accounts), tuple(loans))


def custodian_of(instrument: Instrument) -> Participant:
    """Return who keeps an instrument: the bank for money, the wallet custodian for all else."""
    return BANK if instrument.kind == "FIAT" else WALLETS


def _account_id(owner: Participant, number: int, instrument: Instrument) -> str:
    """A vault for all that an owner has on chains; an IBAN per currency at the bank, but not for yen."""
    if instrument.kind != "FIAT":
        return f"SV:{owner.key}"
    if instrument.key == "JPY":
        return f"HV-{owner.key}-JPY"
    bban = f"HVXX{list(INSTRUMENTS).index(instrument.key):06d}{number:08d}"
    return f"GB{mod_97_10.calc_check_digits(bban + 'GB')}{bban}"


def usd_units(instrument: Instrument) -> int:
    """Return what one whole unit is worth, in 10^-8 dollars."""
    return int(Decimal(instrument.usd).scaleb(USD_PLACES))


def atoms_worth(dollars: int, instrument: Instrument) -> int:
    """Return how many atoms of an instrument are worth so many dollars, cut to whole ones."""
    return dollars * 10 ** (instrument.decimals + USD_PLACES) // usd_units(instrument)
