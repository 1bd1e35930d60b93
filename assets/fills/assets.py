"""What the venues say happened, as a Dagster asset."""

from typing import Any

import dagster as dg
import polars as pl

from assets.fills.carry import carry_over
from assets.fills.control import TOTALS_FILE, read_totals, reconcile
from assets.fills.ingest import ingest
from assets.fills.late import count_late
from assets.frames import Product
from assets.home import Home
from assets.inputs import files_of, reference_of
from assets.partitions import cycle_of, cycles
from schemas.fill import Fill


@dg.asset(
    group_name="execution", kinds={"polars", "fix", "json", "csv", "parquet"}, owners=["team:settlement"],
    partitions_def=cycles, code_version="1",
)  # fmt: skip
def fills(
    context: dg.AssetExecutionContext,
    cycle_inputs: dict[str, Any],
    reference_data: dict[str, Any],
    home: Home,
) -> Product:
    """Every venue's reports as fills in one form, and those carried over; what cannot be trusted is quarantined."""
    cycle = cycle_of(context.partition_key)
    earlier = home.earlier(cycle.opens_at.isoformat())
    known = [home.frame(batch["batch_id"], "fills").filter(pl.col("age") == 0) for batch in earlier]
    seen = pl.concat([Fill.empty(), *known]).select("fill_id", "content_hash")
    files, reference = files_of(cycle_inputs, "fills", home), reference_of(reference_data)
    read = ingest([file for file in files if file.name != TOTALS_FILE], reference, cycle, seen)
    stated = read_totals(files, reference)
    carried = Fill.empty()
    if earlier:
        last = earlier[-1]["batch_id"]
        carried = carry_over(*(home.frame(last, name) for name in ("fills", "outcomes", "trades")))
    late = home.late()
    return {
        "fills": Fill.hold(pl.concat([read.fills, late, carried]).sort("fill_id")),
        "control_totals": reconcile(stated, read.fills, read.counts),
        "quarantined": pl.concat([read.quarantined, stated.quarantined]).sort("file", "record"),
        "counts": pl.concat([read.counts, stated.counts, count_late(late, home.late_fills)]).sort("file"),
    }
