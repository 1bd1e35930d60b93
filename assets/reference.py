"""Reference data: instruments, participants, their accounts, the venues and their symbols, prices.

Here only what a row says by itself and about other rows is judged. Whether a party may trade or an instrument
is suspended is decided where it matters, and holds a chain instead of hiding it.
"""

import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from stdnum import lei

from assets.intake import (
    FileRefused,
    Rule,
    SourceFile,
    count_file,
    enter_table,
    first_flaw,
    instant,
    missing,
    not_among,
    not_identifiers,
    quarantine_file,
)
from schemas import limits
from schemas.atoms import ATOMS_MAX, scale
from schemas.contract import Contract, Instant
from schemas.errors import RefusedInput
from schemas.fill import FileCount, Quarantined
from schemas.instrument import Instrument, Price, dti_is_valid
from schemas.participant import Account, Participant, Symbol, TradingAccount
from schemas.reasons import Flaw

MANDATORY = ("instruments.csv", "participants.csv", "accounts.csv", "prices.csv", "venues.toml")
OPTIONAL = ("symbols.csv", "trading_accounts.csv")
MIC_PATTERN = r"^[A-Z0-9]{4}$"
LEI_PATTERN = r"^[A-Z0-9]{18}[0-9]{2}$"


class DatedPrice(Price):
    """A price with its time: prices of one instrument at two times are two contents."""

    as_of: Instant


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


def read_reference(root: Path, reference_instrument: str) -> Reference:
    """Return the reference data below `root`/reference.

    Raises RefusedInput when a mandatory file is missing or cannot be read at all, when venues.toml is not as
    documented, or when `reference_instrument` is not among the instruments. A bad row is quarantined.
    """
    folder = root / "reference"
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {
        file.name.removeprefix("reference/"): file for file in (SourceFile.of("reference", p, root) for p in paths)
    }
    absent = [name for name in MANDATORY if name not in files]
    if absent:
        raise RefusedInput(
            f"reference/ has no {', '.join(absent)}; expected all of {', '.join(MANDATORY)}. "
            "Nothing was written. Add what is missing, then run the cycle again."
        )
    venues = _read_venues(files["venues.toml"])
    kept: list[tuple[pl.DataFrame, pl.DataFrame]] = [
        quarantine_file(file, FileRefused(Flaw.FILE_UNREADABLE, f"expected one of {', '.join(MANDATORY + OPTIONAL)}"))
        for name, file in files.items()
        if name not in MANDATORY + OPTIONAL
    ]
    count = count_file(files["venues.toml"], records=len(venues), accepted=len(venues), quarantined=0, duplicates=0)
    kept.append((Quarantined.empty(), count))

    def enter(
        name: str,
        contract: type[Contract],
        required: str,
        optional: str,
        key: str,
        judge: Callable[[pl.DataFrame], pl.DataFrame],
    ) -> pl.DataFrame:
        columns = required.split(), optional.split()
        accepted, quarantined, count = enter_table(files.get(name), contract, columns, key.split(), judge)
        if name in MANDATORY and count["flaw"].item() is not None:
            raise RefusedInput(
                f"reference/{name} cannot be read: {count['flaw'].item()} ({quarantined['detail'].item()}). "
                "Nothing was written. Correct the file, then run the cycle again."
            )
        kept.append((quarantined, count))
        return accepted

    instruments = enter(
        "instruments.csv", Instrument, "instrument name kind decimals status", "network dti caip19 iso4217",
        "instrument", _judge_instruments,
    )  # fmt: skip
    if reference_instrument not in instruments["instrument"]:
        raise RefusedInput(
            f"the policy's reference_instrument '{reference_instrument}' is not among the accepted rows of "
            "reference/instruments.csv. Nothing was written. Add it there, or name another in cycle.toml."
        )
    participants = enter(
        "participants.csv", Participant, "participant lei name role status", "", "participant",
        _judge_participants,
    )  # fmt: skip
    accounts = enter(
        "accounts.csv", Account, "account custodian participant instrument", "", "participant instrument",
        lambda rows: _judge_accounts(rows, participants, instruments),
    )  # fmt: skip
    trading_accounts = enter(
        "trading_accounts.csv", TradingAccount, "venue account client", "prime_broker", "venue account",
        lambda rows: _judge_trading_accounts(rows, participants),
    )  # fmt: skip
    symbols = enter(
        "symbols.csv", Symbol, "venue symbol base quote", "quote_increment", "venue symbol",
        lambda rows: _judge_symbols(rows, instruments),
    )  # fmt: skip
    prices = enter(
        "prices.csv", DatedPrice, "instrument price as_of", "", "instrument",
        lambda rows: _judge_prices(rows, instruments, reference_instrument),
    ).drop("as_of")  # fmt: skip
    if reference_instrument not in prices["instrument"]:
        own = pl.DataFrame([(reference_instrument, 1, 1)], schema=Price.dtypes(), orient="row")
        prices = pl.concat([prices, own]).sort("instrument")
    return Reference(
        instruments, Price.hold(prices), participants, accounts, trading_accounts, symbols, venues,
        quarantined=Quarantined.hold(pl.concat([quarantined for quarantined, _ in kept])),
        counts=FileCount.hold(pl.concat([count for _, count in kept]).sort("file")),
    )  # fmt: skip


def _judge_instruments(rows: pl.DataFrame) -> pl.DataFrame:
    decimals = pl.when(pl.col("decimals").str.contains(r"^(0|[1-9][0-9]?)$")).then(pl.col("decimals"))
    rows = rows.with_columns(
        pl.Series("bad_dti", [dti is not None and not dti_is_valid(dti) for dti in rows["dti"]], dtype=pl.Boolean),
        digits=decimals.cast(pl.Int32, strict=False),
    )
    rules = [
        *missing("instrument", "name", "kind", "decimals", "status"),
        *not_identifiers("instrument", "network"),
        not_among("kind", ("CRYPTO", "FIAT", "SECURITY")),
        not_among("status", ("ACTIVE", "SUSPENDED")),
        (
            pl.col("digits").is_null() | (pl.col("digits") > limits.DECIMALS_MAX),
            Flaw.BAD_NUMBER,
            f"decimals: expected 0 to {limits.DECIMALS_MAX}",
        ),
        (pl.col("bad_dti"), Flaw.BAD_DTI, "dti: expected an ISO 24165 identifier with its check character"),
        (
            ~pl.col("iso4217").str.contains(r"^[A-Z]{3}$"),
            Flaw.BAD_CODE,
            "iso4217: expected three capital letters",
        ),
    ]
    return first_flaw(rows, rules).with_columns(decimals="digits")


def _judge_participants(rows: pl.DataFrame) -> pl.DataFrame:
    # The pattern comes first: the library forgives blanks, hyphens and small letters.
    well_formed = rows["lei"].str.contains(LEI_PATTERN)
    bad = [
        form is not None and not (form and lei.is_valid(code))
        for form, code in zip(well_formed, rows["lei"], strict=True)
    ]
    rows = rows.with_columns(pl.Series("bad_lei", bad, dtype=pl.Boolean))
    rules = [
        *missing("participant", "lei", "name", "role", "status"),
        *not_identifiers("participant"),
        (pl.col("bad_lei"), Flaw.BAD_LEI, "lei: expected 20 characters with their check digits"),
        not_among("role", ("CLNT", "PB", "VENU", "CUST")),
        not_among("status", ("ACTIVE", "SUSPENDED", "DEFAULTED")),
        (
            pl.col("participant").n_unique().over("lei") > 1,
            Flaw.CONFLICTING_COPIES,
            "lei: stands for two participants",
        ),
    ]
    return first_flaw(rows, rules)


def _judge_accounts(rows: pl.DataFrame, participants: pl.DataFrame, instruments: pl.DataFrame) -> pl.DataFrame:
    venues = participants.filter(role="VENU")["participant"].to_list()
    rules = [
        *missing("account", "custodian", "participant", "instrument"),
        *not_identifiers("account"),
        (pl.col("participant").is_in(venues), Flaw.TITLE_NOT_CLIENT, "participant: venues hold nothing"),
        not_a_party("participant", participants),
        not_a_party("custodian", participants),
        not_in_role("custodian", ("CUST",), participants),
        not_an_instrument("instrument", instruments),
        (
            pl.col("participant").n_unique().over("account") > 1,
            Flaw.TITLE_NOT_CLIENT,
            "account: named for two participants, and an omnibus account is refused",
        ),
    ]
    return first_flaw(rows, rules)


def _judge_trading_accounts(rows: pl.DataFrame, participants: pl.DataFrame) -> pl.DataFrame:
    rules = [
        *missing("venue", "account", "client"),
        not_a_mic("venue"),
        *not_identifiers("account"),
        not_a_party("client", participants),
        not_in_role("client", ("CLNT", "PB"), participants),
        not_a_party("prime_broker", participants),
        not_in_role("prime_broker", ("PB",), participants),
    ]
    return first_flaw(rows, rules)


def _judge_symbols(rows: pl.DataFrame, instruments: pl.DataFrame) -> pl.DataFrame:
    quotes = instruments.select(quote="instrument", quote_decimals="decimals")
    rows = rows.join(quotes, on="quote", how="left", maintain_order="left")
    rows = scale(rows, "quote_increment", pl.col("quote_decimals"), out="increment")
    rules = [
        *missing("venue", "symbol", "base", "quote"),
        not_a_mic("venue"),
        *not_identifiers("symbol"),
        not_an_instrument("base", instruments),
        not_an_instrument("quote", instruments),
        (pl.col("base") == pl.col("quote"), Flaw.SAME_INSTRUMENT, "base, quote: expected two instruments"),
        *wrong_amount("increment", "quote_increment"),
        (pl.col("increment") <= 0, Flaw.NOT_POSITIVE, "quote_increment: expected more than 0"),
    ]
    return first_flaw(rows, rules)


def _judge_prices(rows: pl.DataFrame, instruments: pl.DataFrame, reference_instrument: str) -> pl.DataFrame:
    fraction = pl.col("price").str.split_exact(".", 1).struct.field("field_1").fill_null("")
    # No longer fraction passes the pattern of a number, and 10^31 might not fit.
    digits = fraction.str.strip_chars_end("0").str.len_bytes().clip(upper_bound=limits.DECIMALS_MAX)
    rows = scale(rows.with_columns(digits=digits), "price", pl.col("digits"), out="price_units").with_columns(
        price_scale=pl.lit("1").str.pad_end(pl.col("digits") + 1, "0").str.to_integer(dtype=pl.Int128, strict=True),
        as_of=instant("as_of"),
        given_as_of=pl.col("as_of"),
    )
    is_one = (pl.col("price_units") == 1) & (pl.col("price_scale") == 1)
    rules = [
        *missing("instrument", "price", "given_as_of"),
        (pl.col("as_of").is_null(), Flaw.BAD_TIME, "as_of: expected RFC 3339 in UTC"),
        not_an_instrument("instrument", instruments),
        *wrong_amount("price_units", "price"),
        (pl.col("price_units") <= 0, Flaw.NOT_POSITIVE, "price: expected more than 0"),
        (
            (pl.col("instrument") == reference_instrument) & ~is_one,
            Flaw.CONFLICTING_COPIES,
            "price: the reference instrument itself is worth 1",
        ),
    ]
    return first_flaw(rows, rules)


def not_a_party(column: str, participants: pl.DataFrame) -> Rule:
    """Rule: the column names an accepted participant."""
    known = participants["participant"].to_list()
    return ~pl.col(column).is_in(known), Flaw.UNKNOWN_PARTY, f"{column}: expected a row of participants.csv"


def not_in_role(column: str, roles: tuple[str, ...], participants: pl.DataFrame) -> Rule:
    """Rule: the column names a participant in one of these roles."""
    able = participants.filter(pl.col("role").is_in(list(roles)))["participant"].to_list()
    return ~pl.col(column).is_in(able), Flaw.WRONG_ROLE, f"{column}: expected role {' or '.join(roles)}"


def not_a_mic(column: str) -> Rule:
    """Rule: the column has the form of an ISO 10383 code."""
    return ~pl.col(column).str.contains(MIC_PATTERN), Flaw.BAD_IDENTIFIER, f"{column}: expected a MIC"


def wrong_amount(atoms: str, text: str) -> list[Rule]:
    """Rules: what `atoms.scale` found wrong when it made the column `atoms` out of the column `text`."""
    return [
        (pl.col(f"{atoms}_flaw") == str(flaw), flaw, f"{text}: expected {expected}")
        for flaw, expected in (
            (Flaw.BAD_NUMBER, "a decimal number"),
            (Flaw.EXCESS_DECIMALS, "no more digits than the instrument has"),
            (Flaw.AMOUNT_TOO_LARGE, f"at most {limits.ATOMS_DIGITS_MAX} digits"),
        )
    ]


def not_an_instrument(column: str, instruments: pl.DataFrame) -> Rule:
    """Rule: the column names an accepted instrument."""
    known = instruments["instrument"].to_list()
    return (
        ~pl.col(column).is_in(known),
        Flaw.UNKNOWN_INSTRUMENT,
        f"{column}: expected a row of instruments.csv",
    )


def _read_venues(file: SourceFile) -> dict[str, Venue]:
    expected = 'expected [MIC] with name = "..." and dialect = "...". Nothing was written. Correct the file'
    try:
        entries = tomllib.loads(file.bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise RefusedInput(f"reference/venues.toml is not TOML in UTF-8; {expected}.") from None
    for mic, entry in entries.items():
        if not re.fullmatch(r"[A-Z0-9]{4}", mic):
            raise RefusedInput(f"reference/venues.toml: {mic[:64]!r} is no MIC (four of A-Z, 0-9); {expected}.")
        if (
            not isinstance(entry, dict)
            or set(entry) != {"name", "dialect"}
            or not all(isinstance(value, str) and value for value in entry.values())
        ):
            raise RefusedInput(f"reference/venues.toml: [{mic}] is something else; {expected}.")
    return {mic: Venue(mic, entry["name"], entry["dialect"]) for mic, entry in entries.items()}


def value_scale(reference: Reference, into: str) -> pl.DataFrame:
    """Return instrument, price_units and value_divisor: atoms x units / divisor is a value in atoms of `into`.

    One whole unit (10^decimals atoms) is worth price_units / price_scale whole units of `into`. A price of so many
    digits that the scale is beyond 38 of them counts as none.
    """
    decimals = dict(reference.instruments.select("instrument", "decimals").rows())
    rows = []
    for instrument, units, places in reference.prices.select("instrument", "price_units", "price_scale").rows():
        power = decimals[instrument] - decimals[into]
        units, divisor = (units, places * 10**power) if power >= 0 else (units * 10**-power, places)
        common = math.gcd(units, divisor)
        if max(units, divisor) // common <= ATOMS_MAX:
            rows.append((instrument, units // common, divisor // common))
    return pl.DataFrame(
        rows,
        schema={"instrument": pl.String, "price_units": pl.Int128, "value_divisor": pl.Int128},
        orient="row",
    )
