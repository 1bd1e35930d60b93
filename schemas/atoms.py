"""Amounts: integers of an instrument's smallest unit (*atoms*), and the proof that no arithmetic wraps.

Polars adds and multiplies Int128 modulo 2^128 without a word, so nothing else in Trine aggregates or multiplies
amounts: it calls `sum_atoms` and `mul_div`, which first prove from the real numbers that 128 bits are enough and
go to Python integers where they are not. Text becomes atoms in `scale` alone, by a strict pattern and never by a
cast, which would round. No float touches an amount.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import polars as pl
from pandera import dtypes
from pandera.engines import polars_engine

from schemas.errors import BrokenInvariant

Atoms = pl.Int128
BITS_SAFE = 126
ATOMS_MAX = 10**38 - 1
NUMBER_PATTERN = r"^-?[0-9]{1,40}(\.[0-9]{1,30})?$"  # [0-9]: in Rust \d is any script's digit.

Rounding = Literal["floor", "ceil", "half_even"]


@polars_engine.Engine.register_dtype(equivalents=[pl.Int128])
@dtypes.immutable
class Int128(polars_engine.DataType, dtypes.Int):
    """Tells Pandera of Polars' 128-bit integer, which it does not know by itself."""

    type = pl.Int128
    bit_width = 128

    def __str__(self) -> str:
        return "Int128"


def scale(frame: pl.DataFrame, text: str, decimals: pl.Expr, *, out: str) -> pl.DataFrame:
    """Return `frame` with `out` (atoms, Int128) and `out + '_flaw'` (String) made from the decimal text in `text`.

    `decimals` is the number of digits that the row's instrument has. A null text gives a null amount and no flaw.
    The flaw is BAD_NUMBER, EXCESS_DECIMALS (a digit other than 0 beyond `decimals`) or AMOUNT_TOO_LARGE, and the
    amount is then null: never rounded, never guessed.
    """
    parts = pl.col(text).str.split_exact(".", 1)
    whole = parts.struct.field("field_0")
    fraction = parts.struct.field("field_1").fill_null("")
    well_formed = pl.col(text).str.contains(NUMBER_PATTERN)
    excess = fraction.str.slice(decimals).str.strip_chars_end("0") != ""
    digits = whole + fraction.str.pad_end(30, "0").str.slice(0, decimals)
    # Leading zeros are no digits of the amount; without them its length says whether 38 digits hold it.
    significant = digits.str.strip_prefix("-").str.strip_chars_start("0")
    flaw = (
        pl.when(pl.col(text).is_null())
        .then(None)
        .when(~well_formed)
        .then(pl.lit("BAD_NUMBER"))
        .when(excess)
        .then(pl.lit("EXCESS_DECIMALS"))
        .when(significant.str.len_bytes() > 38)
        .then(pl.lit("AMOUNT_TOO_LARGE"))
    )
    sign = pl.when(pl.col(text).str.starts_with("-")).then(pl.lit("-")).otherwise(pl.lit(""))
    integer = pl.when(significant == "").then(pl.lit("0")).otherwise(sign + significant)
    frame = frame.with_columns(flaw.alias(f"{out}_flaw"))
    clean = pl.when(pl.col(f"{out}_flaw").is_null()).then(integer)
    return frame.with_columns(clean.str.to_integer(dtype=pl.Int128, strict=True).alias(out))


def _largest(series: pl.Series) -> int:
    """The largest absolute value of an Int128 series, as a Python integer (0 when there is none)."""
    low, high = series.min(), series.max()
    return max(abs(int(low)), abs(int(high))) if low is not None and high is not None else 0  # type: ignore[arg-type]


def sum_atoms(frame: pl.DataFrame, by: Sequence[str], columns: Iterable[str]) -> pl.DataFrame:
    """Return the exact sums of `columns` (Int128) by the keys `by`, sorted by key, with `rows` per key.

    A sum is safe if the bits of the largest value and of the row count together stay within 126: then no partial
    sum, in any order, can leave 128. Otherwise the column is summed in two limbs, and a total beyond 38 digits
    raises BrokenInvariant.
    """
    columns = list(columns)
    aggregates: list[pl.Expr] = [pl.len().alias("rows")]
    wide: list[str] = []
    for column in columns:
        if _largest(frame[column]).bit_length() + frame.height.bit_length() <= BITS_SAFE:
            aggregates.append(pl.col(column).sum())
        else:
            wide.append(column)
            limb = pl.lit(2**64, dtype=pl.Int128)
            # Floor division keeps value == high * 2^64 + low with 0 <= low < 2^64, for negative values too.
            aggregates.append((pl.col(column) // limb).sum().alias(f"{column}_high"))
            aggregates.append((pl.col(column) - (pl.col(column) // limb) * limb).sum().alias(f"{column}_low"))
    sums = frame.group_by(list(by)).agg(aggregates).sort(list(by)) if by else frame.select(aggregates)
    for column in wide:
        totals = [
            high * 2**64 + low
            for high, low in zip(sums[f"{column}_high"].to_list(), sums[f"{column}_low"].to_list(), strict=True)
        ]
        require_carried(totals, column)
        sums = sums.drop(f"{column}_high", f"{column}_low").with_columns(pl.Series(column, totals, dtype=pl.Int128))
    return sums.select(*by, *columns, "rows")


def require_carried(values: Iterable[int], what: str) -> None:
    """Raise BrokenInvariant when a value does not fit the 38 digits that every store of ours carries."""
    if any(abs(value) > ATOMS_MAX for value in values):
        raise BrokenInvariant(
            f"a total of {what} is beyond 38 digits, more than any of our stores carries. Nothing was written. "
            "Split the cycle, or give the instrument fewer decimals."
        )


def mul_div(a: pl.Series, b: pl.Series, divisor: pl.Series, rounding: Rounding) -> pl.Series:
    """Return a * b / divisor for whole series of integers, rounded as named, exact at any size.

    Units: those of a * b / divisor. `divisor` must be positive. Where the bits of a and b stay within 126 together
    Polars multiplies, otherwise Python does. A result beyond 38 digits raises BrokenInvariant.
    """
    if a.is_empty():
        return pl.Series(a.name, [], dtype=pl.Int128)
    if _largest(a).bit_length() + _largest(b).bit_length() <= BITS_SAFE:
        frame = pl.DataFrame({"a": a, "b": b, "d": divisor.cast(pl.Int128)}).with_columns(p=pl.col("a") * pl.col("b"))
        frame = frame.with_columns(q=pl.col("p") // pl.col("d"))
        frame = frame.with_columns(r=pl.col("p") - pl.col("q") * pl.col("d"))
        # The remainder of a floor division is never negative, so each rounding only ever adds one.
        # r against d - r and not 2r against d: twice a remainder may leave 128 bits.
        rest = pl.col("d") - pl.col("r")
        odd = pl.col("q") - (pl.col("q") // pl.lit(2, dtype=pl.Int128)) * pl.lit(2, dtype=pl.Int128)
        up = {
            "floor": pl.lit(False),
            "ceil": pl.col("r") > 0,
            "half_even": (pl.col("r") > rest) | ((pl.col("r") == rest) & (odd != 0)),
        }[rounding]
        return frame.select((pl.col("q") + up.cast(pl.Int128)).alias(a.name)).to_series()
    values = [
        None if x is None or y is None else divide(x * y, d, rounding)
        for x, y, d in zip(a.to_list(), b.to_list(), divisor.to_list(), strict=True)
    ]
    require_carried((value for value in values if value is not None), a.name)
    return pl.Series(a.name, values, dtype=pl.Int128)


def divide(numerator: int, divisor: int, rounding: Rounding) -> int:
    """Return numerator / divisor in Python integers, rounded as named."""
    quotient, remainder = divmod(numerator, divisor)
    if rounding == "floor" or remainder == 0:
        return quotient
    if rounding == "ceil":
        return quotient + 1
    return quotient + (2 * remainder > divisor or (2 * remainder == divisor and quotient % 2 == 1))


def to_disk(frame: pl.DataFrame) -> pl.DataFrame:
    """Return `frame` with Int128 as Decimal(38, 0), the form that Arrow, DuckDB and Spark can read.

    Raises BrokenInvariant beyond 38 digits, where the cast would have no answer.
    """
    for name, dtype in frame.schema.items():
        if dtype == pl.Int128 and _largest(frame[name]) > ATOMS_MAX:
            require_carried([_largest(frame[name])], name)
    return frame.with_columns(pl.col(pl.Int128).cast(pl.Decimal(38, 0)))


def from_disk(frame: pl.DataFrame) -> pl.DataFrame:
    """Return `frame` with Decimal(38, 0) as Int128: the inverse of `to_disk`."""
    return frame.with_columns(pl.col(pl.Decimal(38, 0)).cast(pl.Int128))


def show(atoms: int, decimals: int) -> str:
    """Return atoms as a decimal string for people, with thousands separators: 44250000, 2 -> '442,500.00'."""
    sign, digits = ("-" if atoms < 0 else ""), str(abs(atoms)).rjust(decimals + 1, "0")
    whole, fraction = (digits[:-decimals], digits[-decimals:]) if decimals else (digits, "")
    return f"{sign}{int(whole):,}" + (f".{fraction}" if fraction else "")


def plain(atoms: int, decimals: int) -> str:
    """Return atoms as the shortest exact decimal string for files: 44250000, 2 -> '442500.00'."""
    return show(atoms, decimals).replace(",", "")


__all__ = [
    "ATOMS_MAX", "BITS_SAFE", "NUMBER_PATTERN", "Atoms", "Int128", "divide", "from_disk", "mul_div", "plain",
    "require_carried", "scale", "show", "sum_atoms", "to_disk",
]  # fmt: skip
