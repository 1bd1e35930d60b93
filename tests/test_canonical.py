"""The canonical form, against an independent writer of RFC 8785, and one record at a time against all at once."""

import json
from typing import Any

import polars as pl
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from assets.ledger.canonical import BODY_BYTES_MAX, INTEGER_MAX, canonical, canonical_rows
from schemas.errors import BrokenInvariant

names = st.text(st.characters(max_codepoint=0x7F), max_size=8)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.text(
    '\\"\b\t\n\f\r\x00\x1f\x7fé€😀', max_size=8
)
integers = st.integers(-INTEGER_MAX, INTEGER_MAX)
amounts = st.integers(-(2**127), 2**127 - 1)


@given(st.dictionaries(names, texts | integers, max_size=8))
def test_a_record_is_written_as_an_independent_writer_does(record: dict[str, str | int]) -> None:
    body = canonical(record)
    assert body == rfc8785.dumps(record)
    assert json.loads(body) == record


def test_a_record_has_the_form_that_a_reader_expects() -> None:
    record = {"table": "postings", "atoms": "-120000000000000000000", "Seq": 7, "note": 'a "b"\\\n\x01€', "a": ""}
    assert canonical(record) == (
        b'{"Seq":7,"a":"","atoms":"-120000000000000000000","note":"a \\"b\\"\\\\\\n\\u0001\xe2\x82\xac","table":"postings"}'
    )


COLUMNS = {
    "text": (pl.String, texts),
    "amount": (pl.Int128, amounts),
    "count": (pl.Int64, integers),
    "small": (pl.UInt32, st.integers(0, 2**32 - 1)),
    "flag": (pl.Boolean, st.booleans()),
    "Capital": (pl.String, texts),
    'a"b': (pl.String, texts),
}


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    chosen = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, unique=True))
    height = draw(st.integers(0, 5))
    holes = draw(st.booleans())
    data = {}
    for name in chosen:
        dtype, values = COLUMNS[name]
        one = st.none() | values if holes else values
        data[name] = pl.Series(name, draw(st.lists(one, min_size=height, max_size=height)), dtype=dtype)
    return pl.DataFrame(data)


def plain(row: dict[str, Any], schema: pl.Schema) -> dict[str, str | int]:
    """A row as the record that it stands for."""
    return {
        name: str(value) if schema[name] == pl.Int128 else int(value) if isinstance(value, bool) else value
        for name, value in row.items()
        if value is not None
    }


@given(frames())
def test_rows_are_written_in_bulk_as_one_by_one(frame: pl.DataFrame) -> None:
    assert canonical_rows(frame) == [canonical(plain(row, frame.schema)) for row in frame.iter_rows(named=True)]


@pytest.mark.parametrize(
    "value",
    [1.0, True, None, b"x", ["x"], {"x": 1}, 2**53, -(2**53), "\ud800", "ok\udfff"],
    ids=lambda value: ascii(value),
)
def test_what_has_no_one_form_is_refused_by_its_name_alone(value: Any) -> None:
    with pytest.raises(BrokenInvariant, match="secret_field") as refused:
        canonical({"secret_field": value})
    assert value is None or str(value) not in str(refused.value)


@pytest.mark.parametrize("name", ["é", "\ud800", 1, None])
def test_a_name_that_is_not_ascii_is_refused(name: Any) -> None:
    with pytest.raises(BrokenInvariant, match="no field's name"):
        canonical({name: "x"})


def test_a_column_that_has_no_one_form_is_refused() -> None:
    wrong = (
        pl.Series("x", [1.5]),
        pl.Series("x", [b"x"]),
        pl.Series("x", [["x"]]),
        pl.Series("x", [{"y": 1}]),
        pl.Series("x", ["2026-11-20"]).str.to_date(),
        pl.Series("x", [2**53], dtype=pl.Int64),
        pl.Series("x", [-(2**53)], dtype=pl.Int64),
        pl.Series("x", [2**53, None], dtype=pl.UInt64),
        pl.Series("x", ["x" * BODY_BYTES_MAX]),
        pl.Series("é", ["x"]),
    )
    for column in wrong:
        with pytest.raises(BrokenInvariant):
            canonical_rows(column.to_frame())
    with pytest.raises(BrokenInvariant, match="without columns"):
        canonical_rows(pl.DataFrame())


def test_a_body_may_be_as_long_as_an_entry_of_the_log_and_no_longer() -> None:
    around = len(canonical({"x": ""}))
    fits = "x" * (BODY_BYTES_MAX - around)
    assert len(canonical({"x": fits})) == BODY_BYTES_MAX
    assert canonical_rows(pl.DataFrame({"x": [fits]})) == [canonical({"x": fits})]
    with pytest.raises(BrokenInvariant, match="65,536 bytes"):
        canonical({"x": fits + "x"})
    with pytest.raises(BrokenInvariant, match="65,536 bytes"):
        canonical_rows(pl.DataFrame({"x": [fits + "x"]}))
