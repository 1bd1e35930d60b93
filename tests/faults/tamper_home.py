"""A home in which every table has rows, signed and copied: what tampering starts from."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Column, Table, select

from assets.frames import FrameStore
from assets.ledger import audit as checker
from assets.ledger.database import frame_schema
from assets.ledger.log import Log
from assets.ledger.note import SignerKey
from assets.ledger.store import Proposal, Store
from schemas.cycle import Policy
from schemas.digest import digest_of_record
from schemas.records import FACTS, LOG
from tests.batches import STEPS, Life, at_noon, life_of, live

FIRST_KEY = SignerKey("trine.example/log", bytes(range(32)))
SECOND_KEY = SignerKey("trine.example/log", bytes(range(1, 33)))
STRANGER = SignerKey("trine.example/log", bytes(range(2, 34)))


@dataclass(frozen=True)
class World:
    """A home whose tables all have rows, signed and copied, with nothing that differs."""

    url: str
    folder: Path

    @property
    def frames(self) -> FrameStore:
        return FrameStore(self.folder / "frames")

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def second_place(self) -> Path:
        return self.folder / "copies"

    def inputs(self, digest: str) -> Path:
        return self.folder / "inputs" / digest

    def check(self, store: Any, **given: Any) -> list[checker.Difference]:
        """Return what the checker finds."""
        return checker.audit(store, self.frames, self.log, self.second_place, self.inputs, **given).differences


def build(url: str, folder: Path) -> World:
    """Make one: a batch that is final, one given up, one reversed and settled again, one that waits for approval."""
    world, store = World(url, folder), Store(url, clock=at_noon).prepare()
    log = Log(store, world.frames, world.log)

    final = _life(world, "C4H-20261102-0000")
    store.confirm(live(store, final).batch_id, {}, "custodian")
    claim = live(store, final)
    store.confirm(claim.batch_id, final.instructions_of(claim), "custodian")
    log.publish([FIRST_KEY], world.second_place, store.now())

    given_up = _life(world, "C4H-20261102-0400")
    store.abort(live(store, given_up, "reserve"), "the desk asked for it")
    log.rotate(FIRST_KEY, SECOND_KEY, world.second_place, store.now())

    reversed_ = _life(world, "C4H-20261102-0800")
    claim = live(store, reversed_)
    said = dict.fromkeys(reversed_.instructions_of(claim), "UNKNOWN")
    store.confirm(claim.batch_id, said, "custodian")
    store.confirm(
        claim.batch_id, {name: "REJECTED" if place else "DONE" for place, name in enumerate(said)}, "custodian"
    )
    store.compensate(claim.batch_id, "the custodian lost it", "ann")
    live(store, reversed_)
    log.publish([SECOND_KEY], world.second_place, store.now())

    waiting = _life(world, "C4H-20261102-1200", Policy(approvals=2))
    claim = waiting.begin(store)
    for name in ("propose", "judge", "reserve"):
        STEPS[name](store, claim, waiting)
    for person in ("ann", "bob"):
        store.record_approval(claim.batch_id, person)
    log.publish([SECOND_KEY], world.second_place, store.now())

    with store.engine.connect() as connection:
        empty = [table.name for table in (*FACTS, *LOG) if connection.execute(select(table).limit(1)).first() is None]
    assert not empty, f"no row to tamper with in {empty}: let build() fill it"
    found = world.check(store)
    assert not found, found[:5]
    return world


def _life(world: World, cycle_id: str, policy: Policy | None = None) -> Life:
    """Return a small batch with a row in every table that belongs to a proposal, and its files on disk."""
    life = life_of(cycle_id, policy)
    files = {"venues/SPTX/fills.csv": b"a,b\n1,2\n", "custody/CUST/balances.csv": cycle_id.encode()}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    manifest = digest_of_record([list(pair) for pair in hashes.items()])
    for name, data in files.items():
        path = world.inputs(manifest) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    input_files = pl.DataFrame(
        [{"file": name, "stage": "fills", "file_sha256": value, "bytes": len(files[name]), "records": 3, "accepted": 1,
          "quarantined": 2, "duplicates": 0, "flaw": None} for name, value in hashes.items()]
    )  # fmt: skip
    assert [world.frames.write(life.planned.postings), world.frames.write(life.settlements)]
    rows = {"input_files": input_files} | life.proposal.rows
    written = {"batches", "plans", "transitions", "approvals", "instructions", "holds", "postings", "verdicts"}
    written |= {"confirmations", "keys"}
    filled = {table.name: _invented(table) for table in FACTS if table.name not in written | set(rows)}
    proposal = Proposal(life.proposal.plan, filled | rows)
    return replace(life, cycle={**life.cycle, "manifest_digest": manifest}, proposal=proposal)


def _invented(table: Table) -> pl.DataFrame:
    """Return two rows of a table, made from its columns alone: a new table is tampered with from its first day."""
    kinds: dict[str, Callable[[Column[Any], int], Any]] = {
        "AtomsType": lambda column, n: 10**20 + 12 + n, "Integer": lambda column, n: 30 + n,
    }  # fmt: skip
    rows = [
        {column.name: None if column.nullable and n else
         kinds.get(type(column.type).__name__, lambda column, n: f"{column.name} é{n}")(column, n)
         for column in table.columns}
        for n in range(2)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=frame_schema(table)).drop("batch_id")
