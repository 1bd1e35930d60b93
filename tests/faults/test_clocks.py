"""The clock decides when holds expire, and nothing else."""

from unittest.mock import patch

from assets.ledger import store
from tests.faults.campaign import Databases
from tests.faults.clocks import CLOCKS, jumping_ahead, skew


def test_what_is_settled_is_the_same_under_any_clock(databases: Databases) -> None:
    assert skew(databases, times=20, seed=1) == []


def test_an_order_that_follows_the_clock_is_reported(sqlite: Databases) -> None:
    begin = store.Store.begin

    def careless(self: store.Store, cycle: dict[str, str], inputs_digest: object) -> store.Turn:
        return begin(self, {**cycle, "lock_digest": self.clock().isoformat()}, inputs_digest)  # type: ignore[arg-type]

    with patch.object(store.Store, "begin", careless):
        found = skew(sqlite, times=2, seed=1)
    assert any("batches: 1 rows" in line for line in found)


def test_holds_that_expire_and_leave_the_batch_as_it_is_are_reported(sqlite: Databases) -> None:
    with patch.object(store.Store, "_abort", lambda *_: None):
        found = skew(sqlite, times=len(CLOCKS), seed=1)
    assert any(f"clock {jumping_ahead.__name__}" in line and "is not aborted" in line for line in found)
