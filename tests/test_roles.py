"""PostgreSQL's roles: each does its work, and what is not its work the server itself refuses."""

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from sqlalchemy import Connection, create_engine, insert, select, text
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from sqlalchemy.pool import NullPool

from assets.ledger import database
from assets.ledger.database import COPIED_ROWS_MIN, ROLES, keep, roles_missing
from assets.ledger.store import Store
from pipelines.cli import main
from schemas import records
from schemas.cycle import Policy
from schemas.errors import RefusedInput, Unusable
from tests.batches import CYCLE, NEXT, at_noon, life_of, live
from tests.conftest import own_postgres

TABLES = records.metadata.sorted_tables
PEOPLE = ROLES[1:]
QUALITY = {
    "batches",
    "plans",
    "input_files",
    "flaws",
    "control_totals",
    "fill_states",
    "verdicts",
    "frames",
    "approvals",
}
# What a role may read, and to which tables it may add. A list of columns where it is not all of them.
READS: dict[str, dict[str, set[str]]] = {
    "trine_app": {table.name: set(table.c.keys()) for table in TABLES},
    "trine_auditor": {table.name: set(table.c.keys()) for table in TABLES},
    "trine_compliance": {
        **{table.name: set(table.c.keys()) for table in TABLES if table.name in QUALITY},
        "log_entries": {"position"}, "log_frames": {"position", "rows"},
    },
    "trine_witness": {
        **{name: set(records.metadata.tables[name].c.keys()) for name in ("checkpoints", "keys", "log_frames")},
        "log_entries": {"position", "leaf_hash"},
    },
}  # fmt: skip
ADDS = {
    "trine_app": {table.name for table in TABLES}, "trine_auditor": set(), "trine_witness": set(),
    "trine_compliance": {"approvals", "log_entries"},
}  # fmt: skip
NEVER = (
    "DELETE FROM {0} WHERE false", "TRUNCATE {0}", "DROP TABLE {0}", "ALTER TABLE {0} ADD COLUMN more integer",
    "ALTER TABLE {0} DISABLE TRIGGER ALL", "ALTER TABLE {0} DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {0} NO FORCE ROW LEVEL SECURITY", "ALTER TABLE {0} OWNER TO CURRENT_USER",
    "CREATE POLICY mine ON {0} USING (true)", "DROP POLICY owner_migrates ON {0}",
    "CREATE RULE mine AS ON INSERT TO {0} DO INSTEAD NOTHING", "LOCK TABLE {0} IN ACCESS EXCLUSIVE MODE",
    "CREATE TRIGGER mine AFTER INSERT ON {0} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE INDEX mine ON {0} ((1))",
)  # fmt: skip
NEVER_AT_ALL = (
    "SET ROLE trine_owner", "SET session_replication_role = replica", "CREATE TABLE mine (a integer)",
    "UPDATE alembic_version SET version_num = '0001'", "DELETE FROM alembic_version",
    "CREATE OR REPLACE FUNCTION atoms_minus(a numeric, b numeric) RETURNS numeric LANGUAGE sql AS 'SELECT a'",
    "ALTER ROLE CURRENT_USER SUPERUSER", "GRANT trine_owner TO CURRENT_USER",
)  # fmt: skip

Login = Callable[[str], str]


@pytest.fixture
def admin(postgres_url: str) -> Engine:
    """A superuser's engine at records that are migrated."""
    Store(postgres_url).prepare()
    return create_engine(postgres_url, poolclass=NullPool)


@pytest.fixture
def login(postgres_url: str) -> Iterator[Login]:
    """Make a login that has one role (or none, for ''), and return its URL."""
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    made: list[str] = []

    def make(role: str) -> str:
        made.append(f"login_{uuid.uuid4().hex}")
        with engine.connect() as connection:
            connection.execute(
                text(f"CREATE ROLE {made[-1]} LOGIN PASSWORD 'p'" + (f" IN ROLE {role}" if role else ""))
            )
        url = make_url(postgres_url).set(username=made[-1], password="p")
        return url.render_as_string(hide_password=False)

    yield make
    with engine.connect() as connection:
        for name in made:
            connection.execute(text(f"DROP OWNED BY {name} CASCADE"))
            connection.execute(text(f"DROP ROLE {name}"))


def refused(connection: Connection, statement: str) -> bool:
    """Try a statement and undo it: say whether the server refused it for want of a right."""
    point = connection.begin_nested()
    try:
        connection.exec_driver_sql(statement)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != "42501":
            raise
        return True
    finally:
        point.rollback()
    return False


def expected(role: str) -> set[tuple[str, str, str]]:
    """Return every (right, table, column) that a role must have."""
    rights = {("SELECT", table, column) for table, columns in READS[role].items() for column in columns}
    for table in TABLES:
        for column in table.columns:
            if table.name in ADDS[role]:
                rights.add(("INSERT", table.name, column.name))
            if role == "trine_app" and column.info.get("derived"):
                rights.add(("UPDATE", table.name, column.name))
    return rights


def tried(connection: Connection) -> set[tuple[str, str, str]]:
    """Return every (right, table, column) that a connection turns out to have. No row is touched."""
    statements = {
        "SELECT": "SELECT {1} FROM {0} WHERE false",
        "INSERT": "INSERT INTO {0} ({1}) SELECT CAST(NULL AS {2}) WHERE false",
        "UPDATE": "UPDATE {0} SET {1} = NULL WHERE false",
    }
    return {
        (right, table.name, column.name)
        for table in TABLES
        for column in table.columns
        for right, statement in statements.items()
        if not refused(connection, statement.format(table.name, column.name, column.type.compile(connection.dialect)))
    }


@pytest.mark.parametrize("role", PEOPLE)
def test_a_role_has_exactly_the_rights_that_the_tables_give_it(admin: Engine, login: Login, role: str) -> None:
    with create_engine(login(role), poolclass=NullPool).begin() as connection:
        assert tried(connection) == expected(role)


@pytest.mark.parametrize("role", PEOPLE)
def test_no_role_deletes_or_changes_a_table_or_lifts_what_guards_it(admin: Engine, login: Login, role: str) -> None:
    statements = [*NEVER_AT_ALL, *(statement.format(table.name) for table in TABLES for statement in NEVER)]
    with create_engine(login(role), poolclass=NullPool).begin() as connection:
        assert [statement for statement in statements if not refused(connection, statement)] == []


def test_a_right_too_many_is_seen(admin: Engine, login: Login) -> None:
    url = login("trine_witness")
    with admin.begin() as connection:
        connection.execute(text("GRANT UPDATE (atoms) ON postings TO trine_witness"))
        connection.execute(text("GRANT DELETE ON frames TO trine_witness"))
    with create_engine(url, poolclass=NullPool).begin() as connection:
        assert tried(connection) - expected("trine_witness") == {("UPDATE", "postings", "atoms")}
        assert not refused(connection, "DELETE FROM frames WHERE false")


def test_every_table_belongs_to_the_owner_and_guards_its_rows_even_from_him(admin: Engine) -> None:
    with admin.connect() as connection:
        found = connection.execute(text(
            "SELECT relname, pg_get_userbyid(relowner), relrowsecurity AND relforcerowsecurity FROM pg_class "
            "WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'"
        )).all()  # fmt: skip
        assert sorted(tuple(row) for row in found) == sorted((table.name, "trine_owner", True) for table in TABLES)
        assert roles_missing(connection) == []


# The work of each


def test_a_whole_life_of_a_batch_needs_no_more_than_the_app_has(admin: Engine, login: Login) -> None:
    store = Store(login("trine_app"), at_noon).prepare()
    claim = live(store, life_of(), "confirm")
    assert store.batch(claim.batch_id)["state"] == "FINAL"
    life = life_of(NEXT, policy=Policy(approvals=1))
    store.begin(life.cycle, lambda _: life.inputs_digest)
    second = live(store, life, "reserve")
    store.record_approval(second.batch_id, "ann")
    live(store, life)
    third = live(store, life)
    store.confirm(third.batch_id, dict.fromkeys(life.instructions_of(third), "REJECTED"), "custodian")
    store.compensate(third.batch_id, "not executed", "ann")
    left = live(store, life_of(NEXT, inputs_digest="2" * 64), "reserve")
    store.abort(left, "the custodian is closed")
    assert store.batch(left.batch_id)["state"] == "ABORTED"


def test_the_owner_sees_every_row_although_row_security_is_forced_on_him(admin: Engine, login: Login) -> None:
    live(Store(login("trine_app"), at_noon), life_of())
    with create_engine(login("trine_owner"), poolclass=NullPool).connect() as owner, admin.connect() as connection:
        for table in TABLES:
            assert owner.execute(select(table)).all() == connection.execute(select(table)).all()


def test_what_has_ended_cannot_be_changed_even_in_the_columns_that_may(admin: Engine, login: Login) -> None:
    url = login("trine_app")
    claim = live(Store(url, at_noon), life_of(), "confirm")
    aborted = live(Store(url, at_noon), life_of(NEXT), "reserve")
    with create_engine(url, poolclass=NullPool).begin() as connection:
        held = text("UPDATE holds SET state = 'HELD' WHERE batch_id = :batch")
        assert connection.execute(held, {"batch": claim.batch_id}).rowcount == 0
        assert refused(connection, f"UPDATE holds SET state = 'HELD' WHERE batch_id = '{aborted.batch_id}'")
    Store(url, at_noon).abort(aborted, "given up")
    with create_engine(url, poolclass=NullPool).begin() as connection:
        for table in ("batches", "holds"):
            assert connection.exec_driver_sql(f"UPDATE {table} SET state = state").rowcount == 0
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar()


def test_a_row_of_no_batch_is_refused_to_the_app_too(admin: Engine, login: Login) -> None:
    orphan = {"batch_id": "gone", "name": "fills", "digest": "0", "rows": 1}
    with create_engine(login("trine_app"), poolclass=NullPool).connect() as connection, pytest.raises(IntegrityError):
        connection.execute(insert(records.frames), orphan)


def test_the_auditor_reads_all_that_the_app_wrote(admin: Engine, login: Login) -> None:
    app, auditor = Store(login("trine_app"), at_noon), Store(login("trine_auditor")).prepare()
    claim = live(app, life_of())
    assert auditor.settled() == app.settled()
    for table in TABLES:
        if "batch_id" in table.c:
            assert auditor.rows(table.name, claim.batch_id).equals(app.rows(table.name, claim.batch_id))
    with admin.connect() as connection:
        setting = "SELECT setconfig FROM pg_db_role_setting WHERE setrole = 'trine_auditor'::regrole"
        assert connection.execute(text(setting)).scalar() == ["default_transaction_read_only=on"]


def test_compliance_approves_a_batch_and_writes_nothing_else_into_the_log(admin: Engine, login: Login) -> None:
    url = login("trine_compliance")
    claim = live(Store(login("trine_app"), at_noon), life_of(), "reserve")
    assert Store(url).prepare().record_approval(claim.batch_id, "ann") == 1
    forged = "INSERT INTO log_entries VALUES (10000, 'postings', '[]', '', '')"
    with create_engine(url, poolclass=NullPool).begin() as connection:
        assert refused(connection, forged)
        assert not refused(connection, forged.replace("postings", "approvals"))


# Who may migrate


def older(admin: Engine) -> None:
    """Let the tables look as if they were of an older Trine."""
    config = Config()
    config.set_main_option("script_location", str(database.MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    before = script.get_revision(script.get_current_head() or "").down_revision
    with admin.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :before"), {"before": before})


@pytest.mark.parametrize("role", PEOPLE)
def test_who_may_not_migrate_older_tables_is_told_how_they_are_migrated(admin: Engine, login: Login, role: str) -> None:
    url = login(role)
    Store(url).prepare()
    older(admin)
    with pytest.raises(RefusedInput, match=r"this login may not change them.* Run `trine migrate --records URL`"):
        Store(url).prepare()


def test_who_may_not_make_tables_is_told_so_by_the_command(postgres_url: str, login: Login, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["migrate", "--records", login(""), "--home", str(tmp_path)])
    assert done.exit_code == 2
    done = CliRunner().invoke(main, ["migrate", "--records", postgres_url, "--home", str(tmp_path)])
    assert (done.exit_code, done.output) == (0, "The tables of the records are up to date.\n")


def test_what_a_later_migration_makes_belongs_to_the_owner(admin: Engine, login: Login) -> None:
    store = Store(login("trine_owner"))
    with store.engine.begin() as connection:
        database._become_owner(connection)
        connection.exec_driver_sql("CREATE TABLE later (a integer)")
    with admin.connect() as connection:
        owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'later'"
        assert connection.execute(text(owner)).scalar() == "trine_owner"


def test_tables_made_by_one_who_may_not_be_the_owner_work_and_say_that_they_have_no_roles(
    postgres_url: str, login: Login, tmp_path: Path
) -> None:
    url = login("")
    with create_engine(postgres_url, poolclass=NullPool).begin() as connection:
        connection.execute(text(f"GRANT CREATE ON SCHEMA public TO {make_url(url).username}"))
    store = Store(url, at_noon).prepare()
    with store.engine.connect() as connection:
        assert roles_missing(connection) == list(ROLES)
    live(store, life_of(), "confirm")
    done = CliRunner().invoke(main, ["migrate", "--records", url, "--home", str(tmp_path)])
    assert done.exit_code == 0
    assert "Without roles: trine_owner, trine_app, " in done.output


@pytest.fixture
def fresh_server() -> Iterator[URL]:
    """A PostgreSQL in which nobody has made Trine's roles yet."""
    with own_postgres() as url:
        yield url


def test_three_databases_of_a_new_server_are_migrated_at_once_and_share_their_roles(fresh_server: URL) -> None:
    engine = create_engine(fresh_server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        for name in "abc":
            connection.execute(text(f"CREATE DATABASE {name}"))
    urls = [fresh_server.set(database=name).render_as_string(hide_password=False) for name in "abc"]
    program = "import sys; from assets.ledger.store import Store; Store(sys.argv[1]).prepare()"
    started = [subprocess.Popen([sys.executable, "-c", program, url]) for url in urls]
    assert [process.wait() for process in started] == [0, 0, 0]
    for url in urls:
        with create_engine(url, poolclass=NullPool).connect() as connection:
            assert roles_missing(connection) == []


def test_roles_are_made_by_one_who_may_make_roles_and_otherwise_not_at_all(fresh_server: URL) -> None:
    engine = create_engine(fresh_server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    for name, right in (("plain", ""), ("maker", "CREATEROLE")):
        with engine.connect() as connection:
            connection.execute(text(f"CREATE ROLE {name} LOGIN {right}"))
            connection.execute(text(f"CREATE DATABASE {name} OWNER {name}"))
        url = fresh_server.set(username=name, database=name).render_as_string(hide_password=False)
        store = Store(url, at_noon).prepare()
        live(store, life_of())
        with store.engine.connect() as connection:
            assert roles_missing(connection) == (list(ROLES) if name == "plain" else [])


# What the server must not have turned off


def test_a_server_that_would_lose_commits_is_refused(admin: Engine, postgres_url: str) -> None:
    name = make_url(postgres_url).database
    with admin.begin() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
    with pytest.raises(Unusable, match="synchronous_commit is off: a commit could be lost"):
        Store(postgres_url).prepare()


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
def test_a_server_that_would_tear_pages_is_refused(
    admin: Engine, postgres_url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(database.POSTGRESQL_REFUSED, name, "on")  # The test's server is not stopped to turn it off.
    with pytest.raises(Unusable, match=f"{name} is on: a commit could be lost"):
        Store(postgres_url).prepare()


# Many rows


def postings(batch_id: str, rows: int) -> list[dict[str, Any]]:
    strange = ["", "\\N", "a\tb\nc\rd", "\\", "é€🙂", '"', "'", "NULL"]
    amounts = [0, 1, -1, 2**63, -(2**64), 10**38 - 1, 1 - 10**38]
    return [
        {"posting_id": f"{batch_id}/{number}", "batch_id": batch_id, "kind": "DEBIT",
         "account": strange[number % len(strange)], "participant": "A", "instrument": "BTC",
         "atoms": amounts[number % len(amounts)]}
        for number in range(rows)
    ]  # fmt: skip


def test_many_rows_that_the_app_copies_are_the_rows_that_it_inserts(
    admin: Engine, login: Login, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for url in (login("trine_app"), f"sqlite:///{tmp_path / 'r.sqlite'}"):
        store = Store(url, at_noon).prepare()
        claim = store.begin(life_of(CYCLE).cycle, lambda _: "1" * 64).claim
        with store.engine.begin() as connection:
            keep(connection, records.postings, postings(claim.batch_id, COPIED_ROWS_MIN + 7))
        with store.engine.connect() as connection:
            log = connection.execute(select(records.log_entries).order_by(records.log_entries.c.position)).all()
        found.append((store.rows("postings", claim.batch_id).rows(), [tuple(row) for row in log]))
    assert found[0] == found[1]
    assert len(found[0][0]) == COPIED_ROWS_MIN + 7


@pytest.mark.parametrize(
    ("spoilt", "error"),
    [({"batch_id": "gone"}, IntegrityError), ({"kind": None}, IntegrityError), ({"atoms": 0.5}, StatementError),
     ({"account": "\0"}, DBAPIError), ({"posting_id": "x/0"}, IntegrityError)],
)  # fmt: skip
def test_a_bad_row_among_many_is_the_same_error_as_alone_and_nothing_is_kept(
    admin: Engine, login: Login, spoilt: dict[str, Any], error: type[Exception]
) -> None:
    store = Store(login("trine_app"), at_noon)
    claim = store.begin(life_of().cycle, lambda _: "1" * 64).claim
    good = [{**row, "posting_id": f"x/{number}"} for number, row in enumerate(postings(claim.batch_id, 2))]
    many = [{**row, "posting_id": f"x/{n}"} for n, row in enumerate(postings(claim.batch_id, COPIED_ROWS_MIN))]
    for rows in (good, many):
        rows[-1] |= spoilt
        with pytest.raises(error), store.engine.begin() as connection:
            database._insert(connection, records.postings, rows)
        assert store.rows("postings", claim.batch_id).is_empty()
