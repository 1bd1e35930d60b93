"""The store does what a model of it does, whatever is asked in whatever order."""

from typing import Any
from unittest.mock import patch

import pytest

from assets.ledger import store
from assets.ledger.store import Store
from schemas.records import BATCH_STATES, LIFE
from tests.faults.campaign import Databases
from tests.faults.model import walk


def test_the_store_does_what_its_model_does(sqlite: Databases) -> None:
    walked = walk(sqlite, steps=500)
    assert walked.steps > 400
    assert len(walked.states) > len(LIFE) - 1


@pytest.mark.full
def test_the_store_does_what_its_model_does_for_longer(sqlite: Databases) -> None:
    walked = walk(sqlite, steps=2_200, seed_=2)
    assert walked.steps >= 2_000
    assert walked.states == set(BATCH_STATES)


def test_a_store_that_takes_every_claim_is_found(sqlite: Databases) -> None:
    def careless(_: Store, connection: Any, claim: Any) -> Any:
        return store._row(connection, claim.batch_id)

    with patch.object(Store, "_held", careless), pytest.raises(AssertionError, match="TakenOver"):
        walk(sqlite, steps=2_000, shrink=False)


def test_a_store_that_does_not_look_for_a_later_cycle_is_found(sqlite: Databases) -> None:
    with patch.object(Store, "_require_last", lambda *_: None), pytest.raises(AssertionError):
        walk(sqlite, steps=5_000, shrink=False)
