"""What the parties' wishes do to their trades: priority, parts, holds, links and pools.

A wish can make a trade wait or split, and never changes what is owed.
"""

import math
from typing import NamedTuple

import polars as pl

from schemas.atoms import mul_div, scale
from schemas.obligation import NORMAL, Link, Trade
from schemas.reasons import OPEN_STATES, HoldReason
from schemas.terms import Disagreement, Terms

TRADE = ["venue", "match_id"]
# What a chain already waits for, and that comes before any wish.
FIRST = [str(reason) for reason in HoldReason][: list(HoldReason).index(HoldReason.HOLD)]
ONE = pl.lit(1, dtype=pl.Int128)


class Asked(NamedTuple):
    """Trades with what their parties ask for, the links between them, and the wishes without effect."""

    trades: pl.DataFrame  # Trade
    links: pl.DataFrame  # Link
    disagreements: pl.DataFrame  # Disagreement


def carry_terms(terms: pl.DataFrame, outcomes: pl.DataFrame, new: pl.DataFrame, cycles_max: int) -> pl.DataFrame:
    """Return the terms (Terms) in force: those of the cycle before, one cycle older, and the `new` ones in their place.

    `terms` and `outcomes` (Outcome) are those of the cycle before. What was said of a trade that is done is dropped;
    what was said of one that nobody has reported is kept for `cycles_max` cycles.
    """
    known = outcomes.select(_match_id("chain_id"), venue=pl.col("chain_id").str.slice(0, 4), state="state")
    done = known.group_by(TRADE).agg(open=pl.col("state").is_in(OPEN_STATES).any())
    kept = (
        terms.with_columns(pl.col("age") + 1)
        .join(done, on=TRADE, how="left")
        .filter(pl.coalesce("open", pl.col("age") <= cycles_max))
        .join(new, on=[*TRADE, "party"], how="anti")
    )
    return Terms.hold(pl.concat([kept.select(Terms.names()), new]).sort(*TRADE, "party"))


def apply_terms(
    trades: pl.DataFrame,
    terms: pl.DataFrame,
    unclear: pl.DataFrame,
    settled: pl.DataFrame,
    instruments: pl.DataFrame,
) -> Asked:
    """Return `trades` (Trade) with what `terms` (Terms) ask for.

    `unclear` (venue, match_id) are trades of which a wish cannot be read: they wait. `settled` (Trade) settled in
    earlier cycles: what comes after one of them need not wait for it. What reverses a trade has no terms.
    """
    if terms.is_empty() and unclear.is_empty():
        return Asked(trades, Link.empty(), Disagreement.empty())
    named = trades.filter(pl.col("compensates").is_null()).with_columns(_match_id("chain_id"))
    said = terms.join(named.drop("priority"), on=TRADE, how="inner").sort("chain_id", "party")
    is_side = (pl.col("party") == pl.col("buyer")) | (pl.col("party") == pl.col("seller"))
    is_broker = (pl.col("party") == pl.col("buyer_broker")) | (pl.col("party") == pl.col("seller_broker"))
    strangers = said.filter(~(is_side | is_broker.fill_null(False)))
    said = said.join(strangers, on=["chain_id", "party"], how="anti", maintain_order="left")
    # A hold may come from any party of the chain, all else from the two sides. Who is both speaks for both.
    stopped = pl.concat([said.filter("on_hold")["chain_id"], named.join(unclear, on=TRADE, how="semi")["chain_id"]])
    sides = pl.concat([said.filter(pl.col("party") == pl.col(side)) for side in ("buyer", "seller")])
    parts, complaints = _parts(sides, instruments)
    pooled, incomplete = _pools(sides)
    linked, lost = _links(sides, named, settled)
    links = Link.hold(pl.concat([linked, pooled]).unique().sort("kind", "chain_id", "other_id"))
    whole = pl.concat([links["chain_id"], links["other_id"]]).implode()
    asked = (
        trades.drop("priority", "least_atoms", "lot_atoms")
        .join(trades.select("chain_id", was="priority"), on="chain_id", how="left", maintain_order="left")
        .join(_priorities(sides), on="chain_id", how="left", maintain_order="left")
        .join(parts, on="chain_id", how="left", maintain_order="left")
        .with_columns(
            priority=pl.coalesce("priority", "was"),
            least_atoms=pl.when(~pl.col("chain_id").is_in(whole)).then("least_atoms"),
            lot_atoms=pl.col("lot_atoms").fill_null(ONE),
            hold_reason=pl.when(pl.col("hold_reason").is_in(FIRST)).then("hold_reason")
            .when(pl.col("chain_id").is_in(stopped.implode())).then(pl.lit(str(HoldReason.HOLD)))
            .when(pl.col("chain_id").is_in(incomplete.implode())).then(pl.lit(str(HoldReason.INCOMPLETE)))
            .when(pl.col("chain_id").is_in(lost.implode())).then(pl.lit(str(HoldReason.LINK)))
            .otherwise("hold_reason"),
        )
    )  # fmt: skip
    complaints = pl.concat([complaints, strangers.select("chain_id", "party", kind=pl.lit("STRANGER"))])
    return Asked(
        Trade.hold(asked.select(Trade.names())), links, Disagreement.hold(complaints.sort("chain_id", "party", "kind"))
    )


def _match_id(chain_id: str) -> pl.Expr:
    """The venue's own match id in 'SPTX:2026-11-20:M1', or in 'SPTX:2026-11-20:M1~...' where that stands twice."""
    own = pl.col(chain_id).str.split("~").list.first()
    return own.str.replace(r"^[A-Z0-9]{4}:[0-9]{4}-[0-9]{2}-[0-9]{2}:", "").alias("match_id")


def _priorities(sides: pl.DataFrame) -> pl.DataFrame:
    """Return the priority of each chain of which a side names one: the less urgent of both (R5)."""
    return sides.group_by("chain_id").agg(pl.col("priority").max().fill_null(NORMAL).cast(pl.UInt32)).sort("chain_id")


def _parts(sides: pl.DataFrame, instruments: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (chain_id, least_atoms, lot_atoms) of what both sides allow in parts, and the Disagreement rows.

    Every part moves at least one atom of the quote, so that nothing is delivered for nothing.
    """
    places = instruments.select("instrument", "decimals")
    for leg in ("base", "quote"):
        sides = sides.join(places.rename({"instrument": leg, "decimals": f"{leg}_places"}), on=leg, how="left")
    by_quote = pl.col("partial") == "PARC"
    sides = scale(sides, "least", pl.when(by_quote).then("quote_places").otherwise("base_places"), out="wish")
    sides = scale(sides, "lot", pl.col("base_places"), out="of_lot")
    wrong = pl.col("wish_flaw").is_not_null() | pl.col("of_lot_flaw").is_not_null()
    # The fewest base atoms for which that much of the quote, and one atom in any case, is paid. At most all of it.
    paid = sides.select(paid=pl.min_horizontal("quote_atoms", pl.when(by_quote & ~wrong).then("wish").otherwise(ONE)))
    sides = sides.with_columns(
        wrong=wrong,
        allows=(pl.col("partial") != "NPAR") & ~wrong,
        fewest=mul_div(paid["paid"], sides["base_atoms"], sides["quote_atoms"], "ceil"),
    ).with_columns(fewest=pl.max_horizontal("fewest", pl.when(pl.col("partial") == "PARQ").then("wish"), ONE))
    chains = sides.group_by("chain_id", maintain_order=True).agg(
        pl.col("allows").sum(), pl.col("base_atoms").first(), least_atoms=pl.col("fewest").max(),
        lots=pl.col("of_lot").drop_nulls(),
    )  # fmt: skip
    agreed = chains.filter(pl.col("allows") == 2)
    lots = [math.lcm(*lots) if lots else 1 for lots in agreed["lots"].to_list()]
    # A lot that does not divide the trade would leave a rest that can never settle.
    divides = [base % lot == 0 for base, lot in zip(agreed["base_atoms"].to_list(), lots, strict=True)]
    agreed = agreed.with_columns(
        pl.Series("lot_atoms", [lot if fits else 1 for lot, fits in zip(lots, divides, strict=True)], dtype=pl.Int128),
        least_atoms=pl.when(pl.Series(divides, dtype=pl.Boolean) & (pl.col("least_atoms") < pl.col("base_atoms"))).then(
            "least_atoms"
        ),
    )
    divided = chains.filter(pl.col("allows") == 1)["chain_id"].implode()
    complaints = [
        sides.filter("allows" & pl.col("chain_id").is_in(divided)).select("chain_id", "party", kind=pl.lit("PATD")),
        sides.filter("wrong").select("chain_id", "party", kind=pl.lit("DECIMALS")),
    ]
    return agreed.select("chain_id", "least_atoms", "lot_atoms"), pl.concat(complaints).unique()


def _pools(sides: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Return the links of complete pools, each chain with the first of its pool, and the chains of incomplete ones."""
    members = sides.filter(pl.col("pool").is_not_null()).with_columns(
        first=pl.col("chain_id").min().over("party", "pool"),
        here=pl.col("chain_id").n_unique().over("party", "pool"),
        least=pl.col("pool_count").min().over("party", "pool"),
        most=pl.col("pool_count").max().over("party", "pool"),
    )
    complete = (pl.col("here") == pl.col("least")) & (pl.col("here") == pl.col("most"))
    together = members.filter(complete & (pl.col("first") != pl.col("chain_id")))
    links = together.select(kind=pl.lit("WITH"), chain_id="first", other_id="chain_id")
    return links, members.filter(~complete)["chain_id"]


def _links(sides: pl.DataFrame, named: pl.DataFrame, settled: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Return the links between open trades, and the chains that are linked to a trade that is not open."""
    wishes = sides.filter(pl.col("link").is_not_null())
    others = named.select("venue", linked_to="match_id", other_id="chain_id")
    found = wishes.join(others, on=["venue", "linked_to"], how="inner")
    over = settled.select(_match_id("chain_id").alias("linked_to"), "venue").unique()
    after = wishes.filter(pl.col("link") == "AFTE").join(over, on=["venue", "linked_to"], how="semi")
    key = ["chain_id", "party"]
    lost = wishes.join(found, on=key, how="anti").join(after, on=key, how="anti")
    return found.select("chain_id", "other_id", kind="link").select(Link.names()), lost["chain_id"]
