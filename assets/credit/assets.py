"""What the prime brokers allow, as a Dagster asset."""

from typing import Any

import dagster as dg

from assets.credit.lines import read_credit
from assets.frames import Product
from assets.home import Home
from assets.inputs import files_of, policy_of, reference_of
from assets.partitions import cycles


@dg.asset(
    group_name="credit",
    kinds={"polars", "csv"},
    owners=["team:settlement"],
    partitions_def=cycles,
    code_version="1",
)
def credit_lines(cycle_inputs: dict[str, Any], reference_data: dict[str, Any], home: Home) -> Product:
    """For which clients the prime brokers stand, how far, and what they lend at settlement."""
    files = files_of(cycle_inputs, "credit", home)
    credit = read_credit(files, reference_of(reference_data), policy_of(cycle_inputs).reference_instrument)
    return {
        name: getattr(credit, name) for name in ("designations", "lines", "settlement_credit", "quarantined", "counts")
    }
