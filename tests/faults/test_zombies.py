"""Who was stopped and taken over writes nothing when it goes on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from assets.ledger import store
from assets.ledger.store import Store
from tests.batches import STEPS, life_of
from tests.faults.campaign import Databases
from tests.faults.zombies import wake, wake_after


def test_who_was_stopped_and_taken_over_writes_nothing(databases: Databases) -> None:
    assert wake(databases, times=10, seed=1) == []


@contextmanager
def without_fences() -> Iterator[None]:
    """A store that takes every claim for good."""

    def careless(_: Store, connection: Any, claim: Any) -> Any:
        return store._row(connection, claim.batch_id)

    with patch.object(Store, "_held", careless):
        yield


def test_without_fences_one_that_writes_is_reported(sqlite: Databases) -> None:
    after = list(STEPS).index("reserve")
    found = wake_after(sqlite, life_of(), after, after, weakening=without_fences)
    assert any("wrote something" in line for line in found)
    assert any("'went on'" in line for line in found)
