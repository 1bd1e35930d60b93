"""A report becomes a fill only if every figure in it is exact and everybody in it is known."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.fills.normalise import normalise
from assets.intake import SourceFile
from assets.reference import Reference, Venue
from schemas.fill import FileCount, Fill, Quarantined, Report
from schemas.instrument import Instrument, Price
from schemas.limits import FILL_ATOMS_MAX
from schemas.participant import Account, Participant, Symbol, TradingAccount

VENUE = Venue("SPTX", "Spotex", "fix44")
FILE = SourceFile("fills", "venues/SPTX/a.fix", Path("a.fix"), "0" * 64, 1)
CUT = datetime(2026, 11, 20, 8, tzinfo=UTC)


def rows(contract: type, text: str) -> pl.DataFrame:
    """A frame of a contract from a table of words; '-' is null."""
    cells = [[None if cell == "-" else cell for cell in line.split()] for line in text.strip().splitlines()]
    frame = pl.DataFrame(cells, schema=dict.fromkeys(contract.names(), pl.String), orient="row")
    return contract.hold(frame.cast(contract.dtypes()))


REFERENCE = Reference(
    instruments=rows(
        Instrument,
        """
        BTC   Bitcoin  CRYPTO bitcoin  8  - - -   ACTIVE
        NEAR  Near     CRYPTO near     24 - - -   ACTIVE
        USD   Dollar   FIAT   -        2  - - USD ACTIVE
        JPY   Yen      FIAT   -        0  - - JPY SUSPENDED
        """,
    ),
    prices=Price.empty(),
    participants=rows(
        Participant,
        """
        ALPHA LEI-ALPHA Alpha CLNT ACTIVE
        BETA  LEI-BETA  Beta  CLNT SUSPENDED
        PRIME LEI-PRIME Prime PB   ACTIVE
        SPOT  LEI-SPOT  Spot  VENU ACTIVE
        VAULT LEI-VAULT Vault CUST ACTIVE
        SAFE  LEI-SAFE  Safe  CUST ACTIVE
        """,
    ),
    accounts=rows(Account, "a-btc VAULT ALPHA BTC\nb-btc SAFE BETA BTC"),
    trading_accounts=rows(TradingAccount, "SPTX acct-7 ALPHA PRIME\nSPTX acct-8 BETA -"),
    symbols=rows(
        Symbol,
        """
        SPTX BTC/USD  BTC  USD 0.05
        SPTX NEAR/USD NEAR USD -
        SPTX NEAR/JPY NEAR JPY -
        SPTX BTC/NEAR BTC  NEAR -
        SPTX BTC/BTC  BTC  BTC -
        SPTX ODD/USD  ODD  USD -
        ELSE ELSE/USD BTC  USD -
        """,
    ),
    venues={"SPTX": VENUE},
    quarantined=Quarantined.empty(),
    counts=FileCount.empty(),
)
TRADE = {
    "exec_type": "F", "exec_id": "E1", "match_id": "M1", "symbol": "BTC/USD", "side": "1", "quantity": "0.25",
    "price": "105433.60", "quote_quantity": "26358.40", "traded_at": "2026-11-20T04:05:06.789Z",
    "client": "LEI-ALPHA",
}  # fmt: skip


def judge(*changes: dict[str, str | None]) -> pl.DataFrame:
    reports = [
        {**TRADE, **change, "record": number, "offset": 0, "length": 1} for number, change in enumerate(changes, 1)
    ]
    frame = pl.DataFrame(reports, schema=Report.dtypes())
    return normalise(frame, venue=VENUE, file=FILE, reference=REFERENCE, cut_at=CUT)


def fill(**change: str | None) -> dict[str, object]:
    [row] = judge(change).rows(named=True)
    assert (row["flaw"], row["detail"]) == (None, None)
    return row


def flaw(**change: str | None) -> str | None:
    return judge(change)["flaw"].item()


def test_a_report_becomes_a_fill_in_atoms_under_our_own_keys() -> None:
    row = fill(prime_broker="LEI-PRIME", custodian="LEI-VAULT", venue="SPTX", fee="-0.10", fee_symbol="USD")
    assert row == {
        "fill_id": "SPTX:2026-11-20:E1", "venue": "SPTX", "exec_type": "F", "exec_ref_id": None,
        "match_id": "SPTX:2026-11-20:M1", "side": "BUY", "client": "ALPHA", "prime_broker": "PRIME",
        "account": None, "base": "BTC", "quote": "USD", "base_atoms": 25_000_000, "quote_atoms": 2_635_840,
        "quote_increment_atoms": 5, "price": "105433.6",
        "traded_at": datetime(2026, 11, 20, 4, 5, 6, 789_000, tzinfo=UTC), "trade_on": date(2026, 11, 20),
        "value_on": date(2026, 11, 20), "fee": "-0.10", "fee_symbol": "USD",
        "content_hash": row["content_hash"], "file": "venues/SPTX/a.fix", "file_sha256": "0" * 64,
        "record": 1, "offset": 0, "length": 1, "age": 0, "accepted": False, "flaw": None, "detail": None,
    }  # fmt: skip
    accepted = judge({}, {"exec_id": "E2"}, {"exec_id": "E3", "side": "2"}).drop("flaw", "detail")
    assert Fill.hold(accepted).height == 3


def test_times_are_exact_to_the_nanosecond() -> None:
    frame = judge({"traded_at": "2026-11-20T04:05:06.123456789Z"}, {"traded_at": "2026-11-20T04:05:06Z"})
    whole = int(datetime(2026, 11, 20, 4, 5, 6, tzinfo=UTC).timestamp()) * 10**9
    assert frame["traded_at"].to_physical().to_list() == [whole + 123_456_789, whole]


@pytest.mark.parametrize(
    "time",
    [
        "2026-02-30T04:05:06Z", "2026-11-20T24:00:00Z", "2026-11-20T23:59:60Z",
        "2026-11-20T04:05:06.1234567891Z", "2026-11-20T04:05:06",
        "2026-11-20T04:05:06+01:00", "2026-11-20 04:05:06Z", "2026-11-20T04:05:06.Z",
        "9999-11-20T04:05:06Z", "20261120-04:05:06", "2026-11-20T\u06604:05:06Z", "yesterday",
    ],
)  # fmt: skip
def test_a_time_that_is_no_instant_is_refused(time: str) -> None:
    assert flaw(traded_at=time) == "BAD_TIME"


def test_trades_long_ago_or_from_the_future_need_a_person() -> None:
    times = (
        "2026-09-21T08:00:00Z",
        "2026-09-21T07:59:59Z",
        "2026-11-21T08:00:00Z",
        "2026-11-21T08:00:00.000000001Z",
    )
    flaws = judge(*({"traded_at": time} for time in times))["flaw"].to_list()
    assert flaws == [None, "TOO_OLD", None, "IN_THE_FUTURE"]


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ({"trade_on": "2026-11-19"}, None),
        ({"trade_on": "2026-11-24"}, None),
        ({"trade_on": "2026-11-25"}, "BAD_TIME"),
        ({"trade_on": "2026-11-31"}, "BAD_TIME"),
        ({"trade_on": "20261120"}, "BAD_TIME"),
        ({"value_on": "2026-11-22"}, None),
        ({"value_on": "2026-11-19"}, "BAD_TIME"),
        ({"value_on": "2027-11-22"}, "BAD_TIME"),
    ],
)
def test_dates_are_real_days_in_their_order(dates: dict[str, str], expected: str | None) -> None:
    assert flaw(**dates) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e5", "BAD_NUMBER"), ("\u0663", "BAD_NUMBER"), ("NaN", "BAD_NUMBER"), ("inf", "BAD_NUMBER"),
        ("1e400", "BAD_NUMBER"), ("+5", "BAD_NUMBER"), (".5", "BAD_NUMBER"), ("10.", "BAD_NUMBER"),
        ("1,000", "BAD_NUMBER"), (" 1", "BAD_NUMBER"), ("0x1", "BAD_NUMBER"), ("1_0", "BAD_NUMBER"),
        ("1\n", "BAD_NUMBER"), ("9" * 41, "BAD_NUMBER"),
        ("9" * 40, "AMOUNT_TOO_LARGE"), ("-0", "NOT_POSITIVE"), ("0.00", "NOT_POSITIVE"),
        ("-1", "NOT_POSITIVE"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["quantity", "price", "quote_quantity"])
def test_what_is_no_plain_positive_number_is_refused(name: str, text: str, expected: str) -> None:
    assert flaw(**{name: text}) == expected


def test_digits_beyond_the_instrument_are_refused_and_trailing_zeros_are_not() -> None:
    assert flaw(quantity="0.250000001") == "EXCESS_DECIMALS"
    assert flaw(quote_quantity="26358.401") == "EXCESS_DECIMALS"
    assert fill(quantity="0.25000000000", quote_quantity="26358.4000")["base_atoms"] == 25_000_000


def test_an_amount_beyond_what_a_fill_may_be_is_refused() -> None:
    assert fill(symbol="NEAR/JPY", quantity="10000000000", price="1", quote_quantity=None)["base_atoms"] == 10**34
    assert flaw(symbol="NEAR/JPY", quantity="10000000001", price="1", quote_quantity=None) == "AMOUNT_TOO_LARGE"
    big = flaw(symbol="BTC/NEAR", quantity="100000000", price="9" * 38, quote_quantity=None)
    assert big == "AMOUNT_TOO_LARGE"


def test_a_quote_amount_that_no_venue_states_is_price_times_quantity_half_even_and_at_least_one_atom() -> None:
    amounts = [("0.5", "0.01"), ("1.5", "0.01"), ("2.5", "0.01"), ("0.00000001", "0.01"), ("3", "0.07")]
    frame = judge(*({"quantity": q, "price": p, "quote_quantity": None} for q, p in amounts))
    assert frame["quote_atoms"].to_list() == [1, 2, 2, 1, 21]
    assert frame["flaw"].to_list() == [None] * 5


def test_the_venues_own_amount_may_be_one_increment_away_and_is_kept() -> None:
    stated = ["26358.35", "26358.45", "26358.34", "26358.46"]
    frame = judge(*({"quote_quantity": text} for text in stated))
    assert frame["flaw"].to_list() == [None, None, "QUOTE_MISMATCH", "QUOTE_MISMATCH"]
    assert frame["quote_atoms"].to_list()[:2] == [2_635_835, 2_635_845]


SYMBOLS = {"BTC/USD": (8, 2, 5), "NEAR/USD": (24, 2, 1), "NEAR/JPY": (24, 0, 1), "BTC/NEAR": (8, 24, 1)}


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(sorted(SYMBOLS)),
    st.integers(1, FILL_ATOMS_MAX),
    st.integers(1, 10**24) | st.integers(1, 10**4),
    st.integers(0, 30),
    st.integers(-7, 7),
)
def test_the_quote_check_agrees_with_fractions_of_any_size(
    symbol: str, base_atoms: int, price_units: int, price_decimals: int, away: int
) -> None:
    base_decimals, quote_decimals, increment = SYMBOLS[symbol]
    numerator = base_atoms * price_units * 10**quote_decimals
    denominator = 10 ** (base_decimals + price_decimals)
    quote_atoms = numerator // denominator + away
    if not 0 < quote_atoms <= FILL_ATOMS_MAX:
        return

    def decimal(atoms: int, decimals: int) -> str:
        digits = str(atoms).rjust(decimals + 1, "0")
        return f"{digits[: len(digits) - decimals]}.{digits[len(digits) - decimals :]}0"[:-1].rstrip(".")

    found = flaw(
        symbol=symbol,
        quantity=decimal(base_atoms, base_decimals),
        price=decimal(price_units, price_decimals),
        quote_quantity=decimal(quote_atoms, quote_decimals),
    )
    off = abs(numerator - quote_atoms * denominator) > increment * denominator
    assert found == ("QUOTE_MISMATCH" if off else None)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"exec_id": None}, "MISSING_FIELD"),
        ({"match_id": ""}, "MISSING_FIELD"),
        ({"quantity": None}, "MISSING_FIELD"),
        ({"price": None}, "MISSING_FIELD"),
        ({"client": None}, "MISSING_FIELD"),
        ({"exec_type": "G"}, "MISSING_FIELD"),
        ({"exec_type": "H"}, "MISSING_FIELD"),
        ({"exec_type": "I"}, "UNEXPECTED_MESSAGE"),
        ({"side": "5"}, "BAD_CODE"),
        ({"exec_id": "\u03951"}, "BAD_IDENTIFIER"),  # A Greek capital epsilon.
        ({"exec_id": "E" * 65}, "BAD_IDENTIFIER"),
        ({"match_id": "M 1"}, "BAD_IDENTIFIER"),
        ({"venue": "ELSE"}, "WRONG_VENUE"),
        ({"symbol": "ELSE/USD"}, "UNKNOWN_SYMBOL"),
        ({"symbol": "ODD/USD"}, "UNKNOWN_INSTRUMENT"),
        ({"symbol": "BTC/BTC"}, "SAME_INSTRUMENT"),
        ({"client": "LEI-NOBODY"}, "UNKNOWN_PARTY"),
        ({"client": "LEI-SPOT"}, "WRONG_ROLE"),
        ({"client": "LEI-PRIME"}, None),
        ({"client": "LEI-BETA"}, None),
        ({"prime_broker": "LEI-NOBODY"}, "UNKNOWN_PARTY"),
        ({"prime_broker": "LEI-BETA"}, "WRONG_ROLE"),
        ({"client": "LEI-PRIME", "prime_broker": "LEI-PRIME"}, "WRONG_ROLE"),
        ({"client": None, "account": "acct-9"}, "UNKNOWN_ACCOUNT"),
        ({"account": "acct-8"}, "UNKNOWN_ACCOUNT"),
        ({"account": "own-name"}, None),
        ({"custodian": "LEI-NOBODY"}, "UNKNOWN_PARTY"),
        ({"custodian": "LEI-SAFE"}, "WRONG_CUSTODIAN"),
        ({"fee": "free"}, "BAD_NUMBER"),
        ({"symbol": "NEAR/JPY", "quantity": "1", "price": "300", "quote_quantity": "300"}, None),
    ],
)
def test_what_is_missing_misformed_or_unknown_has_its_reason(
    change: dict[str, str | None], expected: str | None
) -> None:
    assert flaw(**change) == expected


def test_a_row_without_parties_belongs_to_the_client_and_broker_of_its_trading_account() -> None:
    row = fill(client=None, account="acct-7")
    assert (row["client"], row["prime_broker"]) == ("ALPHA", "PRIME")
    row = fill(client=None, account="acct-8")
    assert (row["client"], row["prime_broker"]) == ("BETA", None)


def test_a_bust_needs_no_amounts_and_keeps_those_it_states() -> None:
    bust = {"exec_type": "H", "exec_ref_id": "E0"}
    empty = {**bust, "quantity": None, "price": None, "quote_quantity": None}
    frame = judge(empty, {**bust, "exec_id": "E2"}, {**bust, "exec_id": "E3", "quantity": "1e5"})
    assert frame["flaw"].to_list() == [None, None, "BAD_NUMBER"]
    assert frame["base_atoms"].to_list()[:2] == [None, 25_000_000]
    assert frame["exec_ref_id"].to_list()[0] == "SPTX:2026-11-20:E0"
    assert Fill.hold(frame.head(2).drop("flaw", "detail")).height == 2


def test_the_content_hash_is_of_what_is_said_and_not_of_how_or_where() -> None:
    same = judge({}, {"price": "0105433.6"}, {"quantity": "0.250", "trade_on": "2026-11-20"})["content_hash"]
    assert same.n_unique() == 1
    other = judge({}, {"quote_quantity": "26358.41"}, {"side": "2"}, {"account": "x"}, {"fee": "1"}, {"exec_id": "E9"})
    assert other["content_hash"].n_unique() == 6


def test_a_row_with_a_flaw_of_form_keeps_it_and_every_row_stays_in_its_place() -> None:
    frame = judge({"flaw": "MALFORMED", "exec_id": None}, {}, {"side": "9"})
    assert frame["record"].to_list() == [1, 2, 3]
    assert frame["flaw"].to_list() == ["MALFORMED", None, "BAD_CODE"]
    assert frame["content_hash"].null_count() == 2
