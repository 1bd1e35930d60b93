"""Many obligations become few positions, as a Dagster asset."""

from typing import Any

import dagster as dg

from assets.frames import Product
from assets.inputs import policy_of, reference_of
from assets.netting.net import merge_nets, net_obligations, netting_effect, require_zero_sum
from assets.obligations.derive import settling_obligations
from assets.partitions import cycles
from assets.reference import value_scale


@dg.asset(
    group_name="netting",
    kinds={"polars"},
    owners=["team:settlement"],
    partitions_def=cycles,
    code_version="1",
)
def net_positions(
    cycle_inputs: dict[str, Any],
    reference_data: dict[str, Any],
    trades: dict[str, Any],
    obligations: dict[str, Any],
    selection: dict[str, Any],
) -> Product:
    """What each participant finally pays or receives, and how much less that is than gross."""
    settling = settling_obligations(obligations["obligations"], trades["trades"], selection["decisions"])
    # Each venue nets by itself and the parts merge: the same positions to the atom, whatever the parts.
    positions = merge_nets([net_obligations(part) for part in settling.partition_by("venue")])
    require_zero_sum(positions)
    into = policy_of(cycle_inputs).reference_instrument
    return {
        "positions": positions,
        "effects": netting_effect(settling, value_scale(reference_of(reference_data), into)),
    }
