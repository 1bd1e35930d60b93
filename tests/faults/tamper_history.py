"""The records set back to an earlier day, and everything written anew: what only an outsider can see."""

import json
import shutil
from pathlib import Path

from sqlalchemy import select, text

from assets.ledger import audit as checker
from assets.ledger.canonical import canonical
from assets.ledger.database import key_of, record_of
from assets.ledger.log import Log
from assets.ledger.merkle import leaf_hash
from assets.ledger.store import Store
from schemas.records import metadata
from tests.faults.tamper_home import FIRST_KEY, STRANGER, World, build
from tests.faults.tamper_rows import (
    delete,
)
from tests.faults.tamper_trial import Records, Tally, said_of


def rolled_back(records: Records, tally: Tally) -> None:
    """The records set back to an earlier checkpoint, whole: only the second place remembers."""
    sizes = sorted(row["size"] for row in records.rows["checkpoints"])
    for size in (*sizes[:-1], 0):
        with records.without_guards():
            connection, entries = records.connection, metadata.tables["log_entries"]
            for row in records.rows["log_entries"]:
                if row["position"] >= size:
                    table = metadata.tables[row["source"]]
                    said = json.loads(row["body"])
                    for one, gone in ((table, {c.name: said.get(c.name) for c in table.columns}), (entries, row)):
                        sql, keys = delete(one, gone)
                        connection.exec_driver_sql(sql if records.sqlite else sql.replace("?", "%s"), keys)
            connection.execute(text(f"DELETE FROM log_frames WHERE position >= {size}"))
            connection.execute(text(f"DELETE FROM checkpoints WHERE size > {size}"))
            found = said_of(records.check())
            later_sizes = [later for later in sizes if later > size]
            seen = all(found.get(("checkpoints", f"{later:012d}.checkpoint")) for later in later_sizes)
            tally.judge("rolled back to a checkpoint", str(size), seen)


def rewritten(world: World, tally: Tally, folder: Path) -> None:
    """Everything written anew and signed by another key: the second place tells, and so does whoever knows the key."""
    false = build(f"sqlite:///{folder / 'records.sqlite'}", folder)
    store = Store(false.url)
    amount_ = "UPDATE postings SET atoms = '1' || atoms WHERE atoms NOT LIKE '-%'"
    with store.engine.begin() as connection:
        connection.exec_driver_sql(amount_)
        connection.exec_driver_sql("DELETE FROM checkpoints")
        connection.exec_driver_sql("DELETE FROM keys")
        connection.exec_driver_sql("DELETE FROM log_entries WHERE source = 'keys'")
        bodies = {
            key_of(table, row): canonical(record_of(table, row))
            for table in (metadata.tables["postings"],) for row in connection.execute(select(table)).mappings()
        }  # fmt: skip
        kept = connection.execute(text("SELECT position, 0, source, row_key, body FROM log_entries")).all()
        kept += connection.execute(text("SELECT position, rows, '', '', '' FROM log_frames")).all()
        at, moves = 0, []
        for position, count, source, key, body in sorted(kept):
            new = bodies[key].decode() if source == "postings" else body
            moves.append((position, at, new, bool(count)))
            at += count or 1
        for old, new_place, body, frame in moves:  # Places only go down, so none is taken.
            if frame:
                connection.execute(
                    text("UPDATE log_frames SET position = :n WHERE position = :o"), {"n": new_place, "o": old}
                )
            else:
                values = {"n": new_place, "o": old, "b": body, "h": leaf_hash(body.encode()).hex()}
                sql = "UPDATE log_entries SET position = :n, body = :b, leaf_hash = :h WHERE position = :o"
                connection.execute(text(sql), values)
    shutil.rmtree(false.log)
    copies = false.folder / "his own copies"
    Log(store, false.frames, false.log).publish([STRANGER], copies, store.now())
    own = checker.audit(store, false.frames, false.log, copies, false.inputs)
    assert own.differences == [], "the rewriting must be perfect but for what is outside of it"
    known = checker.audit(store, false.frames, false.log, copies, false.inputs, [FIRST_KEY.verifier])
    tally.judge(
        "all rewritten and signed anew, key known", "", bool(said_of(known.differences).get(("checkpoints", None)))
    )
    outside = checker.audit(store, false.frames, false.log, world.second_place, false.inputs)
    names = {one.row for one in outside.differences if one.table == "checkpoints"}
    seen = {path.name for path in world.second_place.glob("*.checkpoint")} <= names
    tally.judge("all rewritten and signed anew, copies known", str(names), seen)
