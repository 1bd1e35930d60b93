"""What a committed cycle did, as one record that people and programs read."""

from typing import Any

import polars as pl

from assets.ledger.store import Store
from schemas.reasons import MEANING, FillState, HoldReason


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
        },
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
