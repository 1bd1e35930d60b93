"""The checker, where it could be led astray: by how a value is written, by files that nobody reads, by equal batches."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from assets.ledger.audit import Difference, audit, require_known
from assets.ledger.log import Log
from assets.ledger.store import Store
from schemas.errors import RefusedInput
from tests.faults.tamper_home import FIRST_KEY, SECOND_KEY, World, build


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit") / "home"
    build(f"sqlite:///{folder / 'records.sqlite'}", folder)
    return folder


@pytest.fixture
def world(kept: Path, tmp_path: Path) -> World:
    """A copy to spoil."""
    folder = shutil.copytree(kept, tmp_path / "home")
    return World(f"sqlite:///{folder / 'records.sqlite'}", folder)


def found(world: World) -> list[Difference]:
    return world.check(Store(world.url))


def change(world: World, *statements: str) -> None:
    engine = create_engine(world.url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def test_a_whole_home_has_no_differences_and_is_counted(world: World) -> None:
    store = Store(world.url)
    given = (store, world.frames, world.log, world.second_place, world.inputs)
    for trusted in ([], [FIRST_KEY.verifier], [FIRST_KEY.verifier, SECOND_KEY.verifier]):
        told = audit(*given, trusted)
        assert told.differences == []
        assert told.leaves == told.signed
        assert told.checkpoints == len(list(world.second_place.iterdir())) == 4
        assert (told.frames, told.files) == (10, 10)
    # The second key came under the first one's signature, and not the other way round.
    assert {one.table for one in audit(*given, [SECOND_KEY.verifier]).differences} == {"checkpoints"}


def test_it_changes_nothing(world: World) -> None:
    before = {path: path.read_bytes() for path in world.folder.rglob("*") if path.is_file()}
    found(world)
    after = {path: path.read_bytes() for path in world.folder.rglob("*") if path.is_file()}
    assert after.items() >= before.items()


@pytest.mark.parametrize("written", ["'0' || net_atoms", "'+' || abs(net_atoms)", "net_atoms || ' '", "'1_0'", "'x'"])
def test_an_amount_that_is_only_written_otherwise_is_seen(world: World, written: str) -> None:
    key = ["C4H-20261102-0000#1", "A", "USD"]
    where = "batch_id = 'C4H-20261102-0000#1' AND participant = 'A' AND instrument = 'USD'"
    change(world, f"UPDATE positions SET net_atoms = {written} WHERE {where}")
    [one] = found(world)
    assert (one.table, json.loads(one.row), one.what) == ("positions", key, "net_atoms is not what was logged")


@pytest.mark.parametrize("column", ["person", "recorded_at"])
def test_a_text_that_is_no_utf_8_is_reported_and_stops_nothing(world: World, column: str) -> None:
    change(world, f"UPDATE approvals SET {column} = CAST(x'ff' AS TEXT) WHERE person = 'ann'",
           "UPDATE top_ups SET chain_id = 'F3' WHERE batch_id = 'C4H-20261102-0000#1'")  # fmt: skip
    assert {one.table for one in found(world)} == {"approvals", "top_ups"}


@pytest.mark.parametrize("body", ["'" + "[" * 100_000 + "'", "'7'", "'{\"table\":7}'", "'{}'", "CAST(x'ff' AS TEXT)"])
def test_a_body_that_is_no_record_is_reported_and_stops_nothing(world: World, body: str) -> None:
    change(world, f"UPDATE log_entries SET body = {body} WHERE position = 3")
    assert ("log_entries", "[3]") in {(one.table, one.row) for one in found(world)}


@pytest.mark.parametrize("digest", ["'/'", "'../..'", "''", "'" + "a" * 5000 + "'", "char(0)"])
def test_a_digest_that_is_a_path_is_not_followed(world: World, digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[Path] = []
    walk: Callable[[Path, str], Iterator[Path]] = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda self, pattern: walked.append(self) or walk(self, pattern))
    change(world, f"UPDATE batches SET manifest_digest = {digest}", f"UPDATE frames SET digest = {digest}",
           f"UPDATE log_frames SET digest = {digest}")  # fmt: skip
    assert {"batches", "frames", "log_frames"} <= {one.table for one in found(world)}
    assert walked == [world.log / "tile"]


def test_the_settlements_of_two_batches_that_settled_the_same_cannot_be_exchanged(world: World) -> None:
    change(world, "UPDATE log_frames SET batch_id = CASE batch_id WHEN 'C4H-20261102-0800#1' THEN 'C4H-20261102-0800#3' "
                  "WHEN 'C4H-20261102-0800#3' THEN 'C4H-20261102-0800#1' ELSE batch_id END")  # fmt: skip
    assert [one.table for one in found(world)] == ["log_frames", "log_frames"]


@pytest.mark.parametrize("name", ["checkpoint", "tile/1/000.p/1", "tile/entries/000", "tile/0/000", "tile/0/000.p/*"])
def test_every_file_of_the_log_is_read(world: World, name: str) -> None:
    path = next(world.log.glob(name))
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    names = {one.row for one in found(world) if one.table == "tiles"}
    assert names == {path.relative_to(world.log).as_posix()}


def test_what_an_interrupted_write_left_is_no_part_of_the_log(world: World) -> None:
    (world.log / "tile" / "0" / "001.77.part").write_bytes(b"half")
    assert found(world) == []


def test_a_copy_of_a_checkpoint_is_compared_byte_by_byte(world: World) -> None:
    path = min(world.second_place.iterdir())
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert [one.what for one in found(world)] == ["note is not the copy in the second place"]
    path.write_bytes(b"\xff")
    assert [one.what for one in found(world)] == ["note is not the copy in the second place"]


def test_records_that_were_not_signed_yet_are_no_difference(world: World) -> None:
    store = Store(world.url)
    store.record_approval("C4H-20261102-1200#1", "cid")
    told = audit(store, world.frames, world.log, world.second_place, world.inputs)
    assert told.differences == []
    assert told.leaves == told.signed + 1
    Log(store, world.frames, world.log).publish([SECOND_KEY], world.second_place, store.now())
    assert found(world) == []


def test_what_is_no_key_is_refused() -> None:
    assert require_known(f" {FIRST_KEY.verifier.text()}\n") == FIRST_KEY.verifier
    with pytest.raises(RefusedInput, match="no verifier key"):
        require_known("trust me")
