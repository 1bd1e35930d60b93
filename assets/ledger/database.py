"""A database of records: how it is opened, made, and written row by row, on SQLite and PostgreSQL alike.

One transaction after the other sees and changes the records. What the rows mean does not belong here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Column, Connection, Table, create_engine, event, func, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from assets.durable import make_folder
from assets.ledger.canonical import canonical
from assets.ledger.merkle import leaf_hash
from schemas import records
from schemas.errors import BrokenInvariant, RefusedInput
from schemas.records import FACTS, AtomsType, log_entries, log_frames

MIGRATIONS = Path(records.__file__).parent / "migrations"
SQLITE_SETTINGS = {
    "journal_mode": "wal",
    "synchronous": 2,
    "foreign_keys": 1,
}  # 2 is FULL: NORMAL loses commits.
TRINE_LOCK = 0x7472696E65  # 'trine' in ASCII: PostgreSQL's advisory locks are numbers.


class Database:
    """The records at one URL, without what they mean."""

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

    def migrate(self) -> None:
        """Make or migrate the tables, and assert the settings that durability rests on."""
        database, sqlite = make_url(self.url).database, self.engine.dialect.name == "sqlite"
        if sqlite and database:
            make_folder(Path(database).parent)
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        try:
            with self.engine.connect() as connection:
                if sqlite:  # A table that others refer to cannot be made anew otherwise; outside any transaction.
                    connection.connection.driver_connection.execute("PRAGMA foreign_keys = 0")  # type: ignore[union-attr]
                with connection.begin():
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
                    if sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                        raise BrokenInvariant("a migration broke a reference between tables. Nothing was changed.")
                    adopt(connection)
        except CommandError:
            raise RefusedInput(
                "the records were written by a newer Trine than this one, which does not know their tables. Nothing was "
                "changed. Run them with the newer one."
            ) from None
        if sqlite:
            with self.engine.connect() as connection:
                for name, wanted in SQLITE_SETTINGS.items():
                    found = connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                    if found != wanted:
                        raise BrokenInvariant(
                            f"SQLite's {name} is {found!r} and must be {wanted!r}: a commit could be lost."
                        )

    def rows(self, table: str, batch_id: str) -> pl.DataFrame:
        """Return a batch's rows of a table, amounts as Int128, sorted by its key."""
        source = records.metadata.tables[table]
        query = select(source).where(source.c.batch_id == batch_id).order_by(*source.primary_key.columns)
        with self.engine.connect() as connection:
            found = [tuple(row) for row in connection.execute(query)]
        return pl.DataFrame(found, schema=frame_schema(source), orient="row")


def keep(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, each of which is a leaf of the log as well. What is no column of the table is left out."""
    if not rows:
        return
    kept = [{column.name: row.get(column.name) for column in table.columns} for row in rows]
    connection.execute(insert(table), kept)
    log(connection, table, kept)


def log(connection: Connection, table: Table, rows: Iterable[Any]) -> None:
    """Append the leaves of rows to the log."""
    position = log_size(connection)
    entries: list[dict[str, Any]] = []
    for row in rows:
        body = canonical(record_of(table, row))
        entries.append(
            {"position": position + len(entries), "source": str(table.name), "row_key": key_of(table, row),
             "leaf_hash": leaf_hash(body).hex(), "body": body.decode()}
        )  # fmt: skip
    if entries:
        connection.execute(insert(log_entries), entries)


def keep_frame(connection: Connection, batch_id: str, name: str, digest: str, rows: int) -> None:
    """Make each row of a stored frame a leaf of the log. Their bodies follow from the frame."""
    if rows:
        entry = {"position": log_size(connection), "rows": rows, "batch_id": batch_id, "name": name, "digest": digest}
        connection.execute(insert(log_frames), entry)


def adopt(connection: Connection) -> None:
    """Give a leaf to every row that was recorded before there was a log, and to each batch its state as it stands."""
    if log_size(connection) or not connection.execute(select(records.batches).limit(1)).first():
        return
    found = list(connection.execute(select(records.batches).order_by(records.batches.c.batch_id)).mappings())
    now = datetime.now(UTC).isoformat(timespec="seconds")
    states = [
        {"batch_id": row["batch_id"], "number": 1, "state_before": None, "state_after": row["state"],
         "reason": row["reason"], "fence": row["fence"], "decided_by": "trine", "recorded_at": now}
        for row in found
    ]  # fmt: skip
    connection.execute(insert(records.transitions), states)
    for table in FACTS:
        log(connection, table, connection.execute(select(table).order_by(*table.primary_key.columns)).mappings())


def log_size(connection: Connection) -> int:
    """Return how many leaves the log has."""
    last = connection.execute(select(func.max(log_entries.c.position))).scalar()
    frame = connection.execute(
        select(log_frames.c.position + log_frames.c.rows).order_by(log_frames.c.position.desc()).limit(1)
    ).scalar()
    return max(-1 if last is None else int(last), -1 if frame is None else int(frame) - 1) + 1


def record_of(table: Table, row: Any) -> dict[str, Any]:
    """Return the record whose canonical form is the leaf of a row: its table and all columns that never change.

    Amounts are strings; a column without a value is left out.
    """
    record: dict[str, Any] = {"table": str(table.name)}
    for column in table.columns:
        value = row[column.name]
        if value is not None and not column.info.get("derived"):
            record[column.name] = str(value) if isinstance(column.type, AtomsType) else value
    return record


def key_of(table: Table, row: Any) -> str:
    """Return the primary key of a row as a JSON list."""
    keys: list[Column[Any]] = list(table.primary_key.columns)
    return json.dumps([row[column.name] for column in keys], ensure_ascii=False, separators=(",", ":"))


def frame_schema(table: Table) -> dict[str, Any]:
    """Return the Polars types of a table's columns."""
    kinds = {"AtomsType": pl.Int128, "Integer": pl.Int64}
    return {column.name: kinds.get(type(column.type).__name__, pl.String) for column in table.columns}


def _set_up_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # We say BEGIN ourselves: the driver's own comes too late to lock.
    connection.execute("PRAGMA busy_timeout = 30000")
    for name, value in SQLITE_SETTINGS.items():
        connection.execute(f"PRAGMA {name} = {value}")


def _one_at_a_time(connection: Connection) -> None:
    """Let one transaction after the other see and change the records, in any number of processes, on both engines."""
    sqlite = connection.dialect.name == "sqlite"
    connection.exec_driver_sql("BEGIN IMMEDIATE" if sqlite else f"SELECT pg_advisory_xact_lock({TRINE_LOCK})")
