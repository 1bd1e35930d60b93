"""Empty databases for the faults' tests."""

from collections.abc import Iterator

import pytest
from sqlalchemy.engine import URL

from tests.faults.campaign import Databases, postgres_databases, sqlite_databases


@pytest.fixture(scope="module")
def sqlite() -> Iterator[Databases]:
    with sqlite_databases() as databases:
        yield databases


@pytest.fixture(scope="module")
def postgres(postgres_server: URL) -> Iterator[Databases]:
    with postgres_databases(postgres_server) as databases:
        yield databases


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.full)])
def databases(request: pytest.FixtureRequest) -> Databases:
    """Databases of each kind; PostgreSQL's only in the full campaign."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Databases)
    return found
