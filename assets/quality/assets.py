"""The quality verdict of a batch, as a Dagster asset."""

from dataclasses import asdict
from typing import Any

import dagster as dg

from assets.frames import Product
from assets.home import Home
from assets.inputs import claim_of
from assets.partitions import cycles
from assets.quality.report import judge
from schemas.expectations.cycle import RULES


@dg.asset(
    group_name="quality", kinds={"greatexpectations", "sql"}, owners=["team:compliance"], partitions_def=cycles,
    code_version="1",
)  # fmt: skip
def quality_report(cycle_inputs: dict[str, Any], instructions: dict[str, Any], home: Home) -> Product:
    """What Great Expectations says of the stored batch. Its verdict is a record, and the ledger asks for it."""
    claim, store = claim_of(cycle_inputs), home.store()
    if store.batch(claim.batch_id)["state"] == "PROPOSED":
        verdicts = judge(home.url(), claim.batch_id, home.docs())
        store.judge(claim, [{**asdict(verdict), "success": int(verdict.success)} for verdict in verdicts])
    return {"rules": len(RULES)}
