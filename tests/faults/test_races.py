"""Of many processes that want one batch, one commits it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from assets.ledger.store import Store
from tests.faults.campaign import Databases
from tests.faults.races import race_for


def test_of_four_processes_that_race_for_a_batch_one_commits_it(databases: Databases) -> None:
    assert race_for(databases, processes=4, times=25) == []


@contextmanager
def always_committed() -> Iterator[None]:
    """Two who believe that they were the one."""
    commit = Store.commit

    def careless(*given: Any) -> bool:
        commit(*given)
        return True

    with patch.object(Store, "commit", careless):
        yield


def test_two_that_both_committed_are_reported(sqlite: Databases) -> None:
    found = race_for(sqlite, processes=4, times=2, weakening=always_committed)
    assert any("they said ['committed', 'committed'" in line for line in found)
