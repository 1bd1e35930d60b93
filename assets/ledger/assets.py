"""The books, as a Dagster asset."""

from typing import Any

import dagster as dg

from assets.frames import Product
from assets.home import Home
from assets.inputs import claim_of
from assets.partitions import cycles
from schemas.expectations.cycle import RULES


@dg.asset(group_name="ledger", kinds={"sql"}, owners=["team:settlement"], partitions_def=cycles, code_version="2")
def journal(
    context: dg.AssetExecutionContext,
    cycle_inputs: dict[str, Any],
    instructions: dict[str, Any],
    quality_report: dict[str, Any],
    home: Home,
) -> Product:
    """Double-entry postings: holds on every debit, then all or nothing in one transaction; the log signed over them."""
    store, claim = home.store(), claim_of(cycle_inputs)
    store.reserve(claim, [rule.name for rule in RULES])
    store.approve(claim)
    new = store.commit(claim, instructions["postings"], instructions["settlements"])
    store.execute(claim)
    home.publish()
    context.log.info(f"{claim.batch_id} is committed" if new else f"{claim.batch_id} was committed before")
    return {"batch_id": claim.batch_id, "postings": instructions["postings"]}
