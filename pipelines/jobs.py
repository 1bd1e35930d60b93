"""The jobs that people start."""

import dagster as dg

settle_cycle = dg.define_asset_job(
    "settle_cycle",
    selection=dg.AssetSelection.all(),
    description="One settlement cycle, from the venues' files to the journal. Safe to run again.",
)
