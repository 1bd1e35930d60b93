"""Lineage both ways: a settled amount to every fill behind it, and a fill to what became of it."""

from typing import Any, NamedTuple

import polars as pl

from assets.netting.net import net_by_chain
from assets.obligations.derive import settling_obligations
from assets.obligations.settled import with_amounts
from schemas.atoms import sum_atoms
from schemas.errors import BrokenInvariant, RefusedInput
from schemas.reasons import FillState


class Batch(NamedTuple):
    """The frames of a committed batch that lineage needs."""

    row: dict[str, Any]
    fills: pl.DataFrame
    outcomes: pl.DataFrame
    trades: pl.DataFrame
    obligations: pl.DataFrame
    decisions: pl.DataFrame


def trace_amount(batch: Batch, positions: pl.DataFrame, participant: str, instrument: str) -> dict[str, Any]:
    """Return the settled net of a participant and instrument, and the chains and fills that make it.

    `positions` are the stored ones. The contributions of the chains sum to the stored net exactly, or BrokenInvariant.
    Amounts are strings of atoms.
    """
    position = positions.filter(participant=participant, instrument=instrument)
    if position.is_empty():
        raise RefusedInput(
            f"{participant[:64]} has no account for {instrument[:64]} in {batch.row['batch_id']}. "
            "`trine report` lists who settled what."
        )
    settled = _settling(batch, batch.obligations)
    mine = settled.filter(
        (pl.col("instrument") == instrument) & ((pl.col("payer") == participant) | (pl.col("receiver") == participant))
    )
    parts = net_by_chain(mine).filter(participant=participant)
    net = position["net_atoms"].item()
    total = sum_atoms(parts, [], ["net_atoms"])["net_atoms"].item() if parts.height else 0
    if total != net:
        raise BrokenInvariant(
            f"the contributions to {participant}'s {instrument} do not sum to what was settled. Please report it."
        )
    sources = batch.trades.join(parts, on="chain_id", how="inner").sort("chain_id")
    seen = {row["fill_id"]: row for row in batch.fills.iter_rows(named=True)} if sources.height else {}
    return {
        "batch_id": batch.row["batch_id"],
        "participant": participant,
        "instrument": instrument,
        "net_atoms": str(net),
        "contributions": [
            {
                "chain_id": row["chain_id"],
                "atoms": str(row["net_atoms"]),
                "fills": [_where(seen[row[side]]) for side in ("buy_fill_id", "sell_fill_id")],
            }
            for row in sources.iter_rows(named=True)
        ],
    }


def trace_fill(history: list[Batch], fill_id: str) -> dict[str, Any]:
    """Return where a fill was read and what became of it in each committed cycle, oldest first."""
    steps: list[dict[str, Any]] = []
    chains: set[str] = set()
    where = None
    for batch in history:
        for chain, of in (
            batch.trades.filter(pl.col("compensates").is_in(list(chains))).select("chain_id", "compensates").rows()
        ):
            steps.append(
                {"batch_id": batch.row["batch_id"], "state": "REVERSED", "reason": None, "chain_id": chain, "of": of}
            )
        found = batch.outcomes.filter(fill_id=fill_id)
        if found.is_empty():
            continue
        outcome = found.row(0, named=True)
        chains.add(outcome["chain_id"])
        where = _where(batch.fills.filter(fill_id=fill_id).row(0, named=True))
        step = {
            "batch_id": batch.row["batch_id"],
            **{k: outcome[k] for k in ("state", "reason", "chain_id", "age")},
        }
        if outcome["state"] in (FillState.SETTLED, FillState.PARTLY_SETTLED):
            own = batch.obligations.filter(chain_id=outcome["chain_id"])
            own = _settling(batch, own)
            step["obligations"] = [
                {k: str(row[k]) for k in ("obligation_id", "payer", "receiver", "instrument", "quantity_atoms")}
                for row in own.iter_rows(named=True)
            ]
        steps.append(step)
    if where is None:
        raise RefusedInput(
            f"no committed cycle has accepted a fill {fill_id[:160]}. A fill is named <MIC>:<trade date>:<exec id>; one that "
            "was quarantined is listed by `trine report --quarantine`."
        )
    return {"fill": where, "cycles": steps}


def _settling(batch: Batch, obligations: pl.DataFrame) -> pl.DataFrame:
    return settling_obligations(obligations, batch.trades, with_amounts(batch.decisions, batch.trades))


def _where(fill: dict[str, Any]) -> dict[str, Any]:
    names = ("fill_id", "file", "file_sha256", "record", "offset", "length")
    return {name: fill[name] for name in names}
