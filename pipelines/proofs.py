"""The commands of auditors: check the records, take away a proof, sign the log."""

import json
import shutil
from pathlib import Path
from typing import Any

import click

from pipelines.console import answering, as_json, home_at, kept, out, progress, settled_batch
from schemas.errors import RefusedInput, Tampered

SHOWN = 20  # Differences that are printed; --json has all.
SUFFIX = ".tlog-proof"


@click.command()
@click.option("--key", "trusted", multiple=True, help="A verifier key that you got elsewhere: `trine key`. Repeatable.")
@kept
@as_json
@answering
def verify(trusted: tuple[str, ...], home: Path | None, records_url: str, as_json: bool) -> None:
    """Check every column of every record against the log, and the log against its signatures and their copies."""
    from assets.ledger.audit import audit, require_known

    place, believed = home_at(home, records_url), [require_known(key) for key in trusted]
    settled_batch(place, None)
    with progress.status("checking"):
        found = audit(place.store(), place.frames(), place.log().folder, place.copies(), place.frozen, believed)
    if as_json:
        said: dict[str, Any] = found._asdict() | {"differences": [one._asdict() for one in found.differences]}
        click.echo(json.dumps(said, indent=1))
    else:
        out.print(
            f"{found.rows:,} rows, {found.leaves:,} leaves of which {found.signed:,} are signed, {found.checkpoints:,} "
            f"checkpoints, {found.frames:,} frames, {found.files:,} input files"
        )
        for one in found.differences[:SHOWN]:
            out.print(f"  {one.table} {one.row}: {one.what}", style="red", markup=False)
        if len(found.differences) > SHOWN:
            out.print(f"  and {len(found.differences) - SHOWN:,} more; --json tells all")
        if not believed:
            out.print("  signed by keys that the log itself names; compare them: `trine key`, --key", style="dim")
    if found.differences:
        raise Tampered(
            f"{len(found.differences):,} places do not agree with what was recorded and signed. Keep everything as it is, "
            "compare with a backup and with the copies of the checkpoints, and find out who wrote."
        )
    if not as_json:
        out.print("[green]all agree[/]")


@click.command()
@click.argument("what", nargs=-1, required=True)
@click.option("--out", "target", type=click.Path(path_type=Path), help="The file or folder to write; it must be new.")
@click.option("--cycle", "cycle_id", default=None, help="Of an amount or a chain. Default: the last.")
@kept
@answering
def prove(
    what: tuple[str, ...], target: Path | None, cycle_id: str | None, home: Path | None, records_url: str
) -> None:
    """Write a proof that anyone can check without Trine: `python verify.py FILE --key KEY`.

    trine prove CHAIN_ID: that a chain settled, and with what amounts.
    trine prove PARTICIPANT INSTRUMENT: a participant's position.
    trine prove ID: a posting or an instruction.
    trine prove CYCLE: all of it, as an evidence pack with its verifier.
    """
    from assets.evidence.pack import VERIFIER

    place = home_at(home, records_url)
    batch = settled_batch(place, cycle_id)
    log = place.log()
    if len(what) == 1 and place.store().settled(what[0]):
        folder = target or Path(f"{what[0]}.pack")
        _write_pack(place, log, settled_batch(place, what[0]), folder)
        out.print(f"{folder}: every record, frame and proof of {what[0]}. Check it: python {folder}/verify.py {folder}")
        return
    leaves = _leaves(log, batch, what, cycle_id)
    if not leaves:
        raise RefusedInput(
            f"nothing in the log is called {' '.join(what)[:200]}. Expected a chain that has settled, PARTICIPANT "
            "INSTRUMENT, a posting, an instruction or a cycle; `trine report` and `trine trace` name them."
        )
    proof = log.prove(leaves[-1].position)
    path = target or Path("-".join(what).replace("/", "_").replace(":", "_") + SUFFIX)
    if path.exists():
        raise RefusedInput(f"{path} is there already. Name another file with --out.")
    path.write_text(proof.text())
    verifier = path.parent / "verify.py"
    if not verifier.exists():
        shutil.copyfile(VERIFIER, verifier)
    key = log.keys()[-1].text()
    out.print(f"{path}: leaf {proof.index:,}. Check it anywhere:\n  python {verifier} {path} --key {key}", markup=False)


@click.command()
@kept
@answering
def sign(home: Path | None, records_url: str) -> None:
    """Sign the log as it stands, and copy its checkpoints to the second place. Doing it again changes nothing."""
    place = home_at(home, records_url)
    settled_batch(place, None)
    checkpoint = place.log().publish([place.signer()], place.copies(), place.store().now())
    out.print(f"{checkpoint.origin}: {checkpoint.size:,} leaves, root {checkpoint.root.hex()}")


@click.command()
@click.option("--new", is_flag=True, help="Make the signing key where there is none yet.")
@click.option("--rotate", is_flag=True, help="Hand the log over to a new key, under a checkpoint that both sign.")
@kept
@answering
def key(new: bool, rotate: bool, home: Path | None, records_url: str) -> None:
    """Print the keys that checkpoints are verified with, oldest first. Hand them to those who will check."""
    place = home_at(home, records_url)
    if new:
        try:
            click.echo(place.new_key().text())
        except FileExistsError:
            raise RefusedInput(
                f"there is a signing key at {place.key_file()}. Change it with --rotate. Nothing was written."
            ) from None
        return
    settled_batch(place, None)
    if rotate:
        place.rotate_key()
    for one in place.log().keys():  # noqa: SIM118  It is no dict.
        click.echo(one.text())


def _leaves(log: Any, batch: dict[str, Any], what: tuple[str, ...], cycle_id: str | None) -> list[Any]:
    if len(what) == 2:
        return list(log.find(batch["batch_id"], *what, source="positions"))
    settled = log.find_settlements(what[0])
    if cycle_id is not None:
        settled = [leaf for leaf in settled if json.loads(leaf.body)["cycle_id"] == cycle_id]
    return settled or list(log.find(what[0]))


def _write_pack(place: Any, log: Any, batch: dict[str, Any], folder: Path) -> None:
    from assets.evidence.pack import write_pack

    if folder.exists():
        raise RefusedInput(f"{folder} is there already. Name a new folder with --out.")
    note, checkpoint = log.newest()
    leaves = [leaf for leaf in log.of_batch(batch["batch_id"]) if leaf.position < checkpoint.size]
    earlier = [size for size in log.sizes() if size < checkpoint.size]
    with progress.status("writing the pack"):
        write_pack(
            folder,
            entries=[(leaf.position, leaf.body) for leaf in leaves],
            tiles_folder=log.folder,
            checkpoint_note=note,
            keys=log.keys(),
            frames={
                name: place.frame(batch["batch_id"], name) for name in place.store().frame_digests(batch["batch_id"])
            },
            consistency=log.growth(earlier[-1]).text() if earlier else None,
        )
