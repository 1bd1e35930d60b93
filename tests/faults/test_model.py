"""The store does what a model of it does, whatever is asked in whatever order."""

from typing import Any
from unittest.mock import patch

import pytest

from assets.ledger import store
from assets.ledger.store import Store
from schemas.errors import TrineError
from schemas.records import BATCH_STATES
from tests.faults.campaign import Databases
from tests.faults.model import walk


def test_the_store_does_what_its_model_does(sqlite: Databases) -> None:
    assert walk(sqlite, steps=300).states > {"ABORTED", "COMMITTED"}


@pytest.mark.full
def test_the_store_does_what_its_model_does_in_every_state(sqlite: Databases) -> None:
    assert walk(sqlite, steps=2_000, seed_=2).states == set(BATCH_STATES)


def test_a_store_that_takes_every_claim_is_found(sqlite: Databases) -> None:
    def careless(_: Store, connection: Any, claim: Any) -> Any:
        return store._row(connection, claim.batch_id)

    with patch.object(Store, "_held", careless), pytest.raises((AssertionError, TrineError)):
        walk(sqlite, steps=2_000, shrink=False)
