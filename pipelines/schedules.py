"""When cycles settle by themselves."""

import dagster as dg

from pipelines.jobs import settle_cycle

settle_every_cycle = dg.build_schedule_from_partitioned_job(
    settle_cycle,
    name="settle_every_cycle",
    description="Settles each cycle after its cut. Off until someone turns it on.",
)
