"""FIX 4.4 ExecutionReports, one a line: a venue's drop copy. Other messages are told apart, not read."""

import numpy as np
import polars as pl

from assets.intake import Slice, SourceFile, cut_lines, first_flaw, lines
from schemas.fill import Report
from schemas.reasons import Flaw

TAGS = {
    "exec_type": 150, "exec_id": 17, "exec_ref_id": 19, "match_id": 880, "symbol": 55, "side": 54,
    "quantity": 32, "price": 31, "traded_at": 60, "trade_on": 75, "value_on": 64, "account": 1,
    "last_amount": 1056, "settlement_amount": 119, "body_length": 9, "message": 35, "checksum": 10,
    "parties": 453, "fees": 136,
}  # fmt: skip
ROLES = {"client": 3, "prime_broker": 79, "custodian": 28, "venue": 73}  # FIX 452

# Each tag that we read may stand once, and an 8 only at the start, where no SOH is before it.
ONCE = r"\x01(?:8|" + "|".join(map(str, TAGS.values())) + ")="
FRAME = r"^8=FIX\.4\.4\x019=[0-9]{1,9}\x0135=[^\x01]+\x01(?:[1-9][0-9]*=[^\x01]+\x01)*10=[0-9]{3}\x01$"
HEAD_BYTES = len("8=FIX.4.4|9=|")  # Without the digits of the length.
TRAILER_BYTES = len("10=000|")


def cut(file: SourceFile) -> list[Slice]:
    """Cut the file at line ends. FileRefused when it is no text file."""
    return cut_lines(file, header=False)


def parse(piece: Slice) -> pl.DataFrame:
    """Return the Report of a slice. Amounts stay as written; times and dates are put the RFC 3339 way."""
    text, spans = lines(piece)
    frame = spans.with_columns(pl.Series("text", text, dtype=pl.String))
    frame = frame.with_columns(
        *(_value(tag).alias(name) for name, tag in TAGS.items()),
        *(_party(role).alias(name) for name, role in ROLES.items()),
        _every(137).alias("fee"),
        _every(138).alias("fee_symbol"),
        _sums(piece, frame),
    )
    body_bytes = pl.col("text").str.len_bytes().cast(pl.Int64) - HEAD_BYTES - TRAILER_BYTES
    there = pl.sum_horizontal(pl.col(name).is_not_null() for name in TAGS)
    twice = [_count(rf"\x01452={role}\x01") > 1 for role in ROLES.values()]
    rules = [
        (~pl.col("text").str.contains(FRAME), Flaw.MALFORMED, "frame"),
        (
            _integer("body_length").ne_missing(body_bytes - pl.col("body_length").str.len_bytes()),
            Flaw.BAD_BODY_LENGTH,
            "BodyLength (9)",
        ),
        (pl.col("checksum") != pl.col("sum"), Flaw.BAD_CHECKSUM, "CheckSum (10)"),
        (pl.col("message") != "8", Flaw.UNEXPECTED_MESSAGE, "MsgType (35)"),
        (_count(ONCE) != there, Flaw.DUPLICATE_FIELD, "tag"),
        (pl.any_horizontal(twice), Flaw.DUPLICATE_FIELD, "PartyRole (452)"),
        (_integer("parties").fill_null(0) != _count(r"\x01448="), Flaw.MALFORMED, "NoPartyIDs (453)"),
        (~pl.col("exec_type").is_in(["F", "G", "H"]), Flaw.UNEXPECTED_MESSAGE, "ExecType (150)"),
    ]
    instants = pl.col("traded_at").str.replace(r"^([0-9]{4})([0-9]{2})([0-9]{2})-([0-9:.]+)$", "${1}-${2}-${3}T${4}Z")
    dates = pl.col("trade_on", "value_on").str.replace(r"^([0-9]{4})([0-9]{2})([0-9]{2})$", "${1}-${2}-${3}")
    amount = pl.coalesce("last_amount", "settlement_amount").alias("quote_quantity")
    return first_flaw(frame, rules).with_columns(instants, dates, amount).select(Report.names())


def _value(tag: int) -> pl.Expr:
    # The SOH before the tag tells 31 from 131.
    return pl.col("text").str.extract(rf"\x01{tag}=([^\x01]+)", 1)


def _party(role: int) -> pl.Expr:
    # PartyID, its source (N: LEI, G: MIC) and its role stand in this order in every entry of the group.
    return pl.col("text").str.extract(rf"\x01448=([^\x01]+)\x01447=[GN]\x01452={role}\x01", 1)


def _every(tag: int) -> pl.Expr:
    # A report may name several fees: all are kept, in their order.
    found = pl.col("text").str.extract_all(rf"\x01{tag}=[^\x01]+")
    found = found.list.join("").str.replace_all(rf"\x01{tag}=", ";").str.strip_prefix(";")
    return pl.when(found != "").then(found)


def _integer(column: str) -> pl.Expr:
    return pl.col(column).str.to_integer(strict=False, dtype=pl.Int64)


def _count(pattern: str) -> pl.Expr:
    return pl.col("text").str.count_matches(pattern)


def _sums(piece: Slice, frame: pl.DataFrame) -> pl.Series:
    """Return each line's checksum as three digits: its bytes before the trailer, added modulo 256."""
    data = np.frombuffer(piece.bytes(), dtype=np.uint8)
    # Bytes wrap at 256 by themselves, which is the very sum that FIX asks for; one pass serves all lines.
    running = np.zeros(len(data) + 1, dtype=np.uint8)
    np.cumsum(data, dtype=np.uint8, out=running[1:])
    starts = frame["offset"].to_numpy().astype(np.int64) - piece.offset
    sizes = frame["text"].str.len_bytes().fill_null(0).to_numpy().astype(np.int64) - TRAILER_BYTES
    sums = running[starts + np.maximum(sizes, 0)] - running[starts]
    return pl.Series("sum", sums).cast(pl.String).str.zfill(3)
