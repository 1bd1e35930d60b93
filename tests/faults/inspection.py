"""What must be true of the records at any moment, read by plain SQL: nothing here is shared with what writes them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any, NamedTuple

from sqlalchemy import create_engine, select
from sqlalchemy.pool import NullPool

from schemas import records

Row = dict[str, Any]
AFTER = {
    None: {"CUT", "COMMITTED"},
    "CUT": {"PROPOSED", "ABORTED"},
    "PROPOSED": {"VALIDATED", "ABORTED"},
    "VALIDATED": {"RESERVED", "ABORTED"},
    "RESERVED": {"APPROVED", "ABORTED"},
    "APPROVED": {"COMMITTED", "ABORTED"},
    "COMMITTED": {"EXECUTING", "COMPENSATED"},
    "EXECUTING": {"EXECUTION_UNKNOWN", "FINAL", "COMPENSATED"},
    "EXECUTION_UNKNOWN": {"EXECUTION_UNKNOWN", "FINAL", "COMPENSATED"},
}
SETTLED = {"COMMITTED", "EXECUTING", "EXECUTION_UNKNOWN", "FINAL"}
HELD = {"RESERVED": "HELD", "APPROVED": "HELD", "ABORTED": "RELEASED", "COMPENSATED": "CONSUMED"}
HELD |= dict.fromkeys(SETTLED, "CONSUMED")
TIMES = ("recorded_at", "expires_at")
_COMPILED: dict[Any, Any] = {}  # Every database is opened anew; what it is asked is the same.


class Moment(NamedTuple):
    """All rows of all tables at one moment."""

    tables: dict[str, list[Row]]

    def of(self, table: str, batch_id: str) -> list[Row]:
        """Return a batch's rows of a table."""
        return [row for row in self.tables[table] if row["batch_id"] == batch_id]


def moment_of(url: str) -> Moment:
    """Read everything in one transaction."""
    isolation = "REPEATABLE READ" if url.startswith("postgresql") else "SERIALIZABLE"
    engine = create_engine(url, poolclass=NullPool, isolation_level=isolation)
    with engine.connect().execution_options(compiled_cache=_COMPILED) as connection:
        return Moment(
            {
                name: [dict(row) for row in connection.execute(select(table)).mappings()]
                for name, table in records.metadata.tables.items()
            }
        )


def content_of(moment: Moment, *, times: bool = True) -> dict[str, list[str]]:
    """Return the rows without what a take-over leaves behind: its own transition and the fences. And without times."""
    content = {}
    for name, rows in moment.tables.items():
        if name in ("log_entries", "checkpoints"):
            continue  # They hold the other tables' rows: `broken_rules` compares them.
        left_out = {"fence"} | (set() if times else set(TIMES))
        if name == "transitions":
            rows = [row for row in rows if row["reason"] != "taken over"]
            left_out.add("number")
        if name == "log_frames":
            left_out.add("position")
        content[name] = sorted(repr({key: row[key] for key in row if key not in left_out}) for row in rows)
    return content


def differences(found: dict[str, list[str]], expected: dict[str, list[str]]) -> list[str]:
    """Return a line per table whose rows are not the expected ones."""
    return [
        f"{name}: {len(found[name])} rows, expected {len(rows)}"
        + "".join(
            f"; doubled: {row[:160]}" for row, times in Counter(found[name]).items() if times > rows.count(row) > 0
        )
        for name, rows in expected.items()
        if found[name] != rows
    ]


def broken_rules(moment: Moment) -> list[str]:
    """Return a line for each thing that is never allowed to be so."""
    found = [*_log(moment)]
    settled = Counter(
        row["cycle_id"] for row in moment.tables["batches"] if row["state"] in SETTLED and row["compensates"] is None
    )
    found += [f"cycle {cycle} has settled {times} times" for cycle, times in settled.items() if times > 1]
    posted = Counter(row["posting_id"] for row in moment.tables["postings"])
    found += [f"posting {name} is there {times} times" for name, times in posted.items() if times > 1]
    for batch in moment.tables["batches"]:
        found += [f"{batch['batch_id']} is {batch['state']}: {line}" for line in _batch(moment, batch)]
    return found


def _batch(moment: Moment, batch: Row) -> list[str]:
    found, name, state = [], batch["batch_id"], batch["state"]
    walked = sorted(moment.of("transitions", name), key=lambda row: row["number"])
    if [row["number"] for row in walked] != list(range(1, len(walked) + 1)):
        found.append("its transitions have a gap")
    for row in walked:
        before, after = row["state_before"], row["state_after"]
        if not (after in AFTER.get(before, ()) or (before == after and row["reason"] == "taken over")):
            found.append(f"it went from {before} to {after}")
    if any(one["state_after"] != next_["state_before"] for one, next_ in pairwise(walked)):
        found.append("a transition does not follow the one before")
    fences = [row["fence"] for row in walked]
    last = (walked[-1]["state_after"], walked[-1]["fence"]) if walked else None
    if last != (state, batch["fence"]) or fences != sorted(fences):
        found.append(f"its last transition says {last}, fences {fences}")

    postings, reverses = moment.of("postings", name), batch["compensates"]
    sums: defaultdict[str, int] = defaultdict(int)
    for row in postings:
        sums[row["instrument"]] += row["atoms"]
    found += [f"its postings of {instrument} sum to {atoms}" for instrument, atoms in sums.items() if atoms]
    planned = {row["name"]: row["rows"] for row in moment.of("frames", name)}
    final = state in SETTLED or state == "COMPENSATED"
    expected = len(moment.of("postings", reverses)) if reverses else planned.get("postings", 0) if final else 0
    if len(postings) != expected:
        found.append(f"{len(postings)} postings, expected {expected}")
    if reverses:
        left: defaultdict[tuple[str, str], int] = defaultdict(int)
        for row in (*postings, *moment.of("postings", reverses)):
            left[row["account"], row["instrument"]] += row["atoms"]
        if any(left.values()):
            found.append(f"it does not reverse {reverses}")

    holds = {row["state"] for row in moment.of("holds", name)}
    if holds - {HELD.get(state)} or (not holds and not reverses and HELD.get(state, "RELEASED") != "RELEASED"):
        found.append(f"its holds are {sorted(holds)}")
    return found


def _log(moment: Moment) -> list[str]:
    """Every row of the facts is one leaf, and the leaves have no gap."""
    found = []
    entries = moment.tables["log_entries"]
    places = [(row["position"], 1) for row in entries]
    places += [(row["position"], row["rows"]) for row in moment.tables["log_frames"]]
    size = 0
    for position, rows in sorted(places):
        if position != size:
            found.append(f"the log has a leaf at {position}, expected {size}")
        size = position + rows
    for row in entries:
        if hashlib.sha256(b"\0" + row["body"].encode()).hexdigest() != row["leaf_hash"]:
            found.append(f"leaf {row['position']} is not the hash of its body")
    leaves = Counter((row["source"], row["row_key"]) for row in entries)
    rows = Counter(
        (table.name, json.dumps([row[column.name] for column in table.primary_key], separators=(",", ":")))
        for table in records.FACTS
        for row in moment.tables[table.name]
    )
    found += [f"{source} {key}: {leaves[source, key]} leaves for {rows[source, key]} rows"
              for source, key in sorted(set(leaves) | set(rows)) if leaves[source, key] != rows[source, key]]  # fmt: skip
    return found
