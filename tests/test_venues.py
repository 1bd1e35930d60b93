"""What each venue's files say, by example, and what is refused before it can be misread."""

import json
from pathlib import Path

import polars as pl
import pytest
import simplefix

from assets.fills.venues import DIALECTS, rest
from assets.intake import FileRefused, SourceFile
from schemas import limits
from schemas.errors import BrokenInvariant
from schemas.fill import Report


def read(folder: Path, dialect: str, data: bytes, name: str = "acct-7.json") -> pl.DataFrame:
    path = folder / name
    path.write_bytes(data)
    file = SourceFile.of("fills", path, folder)
    pieces = [DIALECTS[dialect].parse(piece) for piece in DIALECTS[dialect].cut(file)]
    reports = pl.concat(pieces)
    assert dict(reports.schema) == Report.dtypes()
    return reports


def refusal(folder: Path, dialect: str, data: bytes) -> str:
    with pytest.raises(FileRefused) as refused:
        read(folder, dialect, data)
    return str(refused.value.flaw)


def fix(*fields: str) -> bytes:
    """A message with its BodyLength and CheckSum, from fields as FIX writes them."""
    body = "".join(f"{field}\x01" for field in fields).encode()
    message = b"8=FIX.4.4\x019=%d\x01" % len(body) + body
    return message + b"10=%03d\x01\n" % (sum(message) % 256)


PARTIES = (
    "453=3",
    "448=LEIALPHA",
    "447=N",
    "452=3",
    "448=LEIPB",
    "447=N",
    "452=79",
    "448=SPTX",
    "447=G",
    "452=73",
)
TRADE = (
    "35=8", "17=E1", "880=M1", "150=F", "55=BTC/USD", "54=1", "32=0.25000000", "31=105433.60",
    "1056=26358.40", "60=20261120-04:05:06.789123456", "75=20261120", "64=20261122", *PARTIES,
    "136=1", "137=1.20", "138=USD",
)  # fmt: skip


def without(*tags: str) -> tuple[str, ...]:
    return tuple(field for field in TRADE if field.split("=")[0] not in tags)


def test_a_fix_trade_is_read_with_its_parties_its_fee_and_all_nine_digits_of_its_time(tmp_path: Path) -> None:
    [row] = read(tmp_path, "fix44", fix(*TRADE)).rows(named=True)
    assert row == {
        "record": 1, "offset": 0, "length": len(fix(*TRADE)), "flaw": None, "exec_type": "F", "exec_id": "E1",
        "exec_ref_id": None, "match_id": "M1", "symbol": "BTC/USD", "side": "1", "quantity": "0.25000000",
        "price": "105433.60", "quote_quantity": "26358.40", "traded_at": "2026-11-20T04:05:06.789123456Z",
        "trade_on": "2026-11-20", "value_on": "2026-11-22", "client": "LEIALPHA", "prime_broker": "LEIPB",
        "custodian": None, "venue": "SPTX", "account": None, "fee": "1.20", "fee_symbol": "USD",
    }  # fmt: skip


def test_simplefix_reads_the_same_values_as_we_do(tmp_path: Path) -> None:
    parser = simplefix.FixParser()
    parser.append_buffer(fix(*TRADE).rstrip(b"\n"))
    message = parser.get_message()
    [row] = read(tmp_path, "fix44", fix(*TRADE)).rows(named=True)
    for tag, name in (
        (17, "exec_id"),
        (32, "quantity"),
        (31, "price"),
        (1056, "quote_quantity"),
        (880, "match_id"),
    ):
        assert message.get(tag).decode() == row[name]
    assert message.encode() == fix(*TRADE).rstrip(b"\n")


def test_a_fix_tag_is_not_taken_for_another_that_ends_like_it(tmp_path: Path) -> None:
    [row] = read(tmp_path, "fix44", fix(*without("31"), "131=7", "1031=8", "44=31=9")).rows(named=True)
    assert (row["price"], row["flaw"]) == (None, None)


def test_a_fix_bust_needs_no_amounts_and_a_correction_names_what_it_replaces(tmp_path: Path) -> None:
    bust = fix(*without("150", "32", "31", "1056"), "150=H", "19=E0")
    correction = fix(*without("150"), "150=G", "19=E0")
    busted, corrected = read(tmp_path, "fix44", bust + correction).rows(named=True)
    assert (busted["exec_type"], busted["exec_ref_id"], busted["quantity"], busted["flaw"]) == (
        "H",
        "E0",
        None,
        None,
    )
    assert (corrected["exec_type"], corrected["exec_ref_id"], corrected["quantity"]) == (
        "G",
        "E0",
        "0.25000000",
    )


def test_119_is_the_quote_amount_where_1056_is_not_given_and_several_fees_stay_in_order(
    tmp_path: Path,
) -> None:
    message = fix(
        *without("1056", "136", "137", "138"),
        "119=26358.41",
        "136=2",
        "137=1",
        "138=USD",
        "137=-2",
        "138=BTC",
    )
    [row] = read(tmp_path, "fix44", message).rows(named=True)
    assert (row["quote_quantity"], row["fee"], row["fee_symbol"]) == ("26358.41", "1;-2", "USD;BTC")


@pytest.mark.parametrize(
    ("line", "flaw"),
    [
        (fix("35=0", "34=7"), "UNEXPECTED_MESSAGE"),
        (fix(*without("150"), "150=I"), "UNEXPECTED_MESSAGE"),
        (fix(*TRADE, "31=1"), "DUPLICATE_FIELD"),
        (fix(*TRADE, "8=FIX.4.4"), "DUPLICATE_FIELD"),
        (fix(*TRADE, "448=LEIBETA", "447=N", "452=3"), "DUPLICATE_FIELD"),
        (fix(*without("453"), "453=9"), "MALFORMED"),
        (fix(*TRADE, "58="), "MALFORMED"),
        (fix(*TRADE, "no field"), "MALFORMED"),
        (fix(*TRADE).replace(b"FIX.4.4", b"FIX.4.2"), "MALFORMED"),
        (fix(*TRADE).replace(b"32=0.25", b"32=0.26"), "BAD_CHECKSUM"),
        (fix(*TRADE).replace(b"32=0.25", b"32=0.2"), "BAD_BODY_LENGTH"),
        (fix(*TRADE)[:-2] + b"\n", "MALFORMED"),
        (fix(*TRADE)[:-1], "RECORD_CUT"),
        (b"\n", "EMPTY_RECORD"),
        (fix(*TRADE, "58=\xff").replace("ÿ".encode(), b"\xff"), "MALFORMED"),
    ],
)
def test_a_fix_line_that_is_no_trade_report_keeps_its_place_and_gets_its_reason(
    tmp_path: Path, line: bytes, flaw: str
) -> None:
    reports = read(tmp_path, "fix44", fix(*TRADE) + line)
    assert reports["flaw"].to_list() == [None, flaw]
    assert reports["length"].to_list() == [len(fix(*TRADE)), len(line)]


def test_crlf_line_ends_do_not_enter_the_checksum(tmp_path: Path) -> None:
    assert read(tmp_path, "fix44", fix(*TRADE).replace(b"\n", b"\r\n"))["flaw"].to_list() == [None]


KRAKEN = b"""{"error": [], "result": {"count": 2, "trades": {
  "TAAAAA-BBBBB-CCCCC1": {"ordertxid": "O1", "pair": "XBTUSD", "time": 1795147506.7891234, "type": "buy",
    "price": "105433.60000", "cost": "26358.40000", "fee": "31.63", "vol": "0.25000000", "misc": "\xc3\xa9",
    "trade_id": 88},
  "TAAAAA-BBBBB-CCCCC2": {"ordertxid": "O2", "pair": "XBTUSD", "time": 1795147507, "type": "sell",
    "price": "105433.7", "cost": "0.01", "fee": "0", "vol": "0.0000001", "trade_id": 89}}}}"""
COINBASE = b"""{"fills": [{"entry_id": "x", "trade_id": "t-1", "trade_time": "2026-11-20T04:05:06.123456789Z",
  "trade_type": "FILL", "price": "3076.92", "size": "0.032500000000000000001", "commission": "0.50",
  "product_id": "ETH-USD", "size_in_quote": false, "side": "SELL"}], "cursor": ""}"""
BYBIT = b"""{"retCode": 0, "retMsg": "OK", "result": {"category": "spot", "list": [
  {"symbol": "BTCUSDT", "side": "Buy", "execFee": "0.0150", "execId": "e0cb",
  "execPrice": "50000.00", "execQty": "0.100", "execType": "Trade", "execValue": "5000.00",
  "execTime": "1795147506429", "feeCurrency": "BTC", "isMaker": true}]}}"""
BINANCE = b"""[{"symbol": "BNBBTC", "id": 28457, "price": "4.00000100", "qty": "12.00000000",
  "quoteQty": "48.000012", "commission": "10.10000000", "commissionAsset": "BNB",
  "time": 1795147506590, "isBuyer": false, "isMaker": false}]"""
REST = {"kraken": KRAKEN, "coinbase": COINBASE, "bybit": BYBIT, "binance": BINANCE}


def picked(row: dict[str, object]) -> tuple[object, ...]:
    names = (
        "exec_type", "exec_id", "match_id", "symbol", "side", "quantity", "price", "quote_quantity",
        "traded_at", "fee", "fee_symbol", "account",
    )  # fmt: skip
    assert row["flaw"] is None
    return tuple(row[name] for name in names)


def test_kraken_trades_keep_every_digit_of_their_time_and_their_transaction_ids(tmp_path: Path) -> None:
    first, second = read(tmp_path, "kraken", KRAKEN, "acct-7.page-1.json").rows(named=True)
    assert picked(first) == (
        "F", "TAAAAA-BBBBB-CCCCC1", "XBTUSD:88", "XBTUSD", "1", "0.25000000", "105433.60000", "26358.40000",
        "2026-11-20T04:05:06.7891234Z", "31.63", None, "acct-7",
    )  # fmt: skip
    assert (second["side"], second["traded_at"]) == ("2", "2026-11-20T04:05:07.0Z")


def test_coinbase_states_no_quote_amount_and_none_is_made_up(tmp_path: Path) -> None:
    [row] = read(tmp_path, "coinbase", COINBASE).rows(named=True)
    assert picked(row) == (
        "F", "ETH-USD:t-1/SELL", "ETH-USD:t-1", "ETH-USD", "2", "0.032500000000000000001", "3076.92", None,
        "2026-11-20T04:05:06.123456789Z", "0.50", None, "acct-7",
    )  # fmt: skip


def test_bybit_and_binance_milliseconds_become_instants(tmp_path: Path) -> None:
    [bybit] = read(tmp_path, "bybit", BYBIT).rows(named=True)
    assert picked(bybit) == (
        "F", "BTCUSDT:e0cb/BUY", "BTCUSDT:e0cb", "BTCUSDT", "1", "0.100", "50000.00", "5000.00",
        "2026-11-20T04:05:06.429Z", "0.0150", "BTC", "acct-7",
    )  # fmt: skip
    [binance] = read(tmp_path, "binance", BINANCE).rows(named=True)
    assert picked(binance) == (
        "F", "BNBBTC:28457/SELL", "BNBBTC:28457", "BNBBTC", "2", "12.00000000", "4.00000100", "48.000012",
        "2026-11-20T04:05:06.590Z", "10.10000000", "BNB", "acct-7",
    )  # fmt: skip


@pytest.mark.parametrize("venue", REST)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_the_span_of_a_json_record_holds_its_very_bytes(tmp_path: Path, venue: str, bom: bytes) -> None:
    data = bom + REST[venue]
    for row in read(tmp_path, venue, data).rows(named=True):
        span = data[row["offset"] : row["offset"] + row["length"]].decode()
        record = json.loads("{" + span + "}" if venue == "kraken" else span)
        assert str(row["match_id"]).partition(":")[2] in json.dumps(record)


def test_a_float_from_ccxt_is_a_broken_invariant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest._exchange("coinbase"), "number", float)
    with pytest.raises(BrokenInvariant, match="ccxt changed an amount"):
        read(tmp_path, "coinbase", COINBASE)


@pytest.mark.parametrize(
    ("venue", "old", "new", "flaw"),
    [
        ("coinbase", b'"size_in_quote": false', b'"size_in_quote": true', "UNEXPECTED_MESSAGE"),
        ("coinbase", b'"FILL"', b'"REVERSAL"', "UNEXPECTED_MESSAGE"),
        ("coinbase", b'"SELL"', b'"SWAP"', "BAD_CODE"),
        ("coinbase", b'"3076.92"', b'"1e999999999"', "BAD_NUMBER"),
        ("coinbase", b'"3076.92"', b"NaN", "BAD_NUMBER"),
        ("coinbase", b'"3076.92"', b"[1]", "MALFORMED"),
        ("coinbase", b'"t-1"', b'"\\ud800"', "MALFORMED"),
        ("bybit", b'"Trade"', b'"Funding"', "UNEXPECTED_MESSAGE"),
        ("bybit", b'"1795147506429"', b'"1795147506429.5"', "BAD_TIME"),
        ("binance", b'"isBuyer": false', b'"isBuyer": "false"', "BAD_CODE"),
        ("binance", b"1795147506590", b"99999999999999999999", "BAD_TIME"),
    ],
)
def test_a_json_record_that_is_no_plain_fill_gets_its_reason(
    tmp_path: Path, venue: str, old: bytes, new: bytes, flaw: str
) -> None:
    assert old in REST[venue]
    assert read(tmp_path, venue, REST[venue].replace(old, new))["flaw"].to_list() == [flaw]


@pytest.mark.parametrize(
    ("venue", "data", "flaw"),
    [
        ("kraken", b'{"error": ["EAPI:Invalid nonce"]}', "FILE_UNREADABLE"),
        ("kraken", b'{"error": [], "result": {}}', "FILE_UNREADABLE"),
        ("kraken", KRAKEN[:-1], "FILE_UNREADABLE"),
        ("kraken", KRAKEN + b"{}", "FILE_UNREADABLE"),
        ("kraken", KRAKEN.replace(b"CCCCC2", b"CCCCC1"), "DUPLICATE_FIELD"),
        ("coinbase", COINBASE.replace(b'"cursor": ""', b'"fills": []'), "DUPLICATE_FIELD"),
        ("coinbase", COINBASE.replace(b'"commission"', b'"size"'), "DUPLICATE_FIELD"),
        ("coinbase", COINBASE.replace(b"ETH", b"\xff"), "FILE_NOT_UTF8"),
        ("coinbase", COINBASE.decode().encode("utf-16"), "FILE_NOT_UTF8"),
        ("bybit", b'{"retCode": 10003, "retMsg": "no", "result": {"list": []}}', "FILE_UNREADABLE"),
        ("bybit", BYBIT.replace(b'"spot"', b'"linear"'), "UNEXPECTED_MESSAGE"),
        ("binance", b'{"code": -1121, "msg": "Invalid symbol."}', "FILE_UNREADABLE"),
        ("binance", b"[" * 100_000, "FILE_UNREADABLE"),
        ("binance", b"[{},]", "FILE_UNREADABLE"),
        ("binance", b"", "FILE_EMPTY"),
    ],
)
def test_json_that_is_no_trade_history_is_refused_whole(tmp_path: Path, venue: str, data: bytes, flaw: str) -> None:
    assert refusal(tmp_path, venue, data) == flaw


CSV = b"""exec_type,exec_id,match_id,symbol,side,quantity,price,traded_at,client
F,E1,M1,BTC-USD,1,0.5,100000,2026-11-20T04:05:06Z,LEIALPHA
H,E2,M1,BTC-USD,1,,,2026-11-20T04:05:06Z,LEIALPHA
"""


def test_delimited_leaves_blank_cells_null_and_columns_that_are_not_there_too(tmp_path: Path) -> None:
    trade, bust = read(tmp_path, "delimited", CSV).rows(named=True)
    assert (trade["quantity"], trade["client"], trade["fee"], trade["flaw"]) == (
        "0.5",
        "LEIALPHA",
        None,
        None,
    )
    assert (bust["exec_type"], bust["quantity"], bust["price"], bust["flaw"]) == ("H", None, None, None)


@pytest.mark.parametrize("header", [b"quantity,price", b"quantity,prize", b"price,price"])
def test_delimited_is_refused_when_a_column_is_misspelt_missing_or_doubled(tmp_path: Path, header: bytes) -> None:
    changed = CSV.replace(b"quantity,price,traded_at", header)
    assert refusal(tmp_path, "delimited", changed) == "FILE_BAD_HEADER"


def test_a_header_without_a_line_end_is_a_torn_file_and_not_an_empty_one(tmp_path: Path) -> None:
    assert refusal(tmp_path, "delimited", CSV.split(b"\n")[0]) == "FILE_BAD_HEADER"


def parquet(folder: Path, rows: pl.DataFrame) -> bytes:
    rows.write_parquet(folder / "made.parquet")
    return (folder / "made.parquet").read_bytes()


def table() -> pl.DataFrame:
    return pl.read_csv(CSV, infer_schema=False)


def test_parquet_of_text_reads_like_the_same_csv(tmp_path: Path) -> None:
    rows = read(tmp_path, "parquet", parquet(tmp_path, table()), "a.parquet").drop("offset", "length")
    assert rows.equals(read(tmp_path, "delimited", CSV, "a.csv").drop("offset", "length"))


@pytest.mark.parametrize("dtype", [pl.Float64, pl.Decimal(38, 8), pl.Int128, pl.Int64])
def test_parquet_with_an_amount_that_is_no_text_is_refused(tmp_path: Path, dtype: pl.DataType) -> None:
    data = parquet(tmp_path, table().with_columns(pl.lit(1).cast(dtype).alias("quantity")))
    with pytest.raises(FileRefused, match=r"quantity .* expected String"):
        read(tmp_path, "parquet", data)


def test_torn_damaged_and_foreign_parquet_is_refused(tmp_path: Path) -> None:
    data = parquet(tmp_path, table())
    middle = len(data) // 2
    for bad in (
        data[:middle],
        b"PAR1" + b"\x00" * 64 + b"PAR1",
        b"not parquet",
        data[:4] + b"\xff" * 40 + data[44:],
    ):
        assert refusal(tmp_path, "parquet", bad) == "FILE_UNREADABLE"


def test_parquet_with_a_missing_column_or_a_giant_cell_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "parquet", parquet(tmp_path, table().drop("side"))) == "FILE_BAD_HEADER"
    giant = table().with_columns(pl.lit("x" * 70_000).alias("exec_id"))
    assert refusal(tmp_path, "parquet", parquet(tmp_path, giant)) == "FILE_UNREADABLE"


def test_a_small_parquet_file_with_too_many_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SLICE_RECORDS", 50_000)
    most = parquet(tmp_path, table().head(1).select(pl.all().repeat_by(50_000).explode()))
    assert len(most) < 50_000
    assert read(tmp_path, "parquet", most).height == 50_000
    data = parquet(tmp_path, table().head(1).select(pl.all().repeat_by(50_001).explode()))
    assert refusal(tmp_path, "parquet", data) == "FILE_UNREADABLE"
