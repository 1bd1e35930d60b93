"""Many obligations become few positions, exactly, in pieces that merge in any order.

Shared ground: funding nets a set of chains to test it, settlement nets the chosen one.
"""

from collections.abc import Sequence

import polars as pl

from schemas.atoms import mul_div, sum_atoms
from schemas.errors import BrokenInvariant
from schemas.net_position import NetPosition, NettingEffect

SIDES = ("debit_atoms", "credit_atoms")
KEY = ("participant", "instrument")


def net_obligations(obligations: pl.DataFrame) -> pl.DataFrame:
    """Return one signed net position (NetPosition) per participant and instrument, sorted.

    Every obligation enters twice, once for each side, so the nets of an instrument always sum to zero: see
    `require_zero_sum`, which the caller asks before anything is written.
    """
    return _positions(sum_atoms(_two_sided(obligations, KEY), KEY, SIDES))


def merge_nets(partials: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the positions of all obligations behind `partials`. Exact, associative and commutative."""
    stacked = pl.concat(partials) if partials else NetPosition.empty()
    merged = sum_atoms(stacked, KEY, SIDES)
    counts = stacked.group_by(KEY).agg(pl.col("obligations").sum())
    return _positions(merged.drop("rows").join(counts, on=KEY, how="left").rename({"obligations": "rows"}))


def _two_sided(obligations: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    rest = [name for name in key if name != "participant"]
    nothing = pl.lit(0, dtype=pl.Int128)
    paid, received = {"debit_atoms": "quantity_atoms"}, {"credit_atoms": "quantity_atoms"}
    return pl.concat(
        [
            obligations.select(*rest, participant="payer", **paid, credit_atoms=nothing),
            obligations.select(*rest, participant="receiver", **received, debit_atoms=nothing).select(
                *rest, "participant", *SIDES
            ),
        ]
    )


def _positions(sums: pl.DataFrame) -> pl.DataFrame:
    return NetPosition.hold(
        sums.select(
            *KEY, *SIDES, (pl.col("credit_atoms") - pl.col("debit_atoms")).alias("net_atoms"),
            pl.col("rows").cast(pl.UInt32).alias("obligations"),
        ).sort(KEY)
    )  # fmt: skip


def net_by_chain(obligations: pl.DataFrame) -> pl.DataFrame:
    """Return what each chain does to each participant and instrument: chain_id, participant, instrument, net_atoms."""
    key = ("chain_id", *KEY)
    sums = sum_atoms(_two_sided(obligations, key), key, SIDES)
    return sums.select(*key, (pl.col("credit_atoms") - pl.col("debit_atoms")).alias("net_atoms"))


def require_zero_sum(positions: pl.DataFrame) -> None:
    """Raise BrokenInvariant unless the nets of every instrument sum to zero (I1)."""
    sums = sum_atoms(positions, ["instrument"], ["net_atoms"]).filter(pl.col("net_atoms") != 0)
    if sums.height:
        names = ", ".join(sums["instrument"].head(5))
        raise BrokenInvariant(
            f"the net positions of {sums.height} instruments do not sum to zero ({names}). Nothing was written. "
            "Please report it."
        )


def netting_effect(obligations: pl.DataFrame, scale: pl.DataFrame) -> pl.DataFrame:
    """Return per instrument what moves gross, net per pair and net of all, and what pre-funding each venue would tie up.

    Also in reference atoms (`*_value_atoms`, rounded down; 0 without a price), by `scale` of `value_scale`.
    """
    first = pl.min_horizontal("payer", "receiver")
    pairs = obligations.select(
        "instrument",
        low=first,
        high=pl.max_horizontal("payer", "receiver"),
        debit_atoms=pl.when(pl.col("payer") == first).then("quantity_atoms").otherwise(pl.lit(0, dtype=pl.Int128)),
        credit_atoms=pl.when(pl.col("payer") == first).then(pl.lit(0, dtype=pl.Int128)).otherwise("quantity_atoms"),
    )
    pairs = _debits(sum_atoms(pairs, ("instrument", "low", "high"), SIDES), both=True)
    by_venue = ("venue", *KEY)
    at_venues = _debits(sum_atoms(_two_sided(obligations, by_venue), by_venue, SIDES))
    at_once = _debits(sum_atoms(_two_sided(obligations, KEY), KEY, SIDES))
    gross = sum_atoms(obligations, ["instrument"], ["quantity_atoms"])
    frame = gross.select("instrument", gross_atoms="quantity_atoms")
    for name, debits in (("prefunded", at_venues), ("bilateral", pairs), ("multilateral", at_once)):
        sums = sum_atoms(debits, ["instrument"], ["moved"]).select("instrument", pl.col("moved").alias(f"{name}_atoms"))
        frame = frame.join(sums, on="instrument", how="left")
    payments = pairs.group_by("instrument").agg((pl.col("moved") > 0).sum().alias("bilateral_payments"))
    frame = (
        frame.join(payments, on="instrument", how="left").join(scale, on="instrument", how="left").sort("instrument")
    )
    effect = NettingEffect.hold(
        frame.with_columns(pl.col("bilateral_payments").cast(pl.UInt32)).select(NettingEffect.names())
    )
    units, divisor = frame["price_units"].fill_null(0), frame["value_divisor"].fill_null(1)
    values = [
        mul_div(frame[f"{name}_atoms"], units, divisor, "floor").alias(f"{name}_value_atoms")
        for name in ("prefunded", "gross", "bilateral", "multilateral")
    ]
    return effect.with_columns(values)


def _debits(sums: pl.DataFrame, *, both: bool = False) -> pl.DataFrame:
    """Add `moved`: the net debit of each row, or the net whoever pays it (`both`)."""
    net = pl.col("debit_atoms") - pl.col("credit_atoms")
    other = 0 - net if both else pl.lit(0, dtype=pl.Int128)
    return sums.with_columns(moved=pl.when(net > 0).then(net).otherwise(other))
