"""The records: the only SQL that writes. Every change of a batch is one transaction.

A cycle may be attempted many times and is committed once. What an attempt will do is stored before it is judged, and
commit posts exactly that: it computes nothing, so a repeated commit would write the same rows, and cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Table, create_engine, event, insert, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from schemas import records
from schemas.digest import digest_of
from schemas.errors import BlockedByQuality, BrokenInvariant, CommittedCycleChanged, CycleOutOfOrder, RefusedInput
from schemas.participant import Account
from schemas.records import batches

DatabaseError = SQLAlchemyError  # For those who must not know SQL.
MIGRATIONS = Path(records.__file__).parent / "migrations"
SQLITE_SETTINGS = {
    "journal_mode": "wal",
    "synchronous": 2,
    "foreign_keys": 1,
}  # 2 is FULL: NORMAL loses commits.
TRINE_LOCK = 0x7472696E65  # 'trine' in ASCII: PostgreSQL's advisory locks are numbers.


@dataclass(frozen=True, slots=True)
class Proposal:
    """All that one attempt at a cycle stores before it is judged: rows by table."""

    batch: dict[str, Any]
    rows: dict[str, pl.DataFrame]


class Store:
    """The records at one database URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        # No pool: a connection that outlives its use would keep SQLite's file open across forks and tests.
        self.engine = create_engine(url, poolclass=NullPool)
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _set_up_sqlite)
        else:
            # A stricter default of the server's would show what was there before the wait for the lock.
            self.engine = self.engine.execution_options(isolation_level="READ COMMITTED")
        event.listen(self.engine, "begin", _one_at_a_time)

    def prepare(self) -> Store:
        """Make or migrate the tables, assert the settings that durability rests on, and return the store."""
        database = make_url(self.url).database
        if self.engine.dialect.name == "sqlite" and database:
            Path(database).parent.mkdir(parents=True, exist_ok=True)
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        try:
            with self.engine.begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError:
            raise RefusedInput(
                "the records were written by a newer Trine than this one, which does not know their tables. Nothing was "
                "changed. Run them with the newer one."
            ) from None
        if self.engine.dialect.name == "sqlite":
            with self.engine.connect() as connection:
                for name, wanted in SQLITE_SETTINGS.items():
                    found = connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                    if found != wanted:
                        raise BrokenInvariant(
                            f"SQLite's {name} is {found!r} and must be {wanted!r}: a commit could be lost."
                        )
        return self

    # Questions

    def batch(self, batch_id: str) -> dict[str, Any]:
        """Return the row of a batch."""
        with self.engine.connect() as connection:
            return dict(connection.execute(select(batches).where(batches.c.batch_id == batch_id)).mappings().one())

    def committed(self, cycle_id: str | None = None) -> list[dict[str, Any]]:
        """Return the committed batches, oldest first; of one cycle (none or one), or of all."""
        query = select(batches).where(batches.c.state == "COMMITTED").order_by(batches.c.opens_at, batches.c.batch_id)
        if cycle_id is not None:
            query = query.where(batches.c.cycle_id == cycle_id)
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def rows(self, table: str, batch_id: str) -> pl.DataFrame:
        """Return a batch's rows of a table, amounts as Int128, sorted by its key."""
        source = records.metadata.tables[table]
        query = select(source).where(source.c.batch_id == batch_id).order_by(*source.primary_key.columns)
        with self.engine.connect() as connection:
            found = [tuple(row) for row in connection.execute(query)]
        return pl.DataFrame(found, schema=_frame_schema(source), orient="row")

    def book(self, accounts: pl.DataFrame, before: str) -> pl.DataFrame:
        """Return the last position of each of `accounts` (Account) in a committed cycle that opens earlier than `before`.

        One that was left out of a cycle, by a row in quarantine for example, keeps the book that it had. Only for
        accounts without any position all cycles are looked through.
        """
        wanted = accounts.select(Account.names())
        found = [_empty(records.positions)]
        for batch in reversed(self.committed()):
            if batch["opens_at"] < before and wanted.height:
                found.append(self.rows("positions", batch["batch_id"]).join(wanted, on=Account.names(), how="semi"))
                wanted = wanted.join(found[-1], on=Account.names(), how="anti")
        return pl.concat(found)

    def frame_digests(self, batch_id: str) -> dict[str, str]:
        """Return the digest of each frame of a batch, by name."""
        return dict(self.rows("frames", batch_id).select("name", "digest").rows())

    def require_turn(self, cycle_id: str, opens_at: str, inputs_digest: Callable[[dict[str, Any] | None], str]) -> Turn:
        """Return what this cycle follows and whether it is committed already.

        Raises CommittedCycleChanged when it is, with other inputs, and CycleOutOfOrder when a later one is.
        `inputs_digest` is given the previous batch, because that is one of the inputs.
        """
        done = self.committed()
        earlier = [batch for batch in done if batch["opens_at"] < opens_at]
        previous = earlier[-1] if earlier else None
        digest = inputs_digest(previous)
        same = [batch for batch in done if batch["cycle_id"] == cycle_id]
        if same and same[0]["inputs_digest"] != digest:
            raise CommittedCycleChanged(
                f"cycle {cycle_id} is committed as {same[0]['batch_id']}, and its inputs are no longer the same "
                f"(digest {digest[:12]}, then {same[0]['inputs_digest'][:12]}). What is final is never edited: give the "
                "changed files to a later cycle, as corrections or busts."
            )
        later = [batch["cycle_id"] for batch in done if batch["opens_at"] > opens_at]
        if later and not same:
            raise CycleOutOfOrder(
                f"cycle {cycle_id} was not run before {later[-1]} was committed. Its fills must be settled with a later "
                "cycle: a cycle starts from the closing balances of the one before."
            )
        return Turn(previous, same[0] if same else None, digest)

    # Changes

    def propose(self, proposal: Proposal) -> str:
        """Store an attempt in one transaction and return its batch id.

        A committed cycle changes nothing: its batch id is returned. An attempt that was left behind is aborted.
        """
        cycle_id = proposal.batch["cycle_id"]
        with self.engine.begin() as connection:
            tries = connection.execute(select(batches).where(batches.c.cycle_id == cycle_id)).mappings().all()
            for row in tries:
                if row["state"] == "COMMITTED":
                    if row["plan_digest"] != proposal.batch["plan_digest"]:
                        raise BrokenInvariant(
                            f"cycle {cycle_id} is committed, and the same inputs now make another plan "
                            f"(Trine {row['trine_version']} then). Nothing was changed. Please report it."
                        )
                    return str(row["batch_id"])
                if row["state"] == "PROPOSED":
                    self._move(connection, row["batch_id"], "PROPOSED", "ABORTED", "superseded by another attempt")
            attempt = len(tries) + 1
            batch_id = f"{cycle_id}#{attempt}"
            connection.execute(
                insert(batches),
                [{**proposal.batch, "batch_id": batch_id, "attempt": attempt, "state": "PROPOSED"}],
            )
            for table, frame in proposal.rows.items():
                rows = [{**row, "batch_id": batch_id} for row in frame.iter_rows(named=True)]
                _insert(connection, records.metadata.tables[table], rows)
        return batch_id

    def record_verdicts(self, batch_id: str, verdicts: Sequence[dict[str, Any]]) -> None:
        """Store what the quality suite said of a proposed batch. A second judgement of one attempt is refused by the key."""
        with self.engine.begin() as connection:
            _insert(connection, records.verdicts, [{**row, "batch_id": batch_id} for row in verdicts])

    def commit(self, batch_id: str, postings: pl.DataFrame, rules: Iterable[str]) -> bool:
        """Hold every debit, post the plan and make the batch final, in one transaction. False: it was final already.

        The gate is asked again here: every one of `rules` must have a verdict, and none of severity BLOCK may have failed.
        """
        with self.engine.begin() as connection:
            batch = connection.execute(select(batches).where(batches.c.batch_id == batch_id)).mappings().one()
            if batch["state"] == "COMMITTED":
                return False
            self._require_last(connection, batch)
            self._require_passed(connection, batch_id, set(rules))
            frozen = _of(connection, records.frames, batch_id, records.frames.c.name == "postings")
            if [row["digest"] for row in frozen] != [digest_of(postings)]:
                raise BrokenInvariant(
                    f"the postings of {batch_id} are not those that were judged. Nothing was written."
                )
            held = []
            for row in _of(connection, records.positions, batch_id):
                debit = max(0, -(row["net_atoms"] + row["drawn_atoms"])) + row["lent_atoms"]
                if debit > row["available_atoms"] + max(0, row["net_atoms"]):
                    raise BrokenInvariant("a hold is larger than what is there. Nothing was written. Please report it.")
                if debit:
                    hold = {"account": row["account"], "instrument": row["instrument"], "held_atoms": debit}
                    held.append({**hold, "batch_id": batch_id, "state": "HELD"})
            _insert(connection, records.holds, held)
            _insert(
                connection,
                records.postings,
                [{**row, "batch_id": batch_id} for row in postings.iter_rows(named=True)],
            )
            connection.execute(
                update(records.holds).where(records.holds.c.batch_id == batch_id).values(state="CONSUMED")
            )
            self._move(connection, batch_id, "PROPOSED", "COMMITTED", None)
        return True

    def abort(self, batch_id: str, reason: str) -> None:
        """Give up an attempt that is not committed. One that was given up already stays so, with its first reason."""
        with self.engine.begin() as connection:
            state = connection.execute(select(batches.c.state).where(batches.c.batch_id == batch_id)).scalar()
            if state == "ABORTED":
                return
            self._move(connection, batch_id, "PROPOSED", "ABORTED", reason)

    def _move(self, connection: Connection, batch_id: str, before: str, after: str, reason: str | None) -> None:
        moved = connection.execute(
            update(batches)
            .where(batches.c.batch_id == batch_id, batches.c.state == before)
            .values(state=after, reason=reason)
        )
        if moved.rowcount != 1:
            raise BrokenInvariant(
                f"batch {batch_id} is no longer {before}: someone else moved it. Nothing was written."
            )

    def _require_last(self, connection: Connection, batch: Any) -> None:
        """What the batch follows must still be the last that is committed: another cycle may have been faster."""
        last = connection.execute(
            select(batches.c.batch_id, batches.c.cycle_id)
            .where(batches.c.state == "COMMITTED")
            .order_by(batches.c.opens_at.desc())
        ).first()
        if (last.batch_id if last else None) != batch["previous_batch_id"]:
            raise CycleOutOfOrder(
                f"batch {batch['batch_id']} was made before {last.cycle_id if last else 'its predecessor'} was committed. "
                "Nothing was settled. Run the cycle again."
            )

    def _require_passed(self, connection: Connection, batch_id: str, rules: set[str]) -> None:
        verdicts = _of(connection, records.verdicts, batch_id)
        missing = rules - {row["rule"] for row in verdicts}
        failed = sorted(row["rule"] for row in verdicts if row["severity"] == "BLOCK" and not row["success"])
        if missing or failed:
            found = f"failed: {', '.join(failed)}" if failed else f"not judged: {', '.join(sorted(missing))}"
            raise BlockedByQuality(
                f"batch {batch_id} does not pass its quality rules ({found}). Nothing was settled. Read the quality "
                "report, mend the input, and run the cycle again."
            )


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a cycle stands: the batch before it, its own committed batch if there is one, the digest of its inputs."""

    previous: dict[str, Any] | None
    committed: dict[str, Any] | None
    inputs_digest: str


def _set_up_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # We say BEGIN ourselves: the driver's own comes too late to lock.
    connection.execute("PRAGMA busy_timeout = 30000")
    for name, value in SQLITE_SETTINGS.items():
        connection.execute(f"PRAGMA {name} = {value}")


def _one_at_a_time(connection: Connection) -> None:
    """Let one transaction after the other see and change the records, in any number of processes, on both engines."""
    sqlite = connection.dialect.name == "sqlite"
    connection.exec_driver_sql("BEGIN IMMEDIATE" if sqlite else f"SELECT pg_advisory_xact_lock({TRINE_LOCK})")


def _of(connection: Connection, table: Table, batch_id: str, *where: Any) -> list[Any]:
    return list(connection.execute(select(table).where(table.c.batch_id == batch_id, *where)).mappings())


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        names = {column.name for column in table.columns}
        connection.execute(insert(table), [{k: v for k, v in row.items() if k in names} for row in rows])


def _empty(table: Table) -> pl.DataFrame:
    return pl.DataFrame(schema=_frame_schema(table))


def _frame_schema(table: Table) -> dict[str, Any]:
    kinds = {"AtomsType": pl.Int128, "Integer": pl.Int64}
    return {column.name: kinds.get(type(column.type).__name__, pl.String) for column in table.columns}
