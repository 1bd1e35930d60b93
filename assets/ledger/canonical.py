"""The one form in bytes of a record that enters the log: RFC 8785, restricted until nothing is left to choose.

A record is a flat object: ASCII names, sorted; each value a text or an integer that every JSON reader holds exactly.
An amount is a text. There is no null: what a record does not have is left out.
"""

import json
from collections.abc import Mapping

import polars as pl

from schemas.errors import BrokenInvariant

BODY_BYTES_MAX = 65_535  # What the length before an entry of the log's tiles can say.
INTEGER_MAX = 2**53 - 1  # Beyond it JavaScript and others round without a word.

# JSON's short escapes, then those of the remaining control characters. All else stays as it is, in UTF-8.
ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
ESCAPES |= {chr(code): f"\\u{code:04x}" for code in range(0x20) if chr(code) not in ESCAPES}
ESCAPED = r'[\x00-\x1f"\\]'


def canonical(record: Mapping[str, str | int]) -> bytes:
    """Return the record's one form. Raises BrokenInvariant for what has none, and names the field, not its value."""
    for name, value in record.items():
        _require_name(name)
        if isinstance(value, str):
            if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
                raise BrokenInvariant(f"log record: {name} holds half of a surrogate pair, which no UTF-8 can write.")
        elif not isinstance(value, int) or isinstance(value, bool):
            raise BrokenInvariant(
                f"log record: {name} is {type(value).__name__}. Only texts and integers have one form."
            )
        elif abs(value) > INTEGER_MAX:
            raise BrokenInvariant(f"log record: {name} is an integer of 2^53 or more. Write amounts as texts.")
    body = json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    _require_length(len(body))
    return body


def canonical_rows(frame: pl.DataFrame) -> list[bytes]:
    """Return the one form of each row, in order: the same bytes as `canonical`, in bulk.

    String is a text, Int128 an amount and so a text, every other integer a number, Boolean 0 or 1. A null is left out.
    Raises BrokenInvariant for any other column, and for a row that `canonical` would refuse.
    """
    if not frame.width:
        raise BrokenInvariant("log records: a frame without columns has no rows to write.")
    fields = [_field(frame[name]) for name in sorted(frame.columns)]
    if any(column.null_count() for column in frame.get_columns()):
        parts = [pl.concat_str(pl.lit(before), value, pl.lit(after)) for before, value, after in fields]
        row = pl.concat_str(pl.lit("{"), pl.concat_str(parts, separator=",", ignore_nulls=True), pl.lit("}"))
    else:  # Faster: all that stands between two values is one literal.
        parts, text = [], "{"
        for before, value, after in fields:
            parts += [pl.lit(text + before), value]
            text = after + ","
        row = pl.concat_str(*parts, pl.lit(text[:-1] + "}"))
    bodies = frame.select(row.alias("body"))["body"]
    _require_length(bodies.str.len_bytes().max() or 0)  # type: ignore[arg-type]
    return bodies.cast(pl.Binary).to_list()


def _field(column: pl.Series) -> tuple[str, pl.Expr, str]:
    """Return a column's field: what stands before its value, the value (null where the column is), what stands after."""
    name, dtype, value = column.name, column.dtype, pl.col(column.name)
    _require_name(name)
    key = f"{json.dumps(name)}:"
    if dtype == pl.String:
        if column.str.contains(ESCAPED).any():
            value = value.str.replace_many(list(ESCAPES), list(ESCAPES.values()))
        return f'{key}"', value, '"'
    if dtype == pl.Int128:
        return f'{key}"', value.cast(pl.String), '"'
    if dtype == pl.Boolean:
        return key, value.cast(pl.UInt8).cast(pl.String), ""
    if dtype.is_integer():
        low, high = column.min(), column.max()
        if (isinstance(low, int) and low < -INTEGER_MAX) or (isinstance(high, int) and high > INTEGER_MAX):
            raise BrokenInvariant(f"log records: {name} holds an integer of 2^53 or more. Write amounts as Int128.")
        return key, value.cast(pl.String), ""
    raise BrokenInvariant(f"log records: {name} is {dtype}. Only texts, integers and flags have one form.")


def _require_name(name: object) -> None:
    if not isinstance(name, str) or not name.isascii():
        raise BrokenInvariant(f"log record: {name!a} is no field's name. Names are ASCII, so that all sort them alike.")


def _require_length(length: int) -> None:
    if length > BODY_BYTES_MAX:
        raise BrokenInvariant(
            f"log record: {length:,} bytes, and an entry of the log holds {BODY_BYTES_MAX:,}. Log a digest of the text."
        )
