"""What will move, stored before it is judged, as a Dagster asset."""

from typing import Any

import dagster as dg
import polars as pl

from assets.frames import Product
from assets.home import Home
from assets.inputs import claim_of, policy_of
from assets.ledger.store import Proposal
from assets.partitions import cycle_of, cycles
from assets.settlement.instruct import plan, plan_digest
from assets.settlement.outcomes import account_for_fills, settlements_of
from schemas.atoms import mul_div, sum_atoms


@dg.asset(
    group_name="settlement",
    kinds={"polars", "sql"},
    owners=["team:settlement"],
    partitions_def=cycles,
    code_version="1",
)
def instructions(
    context: dg.AssetExecutionContext,
    cycle_inputs: dict[str, Any],
    reference_data: dict[str, Any],
    fills: dict[str, Any],
    balances: dict[str, Any],
    credit_lines: dict[str, Any],
    trades: dict[str, Any],
    obligations: dict[str, Any],
    selection: dict[str, Any],
    net_positions: dict[str, Any],
    home: Home,
) -> Product:
    """The plan of the batch: what each account pays or receives at its custodian. Stored as a proposal, not yet final."""
    cycle, policy = cycle_of(context.partition_key), policy_of(cycle_inputs)
    planned = plan(net_positions["positions"], selection["draws"], balances["available"])
    decisions, claim = selection["decisions"], claim_of(cycle_inputs)
    settlements = settlements_of(cycle.cycle_id, trades["trades"], decisions)
    outcomes = account_for_fills(fills["fills"], trades["outcomes"], trades["trades"], decisions, policy)
    stages = (reference_data, fills, balances, credit_lines)
    quarantined = pl.concat([stage["quarantined"] for stage in stages]).sort("file", "record")
    counts = pl.concat([stage["counts"] for stage in stages]).sort("file")
    frames = {
        "fills": fills["fills"],
        "quarantined": quarantined,
        "outcomes": outcomes,
        "trades": trades["trades"],
        "obligations": obligations["obligations"],
        "decisions": decisions,
        **{name: selection[name] for name in ("certificates", "prices")},
        **{name: trades[name] for name in ("terms", "links", "disagreements")},
        "positions": net_positions["positions"],
        "postings": planned.postings,
        "settlements": settlements,
        "instruments": reference_data["instruments"],
        "market_prices": reference_data["prices"],
        # What the selection was bound by, so that its proof can be checked again from the records alone.
        "available": balances["available"],
        "minimums": reference_data["minimums"],
        **{name: credit_lines[name] for name in ("lines", "settlement_credit", "bilateral")},
    }
    kept = home.frames()
    index = pl.DataFrame(
        [(name, kept.write(frame), frame.height) for name, frame in frames.items()],
        schema={"name": pl.String, "digest": pl.String, "rows": pl.Int64},
        orient="row",
    )
    reasoned = outcomes.with_columns(pl.col("reason").fill_null(""))
    decimals = reference_data["instruments"].select("instrument", "decimals")
    total = sum_atoms(decisions, [], ["value_atoms"])["value_atoms"].item() if decisions.height else 0
    settled = decisions.filter("settles").join(trades["trades"].select("chain_id", whole="base_atoms"), on="chain_id")
    # Of a part, the value is rounded down like that of a trade.
    settled = settled.with_columns(mul_div(settled["value_atoms"], settled["base_atoms"], settled["whole"], "floor"))
    value = sum_atoms(settled, [], ["value_atoms"])["value_atoms"].item() if settled.height else 0
    carried = fills["fills"].filter(pl.col("age") > 0).height
    home.store().propose(
        claim,
        Proposal(
            plan={
                "plan_digest": plan_digest(planned, decisions),
                "degraded": int(quarantined.height > 0),
                "reference_instrument": policy.reference_instrument,
                "fills_new": fills["fills"].height - carried,
                "fills_carried": carried,
                "chains": decisions.height,
                "chains_settled": settled.height,
                "value_atoms": value,
                "value_open_atoms": total - value,
                "weight_atoms": int(selection["weight_atoms"]),
                "bound_atoms": int(selection["bound_atoms"]),
                "solver": selection["solver"],
                "path": selection["path"],
            },
            rows={
                "input_files": counts,
                "control_totals": fills["control_totals"],
                "flaws": quarantined.group_by("file", "flaw").agg(rows=pl.len()).sort("file", "flaw"),
                "frames": index,
                "fill_states": reasoned.group_by("state", "reason").agg(fills=pl.len()).sort("state", "reason"),
                "selections": selection["certificates"],
                "prices": selection["prices"],
                "top_ups": selection["top_ups"],
                "pay_ins": selection["schedule"],
                "positions": planned.accounts,
                "netting_effects": net_positions["effects"].join(decimals, on="instrument", how="left"),
                "credit_draws": planned.draws,
                "instructions": planned.instructions.with_columns(
                    instruction_id=pl.format("{}/{}", pl.lit(claim.batch_id), "leg")
                ),
            },
        ),
    )
    return {"outcomes": outcomes, "postings": planned.postings, "settlements": settlements}
