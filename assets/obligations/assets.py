"""Who owes what to whom, as Dagster assets."""

from typing import Any

import dagster as dg
import polars as pl

from assets.credit.exposure import accept_giveups
from assets.frames import Product
from assets.home import Home
from assets.inputs import policy_of, reference_of
from assets.obligations.agree import agree
from assets.obligations.derive import derive_obligations
from assets.obligations.settled import settled_so_far
from assets.obligations.terms import apply_terms, carry_terms
from assets.partitions import cycle_of, cycles
from assets.reference import value_scale


@dg.asset(
    group_name="obligations",
    kinds={"polars"},
    owners=["team:settlement"],
    partitions_def=cycles,
    code_version="1",
)
def trades(
    context: dg.AssetExecutionContext,
    cycle_inputs: dict[str, Any],
    reference_data: dict[str, Any],
    fills: dict[str, Any],
    credit_lines: dict[str, Any],
    home: Home,
) -> Product:
    """Trades on which both sides agree and for which brokers stand, with what their parties ask: parts, holds, links."""
    cycle, policy, reference = (
        cycle_of(context.partition_key),
        policy_of(cycle_inputs),
        reference_of(reference_data),
    )
    earlier = [batch["batch_id"] for batch in home.earlier(cycle.opens_at.isoformat())]
    settled = settled_so_far((home.frame(batch, "trades"), home.frame(batch, "decisions")) for batch in earlier)
    agreed = agree(
        fills["fills"],
        settled,
        reference=reference,
        cut_at=cycle.cut_at,
        policy=policy,
    )
    accepted = accept_giveups(
        agreed.trades,
        designations=credit_lines["designations"],
        lines=credit_lines["lines"],
        scale=value_scale(reference, policy.reference_instrument),
        reference_instrument=policy.reference_instrument,
        cut_at=cycle.cut_at,
        complete=credit_lines["complete"],
    )
    terms = reference_data["terms"]
    if earlier and "terms" in home.store().frame_digests(earlier[-1]):
        said, outcomes = (home.frame(earlier[-1], name) for name in ("terms", "outcomes"))
        terms = carry_terms(said, outcomes, terms, policy.unmatched_cycles_max)
    asked = apply_terms(accepted.trades, terms, reference_data["unclear"], settled, reference.instruments)
    return {
        "trades": asked.trades,
        "outcomes": pl.concat([agreed.outcomes, accepted.outcomes]),
        "terms": terms,
        "links": asked.links,
        "disagreements": asked.disagreements,
    }


@dg.asset(
    group_name="obligations",
    kinds={"polars"},
    owners=["team:settlement"],
    partitions_def=cycles,
    code_version="1",
)
def obligations(trades: dict[str, Any]) -> Product:
    """Every hop and leg of each chain: seller, the seller's broker, the buyer's broker, buyer. All stand or fall together."""
    return {"obligations": derive_obligations(trades["trades"])}
