"""A venue's report becomes a fill: whose, of what, exactly how much. Pure: frames in, frames out.

Every row stays. The first rule that it breaks, in the order of `_rules`, is its flaw: what is missing, has a
wrong form, is unknown, cannot be that much, cannot have been then, and last what does not add up.
"""

import hashlib
from datetime import datetime, timedelta

import polars as pl

from assets.fills.notional import notionals
from assets.intake import Rule, SourceFile, first_flaw, instant, missing, not_among, not_identifiers
from assets.reference import Reference, Venue
from schemas import limits
from schemas.atoms import scale
from schemas.errors import BrokenInvariant
from schemas.fill import REPORT_TEXT, SIDES, Fill
from schemas.reasons import Flaw

DATE_PATTERN = r"^(19[7-9][0-9]|2[01][0-9]{2}|22[0-5][0-9]|226[01])-[0-9]{2}-[0-9]{2}$"
FEE_PATTERN = r"^-?[0-9]{1,40}(\.[0-9]{1,30})?(;-?[0-9]{1,40}(\.[0-9]{1,30})?)*$"  # FIX may name several.
TRADE_DATE_DAYS_MAX = 4  # Venues turn the trade date in the evening, and Friday's evening is Monday's.
VALUE_DAYS_MAX = 366
UNSAID = ("content_hash", "file", "file_sha256", "record", "offset", "length", "age", "accepted")


def normalise(
    reports: pl.DataFrame, *, venue: Venue, file: SourceFile, reference: Reference, cut_at: datetime
) -> pl.DataFrame:
    """Return all of `reports` in the columns of Fill, with `flaw` and `detail`. Without one it is a Fill.

    Amounts are atoms, times are UTC in nanoseconds. In a flawed row any column may be null.
    """
    frame = reports.with_columns(pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in REPORT_TEXT)
    for resolve in (_markets, _parties):
        frame = resolve(frame, venue, reference)
    frame = first_flaw(notionals(_amounts(_times(frame))), _rules(venue, cut_at))
    if frame.height != reports.height:
        raise BrokenInvariant(f"{file.name}: a key stands twice in the reference data. Nothing was written.")
    return _identify(frame, venue, file)


def _rules(venue: Venue, cut_at: datetime) -> list[Rule]:
    trade = pl.col("exec_type") != "H"
    after = pl.col("exec_type").is_in(["G", "H"])
    # Of a datetime of Python, Polars would make microseconds, and cut our times to them to compare.
    oldest, newest = (
        pl.lit(cut_at + apart).dt.cast_time_unit("ns")
        for apart in (-timedelta(days=limits.FILL_AGE_DAYS_MAX), timedelta(hours=limits.FILL_AHEAD_HOURS_MAX))
    )
    early = pl.col("trade_on") > pl.col("traded_at_").dt.date() + pl.duration(days=TRADE_DATE_DAYS_MAX)
    value_days = (pl.col("value_on") - pl.col("trade_on")).dt.total_days()
    unknown = pl.col("client").is_not_null() & pl.col("client_key").is_null()
    return [
        *missing("exec_type", "exec_id", "match_id", "symbol", "side", "traded_at"),
        *((trade & wrong, flaw, detail) for wrong, flaw, detail in missing("quantity", "price")),
        *((after & wrong, flaw, detail) for wrong, flaw, detail in missing("exec_ref_id")),
        (~pl.col("exec_type").is_in(["F", "G", "H"]), Flaw.UNEXPECTED_MESSAGE, "exec_type: expected F, G, H"),
        not_among("side", tuple(SIDES)),
        *not_identifiers("exec_id", "exec_ref_id", "match_id", "symbol", "account", "fee_symbol_first"),
        (pl.col("venue") != venue.mic, Flaw.WRONG_VENUE, "venue: expected the folder's"),
        (pl.col("base").is_null(), Flaw.UNKNOWN_SYMBOL, "symbol: expected a row of symbols.csv"),
        (
            pl.col("base_decimals").is_null() | pl.col("quote_decimals").is_null(),
            Flaw.UNKNOWN_INSTRUMENT,
            "symbol: expected instruments that are in instruments.csv",
        ),
        (pl.col("base") == pl.col("quote"), Flaw.SAME_INSTRUMENT, "symbol: expected two instruments"),
        (
            pl.col("client").is_null() & pl.col("account").is_null(),
            Flaw.MISSING_FIELD,
            "client or account: expected one of them",
        ),
        (
            pl.col("client").is_null() & pl.col("owner").is_null(),
            Flaw.UNKNOWN_ACCOUNT,
            "account: expected a row of trading_accounts.csv",
        ),
        (unknown, Flaw.UNKNOWN_PARTY, "client: expected the LEI of a participant"),
        (pl.col("client_key") != pl.col("owner"), Flaw.UNKNOWN_ACCOUNT, "account: another client's"),
        (~pl.col("client_role").is_in(["CLNT", "PB"]), Flaw.WRONG_ROLE, "client: expected role CLNT or PB"),
        (
            pl.col("prime_broker").is_not_null() & pl.col("prime_broker_key").is_null(),
            Flaw.UNKNOWN_PARTY,
            "prime_broker: expected the LEI of a participant",
        ),
        (pl.col("prime_broker_role") != "PB", Flaw.WRONG_ROLE, "prime_broker: expected a prime broker"),
        (
            pl.col("prime_broker_key") == pl.col("client_key"),
            Flaw.WRONG_ROLE,
            "prime_broker: expected another party than the client",
        ),
        (
            pl.col("custodian").is_not_null() & pl.col("custodian_key").is_null(),
            Flaw.UNKNOWN_PARTY,
            "custodian: expected the LEI of a participant",
        ),
        (
            pl.col("custodian").is_not_null() & ~pl.col("is_custodian"),
            Flaw.WRONG_CUSTODIAN,
            "custodian: expected the client's, for base or quote in accounts.csv",
        ),
        *_amount_rules(),
        (~pl.col("fee").str.contains(FEE_PATTERN), Flaw.BAD_NUMBER, "fee: expected a decimal string"),
        (pl.col("traded_at_").is_null(), Flaw.BAD_TIME, "traded_at: expected an instant, RFC 3339 in UTC"),
        (pl.col("trade_on").is_null() | early, Flaw.BAD_TIME, "trade_on: expected the date of the trade"),
        (
            pl.col("value_on").is_null() | ~value_days.is_between(0, VALUE_DAYS_MAX),
            Flaw.BAD_TIME,
            "value_on: expected a date from trade_on to a year later",
        ),
        (pl.col("traded_at_") < oldest, Flaw.TOO_OLD, f"traded_at: over {limits.FILL_AGE_DAYS_MAX} days old"),
        (pl.col("traded_at_") > newest, Flaw.IN_THE_FUTURE, "traded_at: expected no time far after the cut"),
        (pl.col("quote_off"), Flaw.QUOTE_MISMATCH, "quote_quantity: expected price x quantity"),
    ]  # fmt: skip


def _amount_rules() -> list[Rule]:
    named = {"base_atoms": "quantity", "price_units": "price", "quote_atoms": "quote_quantity"}
    expected = {
        Flaw.BAD_NUMBER: "a plain decimal string",
        Flaw.EXCESS_DECIMALS: "no more decimals than the instrument has",
        Flaw.AMOUNT_TOO_LARGE: "at most 38 digits",
    }
    most = pl.lit(limits.FILL_ATOMS_MAX, dtype=pl.Int128)
    return [
        *(
            (pl.col(f"{atoms}_flaw") == str(flaw), flaw, f"{name}: expected {what}")
            for flaw, what in expected.items()
            for atoms, name in named.items()
        ),
        *((pl.col(atoms) <= 0, Flaw.NOT_POSITIVE, f"{name}: expected more than 0") for atoms, name in named.items()),
        *(
            (pl.col(atoms) > most, Flaw.AMOUNT_TOO_LARGE, f"{named[atoms]}: beyond what one fill may be")
            for atoms in ("base_atoms", "quote_atoms")
        ),
    ]


def _markets(frame: pl.DataFrame, venue: Venue, reference: Reference) -> pl.DataFrame:
    """Add base, quote, their decimals and the increment in atoms, by the venue's symbol."""
    decimals = reference.instruments.select("instrument", "decimals")
    markets = reference.symbols.filter(pl.col("venue") == venue.mic).drop("venue")
    for leg in ("base", "quote"):
        columns = {"instrument": leg, "decimals": f"{leg}_decimals"}
        markets = markets.join(decimals.rename(columns), on=leg, how="left", maintain_order="left")
    markets = scale(markets, "quote_increment", pl.col("quote_decimals"), out="quote_increment_atoms")
    if markets["quote_increment_atoms_flaw"].is_not_null().any():
        raise BrokenInvariant("symbols.csv was accepted with an increment that is no amount. Please report it.")
    one = pl.lit(1, dtype=pl.Int128)
    markets = markets.with_columns(pl.col("quote_increment_atoms").fill_null(one))
    markets = markets.drop("quote_increment", "quote_increment_atoms_flaw")
    return frame.join(markets, on="symbol", how="left", maintain_order="left")


def _parties(frame: pl.DataFrame, venue: Venue, reference: Reference) -> pl.DataFrame:
    """Add the keys and roles of client, prime broker and custodian, by LEI or by the trading account."""
    people = reference.participants.select("lei", "participant", "role")
    accounts = reference.trading_accounts.filter(pl.col("venue") == venue.mic)
    accounts = accounts.select("account", owner="client", owner_broker="prime_broker")
    frame = frame.join(accounts, on="account", how="left", maintain_order="left")
    for party in ("client", "prime_broker", "custodian"):
        columns = {"lei": party, "participant": f"{party}_key"}
        frame = frame.join(people.drop("role").rename(columns), on=party, how="left", maintain_order="left")
    # What the row names goes before what the account is registered for.
    frame = frame.with_columns(
        pl.when(pl.col("client").is_null()).then("owner").otherwise("client_key").alias("client_key"),
        pl.when(pl.col("prime_broker").is_null())
        .then("owner_broker")
        .otherwise("prime_broker_key")
        .alias("prime_broker_key"),
    )
    for party in ("client", "prime_broker"):
        columns = {"participant": f"{party}_key", "role": f"{party}_role"}
        roles = people.drop("lei").rename(columns)
        frame = frame.join(roles, on=f"{party}_key", how="left", maintain_order="left")
    kept = reference.accounts.select(
        pl.struct(a="participant", b="instrument", c="custodian").alias("kept")
    ).to_series()
    held = [pl.struct(a="client_key", b=leg, c="custodian_key").is_in(kept.implode()) for leg in ("base", "quote")]
    return frame.with_columns(pl.any_horizontal(held).alias("is_custodian"))


def _times(frame: pl.DataFrame) -> pl.DataFrame:
    """Read the instant and the dates, strictly. A date that is not named follows from the one before it."""
    frame = frame.with_columns(instant("traded_at").alias("traded_at_"))
    for name, default in (("trade_on", pl.col("traded_at_").dt.date()), ("value_on", pl.col("trade_on"))):
        given = pl.when(pl.col(name).str.contains(DATE_PATTERN)).then(pl.col(name))
        date = pl.when(pl.col(name).is_null()).then(default).otherwise(given.str.to_date("%Y-%m-%d", strict=False))
        frame = frame.with_columns(date.alias(name))
    return frame


def _amounts(frame: pl.DataFrame) -> pl.DataFrame:
    """Read quantity and quote amount as atoms, and the price as price_units / 10^price_decimals."""
    parts = pl.col("price").str.split_exact(".", 1)
    whole = parts.struct.field("field_0").str.replace(r"^(-?)0+([0-9])", "${1}${2}")
    fraction = parts.struct.field("field_1").fill_null("").str.strip_chars_end("0")
    plain = pl.when(fraction == "").then(whole).otherwise(whole + "." + fraction)
    frame = frame.with_columns(
        fraction.str.len_bytes().clip(0, limits.DECIMALS_MAX).cast(pl.Int32).alias("price_decimals"),
        plain.alias("price_plain"),
        pl.col("fee_symbol").str.split(";").list.first().alias("fee_symbol_first"),
    )
    frame = scale(frame, "price", pl.col("price_decimals"), out="price_units")
    frame = scale(frame, "quantity", pl.col("base_decimals"), out="base_atoms")
    return scale(frame, "quote_quantity", pl.col("quote_decimals"), out="quote_atoms")


def _identify(frame: pl.DataFrame, venue: Venue, file: SourceFile) -> pl.DataFrame:
    """Give each report its ids and the digest of what it says, and name where it stands."""
    prefix = pl.lit(f"{venue.mic}:") + pl.col("trade_on").cast(pl.String) + ":"
    frame = frame.select(
        "record", "offset", "length", "flaw", "detail", "exec_type", "account", "base", "quote", "base_atoms",
        "quote_atoms", "quote_increment_atoms", "trade_on", "value_on", "fee", "fee_symbol",
        (prefix + pl.col("exec_id")).alias("fill_id"),
        (prefix + pl.col("exec_ref_id")).alias("exec_ref_id"),
        (prefix + pl.col("match_id")).alias("match_id"),
        pl.lit(venue.mic).alias("venue"),
        pl.col("side").replace_strict(SIDES, default=None, return_dtype=pl.String),
        pl.col("client_key").alias("client"),
        pl.col("prime_broker_key").alias("prime_broker"),
        pl.col("price_plain").alias("price"),
        pl.col("traded_at_").alias("traded_at"),
        pl.lit(file.name).alias("file"),
        pl.lit(file.sha256).alias("file_sha256"),
        pl.lit(0, dtype=pl.UInt32).alias("age"),
        pl.lit(False).alias("accepted"),
    )  # fmt: skip
    # Accepted text holds no control characters, so two reports never share a text.
    said = [
        (pl.col(name).to_physical() if name == "traded_at" else pl.col(name)).cast(pl.String).fill_null("")
        for name in Fill.names()
        if name not in UNSAID
    ]
    said_once = pl.when(pl.col("flaw").is_null()).then(pl.concat_str(said, separator="\n"))
    texts = frame.select(said_once.alias("text"))["text"].to_list()
    hashes = [None if text is None else hashlib.sha256(text.encode()).hexdigest() for text in texts]
    return frame.with_columns(pl.Series("content_hash", hashes, dtype=pl.String)).select(
        *Fill.names(), "flaw", "detail"
    )
