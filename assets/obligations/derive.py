"""From trades to obligations: every hop of the chain, base forward and quote backward."""

import polars as pl

from schemas.atoms import mul_div
from schemas.obligation import Obligation


def derive_obligations(trades: pl.DataFrame) -> pl.DataFrame:
    """Return the obligations (Obligation) of `trades` (Trade), sorted by id: 2, 4 or 6 for each.

    The path is seller, seller's broker, buyer's broker, buyer; one broker that stands for both is one stop. A hop
    from a party to itself owes nothing and is left out.
    """
    other_broker = pl.when(pl.col("buyer_broker").ne_missing(pl.col("seller_broker"))).then("buyer_broker")
    path = pl.concat_list("seller", "seller_broker", other_broker, "buyer").list.drop_nulls()
    hops = (
        trades.with_columns(path=path)
        .with_columns(giver=pl.col("path").list.head(pl.col("path").list.len() - 1), taker=pl.col("path").list.slice(1))
        .with_columns(hop=pl.int_ranges(1, pl.col("giver").list.len() + 1))
        .explode("giver", "taker", "hop")
        .filter(pl.col("giver") != pl.col("taker"))
    )
    legs = [
        hops.select(
            pl.format("{}/{}/{}", "chain_id", "hop", pl.lit(leg)).alias("obligation_id"),
            "chain_id",
            "venue",
            payer=payer,
            receiver=receiver,
            instrument=leg,
            quantity_atoms=f"{leg}_atoms",
            value_on="value_on",
        )
        for leg, payer, receiver in (("base", "giver", "taker"), ("quote", "taker", "giver"))
    ]
    return Obligation.hold(pl.concat(legs).sort("obligation_id"))


def settling_obligations(obligations: pl.DataFrame, trades: pl.DataFrame, decisions: pl.DataFrame) -> pl.DataFrame:
    """Return what settles now (Obligation) of `obligations`, in their order.

    Of a chain that settles in part each obligation is cut to floor(quantity x settled base / base of the trade), once
    for payer and receiver both. What is cut to nothing is left out.
    """
    parts = (
        decisions.filter("settles")
        .select("chain_id", now="base_atoms")
        .join(trades.select("chain_id", whole="base_atoms"), on="chain_id", how="inner")
    )
    owed = obligations.join(parts, on="chain_id", how="inner", maintain_order="left")
    cut = owed.filter(pl.col("now") != pl.col("whole"))
    if cut.is_empty():
        return owed.select(Obligation.names())
    cut = cut.select("obligation_id", cut=mul_div(cut["quantity_atoms"], cut["now"], cut["whole"], "floor"))
    owed = owed.join(cut, on="obligation_id", how="left", maintain_order="left")
    owed = owed.with_columns(quantity_atoms=pl.coalesce("cut", "quantity_atoms"))
    return owed.filter(pl.col("quantity_atoms") > 0).select(Obligation.names())
