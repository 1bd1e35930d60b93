"""What a committed cycle did, as one record that people and programs read."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from assets.ledger.store import EXECUTING, Store
from schemas.atoms import plain
from schemas.cycle import Policy
from schemas.reasons import MEANING, FillState, HoldReason

RATIO_DIGITS = 12
TOP_UPS_TOLD = 20


def summarise(store: Store, batch_id: str, decisions: pl.DataFrame, instruments: pl.DataFrame) -> dict[str, Any]:
    """Return the summary of a batch. Amounts are strings of atoms; `decimals` says where their points are."""
    batch = store.batch(batch_id)
    effects, files = store.rows("netting_effects", batch_id), store.rows("input_files", batch_id)
    draws, verdicts = store.rows("credit_draws", batch_id), store.rows("verdicts", batch_id)
    waiting = decisions.filter(~pl.col("settles"))
    states = store.rows("fill_states", batch_id)
    reasons: dict[str, dict[str, Any]] = {}
    for reason, value in waiting.select("reason", "value_atoms").rows():
        entry = reasons.setdefault(
            reason, {"reason": reason, "meaning": MEANING[HoldReason(reason)], "chains": 0, "value": 0}
        )
        entry["chains"] += 1
        entry["value"] += value
    totals = {
        name: sum(effects[f"{name}_value_atoms"].to_list())
        for name in ("prefunded", "gross", "bilateral", "multilateral")
    }
    return {
        "batch_id": batch_id,
        "cycle_id": batch["cycle_id"],
        "state": batch["state"],
        "life": store.rows("transitions", batch_id).drop("batch_id").to_dicts(),
        "open_instructions": open_instructions(store, batch),
        "cut_at": batch["cut_at"],
        "previous_batch_id": batch["previous_batch_id"],
        "degraded": bool(batch["degraded"]),
        "inputs_digest": batch["inputs_digest"],
        "plan_digest": batch["plan_digest"],
        "reference_instrument": batch["reference_instrument"],
        "decimals": dict(instruments.select("instrument", "decimals").rows()),
        "files": files.drop("batch_id").to_dicts(),
        "flaws": store.rows("flaws", batch_id).drop("batch_id").to_dicts(),
        "fills": {
            "new": batch["fills_new"],
            "carried": batch["fills_carried"],
            "states": [row for row in states.drop("batch_id").to_dicts() if row["state"] != FillState.SETTLED],
        },
        "chains": batch["chains"],
        "settled": batch["chains_settled"],
        "settled_value_atoms": str(batch["value_atoms"]),
        "waiting_value_atoms": str(batch["value_open_atoms"]),
        "waiting": [{**row, "value": str(row["value"])} for _, row in sorted(reasons.items())],
        "selection": {
            "path": batch["path"],
            "solver": batch["solver"],
            "weight_atoms": str(batch["weight_atoms"]),
            "bound_atoms": str(batch["bound_atoms"]),
            "classes": [
                {
                    "priority": row["priority"],
                    "weight_atoms": str(row["weight_atoms"]),
                    "bound_atoms": str(row["bound_atoms"]),
                    "ratio": ratio(row["weight_atoms"], row["bound_atoms"]),
                    "proof": row["proof"],
                }
                for row in store.rows("selections", batch_id).to_dicts()
            ],
            "gap": _gap(store.rows("selections", batch_id), store.rows("prices", batch_id), decisions),
        },
        "top_ups": _top_ups(store.rows("top_ups", batch_id), decisions),
        "pay_ins": {"bring_by": bring_by(batch), "accounts": _pay_ins(store.rows("pay_ins", batch_id))},
        "netting": [
            {k: str(v) if k.endswith("_atoms") else v for k, v in row.items() if k != "batch_id"}
            for row in effects.to_dicts()
        ],
        "value": {name: str(value) for name, value in totals.items()},
        "draws": [{**row, "drawn_atoms": str(row["drawn_atoms"])} for row in draws.drop("batch_id").to_dicts()],
        "verdict": {
            "rules": verdicts.height,
            "failed": verdicts.filter(pl.col("success") == 0)
            .select("rule", "severity", "statement", "found")
            .to_dicts(),
        },
    }


def open_instructions(store: Store, batch: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the instructions of a batch that are not known to be done, with what was said of each last."""
    if batch["state"] not in ("COMMITTED", *EXECUTING):
        return []
    said = store.rows("confirmations", batch["batch_id"]).sort("number")
    outcome = dict(said.select("instruction_id", "outcome").rows())
    return [
        {**row, "quantity_atoms": str(row["quantity_atoms"]), "outcome": outcome.get(row["instruction_id"])}
        for row in store.rows("instructions", batch["batch_id"]).drop("batch_id", "participant").to_dicts()
        if outcome.get(row["instruction_id"]) != "DONE"
    ]


def ratio(weight: int, bound: int) -> str:
    """Return weight / bound as a decimal, cut and never rounded up: '1.000000000000' is said only of equals."""
    return plain(weight * 10**RATIO_DIGITS // bound if bound else 10**RATIO_DIGITS, RATIO_DIGITS)


def _gap(classes: pl.DataFrame, prices: pl.DataFrame, decisions: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Return whose funds and which chains make the gap between value and bound, the greatest first.

    In atoms of the reference instrument, cut, for chains that have not waited: half of the weight. Nothing of a batch
    from before this was recorded.
    """
    bits = dict(classes.select("priority", "scale_bits").rows())
    idle = [row for row in prices.to_dicts() if int(row["idle"] or 0)]
    chains = decisions.filter(pl.col("regret") != "0").to_dicts() if "regret" in decisions.columns else []
    found = {
        "idle": [
            {name: row[name] for name in ("priority", "kind", "party", "instrument", "divisor")}
            | {"atoms": int(row["idle"]) >> bits[row["priority"]] + 1}
            for row in idle
        ],
        "regret": [
            {"chain_id": row["chain_id"], "atoms": int(row["regret"]) >> bits[row["priority_class"]] + 1}
            for row in chains
        ],
    }
    return {
        name: [{**row, "atoms": str(row["atoms"])} for row in sorted(rows, key=lambda row: -row["atoms"])]
        for name, rows in found.items()
    }


def bring_by(batch: dict[str, Any]) -> str:
    """Return until when funds must come after the batch's cut."""
    minutes = Policy.from_json(batch["policy"]).top_up_minutes
    return (datetime.fromisoformat(batch["cut_at"]) + timedelta(minutes=minutes)).isoformat()


def _top_ups(top_ups: pl.DataFrame, decisions: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the cheapest top-ups of waiting chains, each with the accounts that it goes to."""
    if top_ups.is_empty():
        return []
    named = decisions.join(top_ups, on="chain_id", how="semi").sort("top_up_value_atoms", "chain_id").head(TOP_UPS_TOLD)
    funds = top_ups.drop("batch_id").partition_by("chain_id", as_dict=True, include_key=False)
    return [
        {
            "chain_id": chain,
            "value_atoms": str(value),
            "exact": exact,
            "funds": [{**row, "quantity_atoms": str(row["quantity_atoms"])} for row in funds[chain,].to_dicts()],
        }
        for chain, value, exact in named.select("chain_id", "top_up_value_atoms", "top_up_exact").rows()
    ]


def _pay_ins(pay_ins: pl.DataFrame) -> list[dict[str, Any]]:
    return [
        {name: str(value) if name.endswith("_atoms") else value for name, value in row.items() if name != "batch_id"}
        for row in pay_ins.to_dicts()
    ]
