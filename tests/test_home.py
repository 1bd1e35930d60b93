"""What a cycle is settled from: its folder, frozen once, and a policy that can be kept."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from assets import home as place
from assets.home import Home
from schemas.cycle import Policy
from schemas.errors import RefusedInput
from tests.input_folders import CYCLE


def test_two_processes_that_freeze_the_same_folder_both_get_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / "in" / "venues" / "SPTX").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / "venues" / "SPTX" / f"{name}.csv").write_text(name)
    home = Home(folder=str(tmp_path / "home"), inbox="", input_folder=str(tmp_path / "in"))
    copy, faster = shutil.copyfile, []

    def overtaken(*given: Any) -> Any:
        if not faster:
            faster.append(None)
            faster[0] = home.freeze(CYCLE)
        return copy(*given)

    monkeypatch.setattr(place.shutil, "copyfile", overtaken)
    assert home.freeze(CYCLE) == faster[0]
    [frozen] = (tmp_path / "home" / "inputs").iterdir()
    assert sorted(path.read_text() for path in frozen.rglob("*.csv")) == ["a", "b"]


def test_what_was_frozen_is_synced_before_it_has_its_name_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in" / "venues" / "SPTX").mkdir(parents=True)
    (tmp_path / "in" / "venues" / "SPTX" / "a.csv").write_text("a")
    home = Home(folder=str(tmp_path / "home"), inbox="", input_folder=str(tmp_path / "in"))
    frozen, synced = tmp_path / "home" / "inputs", list[tuple[str, bool]]()

    def seen(path: Path) -> None:
        synced.append((path.name, any(not each.name.endswith(".part") for each in frozen.iterdir())))

    monkeypatch.setattr(place, "sync", seen)
    home.freeze(CYCLE)
    assert sorted(synced[:-1]) == [("SPTX", False), ("a.csv", False), ("inputs", False), ("venues", False)]
    assert synced[-1] == ("inputs", True)


@pytest.mark.parametrize(
    "given",
    [{"execution_minutes": 10**18}, {"waiting_cycles_max": -1}, {"waiting_cycles_max": True}, {"unheard_of": 1}],
)
def test_a_policy_that_no_clock_can_keep_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(RefusedInput, match=next(iter(given))):
        Policy.of(given)
