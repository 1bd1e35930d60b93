"""Amounts: against Python's own integers, at sizes where the engine's arithmetic wraps without a word."""

import random
from decimal import Decimal
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.atoms import ATOMS_MAX, divide, from_disk, mul_div, plain, scale, show, sum_atoms, to_disk
from schemas.contract import Contract
from schemas.errors import BrokenInvariant
from tests.market_days import PROPERTY

TOP = 2**127 - 1


def ints(values: list[int | None]) -> pl.Series:
    return pl.Series("atoms", values, dtype=pl.Int128)


def summed(values: list[int]) -> int:
    frame = pl.DataFrame({"key": ["k"] * len(values), "atoms": ints(values)})
    ((key, total, rows),) = sum_atoms(frame, ["key"], ["atoms"]).rows()
    assert (key, rows) == ("k", len(values))
    return total


@pytest.mark.parametrize(
    "values",
    [
        [TOP, -TOP], [TOP, -TOP, 1], [-TOP, TOP, -1], [TOP, TOP, -TOP, -TOP], [-(2**127), TOP, 1], [2**64, -1],
        [-(2**64), -1], [-1, -1], [0], [ATOMS_MAX], [-ATOMS_MAX], [5 * 10**37] * 2 + [-(5 * 10**37)],
    ],
)  # fmt: skip
def test_sums_of_the_largest_integers_are_exact(values: list[int]) -> None:
    assert summed(values) == sum(values)


@pytest.mark.parametrize("values", [[TOP, 1], [TOP, TOP], [ATOMS_MAX, 1], [-ATOMS_MAX, -1], [10**38]])
def test_a_total_beyond_38_digits_stops_and_never_wraps(values: list[int]) -> None:
    with pytest.raises(BrokenInvariant, match="38 digits"):
        summed(values)


def test_the_engine_itself_would_have_wrapped() -> None:
    # The reason for sum_atoms: if this fails the engine has learned to refuse, and the guard may go.
    frame = pl.DataFrame({"key": ["k", "k"], "atoms": ints([TOP, TOP])})
    wrapped = {
        frame.group_by("key").agg(pl.col("atoms").sum())["atoms"].item(),
        frame.select(pl.col("atoms").sum().over("key"))["atoms"][0],
        frame["atoms"].sum(),
    }
    assert wrapped == {-2}
    assert (ints([10**30]) * ints([10**30]))[0] != 10**60
    with pytest.raises(Exception, match=r"(?i)neg|not supported|overflow"):
        frame.select(-pl.col("atoms"))
    decimals = pl.DataFrame({"key": ["k"] * 3, "d": pl.Series([Decimal(10**20 - 1)] * 3, dtype=pl.Decimal(38, 18))})
    assert decimals.group_by("key").agg(pl.col("d").sum())["d"].item() < 0


def test_three_hundred_thousand_amounts_of_32_digits_add_up() -> None:
    count, atoms = 300_000, 10**32 + 1
    frame = pl.DataFrame({"atoms": pl.repeat(atoms, count, dtype=pl.Int128, eager=True)})
    frame = frame.with_columns(key=pl.int_range(count) % 3)
    assert sum_atoms(frame, ["key"], ["atoms"])["atoms"].to_list() == [count // 3 * atoms] * 3
    assert sum_atoms(frame, [], ["atoms"])["atoms"].to_list() == [count * atoms]
    with pytest.raises(BrokenInvariant):
        sum_atoms(frame.with_columns(pl.lit(10**36, dtype=pl.Int128).alias("atoms")), ["key"], ["atoms"])


amounts = (
    st.integers(-ATOMS_MAX, ATOMS_MAX)
    | st.integers(-1000, 1000)
    | st.sampled_from([2**64, -(2**64), 2**126, -(2**126)])
)


@PROPERTY
@given(st.lists(st.tuples(st.sampled_from("abc"), amounts), max_size=30))
def test_sums_by_key_are_those_of_python_or_stop(rows: list[tuple[str, int]]) -> None:
    frame = pl.DataFrame(rows, schema={"key": pl.String, "atoms": pl.Int128}, orient="row")
    expected: dict[str, int] = {}
    for key, atoms in rows:
        expected[key] = expected.get(key, 0) + atoms
    if any(abs(total) > ATOMS_MAX for total in expected.values()):
        with pytest.raises(BrokenInvariant):
            sum_atoms(frame, ["key"], ["atoms"])
    else:
        assert dict(sum_atoms(frame, ["key"], ["atoms"]).select("key", "atoms").rows()) == expected


ROUNDINGS = ("floor", "ceil", "half_even")
factors = st.integers(-(10**38) + 1, 10**38 - 1) | st.integers(-(10**6), 10**6)
divisors = st.integers(1, 10**38 - 1) | st.integers(1, 1000)


def rounded(numerator: int, divisor: int, rounding: str) -> int:
    """By the definition: the nearest integers below and above, the even one in the middle."""
    below = numerator // divisor
    above = below if numerator == below * divisor else below + 1
    if rounding != "half_even":
        return {"floor": below, "ceil": above}[rounding]
    to_below, to_above = numerator - below * divisor, above * divisor - numerator
    return min((to_below, below % 2, below), (to_above, above % 2, above))[2]


@PROPERTY
@given(st.lists(st.tuples(factors, factors, divisors), min_size=1, max_size=5), st.sampled_from(ROUNDINGS))
@example([(-1, 1, 10**38 - 1)], "half_even")
@example([(5, 1, 2), (7, 1, 2), (-5, 1, 2), (-7, 1, 2)], "half_even")
@example([(10**30, 10**30, 10**30)], "floor")
@example([(-1, 1, 10**38 - 1), (-1, 2**125, 3)], "ceil")
def test_products_and_quotients_are_those_of_python_or_stop(rows: list[tuple[int, int, int]], rounding: str) -> None:
    a, b, divisor = (ints([row[column] for row in rows]) for column in range(3))
    expected = [rounded(x * y, d, rounding) for x, y, d in rows]
    assert [divide(x * y, d, rounding) for x, y, d in rows] == expected
    if any(abs(value) > ATOMS_MAX for value in expected):
        with pytest.raises(BrokenInvariant):
            mul_div(a, b, divisor, rounding)
    else:
        assert mul_div(a, b, divisor, rounding).to_list() == expected


def test_a_missing_amount_stays_missing_on_both_ways_of_multiplying() -> None:
    for large in (1, 10**37):
        product = mul_div(ints([None, large]), ints([10, 10]), ints([10, 10]), "floor")
        assert product.to_list() == [None, large]


def scaled(text: str | None, decimals: int) -> tuple[int | None, str | None]:
    frame = scale(pl.DataFrame({"text": [text]}, schema={"text": pl.String}), "text", pl.lit(decimals), out="atoms")
    assert frame.schema["atoms"] == pl.Int128
    return frame.select("atoms", "atoms_flaw").row(0)


@pytest.mark.parametrize(
    ("text", "decimals", "atoms", "flaw"),
    [
        ("1", 18, 10**18, None),
        ("0.999999999999999999", 18, 10**18 - 1, None),
        ("0.9999999999999999999", 18, None, "EXCESS_DECIMALS"),
        ("0.9999999999999999990", 18, 10**18 - 1, None),
        ("0.0000000000000000001", 18, None, "EXCESS_DECIMALS"),
        ("1.00", 0, 1, None),
        ("1.01", 0, None, "EXCESS_DECIMALS"),
        ("-0.5", 8, -50_000_000, None),
        ("-0", 8, 0, None),
        ("-0.00", 2, 0, None),
        ("007", 2, 700, None),
        ("0" * 40, 2, 0, None),
        ("9" * 38, 0, ATOMS_MAX, None),
        ("-" + "9" * 38, 0, -ATOMS_MAX, None),
        ("1" + "0" * 38, 0, None, "AMOUNT_TOO_LARGE"),
        ("170141183460469231731687303715884105728", 0, None, "AMOUNT_TOO_LARGE"),
        ("99999999999999999999.999999999999999999", 18, 10**38 - 1, None),
        ("9" * 40, 30, None, "AMOUNT_TOO_LARGE"),
        ("9" * 41, 0, None, "BAD_NUMBER"),
        ("0." + "1" * 31, 30, None, "BAD_NUMBER"),
        (None, 8, None, None),
        *((bad, 8, None, "BAD_NUMBER") for bad in (
            "", " ", "1e5", "1E400", "+1", ".5", "5.", "1.2.3", "1,000", "1_000", "NaN", "inf", "0x10", "--1", "1 ",
            " 1", "1\n", "\u0661", "\uff11", "\u22121", "-",
        )),
    ],
)  # fmt: skip
def test_text_becomes_atoms_exactly_or_not_at_all(
    text: str | None, decimals: int, atoms: int | None, flaw: str | None
) -> None:
    assert scaled(text, decimals) == (atoms, flaw)


@PROPERTY
@given(st.integers(-ATOMS_MAX, ATOMS_MAX), st.integers(0, 30))
def test_what_is_written_is_read_back(atoms: int, decimals: int) -> None:
    assert scaled(plain(atoms, decimals), decimals) == (atoms, None)
    assert show(atoms, decimals).replace(",", "") == plain(atoms, decimals)


def test_each_row_is_scaled_by_the_digits_of_its_own_instrument() -> None:
    frame = pl.DataFrame({"text": ["1.5", "1.5", "1.5"], "decimals": pl.Series([0, 2, 24], dtype=pl.Int32)})
    made = scale(frame, "text", pl.col("decimals"), out="atoms")
    assert made["atoms"].to_list() == [None, 150, 15 * 10**23]


def test_the_engines_own_casts_would_have_rounded() -> None:
    rounded_up = pl.Series(["0.9999999999999999999"]).str.to_decimal(scale=18)[0]
    assert rounded_up == Decimal(1)


def test_amounts_of_38_digits_go_to_disk_and_come_back(tmp_path: Path) -> None:
    values = [
        0,
        1,
        -1,
        ATOMS_MAX,
        -ATOMS_MAX,
        None,
        *(random.Random(1).randrange(-ATOMS_MAX, ATOMS_MAX) for _ in range(99)),
    ]
    frame = pl.DataFrame({"atoms": ints(values)})
    to_disk(frame).write_parquet(tmp_path / "atoms.parquet")
    read = pl.read_parquet(tmp_path / "atoms.parquet")
    assert read.schema["atoms"] == pl.Decimal(38, 0)
    assert from_disk(read)["atoms"].to_list() == values


@pytest.mark.parametrize("atoms", [10**38, -(10**38), TOP, -(2**127)])
def test_more_than_38_digits_never_go_to_disk(atoms: int) -> None:
    with pytest.raises(BrokenInvariant):
        to_disk(pl.DataFrame({"atoms": ints([1, atoms])}))


class Coin(Contract):
    """A frame for the tests of contracts."""

    atoms: pl.Int128 = pa.Field(gt=0)


def test_a_contract_looks_at_the_data_and_not_only_at_the_types() -> None:
    good, bad = pl.DataFrame({"atoms": ints([1])}), pl.DataFrame({"atoms": ints([1, -1])})
    assert Coin.hold(good).equals(good)
    with pytest.raises(BrokenInvariant, match="greater_than"):
        Coin.hold(bad)
    Coin.validate(bad.lazy(), lazy=True)  # Of a lazy frame the checks are skipped in silence, so hold takes none.
    with pytest.raises(BrokenInvariant, match="not collected"):
        Coin.hold(bad.lazy())  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float64, pl.String, pl.Decimal(38, 0)])
def test_a_contract_converts_nothing(dtype: pl.DataType) -> None:
    with pytest.raises(BrokenInvariant, match="atoms"):
        Coin.hold(pl.DataFrame({"atoms": pl.Series([1], dtype=pl.Int64).cast(dtype)}))


def test_a_contract_wants_every_column_and_no_other() -> None:
    for frame in (pl.DataFrame({"other": [1]}), pl.DataFrame({"atoms": ints([1]), "other": [1]})):
        with pytest.raises(BrokenInvariant, match="contract"):
            Coin.hold(frame)
