"""The books, as a Dagster asset."""

from typing import Any

import dagster as dg

from assets.frames import Product
from assets.home import Home
from assets.inputs import claim_of
from assets.ledger.store import EXECUTING
from assets.partitions import cycle_of, cycles
from assets.settlement.confirm import derive_outcomes
from assets.settlement.outbox import hand_out
from schemas.expectations.cycle import RULES


@dg.asset(group_name="ledger", kinds={"sql"}, owners=["team:settlement"], partitions_def=cycles, code_version="3")
def journal(
    context: dg.AssetExecutionContext,
    cycle_inputs: dict[str, Any],
    reference_data: dict[str, Any],
    balances: dict[str, Any],
    instructions: dict[str, Any],
    quality_report: dict[str, Any],
    home: Home,
) -> Product:
    """Double-entry postings, all or nothing in one transaction; then instructions go out, and the log is signed.

    What this cycle's inputs say of earlier instructions is recorded after its own commit: an attempt that comes to
    nothing says nothing.
    """
    store, claim = home.store(), claim_of(cycle_inputs)
    store.reserve(claim, [rule.name for rule in RULES])
    store.approve(claim)
    new = store.commit(claim, instructions["postings"], instructions["settlements"])
    hand_out(store, claim, reference_data["instruments"], home.outbox())
    opens_at = cycle_of(context.partition_key).opens_at.isoformat()
    pending = store.pending(claim.batch_id)
    breaks = store.breaks(min(pending["opens_at"].to_list(), default=opens_at), opens_at)
    said, clear = balances["confirmations"], balances["confirmations_clear"]
    outcomes = derive_outcomes(pending, said, balances["available"], breaks, clear=clear)
    for batch in store.attempts(EXECUTING, before=opens_at):
        store.confirm(batch["batch_id"], outcomes.get(batch["batch_id"], {}), source=claim.batch_id)
    home.publish()
    context.log.info(f"{claim.batch_id} is committed" if new else f"{claim.batch_id} was committed before")
    return {"batch_id": claim.batch_id, "postings": instructions["postings"]}
