"""What the prime brokers allow, as a Dagster asset."""

from typing import Any

import dagster as dg
import polars as pl

from assets.credit.lines import is_complete, read_credit, usable_credit
from assets.frames import Product
from assets.home import Home
from assets.inputs import files_of, policy_of, reference_of
from assets.partitions import cycle_of, cycles
from schemas.instruction import CreditDraw


@dg.asset(
    group_name="credit",
    kinds={"polars", "csv"},
    owners=["team:settlement"],
    partitions_def=cycles,
    code_version="1",
)
def credit_lines(
    context: dg.AssetExecutionContext, cycle_inputs: dict[str, Any], reference_data: dict[str, Any], home: Home
) -> Product:
    """For which clients the prime brokers stand, how far, and what they lend at settlement."""
    files = files_of(cycle_inputs, "credit", home)
    credit = read_credit(files, reference_of(reference_data), policy_of(cycle_inputs).reference_instrument)
    cycle = cycle_of(context.partition_key)
    drawn = [home.store().rows("credit_draws", batch["batch_id"]) for batch in home.earlier(cycle.opens_at.isoformat())]
    draws = pl.concat([CreditDraw.empty(), *(frame.select(CreditDraw.names()) for frame in drawn)])
    return {
        **{name: getattr(credit, name) for name in ("designations", "lines", "bilateral", "quarantined", "counts")},
        "complete": is_complete(credit),
        "settlement_credit": usable_credit(credit, draws, cycle.cut_at),
    }
