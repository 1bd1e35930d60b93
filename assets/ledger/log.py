"""The log of a store: its leaves in order, its signed checkpoints, and its files that anyone can check.

The leaves are in the database; the tiles beside it are made from them and can be made again. What cannot be made again
is what others keep: every checkpoint also goes to a second place, and only there a rewriting of everything would show.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select

from assets.durable import sync
from assets.frames import FrameStore
from assets.ledger.canonical import canonical_rows
from assets.ledger.database import Database, keep, log_size
from assets.ledger.merkle import consistency_path, inclusion_path, leaf_hashes, root_at
from assets.ledger.note import Checkpoint, SignerKey, VerifierKey, sign_note, verify_checkpoint
from assets.ledger.proof import Consistency, Proof
from assets.ledger.tiles import TileReader, write_bodies, write_checkpoint, write_hashes, write_once
from schemas.errors import BrokenInvariant, RefusedInput, Tampered
from schemas.records import checkpoints, keys, log_entries, log_frames


class Leaf(NamedTuple):
    """A record of the log and its place."""

    position: int
    body: bytes


class Log:
    """The log of the records in `store` and `frames`, with its static files in `folder`."""

    def __init__(self, store: Database, frames: FrameStore, folder: Path) -> None:
        self.store, self.frames, self.folder = store, frames, folder

    def publish(self, signers: Sequence[SignerKey], second_place: Path, now: str) -> Checkpoint:
        """Sign the log as it stands, write its files, and copy every checkpoint to the second place.

        Doing it again changes nothing. A key that signs for the first time becomes a leaf. Raises Tampered when the log
        no longer begins with what was signed before.
        """
        self.introduce(signers, now)
        with self.store.engine.begin() as connection:
            signed = self._signed(connection)
            size, before = log_size(connection), signed[-1] if signed else None
            if before is not None and before.size > size:
                raise Tampered(
                    f"the log has {size:,} leaves and {before.size:,} were signed: it was cut. Nothing was signed."
                )
            _require_own_keys(connection, before.size if before is not None else 0, signers)
            first = self._written(before)
            leaves = list(self._leaves(connection, first))
            bodies = [leaf.body for leaf in leaves]
            try:
                write_bodies(self.folder, first, bodies)
                write_hashes(self.folder, first, leaf_hashes(bodies))
            except BrokenInvariant as error:
                raise Tampered(
                    f"the log is not what its files say: {error} Nothing was signed. `trine verify` says more."
                ) from None
            tiles = TileReader(self.folder, size)
            if before is not None and root_at(tiles.subtree, before.size).hex() != before.root:
                raise Tampered(
                    f"the log no longer begins with the {before.size:,} leaves that were signed. Nothing was signed. "
                    "`trine verify` says what differs."
                )
            checkpoint = Checkpoint(signers[0].name, size, root_at(tiles.subtree, size))
            note = sign_note(checkpoint.text(), signers)
            if before is None or before.size < size:
                connection.execute(insert(checkpoints), {"size": size, "root": checkpoint.root.hex(), "note": note})
                signed = self._signed(connection)
            notes = {int(row.size): str(row.note) for row in signed}
        write_checkpoint(self.folder, notes[size])
        for length, text in notes.items():
            write_once(second_place, f"{length:012d}.checkpoint", text.encode())
        sync(second_place)  # One sync for all that an earlier call, stopped halfway, may have left there.
        return checkpoint

    def introduce(self, signers: Sequence[SignerKey], now: str) -> None:
        """Make each key that signs for the first time a leaf.

        In a transaction of its own: `publish` writes files before it commits, and what they hold must not be taken back.
        """
        with self.store.engine.begin() as connection:
            known = set(connection.execute(select(keys.c.verifier_key)).scalars())
            new = [signer.verifier for signer in signers if signer.verifier.text() not in known]
            keep(
                connection, keys,
                [{"key_id": f"{key.name}+{key.key_id.hex()}", "verifier_key": key.text(), "recorded_at": now} for key in new],
            )  # fmt: skip

    def rotate(self, old: SignerKey, new: SignerKey, second_place: Path, now: str) -> Checkpoint:
        """Hand the log over to a new key: it becomes a leaf under a checkpoint that both sign. After that it signs alone.

        Doing it again changes nothing. Who trusts the old key follows to the new one, because its leaf is under the old
        one's signature. RefusedInput for the same key, or one of another log.
        """
        if new == old or new.name != old.name:
            raise RefusedInput(f"the log {old.name} goes on with another key of the same name. Nothing was signed.")
        return self.publish([old, new], second_place, now)

    def prove(self, position: int) -> Proof:
        """Return the proof that the leaf at `position` is in the newest checkpoint. RefusedInput when none holds it yet."""
        note, checkpoint = self.newest()
        if position >= checkpoint.size:
            raise RefusedInput("that record is not under a signed checkpoint yet. Sign the log first: `trine sign`.")
        tiles = TileReader(self.folder, checkpoint.size)
        path = tuple(inclusion_path(tiles.subtree, position, checkpoint.size))
        return Proof(position, path, note, tiles.body(position))

    def growth(self, old: int) -> Consistency:
        """Return the proof that the log of `old` leaves is the beginning of the newest checkpoint."""
        _, checkpoint = self.newest()
        path = consistency_path(TileReader(self.folder, checkpoint.size).subtree, old, checkpoint.size)
        return Consistency(old, checkpoint.size, tuple(path))

    def newest(self) -> tuple[str, Checkpoint]:
        """Return the newest signed note and what it says."""
        with self.store.engine.connect() as connection:
            signed = self._signed(connection)
        if not signed:
            raise RefusedInput("the log has not been signed yet. Sign it first: `trine sign`.")
        return str(signed[-1].note), verify_checkpoint(signed[-1].note, self.keys())[0]

    def sizes(self) -> list[int]:
        """Return the sizes of all checkpoints, smallest first."""
        with self.store.engine.connect() as connection:
            return [int(row.size) for row in self._signed(connection)]

    def keys(self) -> list[VerifierKey]:
        """Return the keys that the log itself names, oldest first. Compare them with keys that were got elsewhere."""
        with self.store.engine.connect() as connection:
            found = connection.execute(select(keys).order_by(keys.c.recorded_at, keys.c.key_id))
            return [VerifierKey.parse(row.verifier_key) for row in found]

    def find(self, *parts: str, source: str | None = None) -> list[Leaf]:
        """Return the leaves of rows whose primary key ends with these values, oldest first."""
        ending = json.dumps(list(parts), ensure_ascii=False, separators=(",", ":"))
        query = select(log_entries).where(log_entries.c.row_key.endswith(ending[1:], autoescape=True))
        if source is not None:
            query = query.where(log_entries.c.source == source)
        with self.store.engine.connect() as connection:
            found = connection.execute(query.order_by(log_entries.c.position)).mappings().all()
        same = [row for row in found if json.loads(row["row_key"])[-len(parts) :] == list(parts)]
        return [Leaf(row["position"], row["body"].encode()) for row in same]

    def find_settlements(self, chain_id: str) -> list[Leaf]:
        """Return the leaves of a chain's settlements, one for each cycle in which some of it settled, oldest first."""
        found = []
        with self.store.engine.connect() as connection:
            spans = connection.execute(select(log_frames).order_by(log_frames.c.position)).all()
        for span in spans:
            frame = self.frames.read(span.digest).with_row_index("place")
            mine = frame.filter(chain_id=chain_id)
            found += [
                Leaf(span.position + place, body)
                for place, body in zip(mine["place"], canonical_rows(mine.drop("place")), strict=True)
            ]
        return found

    def of_batch(self, batch_id: str) -> list[Leaf]:
        """Return every leaf of a batch: its row, all rows that belong to it, and its settlements."""
        start = json.dumps([batch_id], ensure_ascii=False)[:-1]
        with self.store.engine.connect() as connection:
            query = select(log_entries).where(log_entries.c.body.contains(start[1:], autoescape=True))
            rows = connection.execute(query.order_by(log_entries.c.position)).mappings().all()
            spans = connection.execute(select(log_frames).where(log_frames.c.batch_id == batch_id)).all()
        mine = [row for row in rows if json.loads(row["body"]).get("batch_id") == batch_id]
        leaves = [Leaf(row["position"], row["body"].encode()) for row in mine]
        for span in spans:
            leaves += [Leaf(span.position + place, body) for place, body in enumerate(self._bodies(span))]
        return sorted(leaves)

    def _signed(self, connection: Connection) -> list[Any]:
        return list(connection.execute(select(checkpoints).order_by(checkpoints.c.size)).all())

    def _written(self, before: Any) -> int:
        """Return how many leaves the files hold for certain: what was signed last, or none when they must be made again."""
        try:
            same = (
                before is not None
                and root_at(TileReader(self.folder, before.size).subtree, before.size).hex() == before.root
            )
        except BrokenInvariant:
            return 0
        return int(before.size) if same else 0

    def _leaves(self, connection: Connection, first: int) -> Iterator[Leaf]:
        """Yield the leaves from a position on, in order."""
        entries = connection.execute(
            select(log_entries.c.position, log_entries.c.body).where(log_entries.c.position >= first)
        )
        leaves = [Leaf(row.position, row.body.encode()) for row in entries]
        for span in connection.execute(select(log_frames).where(log_frames.c.position >= first)):
            leaves += [Leaf(span.position + place, body) for place, body in enumerate(self._bodies(span))]
        leaves.sort()
        if [leaf.position for leaf in leaves] != list(range(first, first + len(leaves))):
            raise Tampered("the log has a gap. Nothing was signed. `trine verify` says where.")
        return iter(leaves)

    def _bodies(self, span: Any) -> list[bytes]:
        return canonical_rows(self.frames.read(span.digest))


def _require_own_keys(connection: Connection, signed: int, signers: Sequence[SignerKey]) -> None:
    """Raise Tampered when a key that was not signed over before is none of ours: a signature would make others trust it."""
    new = select(log_entries.c.body).where(log_entries.c.source == "keys", log_entries.c.position >= signed)
    said = {json.loads(body)["verifier_key"] for body in connection.execute(new).scalars()}
    if said - {signer.verifier.text() for signer in signers}:
        raise Tampered(
            "a key was added to the log that is not its signer's. Nothing was signed. If a change of keys was interrupted, "
            "finish it; otherwise someone wrote to the records who may not."
        )
