"""What limits watch: the moves of each client under its line, and of each pair of parties with each other.

A limit holds for what settles, not only for what was accepted: of two trades that net, one may settle alone.
"""

from __future__ import annotations

import polars as pl

SCHEMA = {
    "kind": pl.String, "group": pl.String, "label": pl.String, "limit_atoms": pl.Int128, "chain_id": pl.String,
    "instrument": pl.String, "atoms": pl.Int128,
}  # fmt: skip
LEGS = (("base", 1), ("quote", -1))
SIDES = (("buyer", 1), ("seller", -1))


def watched(
    trades: pl.DataFrame,
    obligations: pl.DataFrame,
    lines: pl.DataFrame | None,
    bilateral: pl.DataFrame | None,
    reference_instrument: str | None,
) -> pl.DataFrame:
    """Return one row per limit and move under it: kind, group, label, limit_atoms, chain_id, instrument, atoms.

    The values of what is net below zero, per `label` and instrument, must not exceed `limit_atoms` over the `group`.
    """
    found = [pl.DataFrame(schema=SCHEMA)]
    if lines is not None and lines.height:
        moves = _under_lines(trades, lines)
        found.append(_daily(moves))
        found += _open(moves.filter(pl.col("instrument").ne_missing(pl.lit(reference_instrument))))
    if bilateral is not None and bilateral.height:
        found.append(_between(obligations, bilateral))
    return pl.concat([frame.select(list(SCHEMA)) for frame in found])


def _under_lines(trades: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Return the client's moves under its lines. A reversal after a bust is no exposure: it only takes one back."""
    fresh = trades.filter(pl.col("compensates").is_null())
    moves = [
        fresh.select(
            "chain_id", "value_on", client=side, prime_broker=f"{side}_broker", instrument=leg,
            atoms=pl.col(f"{leg}_atoms") if way * sign > 0 else 0 - pl.col(f"{leg}_atoms"),
        )
        for side, sign in SIDES
        for leg, way in LEGS
    ]  # fmt: skip
    return pl.concat(moves).join(lines, on=["prime_broker", "client"], how="inner", maintain_order="left")


def _daily(moves: pl.DataFrame) -> pl.DataFrame:
    label = pl.format("{} {}", "line_id", pl.col("value_on").dt.strftime("%Y-%m-%d"))
    return moves.with_columns(kind=pl.lit("DSL"), group=label, label=label, limit_atoms="dsl_limit_atoms")


def _open(moves: pl.DataFrame) -> list[pl.DataFrame]:
    """Short and long apart; together where the limit is on their sum, and no long where only shorts count."""
    both = pl.col("nop_formula") == "SUM_ABS"
    ways = (
        ("short", moves),
        ("long", moves.filter(pl.col("nop_formula") != "NET_DOWNSIDE").with_columns(atoms=0 - pl.col("atoms"))),
    )
    return [
        rows.with_columns(kind=pl.lit("NOP"), label=pl.format("{} {}", "line_id", pl.lit(way)))
        .with_columns(group=pl.when(both).then("line_id").otherwise("label"), limit_atoms="nop_limit_atoms")
        for way, rows in ways
    ]  # fmt: skip


def _between(obligations: pl.DataFrame, bilateral: pl.DataFrame) -> pl.DataFrame:
    """Return the moves of each of two parties with the other, under the lower of their two limits."""
    low, high = pl.min_horizontal("party", "counterparty"), pl.max_horizontal("party", "counterparty")
    pairs = bilateral.select("limit_atoms", one=low, two=high).group_by("one", "two").agg(pl.col("limit_atoms").min())
    first = pl.col("payer") < pl.col("receiver")
    hops = obligations.select(
        "chain_id", "instrument", "quantity_atoms", "payer", one=pl.min_horizontal("payer", "receiver"),
        two=pl.max_horizontal("payer", "receiver"), first=first,
    ).join(pairs, on=["one", "two"], how="inner", maintain_order="left")  # fmt: skip
    paid = 0 - pl.col("quantity_atoms")
    ways = (
        ("one", "two", pl.when("first").then(paid).otherwise("quantity_atoms")),
        ("two", "one", pl.when("first").then("quantity_atoms").otherwise(paid)),
    )
    return pl.concat(
        [
            hops.with_columns(kind=pl.lit("BILATERAL"), group=pl.format("{} to {}", giver, taker), atoms=atoms)
            .with_columns(label="group")
            for giver, taker, atoms in ways
        ]
    )  # fmt: skip
