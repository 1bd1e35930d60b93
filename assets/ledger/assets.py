"""The books, as a Dagster asset."""

from typing import Any

import dagster as dg

from assets.frames import Product
from assets.home import Home
from assets.partitions import cycles
from schemas.errors import BlockedByQuality
from schemas.expectations.cycle import RULES


@dg.asset(group_name="ledger", kinds={"sql"}, owners=["team:settlement"], partitions_def=cycles, code_version="1")
def journal(
    context: dg.AssetExecutionContext,
    instructions: dict[str, Any],
    quality_report: dict[str, Any],
    home: Home,
) -> Product:
    """Double-entry postings: holds on every debit, then all or nothing in one transaction. Final from here on."""
    store, batch_id = home.store(), quality_report["batch_id"]
    try:
        new = store.commit(batch_id, instructions["postings"], [rule.name for rule in RULES])
    except BlockedByQuality:
        store.abort(batch_id, "blocked by its quality verdict")
        raise
    context.log.info(f"{batch_id} is committed" if new else f"{batch_id} was committed before; nothing changed")
    return {"batch_id": batch_id, "postings": instructions["postings"]}
