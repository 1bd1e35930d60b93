"""Price x quantity against the quote amount, exactly: in Polars where 128 bits suffice, else in Python."""

import polars as pl

from schemas import limits
from schemas.atoms import divide

POWERS = pl.Series("power", [10**exponent for exponent in range(38)], dtype=pl.Int128)
# Two numbers with 37 digits together have a product below 10^37, and its double still is below 2^127.
PROVEN_DIGITS = 37


def notionals(frame: pl.DataFrame) -> pl.DataFrame:
    """Fill in the quote amounts that no venue stated, and add `quote_off`: stated, but not price x quantity.

    Price x quantity in quote atoms is product / unit, with product = base_atoms * price_units * lift, where
    lift and unit are powers of ten and one of them is 1. It is rounded half-even, to at least one atom. The
    comparison is cross-multiplied, so nothing is rounded in it.

    Needs base_atoms, price_units / 10^price_decimals, quote_atoms, quote_increment_atoms, both decimals, and
    quote_quantity, which tells an amount that was not stated from one that could not be read.
    """
    surplus = pl.col("base_decimals") + pl.col("price_decimals") - pl.col("quote_decimals")
    frame = frame.with_columns(
        (0 - surplus).clip(lower_bound=0).alias("lift"), surplus.clip(lower_bound=0).alias("drop")
    )
    proven = (
        (_digits("base_atoms") + _digits("price_units") + pl.col("lift") <= PROVEN_DIGITS)
        & (_digits("quote_atoms") + pl.col("drop") <= PROVEN_DIGITS)
        & (_digits("quote_increment_atoms") + pl.col("drop") <= PROVEN_DIGITS)
    )
    known = pl.all_horizontal(
        pl.col(name).is_not_null() for name in ("base_atoms", "price_units", "quote_increment_atoms", "lift", "drop")
    )
    frame = frame.with_row_index("row").with_columns(
        pl.when(~known).then(0).when(proven).then(1).otherwise(2).alias("way")
    )
    parts = [
        frame.filter(way=0).with_columns(pl.lit(None, dtype=pl.Boolean).alias("quote_off")),
        _notionals_in_polars(frame.filter(way=1)),
        _notionals_in_python(frame.filter(way=2)),
    ]
    return pl.concat(parts).sort("row")


def _digits(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String).str.len_bytes().cast(pl.Int32).fill_null(0)


def _notionals_in_polars(frame: pl.DataFrame) -> pl.DataFrame:
    two = pl.lit(2, dtype=pl.Int128)
    lift, unit = (POWERS.gather(frame[name]).alias(name) for name in ("lift", "drop"))
    work = frame.select(
        pl.col("base_atoms", "price_units", "quote_atoms", "quote_increment_atoms"), lift, unit.alias("unit")
    ).with_columns((pl.col("base_atoms") * pl.col("price_units") * pl.col("lift")).alias("product"))
    work = work.with_columns((pl.col("product") // pl.col("unit")).alias("whole"))
    work = work.with_columns((pl.col("product") - pl.col("whole") * pl.col("unit")).alias("rest"))
    odd = pl.col("whole") - pl.col("whole") // two * two
    up = (pl.col("rest") * two > pl.col("unit")) | ((pl.col("rest") * two == pl.col("unit")) & (odd != 0))
    rounded = (pl.col("whole") + up.cast(pl.Int128)).clip(lower_bound=pl.lit(1, dtype=pl.Int128))
    apart = (pl.col("product") - pl.col("quote_atoms") * pl.col("unit")).abs()
    work = work.select(
        pl.coalesce("quote_atoms", rounded).alias("quote_atoms"),
        (apart > pl.col("quote_increment_atoms") * pl.col("unit")).alias("quote_off"),
    )
    stated = pl.col("quote_quantity").is_not_null()
    return frame.with_columns(
        # A stated amount that could not be read stays null: it is a flaw, and no gap to fill.
        pl.when(stated).then("quote_atoms").otherwise(work["quote_atoms"]).alias("quote_atoms"),
        pl.when(stated).then(work["quote_off"]).alias("quote_off"),
    )


def _notionals_in_python(frame: pl.DataFrame) -> pl.DataFrame:
    names = (
        "base_atoms",
        "price_units",
        "lift",
        "drop",
        "quote_atoms",
        "quote_increment_atoms",
        "quote_quantity",
    )
    quotes: list[int | None] = []
    off: list[bool | None] = []
    for base, price, lift, drop, quote, increment, stated in frame.select(names).rows():
        product, unit = base * price * 10**lift, 10**drop
        if stated is None:
            rounded = max(1, divide(product, unit, "half_even"))
            # Whatever is beyond the limit is refused by it, and must fit until then.
            quote = min(rounded, limits.FILL_ATOMS_MAX + 1)
        off.append(None if stated is None or quote is None else abs(product - quote * unit) > increment * unit)
        quotes.append(quote)
    return frame.with_columns(
        pl.Series("quote_atoms", quotes, dtype=pl.Int128), pl.Series("quote_off", off, dtype=pl.Boolean)
    )
