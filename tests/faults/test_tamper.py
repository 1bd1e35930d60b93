"""Nothing can be changed unseen; and a hole in the checker, or a column that nothing binds, is found by the same edits."""

from pathlib import Path

import pytest

from assets.ledger import audit as checker
from schemas.records import metadata
from tests.faults.tamper import rewritten, tamper
from tests.faults.tamper_home import World, build


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    return build(f"sqlite:///{folder / 'records.sqlite'}", folder / "home")


def test_each_of_a_hundred_thousand_edits_is_seen_and_named_by_its_row_and_column(world: World, tmp_path: Path) -> None:
    tally = tamper(world, edits=100_000, seed=1)
    rewritten(world, tally, tmp_path)
    assert tally.unseen == []
    assert tally.made.total() >= 100_000


def test_edits_of_postgresql_are_seen_as_well(postgres_url: str, tmp_path: Path) -> None:
    tally = tamper(build(postgres_url, tmp_path), edits=5_000, seed=2, files=0)
    assert tally.unseen == []
    assert tally.made.total() >= 5_000


@pytest.mark.parametrize("name", ["account", "net_atoms"])
def test_a_column_that_nothing_binds_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(metadata.tables["positions"].c[name].info, "derived", True)
    world = build(f"sqlite:///{tmp_path / 'records.sqlite'}", tmp_path / "home")
    unseen = tamper(world, edits=2_000, seed=3, files=0).unseen
    assert any("'positions'" in one and one.endswith(name) for one in unseen)


@pytest.mark.parametrize(
    ("check", "kind"),
    [("_derived", "column"), ("_tiles", "file in log"), ("_checkpoints", "file in copies"), ("_frames", "file in frames"),
     ("_inputs", "file in inputs")],
)  # fmt: skip
def test_a_check_that_is_left_out_is_missed(
    world: World, check: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checker, check, lambda *_: [])
    assert any(one.startswith(kind) for one in tamper(world, edits=1_000, seed=4, files=1).unseen)


def test_amounts_that_are_compared_as_numbers_are_missed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker, "_as_stored", lambda table: table.select().order_by(*table.primary_key.columns))
    with pytest.raises(ValueError, match="invalid literal for int"):
        tamper(world, edits=2_000, seed=5, files=0)
