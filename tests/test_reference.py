"""Reference data: what a row must be to be believed, and what stops the cycle."""

import random
from pathlib import Path

import pytest

from assets.reference import Reference, Venue, read_reference
from schemas.errors import RefusedInput
from schemas.instrument import dti_is_valid

ALPHA, BETA = "999900ALPHA000000087", "999900BETA0000000030"
NORTH, VAULT, SPOT = "999900NORTH000000003", "999900VAULT000000013", "999900SPOT0000000040"
WORLD = {
    "instruments.csv": """\
instrument,name,kind,network,decimals,dti,caip19,iso4217,status
BTC,Bitcoin,CRYPTO,bitcoin,8,4H95J0R2X,,,ACTIVE
ETH,Ether,CRYPTO,ethereum,18,X9J9K872S,eip155:1/slip44:60,,ACTIVE
USD,US dollar,FIAT,,2,,,USD,ACTIVE
""",
    "participants.csv": f"""\
participant,lei,name,role,status
ALPHA,{ALPHA},Alpha Fund,CLNT,ACTIVE
BETA,{BETA},"Beta, a bank",CLNT,SUSPENDED
NORTH,{NORTH},North Prime,PB,ACTIVE
VAULT,{VAULT},Vault Trust,CUST,ACTIVE
SPOT,{SPOT},Spot Venue,VENU,ACTIVE
""",
    "accounts.csv": """\
account,custodian,participant,instrument
A-1,VAULT,ALPHA,BTC
A-1,VAULT,ALPHA,USD
B-1,VAULT,BETA,BTC
""",
    "prices.csv": """\
instrument,price,as_of
BTC,105433.60,2026-11-20T11:59:59Z
ETH,3500,2026-11-20T11:59:59Z
""",
    "symbols.csv": """\
venue,symbol,base,quote,quote_increment
SPTX,BTC/USD,BTC,USD,0.01
""",
    "trading_accounts.csv": """\
venue,account,client,prime_broker
SPTX,T-1,ALPHA,NORTH
SPTX,T-2,BETA,
""",
    "venues.toml": '[SPTX]\nname = "Spot"\ndialect = "fix44"\n',
}


def read(root: Path, reference_instrument: str = "USD", **changes: str | bytes | None) -> Reference:
    """Write the world with whole files changed (None: absent) or, after '+', a line added; then read it."""
    folder = root / "reference"
    folder.mkdir(exist_ok=True)
    for name, text in (WORLD | changes).items():
        data = WORLD[name] + text[1:] + "\n" if isinstance(text, str) and text.startswith("+") else text
        if data is not None:
            (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return read_reference(root, reference_instrument)


def flaws(reference: Reference) -> list[tuple[str, int, str]]:
    rows = reference.quarantined.select("file", "record", "flaw").sort("file", "record").rows()
    return [(file.removeprefix("reference/"), record, flaw) for file, record, flaw in rows]


def test_a_sound_world_is_read_whole_and_every_file_is_accounted_for(tmp_path: Path) -> None:
    reference = read(tmp_path)
    assert flaws(reference) == []
    assert reference.counts.select("file", "accepted", "duplicates").rows() == [
        ("reference/accounts.csv", 3, 0),
        ("reference/instruments.csv", 3, 0),
        ("reference/participants.csv", 5, 0),
        ("reference/prices.csv", 2, 0),
        ("reference/symbols.csv", 1, 0),
        ("reference/trading_accounts.csv", 2, 0),
        ("reference/venues.toml", 1, 0),
    ]
    assert reference.venues == {"SPTX": Venue("SPTX", "Spot", "fix44")}
    assert dict(reference.instruments.select("instrument", "decimals").rows()) == {
        "BTC": 8,
        "ETH": 18,
        "USD": 2,
    }


def test_a_price_is_kept_exactly_without_trailing_zeros_and_the_reference_instrument_is_one(
    tmp_path: Path,
) -> None:
    assert read(tmp_path).prices.rows() == [("BTC", 1054336, 10), ("ETH", 3500, 1), ("USD", 1, 1)]


@pytest.mark.parametrize(
    ("file", "row", "flaw"),
    [
        ("instruments.csv", "BTÇ,Bitcoin,CRYPTO,bitcoin,8,,,,ACTIVE", "BAD_IDENTIFIER"),
        ("instruments.csv", ",Solana,CRYPTO,solana,9,,,,ACTIVE", "MISSING_FIELD"),
        ("instruments.csv", "SOL,Solana,CRYPTO,söl,9,,,,ACTIVE", "BAD_IDENTIFIER"),
        ("instruments.csv", "SOL,Solana,TOKEN,solana,9,,,,ACTIVE", "BAD_CODE"),
        ("instruments.csv", "SOL,Solana,CRYPTO,solana,9,,,,active", "BAD_CODE"),
        ("instruments.csv", "SOL,Solana,CRYPTO,solana,31,,,,ACTIVE", "BAD_NUMBER"),
        ("instruments.csv", "SOL,Solana,CRYPTO,solana,9.0,,,,ACTIVE", "BAD_NUMBER"),
        ("instruments.csv", "SOL,Solana,CRYPTO,solana,-1,,,,ACTIVE", "BAD_NUMBER"),
        ("instruments.csv", "SOL,Solana,CRYPTO,solana,٣,,,,ACTIVE", "BAD_NUMBER"),
        ("instruments.csv", "SOL,Solana,CRYPTO,solana,9,X9J9K872T,,,ACTIVE", "BAD_DTI"),
        ("instruments.csv", "EUR,Euro,FIAT,,2,,,Eur,ACTIVE", "BAD_CODE"),
        ("instruments.csv", "EUR,Euro,FIAT,,2,,,ACTIVE", "COLUMN_COUNT"),
        ("participants.csv", "GAMMA,999900ALPHA000000088,Gamma,CLNT,ACTIVE", "BAD_LEI"),
        ("participants.csv", "GAMMA,999900south000000059,Gamma,CLNT,ACTIVE", "BAD_LEI"),
        ("participants.csv", "GAMMA,9999-00SOUTH000000059,Gamma,CLNT,ACTIVE", "BAD_LEI"),
        ("participants.csv", "GAMMA,999900SOUTH000000059,Gamma,BANK,ACTIVE", "BAD_CODE"),
        ("participants.csv", "GAMMA,999900SOUTH000000059,Gamma,CLNT,GONE", "BAD_CODE"),
        ("participants.csv", "GAM MA,999900SOUTH000000059,Gamma,CLNT,ACTIVE", "BAD_IDENTIFIER"),
        ("accounts.csv", "C-1,VAULT,GAMMA,BTC", "UNKNOWN_PARTY"),
        ("accounts.csv", "A-2,VAULT,ALPHA,DOGE", "UNKNOWN_INSTRUMENT"),
        ("accounts.csv", "A-2,STRONGBOX,ALPHA,ETH", "UNKNOWN_PARTY"),
        ("accounts.csv", "A-2,NORTH,ALPHA,ETH", "WRONG_ROLE"),
        ("accounts.csv", "S-1,VAULT,SPOT,BTC", "TITLE_NOT_CLIENT"),
        ("accounts.csv", "A 2,VAULT,ALPHA,ETH", "BAD_IDENTIFIER"),
        ("symbols.csv", "SPTX,DOGE/USD,DOGE,USD,", "UNKNOWN_INSTRUMENT"),
        ("symbols.csv", "SPTX,BTC/DOGE,BTC,DOGE,", "UNKNOWN_INSTRUMENT"),
        ("symbols.csv", "SPTX,USD/USD,USD,USD,", "SAME_INSTRUMENT"),
        ("symbols.csv", "SPTX,ETH/USD,ETH,USD,0", "NOT_POSITIVE"),
        ("symbols.csv", "SPTX,ETH/USD,ETH,USD,0.001", "EXCESS_DECIMALS"),
        ("symbols.csv", "SPTX,ETH/USD,ETH,USD,1e-2", "BAD_NUMBER"),
        ("symbols.csv", "SPTX,ETH USD,ETH,USD,", "BAD_IDENTIFIER"),
        ("symbols.csv", f"SPTX,ETH/USD,ETH,USD,{'9' * 37}", "AMOUNT_TOO_LARGE"),
        ("symbols.csv", "sptx,ETH/USD,ETH,USD,", "BAD_IDENTIFIER"),
        ("trading_accounts.csv", "SPTX,T-3,GAMMA,", "UNKNOWN_PARTY"),
        ("trading_accounts.csv", "SPTX,T-3,ALPHA,GAMMA", "UNKNOWN_PARTY"),
        ("trading_accounts.csv", "SPTX,T-3,SPOT,", "WRONG_ROLE"),
        ("trading_accounts.csv", "SPTX,T-3,ALPHA,BETA", "WRONG_ROLE"),
        ("trading_accounts.csv", "SPOTEX,T-3,ALPHA,", "BAD_IDENTIFIER"),
        ("prices.csv", "DOGE,1,2026-11-20T11:59:59Z", "UNKNOWN_INSTRUMENT"),
        ("prices.csv", "USD,1.01,2026-11-20T11:59:59Z", "CONFLICTING_COPIES"),
    ],
)
def test_a_row_that_cannot_be_believed_is_kept_out_alone(tmp_path: Path, file: str, row: str, flaw: str) -> None:
    record = WORLD[file].count("\n")
    reference = read(tmp_path, **{file: "+" + row})
    assert flaws(reference) == [(file, record, flaw)]
    assert reference.quarantined["raw"].to_list() == [(row + "\n").encode()]


NEEDED = {
    "instruments.csv": "instrument name kind decimals status",
    "participants.csv": "participant lei name role status",
    "accounts.csv": "account custodian participant instrument",
    "prices.csv": "instrument price as_of",
    "symbols.csv": "venue symbol base quote",
    "trading_accounts.csv": "venue account client",
}


@pytest.mark.parametrize("file", NEEDED)
def test_no_column_that_is_needed_may_be_blank(tmp_path: Path, file: str) -> None:
    header, first, *rest = WORLD[file].splitlines(keepends=True)
    columns = header.strip().split(",")
    for blank in NEEDED[file].split():
        cells = dict(zip(columns, first.strip().split(","), strict=True)) | {blank: ""}
        text = "".join((header, first, *rest, ",".join(cells.values()), "\n"))
        assert (file, len(rest) + 2, "MISSING_FIELD") in flaws(read(tmp_path, **{file: text}))


@pytest.mark.parametrize(
    ("row", "flaw"),
    [
        ("SOL,0,2026-11-20T11:59:59Z", "NOT_POSITIVE"),
        ("SOL,-3,2026-11-20T11:59:59Z", "NOT_POSITIVE"),
        ("SOL,3.,2026-11-20T11:59:59Z", "BAD_NUMBER"),
        ("SOL,NaN,2026-11-20T11:59:59Z", "BAD_NUMBER"),
        (f"SOL,{'9' * 20}.{'9' * 19},2026-11-20T11:59:59Z", "AMOUNT_TOO_LARGE"),
        ("SOL,3,2026-11-20 11:59:59", "BAD_TIME"),
        ("SOL,3,9999-12-31T00:00:00Z", "BAD_TIME"),  # In 64 bits of nanoseconds this would be 1816.
        ("SOL,,2026-11-20T11:59:59Z", "MISSING_FIELD"),
    ],
)
def test_a_price_that_is_none_is_kept_out(tmp_path: Path, row: str, flaw: str) -> None:
    instruments = "+SOL,Solana,CRYPTO,solana,9,,,,ACTIVE"
    assert flaws(read(tmp_path, **{"instruments.csv": instruments, "prices.csv": "+" + row})) == [
        ("prices.csv", 3, flaw)
    ]


def test_the_reference_instrument_may_be_priced_at_one_and_at_nothing_else(tmp_path: Path) -> None:
    reference = read(tmp_path, **{"prices.csv": "+USD,1.00,2026-11-20T11:59:59Z"})
    assert flaws(reference) == []
    assert reference.prices.filter(instrument="USD").rows() == [("USD", 1, 1)]


def test_the_same_row_twice_is_one_and_two_contents_of_one_key_are_none(tmp_path: Path) -> None:
    twice = read(tmp_path, **{"symbols.csv": "+SPTX,BTC/USD,BTC,USD,0.01"})
    assert twice.counts.filter(file="reference/symbols.csv").select("accepted", "quarantined", "duplicates").rows() == [
        (1, 0, 1)
    ]
    contradicted = read(tmp_path, **{"symbols.csv": "+SPTX,BTC/USD,BTC,USD,0.02"})
    assert flaws(contradicted) == [
        ("symbols.csv", 1, "CONFLICTING_COPIES"),
        ("symbols.csv", 2, "CONFLICTING_COPIES"),
    ]
    assert contradicted.symbols.is_empty()


def test_a_lei_that_stands_for_two_participants_stands_for_neither(tmp_path: Path) -> None:
    rows = WORLD["participants.csv"] + f"ALIAS,{NORTH},North again,PB,ACTIVE\n"
    reference = read(tmp_path, **{"participants.csv": rows, "trading_accounts.csv": None})
    assert flaws(reference) == [
        ("participants.csv", 3, "CONFLICTING_COPIES"),
        ("participants.csv", 6, "CONFLICTING_COPIES"),
    ]


def test_an_account_named_for_two_participants_is_an_omnibus_account_and_refused_for_both(
    tmp_path: Path,
) -> None:
    reference = read(tmp_path, **{"accounts.csv": "+A-1,VAULT,BETA,ETH"})
    assert flaws(reference) == [("accounts.csv", record, "TITLE_NOT_CLIENT") for record in (1, 2, 4)]
    assert reference.accounts["account"].to_list() == ["B-1"]


def test_bitcoins_own_dti_is_accepted_though_its_check_character_does_not_compute(tmp_path: Path) -> None:
    assert read(tmp_path).instruments.filter(instrument="BTC")["dti"].item() == "4H95J0R2X"


def test_every_typo_of_one_character_in_a_dti_is_refused() -> None:
    right = "X9J9K872S"
    typos = {
        right[:place] + character + right[place + 1 :]
        for place in range(9)
        for character in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabc -"
    } - {right}
    assert dti_is_valid(right)
    assert len(typos) == 9 * 40
    assert not any(dti_is_valid(typo) for typo in typos)


@pytest.mark.parametrize("name", ["instruments.csv", "participants.csv", "accounts.csv", "prices.csv", "venues.toml"])
def test_nothing_starts_without_a_mandatory_file_and_the_message_names_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(RefusedInput, match=name):
        read(tmp_path, **{name: None})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("accounts.csv", b"", "FILE_EMPTY"),
        ("prices.csv", b"instrument,prize,as_of\n", "unknown: prize"),
        ("accounts.csv", b"account,custodian,participant,instrument,account\n", "named twice"),
        ("participants.csv", "participant,lei".encode("utf-16"), "FILE_NOT_UTF8"),
        ("venues.toml", b"[SPTX\n", "not TOML"),
        ("venues.toml", b"\xff\xfe[", "not TOML"),
        ("venues.toml", b"a = " + b"[" * 100_000, "not TOML"),
        ("venues.toml", b'[spotex]\nname = "Spot"\ndialect = "fix44"\n', "'spotex' is no MIC"),
        ("venues.toml", b'SPTX = "fix44"\n', r"\[SPTX\]"),
        ("venues.toml", b'[SPTX]\nname = "Spot"\n', r"\[SPTX\]"),
        ("venues.toml", b'[SPTX]\nname = "Spot"\ndialect = 44\n', r"\[SPTX\]"),
    ],
)
def test_a_mandatory_file_that_cannot_be_read_refuses_the_cycle(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    with pytest.raises(RefusedInput, match=said):
        read(tmp_path, **{name: content})


def test_an_unknown_dialect_is_left_for_ingest_to_refuse(tmp_path: Path) -> None:
    venues = '[SPTX]\nname = "Spot"\ndialect = "telex"\n'
    assert read(tmp_path, **{"venues.toml": venues}).venues["SPTX"].dialect == "telex"


def test_the_reference_instrument_must_be_an_accepted_instrument(tmp_path: Path) -> None:
    with pytest.raises(RefusedInput, match="EUR"):
        read(tmp_path, reference_instrument="EUR")


def test_an_optional_file_may_be_missing_and_is_quarantined_whole_when_bad(tmp_path: Path) -> None:
    reference = read(tmp_path, **{"symbols.csv": None, "trading_accounts.csv": "venue,account\nSPTX,T-1\n"})
    assert reference.symbols.is_empty()
    assert reference.trading_accounts.is_empty()
    assert flaws(reference) == [("trading_accounts.csv", 0, "FILE_BAD_HEADER")]


def test_a_file_with_an_unknown_name_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    assert flaws(read(tmp_path, **{"symbol.csv": "venue\n"})) == [("symbol.csv", 0, "FILE_UNREADABLE")]


def test_no_damage_to_a_reference_table_ends_in_anything_but_a_count_or_a_refusal(tmp_path: Path) -> None:
    chance = random.Random(5)
    tables = [name for name in WORLD if name.endswith(".csv")]
    for turn in range(72):
        name = tables[turn % len(tables)]
        data = bytearray(WORLD[name].encode())
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(data))
            data[place : place + chance.randint(0, 2)] = chance.choice([b"", b",", b'"', b"\xff", b"9", b"\n", b"\r"])
        try:
            reference = read(tmp_path, **{name: bytes(data)})
        except RefusedInput:
            continue
        counts = reference.counts.filter(file=f"reference/{name}")
        lost = reference.quarantined.filter(file=f"reference/{name}").filter(record=0).height
        assert lost == counts["flaw"].is_not_null().sum()
        assert counts["records"].item() == sum(counts.select("accepted", "quarantined", "duplicates").row(0))
