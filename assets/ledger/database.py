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
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Column, Connection, MetaData, Table, bindparam, create_engine, event, func, insert, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from assets.durable import make_folder
from assets.ledger.canonical import canonical
from assets.ledger.merkle import leaf_hash
from schemas import records
from schemas.errors import BrokenInvariant, RefusedInput, Unusable
from schemas.records import FACTS, AtomsType, log_entries, log_frames

MIGRATIONS = Path(records.__file__).parent / "migrations"
SQLITE_SETTINGS = {
    "journal_mode": "wal",
    "synchronous": 2,
    "foreign_keys": 1,
}  # 2 is FULL: NORMAL loses commits.
# What PostgreSQL's settings must not be. Off, they lose commits or tear pages when the power fails.
POSTGRESQL_REFUSED = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
ROLES = ("trine_owner", "trine_app", "trine_auditor", "trine_compliance", "trine_witness")
MAY_NOT = ("42501", "25006")  # PostgreSQL's codes for a missing right, and for a transaction that may only read.
COPIED_ROWS_MIN = 500  # Fewer rows are inserted sooner than a table for their passage is made.
IDLE_SECONDS_MAX = 600
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
            event.listen(self.engine, "connect", _set_up_postgresql)
        event.listen(self.engine, "begin", _one_at_a_time)

    def migrate(self) -> None:
        """Make or migrate the tables, and assert the settings that durability rests on.

        Tables that are today's are only looked at, so a login that may not change them can use them. Raises RefusedInput
        when they are not today's and this login may not migrate them, or a newer Trine made them.
        """
        database, sqlite = make_url(self.url).database, self.engine.dialect.name == "sqlite"
        if sqlite and database:
            make_folder(Path(database).parent)
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        head = ScriptDirectory.from_config(config).get_current_head()
        try:
            with self.engine.connect() as connection:
                if sqlite:  # A table that others refer to cannot be made anew otherwise; outside any transaction.
                    connection.connection.driver_connection.execute("PRAGMA foreign_keys = 0")  # type: ignore[union-attr]
                with connection.begin():
                    if MigrationContext.configure(connection).get_current_revision() != head:
                        _become_owner(connection)
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
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in MAY_NOT:
                raise
            raise RefusedInput(
                "the tables of the records are not those of this Trine, and this login may not change them. Nothing was "
                "changed. Run `trine migrate --records URL` once, with the URL of a login that may: "
                "docs/how-to/run-on-postgresql.md."
            ) from None
        with self.engine.connect() as connection:
            (_require_sqlite if sqlite else _require_postgresql)(connection)

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
    _insert(connection, table, kept)
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
        _insert(connection, log_entries, entries)


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


def roles_missing(connection: Connection) -> list[str]:
    """Return which of Trine's roles are not there, or have no rights in these tables. On SQLite there are none to miss."""
    if connection.dialect.name == "sqlite":
        return []
    query = text(
        "SELECT rolname FROM pg_roles WHERE rolname IN :roles AND has_table_privilege(oid, to_regclass(:known), 'SELECT') "
        "AND (rolname <> 'trine_owner' OR rolname = (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = "
        "to_regclass(:known)))"
    ).bindparams(bindparam("roles", ROLES, expanding=True), known="alembic_version")
    found = set(connection.execute(query).scalars())
    return [role for role in ROLES if role not in found]


def frame_schema(table: Table) -> dict[str, Any]:
    """Return the Polars types of a table's columns."""
    kinds = {"AtomsType": pl.Int128, "Integer": pl.Int64}
    return {column.name: kinds.get(type(column.type).__name__, pl.String) for column in table.columns}


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows that have a value, or None, for every column; many at once by PostgreSQL's COPY.

    COPY cannot write a table with row-level security: the rows pass through a temporary one.
    """
    if connection.dialect.name == "sqlite" or len(rows) < COPIED_ROWS_MIN:
        connection.execute(insert(table), rows)
        return
    columns = [Column(column.name, column.type) for column in table.columns]
    incoming = Table(f"incoming_{table.name}", MetaData(), *columns, prefixes=["TEMPORARY"])
    incoming.create(connection, checkfirst=False)
    _copy(connection, incoming, rows)
    connection.execute(insert(table).from_select([column.name for column in columns], select(incoming)))
    incoming.drop(connection, checkfirst=False)


def _copy(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Write rows with COPY, as the transaction's own connection does it. Raises what an insert would raise."""
    dialect = connection.dialect
    driver: Any = connection.connection.driver_connection
    columns = list(table.columns)
    kinds = [column.type.dialect_impl(dialect) for column in columns]
    to_sql = [(column.name, kind.bind_processor(dialect)) for column, kind in zip(columns, kinds, strict=True)]
    statement = f"COPY {dialect.identifier_preparer.format_table(table)} FROM STDIN (FORMAT BINARY)"
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types([kind.compile(dialect).partition("(")[0].lower() for kind in kinds])
            for row in rows:
                copy.write_row([process(row[name]) if process else row[name] for name, process in to_sql])
    except Exception as error:
        raise DBAPIError.instance(statement, None, error, dialect.loaded_dbapi.Error, dialect=dialect) from error


def _become_owner(connection: Connection) -> None:
    """Let what a migration makes belong to whom the tables belong to already."""
    if connection.dialect.name == "sqlite":
        return
    owner = connection.exec_driver_sql(
        "SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class WHERE oid = to_regclass('alembic_version')"
    ).scalar()
    if owner:
        connection.exec_driver_sql(f"SET LOCAL ROLE {owner}")


def _require_sqlite(connection: Connection) -> None:
    for name, wanted in SQLITE_SETTINGS.items():
        found = connection.exec_driver_sql(f"PRAGMA {name}").scalar()
        if found != wanted:
            raise BrokenInvariant(f"SQLite's {name} is {found!r} and must be {wanted!r}: a commit could be lost.")


def _require_postgresql(connection: Connection) -> None:
    for name, refused in POSTGRESQL_REFUSED.items():
        if connection.exec_driver_sql(f"SHOW {name}").scalar() == refused:
            raise Unusable(
                f"PostgreSQL's {name} is {refused}: a commit could be lost. Turn it on, for the server as for this "
                "database and login, then run it again."
            )


def _set_up_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # We say BEGIN ourselves: the driver's own comes too late to lock.
    connection.execute("PRAGMA busy_timeout = 30000")
    for name, value in SQLITE_SETTINGS.items():
        connection.execute(f"PRAGMA {name} = {value}")


def _set_up_postgresql(connection: Any, _: Any) -> None:
    # A process that was stopped within a transaction would keep the lock for ever, and nobody could take over.
    name = "'idle_in_transaction_session_timeout'"
    connection.execute(f"SELECT set_config({name}, '{IDLE_SECONDS_MAX}s', false) WHERE current_setting({name}) = '0'")
    connection.commit()


def _one_at_a_time(connection: Connection) -> None:
    """Let one transaction after the other see and change the records, in any number of processes, on both engines."""
    sqlite = connection.dialect.name == "sqlite"
    connection.exec_driver_sql("BEGIN IMMEDIATE" if sqlite else f"SELECT pg_advisory_xact_lock({TRINE_LOCK})")
