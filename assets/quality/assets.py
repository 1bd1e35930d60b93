"""The quality verdict of a batch, as a Dagster asset."""

from dataclasses import asdict
from typing import Any

import dagster as dg

from assets.frames import Product
from assets.home import Home
from assets.partitions import cycles
from assets.quality.report import judge


@dg.asset(
    group_name="quality", kinds={"greatexpectations", "sql"}, owners=["team:compliance"], partitions_def=cycles,
    code_version="1",
)  # fmt: skip
def quality_report(instructions: dict[str, Any], home: Home) -> Product:
    """What Great Expectations says of the stored batch. Its verdict is a record, and the ledger asks for it."""
    batch_id, store = instructions["batch_id"], home.store()
    if store.batch(batch_id)["state"] == "PROPOSED":
        store.record_verdicts(
            batch_id,
            [
                {**asdict(verdict), "success": int(verdict.success)}
                for verdict in judge(home.url(), batch_id, home.docs())
            ],
        )
    return {"batch_id": batch_id}
