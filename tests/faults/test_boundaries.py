"""A batch that is killed at any statement goes on as if nothing had happened, and the harness sees when it does not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import create_engine

from assets.ledger.database import keep
from assets.ledger.store import Store
from schemas import records
from tests.faults.boundaries import LIVES, kill_everywhere
from tests.faults.campaign import Databases, sqlite_databases

commit = Store.commit


def test_a_batch_killed_at_some_boundaries_ends_as_if_nothing_had_happened(sqlite: Databases) -> None:
    for life_name in ("settled", "reversed"):
        killed = kill_everywhere(life_name, sqlite, at=range(3, 10**6, 11))
        assert killed.found == []
        assert killed.kills > 20


@pytest.mark.full
@pytest.mark.parametrize("life_name", LIVES)
def test_a_batch_killed_at_any_boundary_ends_as_if_nothing_had_happened(databases: Databases, life_name: str) -> None:
    killed = kill_everywhere(life_name, databases)
    assert killed.found == []
    assert killed.kills > 50


@pytest.mark.full
def test_one_killed_again_while_it_recovers_does_too(sqlite: Databases) -> None:
    assert kill_everywhere("settled", sqlite, at=[100], twice=True).found == []


@contextmanager
def posting_again() -> Iterator[None]:
    """A commit that does not look at the state, and posts whenever it is called."""

    def careless(self: Store, claim: Any, postings: Any, settlements: Any) -> bool:
        if commit(self, claim, postings, settlements):
            return True
        rows = [
            {**one, "batch_id": claim.batch_id, "posting_id": f"{claim.batch_id}/{one['leg']}"}
            for one in postings.iter_rows(named=True)
        ]
        with self.engine.begin() as connection:
            keep(connection, records.postings, rows)
        return True

    with patch.object(Store, "commit", careless):
        yield


def test_a_posting_that_is_there_twice_is_reported() -> None:
    with sqlite_databases() as databases:
        engine = create_engine(databases.template)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE keyless AS SELECT * FROM postings")
            connection.exec_driver_sql("DROP TABLE postings")
            connection.exec_driver_sql("ALTER TABLE keyless RENAME TO postings")
        engine.dispose()
        assert kill_everywhere("settled", databases, at=[180]).found == []
        found = kill_everywhere("settled", databases, at=[10**6], weakening=posting_again).found
    assert any("is there 2 times" in line for line in found)


@contextmanager
def committing_in_two() -> Iterator[None]:
    """A commit whose holds are consumed in a transaction of their own, before that of the postings."""

    def careless(self: Store, claim: Any, postings: Any, settlements: Any) -> bool:
        if self.batch(claim.batch_id)["state"] == "APPROVED":
            with self.engine.begin() as connection:
                self._end_holds(connection, claim.batch_id, "CONSUMED")
        with patch.object(Store, "_end_holds", lambda *_: None):
            return commit(self, claim, postings, settlements)

    with patch.object(Store, "commit", careless):
        yield


def test_a_commit_in_two_parts_is_reported_as_half_done(sqlite: Databases) -> None:
    found = kill_everywhere("settled", sqlite, at=range(0, 10**6, 9), weakening=committing_in_two).found
    assert any("what is recorded is not that of step" in line and "holds" in line for line in found)
    assert any("its holds are ['CONSUMED']" in line for line in found)
