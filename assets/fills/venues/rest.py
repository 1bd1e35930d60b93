"""The private trade histories of crypto venues, as their REST interfaces return them, read through ccxt.

ccxt knows what each venue means by its sides and amounts. But it cuts times to milliseconds, works out quote
amounts that no venue stated and, left alone, makes floats. So times, ids, fees and quote amounts come from
the raw fields, and an amount that ccxt changed is a broken invariant. No network is touched.
"""

import re
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

import polars as pl

from assets.fills.venues.json_records import JsonRecords
from assets.intake import FileRefused, Slice, SourceFile, require_readable
from schemas import limits
from schemas.atoms import NUMBER_PATTERN
from schemas.errors import BrokenInvariant
from schemas.fill import Report
from schemas.reasons import Flaw


class Shape(NamedTuple):
    """Where a venue puts what we read."""

    path: tuple[str, ...]
    symbol: str
    side: str
    quantity: str
    price: str
    time: str
    trade_id: str
    fee: str
    fee_symbols: tuple[str, ...] = ()
    quote_quantity: str = ""
    keyed: bool = False  # The records are the values of an object, and its keys are the exec ids.
    seconds: int = 0  # How many units of `time` are a second; 0: it is RFC 3339 already.
    plain: tuple[tuple[str, tuple[object, ...]], ...] = ()  # Any other value of these fields is no plain fill.


SHAPES = {
    "kraken": Shape(
        ("result", "trades"), "pair", "type", "vol", "price", "time", "trade_id", "fee", (), "cost",
        keyed=True, seconds=1,
    ),
    "coinbase": Shape(
        ("fills",), "product_id", "side", "size", "price", "trade_time", "trade_id", "commission",
        plain=(("size_in_quote", (False, None)), ("trade_type", ("FILL", None))),
    ),
    "bybit": Shape(
        ("result", "list"), "symbol", "side", "execQty", "execPrice", "execTime", "execId", "execFee",
        ("feeCurrency", "feeCoin"), "execValue", seconds=1000,
        plain=(("execType", ("Trade", "BlockTrade", "", None)),),
    ),
    "binance": Shape(
        (), "symbol", "isBuyer", "qty", "price", "time", "id", "commission", ("commissionAsset",), "quoteQty",
        seconds=1000,
    ),
}  # fmt: skip
JSON_BYTES_MAX = 256 * 2**20  # JSON is read in one piece, unlike lines.
TIME = re.compile(r"([0-9]{1,13})(?:\.([0-9]{1,9}))?")
SIDES = {"buy": "1", "sell": "2"}


def cut(file: SourceFile) -> list[Slice]:
    """Return the file as one slice: JSON has no part that could be read alone."""
    require_readable(file)
    if file.size > JSON_BYTES_MAX:
        raise FileRefused(Flaw.FILE_TOO_LARGE, f"more than {JSON_BYTES_MAX:,} bytes of JSON: split it")
    return [Slice(file, 1, 0, file.size)]


def parse(venue: str, piece: Slice) -> pl.DataFrame:
    """Return the Report of a file. FileRefused when it is not the answer of a request that succeeded."""
    shape = SHAPES[venue]
    records = JsonRecords(shape.path, shape.keyed)
    spans = records.read(piece)
    _require_success(records)
    account = piece.file.name.rpartition("/")[2].partition(".")[0]
    rows: list[dict[str, Any]] = []
    for number, (offset, length, key, record) in enumerate(spans, piece.first_record):
        row: dict[str, Any] = {"flaw": Flaw.RECORD_TOO_LONG}
        if length <= limits.RECORD_BYTES_MAX:
            row = _report(venue, key, record)
        rows.append({**row, "record": number, "offset": offset, "length": length, "account": account})
    return pl.DataFrame(rows, schema=Report.dtypes())


def _require_success(records: JsonRecords) -> None:
    envelope = records.envelope
    if envelope.get("error") or str(envelope.get("retCode", "0")) != "0":
        raise FileRefused(Flaw.FILE_UNREADABLE, "the venue answered with an error, not with trades")
    if records.spans is None:
        raise FileRefused(Flaw.FILE_UNREADABLE, f"nothing stands at {'.'.join(records.path)}")
    if envelope.get("category", "spot") != "spot":
        # A contract bears the name of its pair, but delivers nothing.
        raise FileRefused(Flaw.UNEXPECTED_MESSAGE, "category: expected spot; other contracts do not settle here")


def _report(venue: str, key: str | None, record: Any) -> dict[str, Any]:
    """Return the text fields of one record, or its flaw."""
    shape = SHAPES[venue]
    if not isinstance(record, dict):
        return {"flaw": Flaw.MALFORMED}
    if any(record.get(name) not in values for name, values in shape.plain):
        return {"flaw": Flaw.UNEXPECTED_MESSAGE}
    names = (
        shape.symbol,
        shape.quantity,
        shape.price,
        shape.time,
        shape.trade_id,
        shape.fee,
        shape.quote_quantity,
    )
    text = {name: record[name] for name in (*names, *shape.fee_symbols) if record.get(name) not in (None, "")}
    if not all(isinstance(value, str) for value in text.values()):
        return {"flaw": Flaw.MALFORMED}
    # Only plain numbers reach ccxt, which would work for ever on 1e999999999.
    amounts = {name: text.get(name) for name in (shape.quantity, shape.price)}
    if any(value is not None and not re.fullmatch(NUMBER_PATTERN, value) for value in amounts.values()):
        return {"flaw": Flaw.BAD_NUMBER}
    side = _side(venue, shape, {**amounts, shape.symbol: text.get(shape.symbol), shape.side: record.get(shape.side)})
    if side is None:
        return {"flaw": Flaw.BAD_CODE}
    traded_at = text.get(shape.time)
    if shape.seconds and traded_at is not None:
        traded_at = _instant(traded_at, shape.seconds)
        if traded_at is None:
            return {"flaw": Flaw.BAD_TIME}
    symbol, trade_id = text.get(shape.symbol), text.get(shape.trade_id)
    # Venues count trades per market, so the market is part of the id.
    match_id = f"{symbol}:{trade_id}" if symbol and trade_id else None
    row = {
        "exec_type": "F",
        "exec_id": key if shape.keyed else match_id and f"{match_id}/{'BUY' if side == '1' else 'SELL'}",
        "match_id": match_id,
        "symbol": symbol,
        "side": side,
        "quantity": amounts[shape.quantity],
        "price": amounts[shape.price],
        "quote_quantity": text.get(shape.quote_quantity),
        "traded_at": traded_at,
        "fee": text.get(shape.fee),
        "fee_symbol": next((text[name] for name in shape.fee_symbols if name in text), None),
    }
    try:
        "".join(value for value in row.values() if value).encode()
    except UnicodeEncodeError:  # Half a surrogate pair, which JSON can escape and no text can hold.
        return {"flaw": Flaw.MALFORMED}
    return row


def _side(venue: str, shape: Shape, trade: dict[str, Any]) -> str | None:
    """Return the side that ccxt reads, 1 or 2, after holding it to the very amounts that the venue wrote."""
    if not isinstance(trade[shape.side], bool if shape.side == "isBuyer" else str):
        return None
    if venue == "kraken":
        trade["ordertxid"] = ""  # By this ccxt tells a private trade from a public one.
    try:
        read = _exchange(venue).parse_trade(trade)
    except Exception:  # noqa: BLE001  ccxt promises nothing about odd records: this one is then not readable.
        return None
    if (read["amount"], read["price"]) != (trade[shape.quantity], trade[shape.price]):
        raise BrokenInvariant(
            f"ccxt changed an amount of {venue}; expected the text that the venue wrote. "
            "Nothing was written. Please report it with the version of ccxt."
        )
    return SIDES.get(read["side"])


@cache
def _exchange(venue: str) -> Any:
    import ccxt  # A second to load, and only these dialects need it.

    exchange = getattr(ccxt, venue)()
    exchange.number = str
    return exchange


def _instant(text: str, seconds: int) -> str | None:
    """Return a Unix time, counted in 1/`seconds` of a second, as RFC 3339 with all of its digits."""
    found = TIME.fullmatch(text)
    if not found or (seconds > 1 and found[2]):
        return None
    whole, part = divmod(int(found[1]), seconds)
    digits = str(part).rjust(len(str(seconds)) - 1, "0") if seconds > 1 else found[2] or "0"
    try:
        return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{digits}Z"
    except (ValueError, OverflowError, OSError):
        return None
