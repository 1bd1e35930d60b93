"""One market day, replayed as if on other machines, on another database, and from rows in another order."""

from pathlib import Path

import pytest

from tests.deployment import Deployment
from tests.faults.same_digests import MACHINES, outcome_of, replay_on, settle_day, shuffle_day
from tests.input_folders import CYCLE, NEXT


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("day")


@pytest.fixture(scope="module")
def day(place: Path) -> Deployment:
    deployment = settle_day(place)
    carried = [batch["fills_carried"] for batch in deployment.store.settled()]
    assert carried[0] == 0
    assert carried[1] > 0
    return deployment


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine["TZ"])
def test_another_machine_gives_the_same_digests(
    machine: dict[str, str], day: Deployment, request: pytest.FixtureRequest
) -> None:
    # The last of them keeps its records in PostgreSQL.
    records = ("--records-out", request.getfixturevalue("postgres_url")) if machine == MACHINES[-1] else ()
    found = replay_on(machine, day, *records)
    assert [(cycle["cycle_id"], cycle["differences"]) for cycle in found["cycles"]] == [(CYCLE, []), (NEXT, [])]


def test_rows_in_another_order_settle_to_the_same_frames(day: Deployment, place: Path) -> None:
    shuffle_day(place, place / "shuffled")
    shuffled = Deployment(place / "shuffled" / "home")
    for cycle_id in (CYCLE, NEXT):
        shuffled.settle(place / "shuffled" / cycle_id, exit_code=3)
    pairs = zip(shuffled.store.settled(), day.store.settled(), strict=True)
    assert all(one["manifest_digest"] != other["manifest_digest"] for one, other in pairs)
    assert outcome_of(shuffled) == outcome_of(day)
