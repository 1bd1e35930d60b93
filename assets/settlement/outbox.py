"""How instructions leave: one CSV file per custodian, in a folder of the batch. Once written, never another way.

The ids in it are for ever: whoever asks what became of an instruction asks by its id, and none is sent again under
another. How the files reach the custodian does not belong here.
"""

import csv
import io
import os
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import polars as pl

from assets.ledger.store import Claim, Store
from schemas.atoms import plain
from schemas.cycle import Policy
from schemas.errors import BrokenInvariant

COLUMNS = ("instruction_id", "kind", "account", "instrument", "quantity", "quantity_atoms", "execute_by")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # What a spreadsheet would take for the start of one.


def hand_out(store: Store, claim: Claim, instruments: pl.DataFrame, folder: Path) -> None:
    """COMMITTED -> EXECUTING: write the batch's instructions below `folder`, and record that they are handed out.

    What is further on was handed out before: nothing is written, even if the files have been taken away since.
    Killed in between, it writes the same files again. `instruments` are Instrument.
    """
    batch = store.batch(claim.batch_id)
    if batch["state"] != "COMMITTED":
        return
    since = batch["cut_at"]
    if batch["compensates"]:  # The cut is long gone: what is reversed is due as long after the decision.
        since = store.rows("transitions", claim.batch_id)["recorded_at"][0]
    due = datetime.fromisoformat(since) + timedelta(minutes=Policy.from_json(batch["policy"]).execution_minutes)
    execute_by = due.isoformat(timespec="seconds").replace("+00:00", "Z")
    place = folder / claim.batch_id.replace("#", ".")  # No cycle has a point in its name.
    for name, content in files_of(store.rows("instructions", claim.batch_id), instruments, execute_by).items():
        _keep(place / name, content)
    store.execute(claim)


def files_of(instructions: pl.DataFrame, instruments: pl.DataFrame, execute_by: str) -> dict[str, bytes]:
    """Return the files of a batch by name: one per custodian, rows by instruction id, quantities exact.

    `instructions` are rows of that table. BrokenInvariant if a cell could be taken for a formula: identifiers begin
    with a letter or digit, and quantities are positive, so none can.
    """
    decimals = dict(instruments.select("instrument", "decimals").rows())
    files: dict[str, bytes] = {}
    for (custodian,), rows in instructions.sort("instruction_id").group_by("custodian", maintain_order=True):
        lines = [
            (row["instruction_id"], row["kind"], row["account"], row["instrument"],
             plain(row["quantity_atoms"], decimals[row["instrument"]]), str(row["quantity_atoms"]), execute_by)
            for row in rows.iter_rows(named=True)
        ]  # fmt: skip
        if any(cell.startswith(FORMULA) for line in lines for cell in line):
            raise BrokenInvariant(
                f"a cell of the instructions for {custodian} could be a formula. Nothing was written."
            )
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *lines])
        files[f"{quote(str(custodian), safe='')}.csv"] = text.getvalue().encode()
    return files


def _keep(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. BrokenInvariant if another one has its name."""
    if path.exists():
        if path.read_bytes() != content:
            raise BrokenInvariant(
                f"{path} is there and is not what the batch says. Nothing was written. If it was changed, move it away "
                "and run the cycle again; if not, please report it."
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.part")
    with beside.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
