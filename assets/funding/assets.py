"""Which chains settle now, as a Dagster asset."""

from typing import Any

import dagster as dg

from assets.frames import Product
from assets.funding.select import select_chains
from assets.partitions import cycles


@dg.asset(
    group_name="funding",
    kinds={"polars", "highs"},
    owners=["team:settlement"],
    partitions_def=cycles,
    code_version="1",
)
def selection(
    trades: dict[str, Any],
    obligations: dict[str, Any],
    balances: dict[str, Any],
    credit_lines: dict[str, Any],
) -> Product:
    """The most valuable set of chains with every side fully funded, and the reason of each chain that waits."""
    chosen = select_chains(
        trades["trades"], obligations["obligations"], balances["available"], credit_lines["settlement_credit"]
    )
    return {
        "decisions": chosen.decisions,
        "draws": chosen.draws,
        "weight_atoms": str(chosen.weight_atoms),
        "bound_atoms": str(chosen.bound_atoms),
        "solver": chosen.solver,
        "path": chosen.path,
    }
