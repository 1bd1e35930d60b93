"""What the custodians hold, as a Dagster asset."""

from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from assets.custody.balances import derive_available, read_balances
from assets.custody.confirmations import FILE, read_confirmations
from assets.frames import Product
from assets.home import Home
from assets.inputs import files_of, policy_of, reference_of
from assets.partitions import cycle_of, cycles


@dg.asset(
    group_name="custody", kinds={"polars", "xml", "csv"}, owners=["team:settlement"], partitions_def=cycles,
    code_version="1",
)  # fmt: skip
def balances(
    context: dg.AssetExecutionContext,
    cycle_inputs: dict[str, Any],
    reference_data: dict[str, Any],
    home: Home,
) -> Product:
    """What each account can settle with, by statements beside the book, and what became of earlier instructions."""
    cycle = cycle_of(context.partition_key)
    reference, policy = reference_of(reference_data), policy_of(cycle_inputs)
    store, executed_by = home.store(), None
    if cycle_inputs["previous_batch_id"]:
        previous = cycle_inputs["previous_batch_id"]
        last_cut = datetime.fromisoformat(store.batch(previous)["cut_at"])
        executed_by = last_cut + timedelta(minutes=policy.execution_minutes)
    book = store.book(reference.accounts, cycle.opens_at.isoformat())
    files = {file.name: file for file in files_of(cycle_inputs, "custody", home)}
    said = files.pop(FILE, None)
    statements = read_balances(list(files.values()), reference, cycle.cut_at, policy.stale_statement_hours, executed_by)
    pending = store.pending(cycle_inputs["batch_id"])
    confirmations, quarantined, count = read_confirmations(said, pending, cycle.cut_at)
    return {
        "balances": statements.balances,
        "available": derive_available(statements.balances, reference.accounts, book),
        "confirmations": confirmations,
        "confirmations_clear": quarantined.is_empty(),
        "quarantined": pl.concat([statements.quarantined, quarantined]),
        "counts": pl.concat([statements.counts, count]).sort("file"),
    }
