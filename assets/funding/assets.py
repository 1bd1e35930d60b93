"""Which chains settle now, as a Dagster asset."""

from typing import Any

import dagster as dg

from assets.frames import Product
from assets.funding.select import select_chains
from assets.inputs import policy_of, reference_of
from assets.partitions import cycles
from assets.reference import value_scale


@dg.asset(
    group_name="funding",
    kinds={"polars", "highs"},
    owners=["team:settlement"],
    partitions_def=cycles,
    code_version="2",
)
def selection(
    cycle_inputs: dict[str, Any],
    reference_data: dict[str, Any],
    trades: dict[str, Any],
    obligations: dict[str, Any],
    balances: dict[str, Any],
    credit_lines: dict[str, Any],
) -> Product:
    """The most valuable set of chains with every side fully funded, and why each other chain waits."""
    reference_instrument = policy_of(cycle_inputs).reference_instrument
    chosen = select_chains(
        trades["trades"],
        obligations["obligations"],
        balances["available"],
        credit_lines["settlement_credit"],
        lines=credit_lines["lines"],
        scale=value_scale(reference_of(reference_data), reference_instrument),
        reference_instrument=reference_instrument,
        minimums=reference_data.get("minimums"),
        bilateral=credit_lines.get("bilateral"),
        links=trades.get("links"),
    )
    return chosen._asdict() | {"weight_atoms": str(chosen.weight_atoms), "bound_atoms": str(chosen.bound_atoms)}
