"""What the assets of an attempt at a cycle returned: the IO manager that hands it from asset to asset.

For each asset it is a small JSON file with its plain values and the digests of its frames, which the frame store keeps.
"""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.durable import write_file
from assets.frames import FrameStore, Product


class FrameIOManager(dg.ConfigurableIOManager):
    """Keeps an asset's frames in the frame store and its plain values beside their digests."""

    home: str

    def _pointer(self, asset: str, cycle_id: str, run_id: str = "") -> Path:
        return Path(self.home) / "attempts" / cycle_id / run_id / f"{asset}.json"

    def handle_output(self, context: dg.OutputContext, obj: Product) -> None:
        """Write what the asset of this cycle returned. Counts go to Dagster, rows and amounts never."""
        store = FrameStore(Path(self.home) / "frames")
        frames = {name: value for name, value in obj.items() if isinstance(value, pl.DataFrame)}
        said = {
            "frames": {name: store.write(frame) for name, frame in frames.items()},
            "values": {name: value for name, value in obj.items() if name not in frames},
        }
        text = json.dumps(said, indent=1, sort_keys=True)
        for run_id in (context.run_id, ""):
            write_file(self._pointer(context.asset_key.path[-1], context.partition_key, run_id), text.encode())
        context.add_output_metadata({f"{name} rows": frame.height for name, frame in frames.items()})

    def load_input(self, context: dg.InputContext) -> dict[str, Any]:
        """Return what the asset upstream returned for this cycle: in this run if it was part of it, else last.

        So two runs of one cycle at the same time never mix their inputs.
        """
        asset, cycle_id = context.asset_key.path[-1], context.asset_partition_key
        own, last = self._pointer(asset, cycle_id, context.step_context.run_id), self._pointer(asset, cycle_id)
        said = json.loads((own if own.exists() else last).read_text())
        store = FrameStore(Path(self.home) / "frames")
        return {**said["values"], **{name: store.read(digest) for name, digest in said["frames"].items()}}
