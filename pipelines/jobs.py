"""The jobs that people start."""

import dagster as dg

from assets.partitions import cycles

settle_cycle = dg.define_asset_job(
    "settle_cycle",
    selection=dg.AssetSelection.all(),
    partitions_def=cycles,
    description="One settlement cycle, from the venues' files to the journal. Safe to run again.",
)
