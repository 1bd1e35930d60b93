"""The first two assets: a cycle's files, frozen before anything is read, and the reference data among them."""

from typing import Any

import dagster as dg
import polars as pl

from assets.clients import read_wishes
from assets.frames import Product
from assets.home import Home, inputs_digest, lock_digest, trine_version
from assets.intake import SourceFile
from assets.ledger.store import Claim
from assets.partitions import cycle_of, cycles
from assets.reference import Reference, Venue, read_reference
from schemas.cycle import Policy

FILES = {"stage": pl.String, "file": pl.String, "file_sha256": pl.String, "bytes": pl.UInt64}


@dg.asset(group_name="cycle", kinds={"files"}, owners=["team:settlement"], partitions_def=cycles, code_version="1")
def cycle_inputs(context: dg.AssetExecutionContext, home: Home) -> Product:
    """The cycle's input folder, copied and named by its digest, the batch that settles it, and the one that it follows."""
    cycle = cycle_of(context.partition_key)
    files, policy, manifest = home.freeze(cycle.cycle_id)
    read_reference(home.frozen(manifest), policy.reference_instrument)  # Refused, it leaves no batch behind.
    turn = home.store().begin(
        {
            "cycle_id": cycle.cycle_id,
            "opens_at": cycle.opens_at.isoformat(),
            "cut_at": cycle.cut_at.isoformat(),
            "policy": policy.as_json(),
            "manifest_digest": manifest,
            "trine_version": trine_version(),
            "lock_digest": lock_digest(),
        },
        lambda previous: inputs_digest(cycle.cycle_id, manifest, policy.as_json(), previous, home.late_fills),
    )
    return {
        "files": pl.DataFrame([(f.stage, f.name, f.sha256, f.size) for f in files], schema=FILES, orient="row"),
        "manifest_digest": manifest,
        "policy": policy.as_json(),
        "inputs_digest": turn.inputs_digest,
        "previous_batch_id": turn.previous_batch_id,
        "batch_id": turn.claim.batch_id,
        "fence": turn.claim.fence,
        "settled_before": turn.settled,
    }


@dg.asset(
    group_name="cycle",
    kinds={"csv", "toml"},
    owners=["team:settlement"],
    partitions_def=cycles,
    code_version="1",
)
def reference_data(cycle_inputs: dict[str, Any], home: Home) -> Product:
    """Instruments, participants, accounts, venues, symbols, prices, and what the clients ask for, held to their contracts."""
    reference = read_reference(
        home.frozen(cycle_inputs["manifest_digest"]), policy_of(cycle_inputs).reference_instrument
    )
    wishes = read_wishes(files_of(cycle_inputs, "clients", home), reference)
    venues = [(venue.mic, venue.name, venue.dialect) for venue in reference.venues.values()]
    return {
        **{name: getattr(reference, name) for name in REFERENCE_FRAMES},
        **{name: getattr(wishes, name) for name in ("terms", "unclear", "minimums")},
        **{
            name: pl.concat([getattr(reference, name), getattr(wishes, name)]).sort("file")
            for name in ("quarantined", "counts")
        },
        "venues": pl.DataFrame(venues, schema=dict.fromkeys(("mic", "name", "dialect"), pl.String), orient="row"),
    }


REFERENCE_FRAMES = (
    "instruments", "prices", "participants", "accounts", "trading_accounts", "symbols", "quarantined", "counts",
)  # fmt: skip


def reference_of(reference_data: dict[str, Any]) -> Reference:
    """Return the reference data as the kernel takes it."""
    venues = {mic: Venue(mic, name, dialect) for mic, name, dialect in reference_data["venues"].rows()}
    return Reference(**{name: reference_data[name] for name in REFERENCE_FRAMES}, venues=venues)


def policy_of(cycle_inputs: dict[str, Any]) -> Policy:
    """Return the cycle's policy."""
    return Policy.from_json(cycle_inputs["policy"])


def claim_of(cycle_inputs: dict[str, Any]) -> Claim:
    """Return the right to go on with the cycle's batch."""
    return Claim(cycle_inputs["batch_id"], cycle_inputs["fence"])


def files_of(cycle_inputs: dict[str, Any], stage: str, home: Home) -> list[SourceFile]:
    """Return the frozen files of a stage."""
    root = home.frozen(cycle_inputs["manifest_digest"])
    return [
        SourceFile(stage, name, root / name, sha256, size)
        for of, name, sha256, size in cycle_inputs["files"].rows()
        if of == stage
    ]
