"""Every record of every venue file is accepted once, a duplicate, or quarantined with its bytes."""

import random
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from assets.fills.ingest import Ingested, ingest
from assets.fills.venues import DIALECTS, Dialect
from assets.intake import SourceFile
from assets.reference import Reference, Venue
from schemas.cycle import Cycle
from schemas.errors import BrokenInvariant
from schemas.fill import FileCount, Fill, Quarantined
from schemas.instrument import Instrument, Price
from schemas.participant import Account, Participant, Symbol, TradingAccount

CYCLE = Cycle("C4H-20261120-0400", datetime(2026, 11, 20, 4, tzinfo=UTC), datetime(2026, 11, 20, 8, tzinfo=UTC))
NOTHING_KNOWN = Fill.empty().select("fill_id", "content_hash")
VENUES = {
    "CSVX": "delimited", "FIXX": "fix44", "KRKN": "kraken", "COIN": "coinbase", "BYBT": "bybit",
    "BINA": "binance", "PQTX": "parquet",
}  # fmt: skip


def rows(contract: type, *lines: str) -> pl.DataFrame:
    """A frame of a contract from lines of words; '-' is null."""
    cells = [[None if cell == "-" else cell for cell in line.split()] for line in lines]
    frame = pl.DataFrame(cells, schema=dict.fromkeys(contract.names(), pl.String), orient="row")
    return contract.hold(frame.cast(contract.dtypes()))


REFERENCE = Reference(
    instruments=rows(Instrument, "BTC Bitcoin CRYPTO bitcoin 8 - - - ACTIVE", "USD Dollar FIAT - 2 - - USD ACTIVE"),
    prices=Price.empty(),
    participants=rows(
        Participant,
        "ALPHA LEI-ALPHA Alpha CLNT ACTIVE",
        "BETA LEI-BETA Beta CLNT ACTIVE",
        "VAULT LEI-V V CUST ACTIVE",
    ),
    accounts=rows(Account, "a VAULT ALPHA BTC", "b VAULT BETA BTC"),
    trading_accounts=rows(TradingAccount, *(f"{mic} acct-7 ALPHA -" for mic in VENUES)),
    symbols=rows(Symbol, *(f"{mic} BTC-USD BTC USD -" for mic in VENUES)),
    venues={mic: Venue(mic, mic.title(), dialect) for mic, dialect in VENUES.items()},
    quarantined=Quarantined.empty(),
    counts=FileCount.empty(),
)

HEADER = "exec_type,exec_id,match_id,symbol,side,quantity,price,traded_at,client\n"


def trade(exec_id: str = "E1", quantity: str = "0.5", client: str = "LEI-ALPHA") -> str:
    return f"F,{exec_id},M{exec_id},BTC-USD,1,{quantity},100000,2026-11-20T04:05:06Z,{client}\n"


def take(folder: Path, files: dict[str, bytes | str], known: pl.DataFrame = NOTHING_KNOWN) -> Ingested:
    sources = []
    for name, data in files.items():
        path = folder / "venues" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        sources.append(SourceFile.of("fills", path, folder))
    return ingest(sources, REFERENCE, CYCLE, known)


def counted(taken: Ingested) -> list[tuple[object, ...]]:
    columns = ("file", "records", "accepted", "quarantined", "duplicates", "flaw")
    return [(row[0].removeprefix("venues/"), *row[1:]) for row in taken.counts.select(columns).rows()]


def test_the_second_of_two_equal_reports_is_a_duplicate_within_a_file_and_across_files(
    tmp_path: Path,
) -> None:
    again = trade("E1", quantity="0.50")  # The same amount, written in another way.
    taken = take(tmp_path, {"CSVX/b.csv": HEADER + trade("E1"), "CSVX/a.csv": HEADER + trade("E1") + again})
    assert counted(taken) == [("CSVX/a.csv", 2, 1, 0, 1, None), ("CSVX/b.csv", 1, 0, 0, 1, None)]
    assert taken.fills.select("file", "record").rows() == [("venues/CSVX/a.csv", 1)]


def test_two_contents_under_one_id_are_both_kept_out_with_their_bytes(tmp_path: Path) -> None:
    one, two = trade("E1"), trade("E1", quantity="0.6")
    taken = take(tmp_path, {"CSVX/a.csv": HEADER + one + trade("E2"), "CSVX/b.csv": HEADER + two + one})
    assert taken.fills["fill_id"].to_list() == ["CSVX:2026-11-20:E2"]
    assert taken.quarantined["flaw"].to_list() == ["CONFLICTING_COPIES"] * 3
    assert taken.quarantined["raw"].to_list() == [one.encode(), two.encode(), one.encode()]


def test_a_report_known_from_an_earlier_cycle_is_a_duplicate_and_another_content_is_kept_out(
    tmp_path: Path,
) -> None:
    known = take(tmp_path, {"CSVX/a.csv": HEADER + trade("E1")}).fills.select("fill_id", "content_hash")
    taken = take(tmp_path, {"CSVX/b.csv": HEADER + trade("E1") + trade("E1", quantity="0.6") + trade("E2")}, known)
    assert counted(taken) == [("CSVX/b.csv", 3, 1, 1, 1, None)]
    assert taken.quarantined.select("record", "flaw").rows() == [(2, "CONFLICTING_COPIES")]


def test_the_order_of_rows_and_files_changes_no_fill(tmp_path: Path) -> None:
    lines = [trade(f"E{n}", quantity=f"0.{n}") for n in range(1, 9)] + [
        trade("E1", "0.1"),
        trade("E2", "0.9"),
    ]
    provenance = ("file", "file_sha256", "record", "offset", "length")
    seen = []
    for seed in range(5):
        random.Random(seed).shuffle(lines)
        files = {"CSVX/a.csv": HEADER + "".join(lines[:5]), "CSVX/b.csv": HEADER + "".join(lines[5:])}
        taken = take(tmp_path / str(seed), dict(reversed(files.items())) if seed % 2 else files)
        seen.append(taken.fills.drop(provenance))
        assert taken.fills.height == 7
    assert all(frame.equals(seen[0]) for frame in seen)


def test_files_of_no_known_venue_or_account_are_kept_out_whole(tmp_path: Path) -> None:
    files = {"loose.csv": HEADER, "NONE/a.csv": HEADER, "BINA/acct-9.json": "[]", "BINA/acct-7.1.json": "[]"}
    assert counted(take(tmp_path, files)) == [
        ("BINA/acct-7.1.json", 0, 0, 0, 0, None),
        ("BINA/acct-9.json", 0, 0, 0, 0, "FILE_UNKNOWN_ACCOUNT"),
        ("NONE/a.csv", 0, 0, 0, 0, "FILE_UNKNOWN_VENUE"),
        ("loose.csv", 0, 0, 0, 0, "FILE_UNKNOWN_VENUE"),
    ]


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path) -> None:
    taken = take(tmp_path, {"CSVX/a.csv": b"", "CSVX/b.csv": HEADER + trade(), "PQTX/c.parquet": b"PAR1 torn"})
    assert [row[-1] for row in counted(taken)] == ["FILE_EMPTY", None, "FILE_UNREADABLE"]
    assert taken.fills.height == 1


def test_a_bad_row_of_parquet_is_kept_as_the_text_of_its_cells(tmp_path: Path) -> None:
    table = pl.read_csv((HEADER + trade("E1") + trade("E2", quantity="1e5")).encode(), infer_schema=False)
    table.write_parquet(tmp_path / "made.parquet")
    taken = take(tmp_path, {"PQTX/a.parquet": (tmp_path / "made.parquet").read_bytes()})
    assert counted(taken) == [("PQTX/a.parquet", 2, 1, 1, 0, None)]
    assert b'"quantity":"1e5"' in taken.quarantined["raw"].item()


class Panic(BaseException):
    """Like the one of Polars, which is no Exception."""


@pytest.mark.parametrize(("raised", "expected"), [(Panic("x"), "Panic"), (ValueError("secret amount"), "ValueError")])
def test_what_a_parser_did_not_foresee_keeps_the_file_out_and_shows_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, expected: str
) -> None:
    def fail(_: object) -> pl.DataFrame:
        raise raised

    monkeypatch.setitem(DIALECTS, "delimited", Dialect(DIALECTS["delimited"].cut, fail))
    taken = take(tmp_path, {"CSVX/a.csv": HEADER + trade()})
    assert taken.quarantined.select("flaw", "detail").rows() == [("FILE_UNREADABLE", expected)]


def test_our_own_broken_promise_is_not_blamed_on_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Dialect(DIALECTS["delimited"].cut, lambda _: pl.DataFrame({"price": [1.0]}))
    monkeypatch.setitem(DIALECTS, "delimited", wrong)
    with pytest.raises(BrokenInvariant, match="something else than a Report"):
        take(tmp_path, {"CSVX/a.csv": HEADER + trade()})


def test_a_parser_that_loses_a_line_is_found_out_by_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut, parse = DIALECTS["delimited"][:2]
    monkeypatch.setitem(DIALECTS, "delimited", Dialect(cut, lambda piece: parse(piece).head(1), lines=True))
    taken = take(tmp_path, {"CSVX/a.csv": HEADER + trade("E1") + trade("E2")})
    assert [row[-1] for row in counted(taken)] == ["FILE_COUNT_MISMATCH"]
    assert taken.fills.is_empty()


def test_no_files_give_no_fills(tmp_path: Path) -> None:
    taken = take(tmp_path, {})
    assert (taken.fills.height, taken.quarantined.height, taken.counts.height) == (0, 0, 0)


def fix(*fields: str) -> bytes:
    body = "".join(f"{field}\x01" for field in fields).encode()
    message = b"8=FIX.4.4\x019=%d\x01" % len(body) + body
    return message + b"10=%03d\x01\n" % (sum(message) % 256)


PARTY = ("453=1", "448=LEI-ALPHA", "447=N", "452=3")
WHEN = "60=20261120-04:05:06"
MUTABLE = {
    "CSVX/a.csv": (HEADER + trade("E1") + trade("E2", client='"LEI-BETA"') + trade("E3")).encode(),
    "FIXX/a.fix": b"".join(
        fix("35=8", f"17=E{n}", "880=M1", "150=F", "55=BTC-USD", f"54={n}", "32=0.5", "31=1000", WHEN, *PARTY)
        for n in (1, 2)
    ),
    "KRKN/acct-7.json": b'{"error": [], "result": {"trades": {"T1": {"ordertxid": "O", "pair": "BTC-USD", '
    b'"time": 1795147506.7891, "type": "buy", "price": "100000.0", "cost": "50000.00", "fee": "1", '
    b'"vol": "0.5", "trade_id": 7}, "T2": {"pair": "BTC-USD", "time": 1795147507, "type": "sell", '
    b'"price": "100000", "cost": "50000", "fee": "\xc3\xa9", "vol": "0.5", "trade_id": 8}}}}',
    "COIN/acct-7.json": b'{"fills": [{"trade_id": "t", "trade_time": "2026-11-20T04:05:06Z", "price": '
    b'"100000", "size": "0.5", "commission": "1", "product_id": "BTC-USD", '
    b'"size_in_quote": false, "side": "BUY"}]}',
    "BYBT/acct-7.json": b'{"retCode": 0, "result": {"list": [{"symbol": "BTC-USD", "side": "Buy", '
    b'"execFee": "1", "execId": "e", "execPrice": "100000", "execQty": "0.5", "execValue": "50000", '
    b'"execTime": "1795147506429"}]}}',
    "BINA/acct-7.json": b'[{"symbol": "BTC-USD", "id": 28457, "price": "100000", "qty": "0.5", '
    b'"quoteQty": "50000", "commission": "1", "commissionAsset": "BNB", "time": 1795147506590, '
    b'"isBuyer": false}]',
}  # fmt: skip


def mutate(data: bytes, chance: random.Random) -> bytes:
    """One to three of the things that happen to files."""
    for _ in range(chance.randint(1, 3)):
        at, to = chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)
        piece = data[min(at, to) : max(at, to)]
        odd = chance.choice(
            [b"\n", b"\r", b"\x00", b"\x01", b'"', b",", b"}", b"\xff", b"\xd9\xa3", b"e", b"-", b"9" * 45]
        )
        data = chance.choice(
            [
                data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :],
                data[:at] + data[at + 1 :],
                data[:at] + odd + data[at:],
                data[:at],
                data[:at] + piece + data[at:],
            ]
        )
    return data


def test_the_files_that_are_about_to_be_damaged_are_sound(tmp_path: Path) -> None:
    taken = take(tmp_path, MUTABLE)
    assert taken.counts["accepted"].sum() == 9
    # Kraken's second fee is no number.
    assert taken.quarantined.select("file", "flaw").rows() == [("venues/KRKN/acct-7.json", "BAD_NUMBER")]


@pytest.mark.parametrize("name", MUTABLE)
def test_however_a_file_is_damaged_every_record_is_accounted_for(tmp_path: Path, name: str) -> None:
    chance = random.Random(name)
    stem, suffix = name.rsplit(".", 1)
    damaged = {f"{stem}.{n}.{suffix}": mutate(MUTABLE[name], chance) for n in range(80)}
    taken = take(tmp_path, damaged)
    dialect = DIALECTS[VENUES[name[:4]]]
    for count in taken.counts.rows(named=True):
        data = damaged[count["file"].removeprefix("venues/")]
        bad = taken.quarantined.filter(file=count["file"])
        assert count["records"] == count["accepted"] + count["quarantined"] + count["duplicates"]
        assert taken.fills.filter(file=count["file"]).height == count["accepted"]
        if count["flaw"] is not None:
            assert (count["records"], bad["record"].to_list()) == (0, [0])
            continue
        assert bad["record"].is_unique().all()
        assert bad.height == count["quarantined"]
        for offset, length, raw in bad.select("offset", "length", "raw").rows():
            assert data[offset : offset + length] == raw
        pieces = dialect.cut(SourceFile.of("fills", tmp_path / count["file"], tmp_path))
        spans = [row for piece in pieces for row in dialect.parse(piece).select("offset", "length").rows()]
        assert len(spans) == count["records"]
        ends = [offset + length for offset, length in spans]
        if dialect.lines:
            # The lines tile the file from the end of its header to its last byte.
            assert [offset for offset, _ in spans[1:]] == ends[:-1]
            assert not ends or ends[-1] == len(data)
        else:
            assert all(start >= end for (start, _), end in zip(spans[1:], ends, strict=False))
    whole = taken.counts["flaw"].null_count()
    assert 0 < whole < len(damaged) or (dialect.lines and whole)
