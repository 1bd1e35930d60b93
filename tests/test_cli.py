"""The command line: what it refuses, how it says so, and that it leaves nothing behind."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.cli import main
from pipelines.resources import CHECKOUT
from schemas.printing import printable
from tests.deployment import Deployment
from tests.input_folders import CYCLE, NEXT


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path / "home")


@pytest.fixture
def source(worked_folder: Path, tmp_path: Path) -> Path:
    """A good input folder, to spoil."""
    return shutil.copytree(worked_folder, tmp_path / "in")


def without_a_name(source: Path) -> None:
    (source / "cycle.toml").unlink()


def with_garbage_for_toml(source: Path) -> None:
    (source / "cycle.toml").write_bytes(b"cycle = \xff\xfe")


def with_a_garbage_name(source: Path) -> None:
    (source / "cycle.toml").write_text('cycle = "last tuesday"\n')


def with_a_time_that_opens_no_cycle(source: Path) -> None:
    (source / "cycle.toml").write_text('cycle = "C4H-20261102-0900"\n')


def with_a_cycle_far_ahead(source: Path) -> None:
    (source / "cycle.toml").write_text('cycle = "C4H-22261102-0800"\n')


def with_a_cycle_before_the_first(source: Path) -> None:
    (source / "cycle.toml").write_text('cycle = "C4H-20251102-0800"\n')


def with_a_cycle_beyond_all_calendars(source: Path) -> None:
    (source / "cycle.toml").write_text('cycle = "C4H-99991231-2000"\n')


def gone(source: Path) -> None:
    shutil.rmtree(source)


@pytest.mark.parametrize(
    ("spoil", "advice"),
    [
        (gone, "Expected the input folder of one cycle"),
        (without_a_name, "Add one with the line cycle ="),
        (with_garbage_for_toml, "cycle.toml is not TOML in UTF-8"),
        (with_a_garbage_name, "Expected a name like C4H-20260101-0000"),
        (with_a_time_that_opens_no_cycle, "Expected a name like C4H-20260101-0000"),
        (with_a_cycle_beyond_all_calendars, "Expected a name like C4H-20260101-0000"),
        (with_a_cycle_far_ahead, "its cut is at 2226-11-02T12:00:00+00:00"),
        (with_a_cycle_before_the_first, "from C4H-20260101-0000 on"),
    ],
)
def test_a_folder_that_names_no_cycle_is_refused_before_anything_is_written(
    deployment: Deployment, source: Path, spoil: Callable[[Path], None], advice: str
) -> None:
    spoil(source)
    answer = deployment.trine("settle", "--input", source)
    assert (answer.exit_code, answer.out) == (2, "")
    assert answer.err.startswith("RefusedInput: ")
    assert advice in answer.err
    assert "Nothing was written" in answer.err
    assert not deployment.folder.exists()


def without_prices(source: Path) -> None:
    (source / "reference" / "prices.csv").unlink()


def with_unreadable_participants(source: Path) -> None:
    (source / "reference" / "participants.csv").write_bytes(b"\xff\xfe\x00")


def without_the_dollar(source: Path) -> None:
    path = source / "reference" / "instruments.csv"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "USD" not in line))


def with_an_unknown_rule(source: Path) -> None:
    (source / "cycle.toml").write_text(f'cycle = "{CYCLE}"\n[policy]\nround_up = true\n')


def with_a_policy_that_is_no_table(source: Path) -> None:
    (source / "cycle.toml").write_text(f'cycle = "{CYCLE}"\npolicy = 1\n')


def of_another_cycle(source: Path) -> None:
    (source / "cycle.toml").write_text(f'cycle = "{NEXT}"\n')


@pytest.mark.parametrize(
    ("spoil", "advice"),
    [
        (without_prices, "reference/ has no prices.csv"),
        (with_unreadable_participants, "Correct the file, then run the cycle again"),
        (without_the_dollar, "Add it there, or name another in cycle.toml"),
        (with_an_unknown_rule, "'round_up' is unknown"),
        (with_a_policy_that_is_no_table, "'policy' must be a table"),
        (of_another_cycle, "Give the folder of the right cycle"),
    ],
)
def test_a_folder_that_cannot_be_settled_is_refused_and_leaves_no_record(
    deployment: Deployment, source: Path, spoil: Callable[[Path], None], advice: str
) -> None:
    spoil(source)
    answer = deployment.trine("settle", "--input", source, "--cycle", CYCLE)
    assert (answer.exit_code, answer.out) == (2, "")
    assert advice in answer.err
    assert "Nothing was written" in answer.err
    assert "Traceback" not in answer.err
    assert not any(deployment.dump().values())
    assert not deployment.home.docs().exists()


@pytest.mark.parametrize(
    "arguments", [("report",), ("report", "--cycle", NEXT), ("trace", "A", "USD"), ("trace", "SPTX:2026-11-02:1")]
)
def test_where_nothing_is_settled_there_is_nothing_to_show(deployment: Deployment, arguments: tuple[str, ...]) -> None:
    answer = deployment.trine(*arguments)
    assert (answer.exit_code, answer.out) == (2, "")
    assert answer.err.startswith("RefusedInput: no committed cycle")


def test_json_is_one_object_on_standard_output_with_amounts_as_text(worked: Deployment) -> None:
    record = worked.trine("report", "--positions", "--json").record
    amounts = [value for row in record["positions"] for name, value in row.items() if name.endswith("_atoms")]
    assert amounts
    assert all(type(amount) is str and int(amount) is not None for amount in amounts)
    assert json.loads(json.dumps(record), parse_float=lambda text: pytest.fail(f"a float: {text}")) == record


def test_the_report_for_people_has_the_worked_figures(worked: Deployment) -> None:
    answer = worked.trine("report", "--positions", "--waiting", "--quarantine")
    assert answer.exit_code == 0
    said = " ".join(answer.out.split())
    assert "settled 5 of 5 chains, 2,659,500.00 USD" in said
    assert "executing, inputs clean" in said
    assert "BTC 6,600,000.00" in said, "66 BTC of gross obligations at 100,000 each"


def test_without_a_home_the_records_are_where_trine_home_says(
    worked: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRINE_HOME", str(worked.folder))
    result = CliRunner().invoke(main, ["report", "--json"], catch_exceptions=False)
    assert json.loads(result.stdout)["batch_id"] == f"{CYCLE}#1"


def test_help_and_reports_do_not_wait_for_what_only_settling_needs() -> None:
    program = (
        "import sys; from click.testing import CliRunner; from pipelines.cli import main;"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0;"
        "print(sorted({'dagster', 'polars', 'great_expectations', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout.strip() == "[]"


def test_records_of_a_version_to_come_are_not_touched(worked: Deployment, tmp_path: Path) -> None:
    home = shutil.copytree(worked.folder, tmp_path / "home")
    with sqlite3.connect(home / "records.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = (home / "records.sqlite").read_bytes()
    answer = Deployment(home).trine("report")
    assert answer.exit_code == 2
    assert "newer" in answer.err
    assert (home / "records.sqlite").read_bytes() == before


def test_a_key_of_the_cycle_that_is_misplaced_is_refused_and_not_ignored(deployment: Deployment, source: Path) -> None:
    (source / "cycle.toml").write_text(f'cycle = "{CYCLE}"\nreference_instrument = "EUR"\n')
    answer = deployment.trine("settle", "--input", source)
    assert answer.exit_code == 2
    assert "'reference_instrument' is unknown; expected cycle and the table [policy]" in answer.err


def as_a_pipe(path: Path) -> None:
    os.mkfifo(path)


def as_a_broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


def as_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [as_a_pipe, as_a_broken_link, as_a_device, Path.mkdir])
@pytest.mark.parametrize("place", ["custody/statement.csv", "venues/control_totals.csv"])
def test_what_is_no_regular_file_is_refused_for_it_would_read_as_nothing(
    deployment: Deployment, source: Path, make: Callable[[Path], None], place: str
) -> None:
    (source / place).unlink(missing_ok=True)
    make(source / place)
    answer = deployment.trine("settle", "--input", source)
    assert answer.exit_code == 2
    assert "is not a regular file, and would read as nothing" in answer.err


def test_a_disk_or_database_that_fails_has_an_exit_code_of_its_own(source: Path, tmp_path: Path) -> None:
    home = tmp_path / "spoilt"
    home.mkdir()
    (home / "records.sqlite").write_bytes(b"this is no database" * 100)
    for answer in (Deployment(home).trine("settle", "--input", source), Deployment(home).trine("report")):
        assert (answer.exit_code, answer.out) == (6, "")
        assert "Unusable: DatabaseError" in answer.err
    beside_a_file = Deployment(source / "cycle.toml" / "home").trine("settle", "--input", source)
    assert beside_a_file.exit_code == 6
    assert "Unusable: FileExistsError" in beside_a_file.err


def test_reading_a_home_that_is_not_there_makes_none(deployment: Deployment) -> None:
    for command in (("report",), ("trace", "A", "BTC"), ("trace", "SPTX:2026-11-02:E1")):
        assert deployment.trine(*command).exit_code == 2
    assert not deployment.folder.exists()


def test_a_file_name_cannot_speak_to_the_terminal() -> None:
    assert printable("a\x1b[31m\nb é") == "a\\x1b[31m\\x0ab é"
