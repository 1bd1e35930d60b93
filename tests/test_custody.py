"""Custody: which statements are believed, and what they leave to settle with."""

import os
import random
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from assets.custody.balances import Statements, derive_available, read_balances
from assets.intake import SourceFile
from assets.reference import Reference
from schemas.balance import Balance
from schemas.fill import FileCount, Quarantined
from schemas.instrument import Instrument, Price
from schemas.participant import Account, Participant, Symbol, TradingAccount

ALPHA, BETA = "999900ALPHA000000087", "999900BETA0000000030"
VAULT, BANK = "999900VAULT000000013", "999900BANK0000000052"
CUT = datetime(2026, 11, 20, 12, tzinfo=UTC)
HEADER = (
    "statement_id,statement_seq,custodian_lei,account,account_title_lei,segregation,as_of,update,instrument,"
    "total,available,held,pledged,staked,restricted,pending_in,pending_out,finality"
)
SOUND = {
    "statement_id": "S-7", "statement_seq": "7", "custodian_lei": VAULT, "account": "A-1",
    "account_title_lei": ALPHA, "segregation": "CLIENT_TITLED", "as_of": "2026-11-20T11:00:00Z",
    "update": "COMPLETE", "instrument": "BTC", "total": "3.5", "available": "2.0", "held": "0.5",
    "pledged": "0.4", "staked": "0.4", "restricted": "0.2", "pending_in": "", "pending_out": "",
    "finality": "FINAL",
}  # fmt: skip
DELTA = {
    "update": "DELTA", "total": "-0.5", "available": "-1", "held": "0.5", "pledged": "0", "staked": "0",
    "restricted": "0",
}  # fmt: skip


def frame(contract: type, rows: Iterable[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=contract.dtypes(), orient="row")


REFERENCE = Reference(
    instruments=frame(
        Instrument,
        [
            ("BTC", "Bitcoin", "CRYPTO", "bitcoin", 8, None, None, None, "ACTIVE"),
            ("USD", "US dollar", "FIAT", None, 2, None, None, "USD", "ACTIVE"),
            ("USD.OLD", "US dollar", "FIAT", None, 2, None, None, "USD", "ACTIVE"),
        ],
    ),
    prices=Price.empty(),
    participants=frame(
        Participant,
        [
            ("ALPHA", ALPHA, "Alpha", "CLNT", "ACTIVE"),
            ("BETA", BETA, "Beta", "CLNT", "ACTIVE"),
            ("VAULT", VAULT, "Vault", "CUST", "ACTIVE"),
            ("BANK", BANK, "Bank", "CUST", "ACTIVE"),
        ],
    ),
    accounts=frame(
        Account,
        [
            ("A-1", "VAULT", "ALPHA", "BTC"),
            ("XX11ALPHA", "BANK", "ALPHA", "USD"),
            ("B-1", "VAULT", "BETA", "BTC"),
            ("XX22BETA", "BANK", "BETA", "USD"),
            ("XX22BETA", "BANK", "BETA", "USD.OLD"),
        ],
    ),
    trading_accounts=TradingAccount.empty(),
    symbols=Symbol.empty(),
    venues={},
    quarantined=Quarantined.empty(),
    counts=FileCount.empty(),
)


def csv_of(*rows: dict[str, str]) -> bytes:
    lines = [",".join((SOUND | row)[name] for name in HEADER.split(",")) for row in rows]
    return "".join(line + "\n" for line in (HEADER, *lines)).encode()


def amount(value: str, direction: str = "CRDT") -> str:
    return f'<Amt Ccy="USD">{value}</Amt><CdtDbtInd>{direction}</CdtDbtInd>'


def balance(code: str, value: str, direction: str = "CRDT") -> str:
    return f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>{amount(value, direction)}</Bal>"


STMT = (
    "<Stmt><Id>ST-9</Id><ElctrncSeqNb>9</ElctrncSeqNb><CreDtTm>2026-11-20T12:30:00+01:00</CreDtTm>"
    f"<Acct><Id><IBAN>XX11ALPHA</IBAN></Id><Ccy>USD</Ccy><Ownr><Id><OrgId><LEI>{ALPHA}</LEI></OrgId></Id></Ownr>"
    f"<Svcr><FinInstnId><LEI>{BANK}</LEI></FinInstnId></Svcr></Acct>"
    f"{balance('OPBD', '100.00')}{balance('CLBD', '130.25')}"
    f"<Ntry>{amount('50.25')}<Sts>BOOK</Sts></Ntry>"
    f"<Ntry>{amount('20.00', 'DBIT')}<Sts><Cd>BOOK</Cd></Sts></Ntry>"
    f"<Ntry>{amount('999.00')}<Sts>PDNG</Sts></Ntry></Stmt>"
)


def camt(*statements: str, version: str = "02", prolog: str = "") -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{prolog}'
        f'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version}"><BkToCstmrStmt>'
        f"{''.join(statements)}</BkToCstmrStmt></Document>\n"
    ).encode()


def read(
    root: Path, stale_hours: int = 24, cut_at: datetime = CUT, executed_by: datetime | None = None, **files: bytes
) -> Statements:
    """Write custody files (their dots as '__') and read them for the cycle that is cut at noon."""
    folder = root / "custody"
    folder.mkdir(exist_ok=True)
    sources = []
    for name, data in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(data)
        sources.append(SourceFile.of("custody", path, root))
    return read_balances(sources, REFERENCE, cut_at, stale_hours, executed_by)


def flaws(statements: Statements) -> list[str]:
    return statements.quarantined.sort("file", "record")["flaw"].to_list()


def counted(statements: Statements) -> list[tuple[int, int, int]]:
    return statements.counts.select("accepted", "quarantined", "duplicates").rows()


# What one row says


def test_a_sound_row_becomes_a_balance_in_atoms_that_points_at_its_bytes(tmp_path: Path) -> None:
    data = csv_of({})
    (row,) = read(tmp_path, s__csv=data).balances.rows(named=True)
    assert (row["participant"], row["custodian"], row["account"]) == ("ALPHA", "VAULT", "A-1")
    assert (row["total_atoms"], row["available_atoms"], row["encumbered_atoms"]) == (
        350_000_000, 200_000_000, 150_000_000,
    )  # fmt: skip
    assert data[row["offset"] :].startswith(b"S-7,7,")


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        ({"account": "A-2"}, "UNKNOWN_ACCOUNT"),
        ({"instrument": "USD"}, "UNKNOWN_ACCOUNT"),
        ({"account_title_lei": VAULT}, "TITLE_NOT_CLIENT"),
        ({"account_title_lei": BETA}, "TITLE_NOT_CLIENT"),
        ({"segregation": "OMNIBUS"}, "OMNIBUS_ACCOUNT"),
        ({"segregation": "SHARED"}, "BAD_CODE"),
        ({"custodian_lei": BANK}, "WRONG_CUSTODIAN"),
        ({"finality": "PROVISIONAL"}, "PROVISIONAL"),
        ({"finality": "MAYBE"}, "BAD_CODE"),
        ({"update": "PARTIAL"}, "BAD_CODE"),
        ({"as_of": "2026-11-20T12:00:00.000000001Z"}, "IN_THE_FUTURE"),
        ({"as_of": "2026-11-19T11:59:59.999999999Z"}, "STALE_STATEMENT"),
        ({"as_of": "2026-11-20T11:00:00"}, "BAD_TIME"),
        ({"as_of": "2026-11-20T23:59:60Z"}, "BAD_TIME"),
        ({"as_of": "1600-11-20T00:00:00Z"}, "BAD_TIME"),
        ({"statement_seq": "7.0"}, "BAD_NUMBER"),
        ({"statement_seq": "4294967296"}, "BAD_NUMBER"),
        ({"statement_id": "S 7"}, "BAD_IDENTIFIER"),
        ({"staked": ""}, "MISSING_FIELD"),
        ({"total": "3.6"}, "BALANCE_IDENTITY"),
        ({"total": "3.500000001"}, "EXCESS_DECIMALS"),
        ({"total": "3.5e0"}, "BAD_NUMBER"),
        ({"pending_in": "a lot"}, "BAD_NUMBER"),
        ({"total": "1" + "0" * 29 + ".1"}, "AMOUNT_TOO_LARGE"),
        ({"available": "3.0", "held": "-0.5"}, "NEGATIVE_BALANCE"),
        ({"total": "-3.5", "available": "-5.0"}, "NEGATIVE_BALANCE"),
    ],
)
def test_a_row_that_cannot_be_believed_is_kept_out_alone(tmp_path: Path, change: dict[str, str], flaw: str) -> None:
    other = {"account": "B-1", "account_title_lei": BETA}
    statements = read(tmp_path, s__csv=csv_of(change, other))
    assert flaws(statements) == [flaw]
    assert statements.balances["participant"].to_list() == ["BETA"]


@pytest.mark.parametrize("column", [name for name in SOUND if not name.startswith(("pending", "finality"))])
def test_no_column_that_is_needed_may_be_blank(tmp_path: Path, column: str) -> None:
    assert flaws(read(tmp_path, s__csv=csv_of({column: ""}))) == ["MISSING_FIELD"]


@pytest.mark.parametrize("column", ["total", "available", "held", "pledged", "staked", "restricted"])
def test_every_amount_is_checked_by_itself(tmp_path: Path, column: str) -> None:
    for value, flaw in (
        ("1e3", "BAD_NUMBER"),
        ("0.123456789", "EXCESS_DECIMALS"),
        ("1" + "0" * 31, "AMOUNT_TOO_LARGE"),
        ("100000000000000000000000000000.1", "AMOUNT_TOO_LARGE"),
        ("-0.00000001", "NEGATIVE_BALANCE"),
    ):
        assert flaws(read(tmp_path, s__csv=csv_of({column: value}))) == [flaw]


def test_parts_that_sum_to_the_total_only_where_128_bits_wrap_are_refused(tmp_path: Path) -> None:
    # Two parts of 2^127 / 10^8 or so: their sum wraps to a small negative number of atoms.
    huge = "850705917302346158658436518579.42052864"
    statements = read(tmp_path, s__csv=csv_of({"available": huge, "held": huge, "total": "0"}))
    assert flaws(statements) == ["AMOUNT_TOO_LARGE"]


def test_a_statement_made_at_the_cut_or_just_within_the_allowed_age_counts(tmp_path: Path) -> None:
    for as_of in ("2026-11-20T12:00:00Z", "2026-11-19T12:00:00.0Z"):
        assert flaws(read(tmp_path, s__csv=csv_of({"as_of": as_of}))) == []


def test_any_number_of_hours_may_be_allowed_and_the_cut_may_stand_in_any_zone(tmp_path: Path) -> None:
    old = csv_of({"as_of": "2026-11-01T12:00:00Z"})
    local = CUT.astimezone(ZoneInfo("America/New_York"))
    assert flaws(read(tmp_path, stale_hours=10**12, cut_at=local, s__csv=old)) == []
    assert flaws(read(tmp_path, stale_hours=0, cut_at=local, s__csv=old)) == ["STALE_STATEMENT"]


@pytest.mark.parametrize("update", ["COMPLETE", "DELTA"])
def test_a_statement_from_before_the_last_cycle_was_executed_would_spend_the_same_funds_twice(
    tmp_path: Path, update: str
) -> None:
    row = csv_of({"as_of": "2026-11-20T10:44:59Z", "update": update})
    due = datetime(2026, 11, 20, 10, 45, tzinfo=UTC)
    assert flaws(read(tmp_path, executed_by=due, s__csv=row)) == ["STALE_STATEMENT"]
    assert flaws(read(tmp_path, s__csv=row)) == []


def test_a_delta_may_be_negative_and_old_but_its_parts_must_sum(tmp_path: Path) -> None:
    old = DELTA | {"as_of": "2026-11-01T00:00:00Z"}
    (row,) = read(tmp_path, s__csv=csv_of(old)).balances.rows(named=True)
    assert (row["total_atoms"], row["available_atoms"]) == (-50_000_000, -100_000_000)
    assert flaws(read(tmp_path, s__csv=csv_of(DELTA | {"held": "0.4"}))) == ["BALANCE_IDENTITY"]


# Which row counts


def test_the_highest_sequence_counts_across_files_and_the_earlier_one_is_a_duplicate(tmp_path: Path) -> None:
    newer = {"statement_seq": "10", "available": "1.9", "total": "3.4"}
    statements = read(tmp_path, a__csv=csv_of(newer), b__csv=csv_of({"statement_seq": "9"}, newer))
    assert statements.balances["available_atoms"].to_list() == [190_000_000]
    assert counted(statements) == [(1, 0, 0), (0, 0, 2)]


def test_a_statement_is_not_spent_when_the_later_one_that_replaces_it_cannot_be_read(tmp_path: Path) -> None:
    older, broken = {"statement_seq": "9"}, {"statement_seq": "10", "available": "much"}
    assert flaws(read(tmp_path, a__csv=csv_of(older, broken))) == ["STALE_STATEMENT", "BAD_NUMBER"]
    newer = {"statement_seq": "11"}
    assert read(tmp_path, a__csv=csv_of(older, broken, newer)).balances["statement_seq"].to_list() == [11]
    provisional = {"statement_seq": "10", "finality": "PROVISIONAL"}
    assert read(tmp_path, a__csv=csv_of(older, provisional)).balances["statement_seq"].to_list() == [9]


def test_two_contents_of_one_sequence_are_both_kept_out_and_an_earlier_one_does_not_stand_in(
    tmp_path: Path,
) -> None:
    other = {"available": "2.1", "held": "0.4"}
    statements = read(tmp_path, a__csv=csv_of({}), b__csv=csv_of(other, {"statement_seq": "6"}))
    assert flaws(statements) == ["CONFLICTING_COPIES"] * 2
    assert counted(statements) == [(0, 1, 0), (0, 1, 1)]
    assert statements.balances.is_empty()


def test_one_delta_counts_its_copy_is_a_duplicate_and_two_different_ones_are_kept_out(tmp_path: Path) -> None:
    assert counted(read(tmp_path, s__csv=csv_of(DELTA, DELTA))) == [(1, 0, 1)]
    two = read(tmp_path, s__csv=csv_of(DELTA, DELTA | {"statement_seq": "8"}))
    assert flaws(two) == ["CONFLICTING_COPIES"] * 2


def test_a_delta_beside_a_complete_statement_keeps_both_out(tmp_path: Path) -> None:
    assert flaws(read(tmp_path, a__csv=csv_of({}), b__csv=csv_of(DELTA))) == ["CONFLICTING_COPIES"] * 2


# Whole files


@pytest.mark.parametrize(
    ("name", "data", "flaw"),
    [
        ("notes__txt", b"hello\n", "FILE_UNREADABLE"),
        ("statement", b"hello\n", "FILE_UNREADABLE"),
        ("s__csv", b"", "FILE_EMPTY"),
        ("s__csv", csv_of({}).replace(b"total", b"totals"), "FILE_BAD_HEADER"),
        ("s__xml", b"", "FILE_EMPTY"),
        ("s__xml", camt(STMT).decode().encode("utf-16"), "FILE_NOT_UTF8"),
        ("s__xml", camt(STMT).decode().encode("utf-16-le"), "FILE_HAS_NUL"),
        ("s__xml", camt(STMT).replace(b"ST-9", b"ST\xe9"), "FILE_NOT_UTF8"),
        ("s__xml", camt(STMT)[:-20], "FILE_UNREADABLE"),
        ("s__xml", camt(STMT).replace(b"camt.053", b"camt.052"), "FILE_UNREADABLE"),
        ("s__xml", camt(), "FILE_UNREADABLE"),
        ("s__xml", b"<a>" * 5000 + b"</a>" * 5000, "FILE_UNREADABLE"),
    ],
)
def test_a_file_that_is_no_statement_is_quarantined_whole_and_the_rest_goes_on(
    tmp_path: Path, name: str, data: bytes, flaw: str
) -> None:
    statements = read(tmp_path, **{name: data, "z__csv": csv_of({})})
    assert flaws(statements) == [flaw]
    assert counted(statements) == [(0, 0, 0), (1, 0, 0)]


def test_a_file_name_that_is_no_text_is_quarantined_and_not_a_traceback(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.doc"))
    path.write_bytes(b"x")
    statements = read_balances([SourceFile.of("custody", path, tmp_path)], REFERENCE, CUT, 24)
    assert statements.quarantined.select("file", "flaw").rows() == [("\\udcff.doc", "FILE_UNREADABLE")]


def test_no_files_are_no_balances() -> None:
    nothing = read_balances([], REFERENCE, CUT, 24)
    assert (nothing.balances.schema, nothing.counts.height) == (Balance.empty().schema, 0)


# camt.053


@pytest.mark.parametrize("version", ["02", "08", "13"])
def test_opening_and_booked_entries_make_the_closing_balance_in_any_version(tmp_path: Path, version: str) -> None:
    (row,) = read(tmp_path, s__xml=camt(STMT, version=version)).balances.rows(named=True)
    assert (row["participant"], row["instrument"], row["custodian"]) == ("ALPHA", "USD", "BANK")
    assert (row["total_atoms"], row["available_atoms"], row["encumbered_atoms"]) == (13025, 13025, 0)
    assert (row["statement_seq"], row["as_of"]) == (9, datetime(2026, 11, 20, 11, 30, tzinfo=UTC))


@pytest.mark.parametrize(("stated", "available"), [("130.25", 13025), ("5130.25", 13025), ("30.00", 3000)])
def test_available_is_what_is_there_and_never_a_credit_line(tmp_path: Path, stated: str, available: int) -> None:
    with_available = STMT.replace("<Ntry>", balance("CLAV", stated) + "<Ntry>", 1)
    (row,) = read(tmp_path, s__xml=camt(with_available)).balances.rows(named=True)
    assert (row["available_atoms"], row["encumbered_atoms"]) == (available, 13025 - available)


@pytest.mark.parametrize(
    ("old", "new", "flaw"),
    [
        ("50.25", "50.24", "BALANCE_IDENTITY"),
        ("DBIT", "CRDT", "BALANCE_IDENTITY"),
        ("PDNG", "BOOK", "BALANCE_IDENTITY"),
        ("<Sts>PDNG</Sts>", "", "BALANCE_IDENTITY"),  # Without a status an entry is booked.
        ("DBIT", "dbit", "BAD_CODE"),
        ("50.25", "+50.25", "BAD_NUMBER"),
        ("50.25", "-50.25", "BAD_NUMBER"),
        ("50.25", "5.025E1", "BAD_NUMBER"),
        ("<Cd>OPBD</Cd>", "<Cd>XXXX</Cd>", "MISSING_FIELD"),
        ("<Cd>CLBD</Cd>", "<Cd>ITBD</Cd>", "MISSING_FIELD"),
        ("<Ntry>", balance("CLBD", "130.25") + "<Ntry>", "DUPLICATE_FIELD"),
        ("<Id>ST-9</Id>", "<Id>ST-9</Id><Id>ST-8</Id>", "DUPLICATE_FIELD"),
        ("130.25", "130.25<Note/>", "MALFORMED"),
        ("<Id>ST-9</Id>", "<Id>ST-9</Id><StmtPgntn><LastPgInd>false</LastPgInd></StmtPgntn>", "MALFORMED"),
        ("</Cd></CdOrPrtry></Tp>", "</Cd></CdOrPrtry></Tp><CdtLine><Incl>true</Incl></CdtLine>", "BAD_CODE"),
        ("<Ccy>USD</Ccy>", "<Ccy>EUR</Ccy>", "BAD_CODE"),
        ('Ccy="USD">50.25', 'Ccy="EUR">50.25', "BAD_CODE"),
        ("XX11ALPHA", "XX33ALPHA", "UNKNOWN_ACCOUNT"),
        ("XX11ALPHA", "XX22BETA", "UNKNOWN_ACCOUNT"),  # Two instruments of that currency: which is meant?
        (ALPHA, BETA, "TITLE_NOT_CLIENT"),
        (f"<LEI>{ALPHA}</LEI>", "", "MISSING_FIELD"),
        (BANK, VAULT, "WRONG_CUSTODIAN"),
        ("12:30:00+01:00", "12:30:00", "BAD_TIME"),
        ("12:30:00+01:00", "12:30:00-01:00", "IN_THE_FUTURE"),
        ("2026-11-20T12:30:00+01:00", "0001-01-01T00:00:00+14:00", "BAD_TIME"),
        ("<ElctrncSeqNb>9</ElctrncSeqNb>", "", "MISSING_FIELD"),
    ],
)
def test_a_bank_statement_that_cannot_be_believed_is_kept_out_with_its_bytes(
    tmp_path: Path, old: str, new: str, flaw: str
) -> None:
    assert old in STMT
    bad = STMT.replace(old, new)
    statements = read(tmp_path, s__xml=camt(bad, STMT))
    assert flaws(statements) == [flaw]
    assert statements.quarantined["raw"].to_list() == [bad.encode()]
    assert statements.balances["participant"].to_list() == ["ALPHA"]


def test_the_opening_balance_may_be_the_previous_closing_and_the_sequence_the_legal_one(
    tmp_path: Path,
) -> None:
    other = STMT.replace("OPBD", "PRCD").replace("ElctrncSeqNb", "LglSeqNb")
    assert read(tmp_path, s__xml=camt(other)).balances["statement_seq"].to_list() == [9]


def test_an_overdrawn_account_is_kept_out(tmp_path: Path) -> None:
    overdrawn = STMT.replace(balance("CLBD", "130.25"), balance("CLBD", "0.25", "DBIT"))
    overdrawn = overdrawn.replace(amount("50.25"), amount("80.25", "DBIT"))
    assert flaws(read(tmp_path, s__xml=camt(overdrawn))) == ["NEGATIVE_BALANCE"]


def test_more_digits_than_the_currency_has_are_never_rounded_away(tmp_path: Path) -> None:
    finer = STMT.replace("130.25", "130.251").replace("50.25", "50.251")
    assert flaws(read(tmp_path, s__xml=camt(finer))) == ["EXCESS_DECIMALS"]


def test_a_comment_within_an_amount_does_not_cut_it_short(tmp_path: Path) -> None:
    noted = STMT.replace("130.25", "1<!-- thousand? -->30.25<?mark?>")
    assert read(tmp_path, s__xml=camt(noted)).balances["total_atoms"].to_list() == [13025]


def test_the_time_of_a_statement_is_the_end_of_its_period_where_it_has_one(tmp_path: Path) -> None:
    period = "<FrToDt><ToDtTm>2026-11-20T09:15:00.123456789Z</ToDtTm></FrToDt><Acct>"
    (as_of,) = read(tmp_path, s__xml=camt(STMT.replace("<Acct>", period))).balances["as_of"].dt.to_string()
    assert as_of == "2026-11-20 09:15:00.123456789+00:00"


def test_records_are_found_in_the_bytes_behind_prefixes_comments_and_quoted_brackets(tmp_path: Path) -> None:
    prefixed = STMT.replace("</", "</c:").replace("<", "<c:").replace("<c:/c:", "</c:")
    prefixed = prefixed.replace("<c:Stmt>", '<c:Stmt note="a /> b">')
    bad = prefixed.replace("50.25", "50.26")
    document = (
        '<c:Document xmlns:c="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><c:BkToCstmrStmt>'
        f"<!-- <c:Stmt> é -->{prefixed}<![CDATA[</c:Stmt>]]>{bad}</c:BkToCstmrStmt></c:Document>"
    ).encode()
    statements = read(tmp_path, s__xml=document)
    assert statements.balances["offset"].to_list() == [document.index(b"<c:Stmt note")]
    assert statements.quarantined.select("record", "flaw", "raw").rows() == [(2, "BALANCE_IDENTITY", bad.encode())]


SECRET = "the-secret-of-this-test"


@pytest.mark.parametrize(
    "prolog",
    [
        '<!DOCTYPE Document SYSTEM "file://{secret}">',
        '<!DOCTYPE Document [<!ENTITY x SYSTEM "file://{secret}">]>',
        '<!DOCTYPE Document [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        "<!DOCTYPE Document>",
    ],
)
def test_a_document_type_is_refused_whatever_it_declares(tmp_path: Path, prolog: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    document = camt(STMT.replace("ST-9", "&x;" if "ENTITY x" in prolog else "ST-9"), prolog=prolog)
    statements = read(tmp_path, s__xml=document.replace(b"{secret}", str(secret).encode()))
    assert flaws(statements) == ["FILE_UNREADABLE"]
    assert "document type" in statements.quarantined["detail"].item()


def test_an_encoding_of_its_own_hides_no_document_type(tmp_path: Path) -> None:
    # In UTF-7 '+ADw-' is '<': by its own declaration this file would have a document type and an entity.
    statement = STMT.replace("12:30:00+01:00", "11:30:00Z")
    text = camt(statement, prolog="+ADw-!DOCTYPE Document [+ADw-!ENTITY x 'y'>]>")
    assert flaws(read(tmp_path, s__xml=text.replace(b"UTF-8", b"UTF-7"))) == ["FILE_UNREADABLE"]


# Damage


def test_no_damage_to_a_statement_ends_in_anything_but_a_count(tmp_path: Path) -> None:
    chance = random.Random(11)
    whole = {
        "s__csv": csv_of({}, {"account": "B-1", "account_title_lei": BETA}, {"statement_seq": "6"}, DELTA),
        "s__xml": camt(STMT, STMT.replace("<ElctrncSeqNb>9", "<ElctrncSeqNb>8")),
    }
    pieces = [
        b"",
        b",",
        b'"',
        b"\xff",
        b"9",
        b"-",
        b"\n",
        b"\r",
        b"\x00",
        b"<",
        b">",
        b"<Stmt>",
        b"</Stmt>",
        b"&#48;",
    ]
    survived = 0
    for _ in range(150):
        damaged = {}
        for name, data in whole.items():
            bytes_ = bytearray(data)
            for _ in range(chance.randint(1, 3)):
                place = chance.randrange(len(bytes_))
                bytes_[place : place + chance.choice([0, 1, 1, 40])] = chance.choice(pieces)
            damaged[name] = bytes(bytes_)
        statements = read(tmp_path, **damaged)
        Quarantined.hold(statements.quarantined)
        for name, records, *parts in statements.counts.select(
            "file", "records", "accepted", "quarantined", "duplicates"
        ).rows():
            rows = statements.quarantined.filter(pl.col("record") > 0, file=name)
            accepted = statements.balances.filter(file=name)
            assert (records, parts[:2]) == (sum(parts), [accepted.height, rows.height])
            survived += accepted.height
    assert survived > 100  # The damage leaves enough sound rows to say something.


# What is available


def stated(update: str, total: int, available: int) -> pl.DataFrame:
    row = (
        "ALPHA",
        "BTC",
        "A-1",
        "VAULT",
        "S-7",
        7,
        CUT,
        update,
        total,
        available,
        total - available,
        "f",
        1,
        0,
    )
    return frame(Balance, [row])


def booked(closing: int, total: int, account: str = "A-1", custodian: str = "VAULT") -> pl.DataFrame:
    row = ("ALPHA", "BTC", account, custodian, closing, total)
    return pl.DataFrame([row], schema=NO_BOOK.schema, orient="row")


NO_BOOK = pl.DataFrame(
    schema={
        "participant": pl.String,
        "instrument": pl.String,
        "account": pl.String,
        "custodian": pl.String,
        "closing_atoms": pl.Int128,
        "total_atoms": pl.Int128,
    }
)


@pytest.mark.parametrize(
    ("balances", "book", "available", "total", "gap"),
    [
        (stated("COMPLETE", 350, 200), NO_BOOK, 200, 350, 0),
        (stated("COMPLETE", 350, 200), booked(200, 350), 200, 350, 0),
        (
            stated("COMPLETE", 350, 200),
            booked(350, 350),
            200,
            350,
            0,
        ),  # More is pledged than before: no break.
        (
            stated("COMPLETE", 350, 200),
            booked(150, 300),
            200,
            350,
            50,
        ),  # A deposit from outside is not locked.
        (stated("COMPLETE", 350, 200), booked(250, 400), 200, 350, -50),  # What is gone is not spent.
        (stated("COMPLETE", 0, 0), booked(400, 400), 0, 0, -400),
        (stated("DELTA", -30, -50), booked(80, 100), 30, 70, 0),
        (stated("DELTA", -30, -50), booked(20, 100), 0, 70, 0),
        (stated("DELTA", 30, 20), NO_BOOK, 20, 30, 0),
        (Balance.empty(), booked(80, 100), 80, 100, 0),
        (Balance.empty(), booked(-80, 0), 0, 0, 0),
        (Balance.empty(), NO_BOOK, 0, 0, 0),
    ],
)
def test_the_statement_wins_the_book_stands_in_and_their_difference_is_a_break(
    balances: pl.DataFrame, book: pl.DataFrame, available: int, total: int, gap: int
) -> None:
    accounts = REFERENCE.accounts.filter(account="A-1")
    (row,) = derive_available(balances, accounts, book).rows(named=True)
    assert (row["available_atoms"], row["total_atoms"], row["break_atoms"]) == (available, total, gap)


@pytest.mark.parametrize(("account", "custodian"), [("A-9", "VAULT"), ("A-1", "BANK")])
def test_a_new_account_does_not_inherit_the_book_of_the_old_one(account: str, custodian: str) -> None:
    accounts = REFERENCE.accounts.filter(account="A-1")
    (row,) = derive_available(Balance.empty(), accounts, booked(80, 100, account, custodian)).rows(named=True)
    assert (row["available_atoms"], row["total_atoms"]) == (0, 0)


def test_book_and_statement_are_shown_beside_what_came_of_them() -> None:
    accounts = REFERENCE.accounts.filter(account="A-1")
    for balances, book, shown in (
        (stated("COMPLETE", 350, 200), booked(150, 300), (300, 200)),
        (stated("DELTA", -30, -50), booked(80, 100), (100, None)),
        (Balance.empty(), NO_BOOK, (None, None)),
    ):
        available = derive_available(balances, accounts, book)
        assert available.select("book_atoms", "statement_atoms").rows() == [shown]


def test_every_account_has_a_line_even_where_nothing_is_known() -> None:
    available = derive_available(Balance.empty(), REFERENCE.accounts, NO_BOOK)
    assert available["available_atoms"].to_list() == [0] * 5
