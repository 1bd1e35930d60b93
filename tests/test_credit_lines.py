"""Credit: for whom the prime brokers stand, up to what, and which notices are not believed."""

import random
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from assets.credit.lines import Credit, is_complete, read_credit, usable_credit
from assets.intake import SourceFile
from assets.reference import Reference
from schemas.fill import FileCount, Quarantined
from schemas.instruction import CreditDraw
from schemas.instrument import Instrument, Price
from schemas.participant import Account, Participant, Symbol, TradingAccount

ALPHA, BETA = "999900ALPHA000000087", "999900BETA0000000030"
NORTH, SOUTH, VAULT = "999900NORTH000000003", "999900SOUTH000000059", "999900VAULT000000013"
DESIGNATIONS = f"""\
designation_id,pb_lei,client_lei,venue,instruments,valid_from,valid_to,status
D-1,{NORTH},{ALPHA},,,2026-01-01T00:00:00Z,,ACTIVE
D-2,{SOUTH},{BETA},SPTX,BTC;USD,2026-01-01T00:00:00Z,2027-01-01T00:00:00Z,SUSPENDED
"""
LINES = f"""\
line_id,pb_lei,client_lei,status,valid_from,valid_to,fill_limit,nop_limit,nop_formula,dsl_limit,breach_action
L-1,{NORTH},{ALPHA},ACTIVE,2026-01-01T00:00:00Z,,1000000.00,5000000.5,SUM_ABS,2000000,REJECT
L-2,{SOUTH},{BETA},ACTIVE,2026-01-01T00:00:00Z,,,,,,
"""
LENT = """\
line_id,instrument,credit,drawn
L-1,USD,250000.00,1.25
L-1,BTC,0.5,
"""


def frame(contract: type, rows: Iterable[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=contract.dtypes(), orient="row")


REFERENCE = Reference(
    instruments=frame(
        Instrument,
        [
            ("BTC", "Bitcoin", "CRYPTO", "bitcoin", 8, None, None, None, "ACTIVE"),
            ("USD", "US dollar", "FIAT", None, 2, None, None, "USD", "ACTIVE"),
        ],
    ),
    prices=Price.empty(),
    participants=frame(
        Participant,
        [
            ("ALPHA", ALPHA, "Alpha", "CLNT", "ACTIVE"),
            ("BETA", BETA, "Beta", "CLNT", "ACTIVE"),
            ("NORTH", NORTH, "North", "PB", "ACTIVE"),
            ("SOUTH", SOUTH, "South", "PB", "ACTIVE"),
            ("VAULT", VAULT, "Vault", "CUST", "ACTIVE"),
        ],
    ),
    accounts=Account.empty(),
    trading_accounts=TradingAccount.empty(),
    symbols=Symbol.empty(),
    venues={},
    quarantined=Quarantined.empty(),
    counts=FileCount.empty(),
)


def read(root: Path, **files: str | bytes) -> Credit:
    """Write files below credit/ (by name without .csv, or whole with '__') and read them."""
    folder = root / "credit"
    folder.mkdir(parents=True, exist_ok=True)
    sources = []
    for name, text in files.items():
        path = folder / (name.replace("__", ".") if "__" in name else f"{name}.csv")
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        sources.append(SourceFile.of("credit", path, root))
    return read_credit(sources, REFERENCE, "USD")


def flaws(credit: Credit) -> list[tuple[str, int, str]]:
    rows = credit.quarantined.select("file", "record", "flaw").sort("file", "record").rows()
    return [(file.removeprefix("credit/").removesuffix(".csv"), record, flaw) for file, record, flaw in rows]


def test_limits_are_atoms_of_the_reference_instrument(tmp_path: Path) -> None:
    line = read(tmp_path, credit_lines=LINES).lines.row(0, named=True)
    assert (line["line_id"], line["prime_broker"], line["client"]) == ("L-1", "NORTH", "ALPHA")
    assert (line["fill_limit_atoms"], line["nop_limit_atoms"], line["dsl_limit_atoms"]) == (
        100_000_000, 500_000_050, 200_000_000,
    )  # fmt: skip
    assert (line["nop_formula"], line["breach_action"]) == ("SUM_ABS", "REJECT")


def test_a_blank_limit_is_zero_and_not_infinite(tmp_path: Path) -> None:
    line = read(tmp_path, credit_lines=LINES).lines.row(1, named=True)
    assert (line["fill_limit_atoms"], line["nop_limit_atoms"], line["dsl_limit_atoms"]) == (0, 0, 0)
    assert (line["nop_formula"], line["breach_action"]) == ("GREATER_OF_LONG_SHORT", "HOLD")


def test_a_limit_whose_column_is_left_out_is_zero_too(tmp_path: Path) -> None:
    text = f"line_id,pb_lei,client_lei,status,valid_from\nL-1,{NORTH},{ALPHA},ACTIVE,2026-01-01T00:00:00Z\n"
    (line,) = read(tmp_path, credit_lines=text).lines.rows(named=True)
    assert (line["fill_limit_atoms"], line["nop_limit_atoms"], line["dsl_limit_atoms"]) == (0, 0, 0)


def test_a_designation_names_parties_by_our_keys_and_may_be_narrow(tmp_path: Path) -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    assert read(tmp_path, designations=DESIGNATIONS).designations.rows() == [
        ("D-1", "NORTH", "ALPHA", None, None, start, None, "ACTIVE"),
        ("D-2", "SOUTH", "BETA", "SPTX", "BTC;USD", start, end, "SUSPENDED"),
    ]


def test_what_a_line_lends_is_in_atoms_of_each_instrument_and_a_blank_draw_is_none(tmp_path: Path) -> None:
    credit = read(tmp_path, credit_lines=LINES, settlement_credit=LENT)
    assert credit.settlement_credit.rows() == [
        ("L-1", "NORTH", "ALPHA", "BTC", 50_000_000, None),
        ("L-1", "NORTH", "ALPHA", "USD", 25_000_000, 125),
    ]


@pytest.mark.parametrize(
    ("row", "flaw"),
    [
        ("D-3,{UNKNOWN},{ALPHA},,,{FROM},,ACTIVE", "UNKNOWN_PARTY"),
        ("D-3,{NORTH},{UNKNOWN},,,{FROM},,ACTIVE", "UNKNOWN_PARTY"),
        ("D-3,{BETA},{ALPHA},,,{FROM},,ACTIVE", "WRONG_ROLE"),
        ("D-3,{NORTH},{VAULT},,,{FROM},,ACTIVE", "WRONG_ROLE"),
        ("D-3,{NORTH},{NORTH},,,{FROM},,ACTIVE", "WRONG_ROLE"),
        ("D-3,{NORTH},{BETA},spotex,,{FROM},,ACTIVE", "BAD_IDENTIFIER"),
        ("D 3,{NORTH},{BETA},,,{FROM},,ACTIVE", "BAD_IDENTIFIER"),
        ("D-3,{NORTH},{BETA},,BTC;DOGE,{FROM},,ACTIVE", "UNKNOWN_INSTRUMENT"),
        ("D-3,{NORTH},{BETA},,BTC;,{FROM},,ACTIVE", "UNKNOWN_INSTRUMENT"),
        ("D-3,{NORTH},{BETA},,,2026-01-01,,ACTIVE", "BAD_TIME"),
        ("D-3,{NORTH},{BETA},,,{FROM},soon,ACTIVE", "BAD_TIME"),
        ("D-3,{NORTH},{BETA},,,{FROM},9999-12-31T00:00:00Z,ACTIVE", "BAD_TIME"),
        ("D-3,{NORTH},{BETA},,,{FROM},{FROM},ACTIVE", "BAD_TIME"),
        ("D-3,{NORTH},{BETA},,,,,ACTIVE", "MISSING_FIELD"),
        ("D-3,,{BETA},,,{FROM},,ACTIVE", "MISSING_FIELD"),
        ("D-3,{NORTH},,,,{FROM},,ACTIVE", "MISSING_FIELD"),
        (",{NORTH},{BETA},,,{FROM},,ACTIVE", "MISSING_FIELD"),
        ("D-3,{NORTH},{BETA},,,{FROM},,", "MISSING_FIELD"),
        ("D-3,{NORTH},{BETA},,,{FROM},,OPEN", "BAD_CODE"),
    ],
)
def test_a_designation_that_cannot_be_believed_is_kept_out_alone(tmp_path: Path, row: str, flaw: str) -> None:
    filled = row.format(**LEIS)
    credit = read(tmp_path, designations=DESIGNATIONS + filled + "\n")
    assert flaws(credit) == [("designations", 3, flaw)]
    assert credit.designations.height == 2


@pytest.mark.parametrize(
    ("row", "flaw"),
    [
        ("L-3,{UNKNOWN},{BETA},ACTIVE,{FROM},,1,1,,1,", "UNKNOWN_PARTY"),
        ("L-3,{ALPHA},{BETA},ACTIVE,{FROM},,1,1,,1,", "WRONG_ROLE"),
        ("L 3,{NORTH},{BETA},ACTIVE,{FROM},,1,1,,1,", "BAD_IDENTIFIER"),
        ("L-3,{NORTH},{BETA},ACTIVE,{FROM},,1,1,NET,1,", "BAD_CODE"),
        ("L-3,{NORTH},{BETA},ACTIVE,{FROM},,1,1,,1,WARN", "BAD_CODE"),
        ("L-3,{NORTH},{BETA},CLOSED,{FROM},,1,1,,1,", "BAD_CODE"),
        (",{NORTH},{BETA},ACTIVE,{FROM},,1,1,,1,", "MISSING_FIELD"),
    ],
)
def test_a_credit_line_that_cannot_be_believed_is_kept_out_alone(tmp_path: Path, row: str, flaw: str) -> None:
    credit = read(tmp_path, credit_lines=LINES + row.format(**LEIS) + "\n")
    assert flaws(credit) == [("credit_lines", 3, flaw)]
    assert credit.lines["line_id"].to_list() == ["L-1", "L-2"]


LEIS = {
    "ALPHA": ALPHA, "BETA": BETA, "NORTH": NORTH, "VAULT": VAULT, "UNKNOWN": "999900GAMMA000000000",
    "FROM": "2026-01-01T00:00:00Z",
}  # fmt: skip


@pytest.mark.parametrize("limits", ["{},1,,1", "1,{},,1", "1,1,,{}"])
def test_every_limit_is_an_exact_amount_or_the_line_is_kept_out(tmp_path: Path, limits: str) -> None:
    for amount, flaw in AMOUNTS:
        row = f"L-3,{NORTH},{BETA},ACTIVE,{LEIS['FROM']},,{limits.format(amount)},\n"
        assert flaws(read(tmp_path, credit_lines=LINES + row)) == [("credit_lines", 3, flaw)]


@pytest.mark.parametrize("row", ["L-2,USD,{},", "L-2,USD,1,{}"])
def test_what_is_lent_and_drawn_is_an_exact_amount_or_kept_out(tmp_path: Path, row: str) -> None:
    for amount, flaw in AMOUNTS:
        lent = LENT + row.format(amount) + "\n"
        credit = read(tmp_path, credit_lines=LINES, settlement_credit=lent)
        assert flaws(credit) == [("settlement_credit", 3, flaw)]


AMOUNTS = [
    ("-1", "BAD_NUMBER"), ("unlimited", "BAD_NUMBER"), ("0.001", "EXCESS_DECIMALS"),
    ("9" * 37, "AMOUNT_TOO_LARGE"),
]  # fmt: skip


def test_credit_data_are_complete_when_both_tables_came_and_nothing_was_kept_out(tmp_path: Path) -> None:
    assert is_complete(read(tmp_path / "a", designations=DESIGNATIONS, credit_lines=LINES))
    assert not is_complete(read(tmp_path / "b", credit_lines=LINES))
    assert not is_complete(read(tmp_path / "c", designations=DESIGNATIONS, credit_lines=""))
    assert not is_complete(read(tmp_path / "d", designations=DESIGNATIONS, credit_lines=LINES + "L-9,x\n"))


def test_credit_is_usable_only_under_a_line_in_force_and_never_fills_up_again_by_itself(tmp_path: Path) -> None:
    def usable(lines: str, recorded: int = 0) -> list[tuple[str, int]]:
        credit = read(tmp_path, credit_lines=lines, settlement_credit=LENT)
        draws = frame(CreditDraw, [("L-1", "NORTH", "ALPHA", "BTC", recorded)] * 2 if recorded else [])
        return (
            usable_credit(credit, draws, datetime(2026, 11, 20, 12, tzinfo=UTC))
            .select("instrument", "drawn_atoms")
            .rows()
        )

    assert sorted(usable(LINES)) == [("BTC", 0), ("USD", 125)]
    assert sorted(usable(LINES, recorded=7)) == [("BTC", 14), ("USD", 125)]
    assert usable(LINES.replace("ACTIVE", "SUSPENDED")) == []
    assert usable(LINES.replace("2026-01-01T00:00:00Z,,1000000", "2026-12-01T00:00:00Z,,1000000")) == []
    assert usable(LINES.replace("00Z,,1000000", "00Z,2026-11-20T12:00:00Z,1000000")) == []


def test_two_lines_of_one_broker_for_one_client_are_both_kept_out(tmp_path: Path) -> None:
    second = f"L-9,{NORTH},{ALPHA},ACTIVE,2026-01-01T00:00:00Z,,1,1,,1,\n"
    credit = read(tmp_path, credit_lines=LINES + second, settlement_credit=LENT)
    assert flaws(credit) == [
        ("credit_lines", 1, "CONFLICTING_COPIES"),
        ("credit_lines", 3, "CONFLICTING_COPIES"),
        ("settlement_credit", 1, "UNKNOWN_LINE"),
        ("settlement_credit", 2, "UNKNOWN_LINE"),
    ]


def test_a_line_stated_twice_is_one_and_with_two_limits_is_none(tmp_path: Path) -> None:
    same = LINES.splitlines(keepends=True)[1]
    twice = read(tmp_path, credit_lines=LINES + same)
    assert twice.counts.select("accepted", "quarantined", "duplicates").rows() == [(2, 0, 1)]
    raised = read(tmp_path, credit_lines=LINES + same.replace("1000000.00", "9000000.00"))
    assert flaws(raised) == [
        ("credit_lines", 1, "CONFLICTING_COPIES"),
        ("credit_lines", 3, "CONFLICTING_COPIES"),
    ]


@pytest.mark.parametrize(
    ("row", "flaw"),
    [
        ("L-8,USD,1,", "UNKNOWN_LINE"),
        ("L-2,DOGE,1,", "UNKNOWN_INSTRUMENT"),
        ("L-2,USD,,", "MISSING_FIELD"),
        ("L-2,,1,", "MISSING_FIELD"),
    ],
)
def test_settlement_credit_that_cannot_be_believed_is_kept_out_alone(tmp_path: Path, row: str, flaw: str) -> None:
    credit = read(tmp_path, credit_lines=LINES, settlement_credit=LENT + row + "\n")
    assert flaws(credit) == [("settlement_credit", 3, flaw)]
    assert credit.settlement_credit.height == 2


def test_no_files_allow_nothing(tmp_path: Path) -> None:
    credit = read(tmp_path)
    assert credit.designations.is_empty()
    assert credit.lines.is_empty()
    assert credit.settlement_credit.is_empty()
    assert credit.counts.is_empty()


def test_a_file_with_an_unknown_name_is_quarantined_whole_and_the_rest_goes_on(tmp_path: Path) -> None:
    credit = read(tmp_path, limits="line_id\n", notes__xml="<a/>", credit_lines=LINES)
    assert flaws(credit) == [("limits", 0, "FILE_UNREADABLE"), ("notes.xml", 0, "FILE_UNREADABLE")]
    assert credit.lines.height == 2


def test_a_misspelt_limit_quarantines_the_file_instead_of_being_none(tmp_path: Path) -> None:
    credit = read(tmp_path, credit_lines=LINES.replace("nop_limit", "nop_limits"))
    assert flaws(credit) == [("credit_lines", 0, "FILE_BAD_HEADER")]


def test_no_damage_to_a_credit_file_ends_in_anything_but_a_count(tmp_path: Path) -> None:
    chance = random.Random(3)
    whole = {"designations": DESIGNATIONS, "credit_lines": LINES, "settlement_credit": LENT}
    for _ in range(100):
        damaged = {}
        for name, text in whole.items():
            data = bytearray(text.encode())
            for _ in range(chance.randint(1, 3)):
                place = chance.randrange(len(data))
                data[place : place + chance.choice([0, 1, 30])] = chance.choice([b"", b",", b'"', b"\xff", b"9", b"\n"])
            damaged[name] = bytes(data)
        credit = read(tmp_path, **damaged)
        kept = {"designations": credit.designations, "credit_lines": credit.lines}
        kept["settlement_credit"] = credit.settlement_credit
        for name, rows in kept.items():
            (count,) = credit.counts.filter(file=f"credit/{name}.csv").rows(named=True)
            bad = credit.quarantined.filter(pl.col("record") > 0, file=f"credit/{name}.csv")
            assert (count["accepted"], count["quarantined"]) == (rows.height, bad.height)
            assert count["records"] == rows.height + bad.height + count["duplicates"]


def test_a_limit_on_draws_is_none_only_where_the_file_has_no_such_column(tmp_path: Path) -> None:
    header, *rows = LINES.splitlines()
    given = "\n".join([f"{header},draw_limit", f"{rows[0]},50000.5", f"{rows[1]},"]) + "\n"
    assert read(tmp_path / "with", credit_lines=given).lines["draw_limit_atoms"].to_list() == [5_000_050, 0]
    assert read(tmp_path / "without", credit_lines=LINES).lines["draw_limit_atoms"].to_list() == [None, None]
    assert read(tmp_path / "none", credit_lines=f"{header},draw_limit\n").lines.is_empty()


def test_bilateral_limits_are_between_two_parties_in_the_reference_instrument(tmp_path: Path) -> None:
    credit = read(
        tmp_path,
        bilateral_limits="party,counterparty,limit\nALPHA,BETA,1000.5\nBETA,ALPHA,0\nALPHA,ALPHA,1\n"
        "ALPHA,VAULT,1\nNOBODY,BETA,1\nNORTH,BETA,-1\nNORTH,SOUTH,0.001\nSOUTH,NORTH,\n",
    )
    assert credit.bilateral.rows() == [("ALPHA", "BETA", 100_050), ("BETA", "ALPHA", 0)]
    assert [flaw for *_, flaw in flaws(credit)] == [
        "WRONG_ROLE", "WRONG_ROLE", "UNKNOWN_PARTY", "BAD_NUMBER", "EXCESS_DECIMALS", "MISSING_FIELD",
    ]  # fmt: skip
