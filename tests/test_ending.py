"""How a batch ends, from the command line: approved by people, confirmed by custodians, or reversed."""

import csv
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.resources import CHECKOUT
from tests.deployment import Deployment
from tests.input_folders import CYCLE, FIVE_TRADES, NEXT, SHORT, THIRD, WHOLE, reports, write_folder, write_table

FIRST = f"{CYCLE}#1"
B_USD = f"{FIRST}/PAY_OUT/B/USD"
CLOSING = "A BTC 1\nA ETH 100\nB USD 342000\nC USD 100500"  # What the worked cycle leaves in the accounts.


@pytest.fixture
def deployment(worked: Deployment, tmp_path: Path) -> Deployment:
    """A deployment of its own that has settled the worked cycle, and whose custodians have not answered yet."""
    return Deployment(shutil.copytree(worked.folder, tmp_path / "home"))


def ids(deployment: Deployment, batch_id: str = FIRST) -> list[str]:
    """Return what the custodians were told of a batch, as they read it."""
    files = sorted((deployment.folder / "outbox" / batch_id.replace("#", ".")).glob("*.csv"))
    return [row["instruction_id"] for path in files for row in csv.DictReader(path.read_text().splitlines())]


def later(folder: Path, holdings: str | None, cycle_id: str = NEXT, **outcomes: list[str]) -> Path:
    """Return the input folder of a cycle without trades, with statements and what the custodians say."""
    write_folder(folder, [], holdings, cycle_id=cycle_id)
    if outcomes:
        rows = [(name, outcome) for outcome, names in outcomes.items() for name in names]
        write_table(folder / "custody" / "confirmations.csv", ("instruction_id", "outcome"), rows)
    return folder


def life(deployment: Deployment, cycle_id: str = CYCLE) -> list[str]:
    record = deployment.trine("report", "--cycle", cycle_id, "--json").record
    assert record["life"][-1]["state_after"] == record["state"]
    return [step["state_after"] for step in record["life"]]


def open_ids(deployment: Deployment) -> dict[str, str | None]:
    record = deployment.trine("report", "--cycle", CYCLE, "--json").record
    return {row["instruction_id"]: row["outcome"] for row in record["open_instructions"]}


def test_every_instruction_is_in_the_outbox_and_open_until_it_is_answered(deployment: Deployment) -> None:
    assert len(ids(deployment)) == 7
    assert set(open_ids(deployment)) == set(ids(deployment))
    said = deployment.trine("report").out
    assert "executing" in said
    assert said.count(": no answer") == 5
    assert "and 2 more instructions" in said


def test_when_the_custodians_say_that_all_is_done_the_cycle_is_final(deployment: Deployment, tmp_path: Path) -> None:
    deployment.settle(later(tmp_path / "2", None, DONE=ids(deployment)))
    assert life(deployment)[-2:] == ["EXECUTING", "FINAL"]
    assert open_ids(deployment) == {}
    said = deployment.store.rows("confirmations", FIRST)
    assert set(said["source"]) == {f"{NEXT}#1"}
    before = deployment.dump()
    assert deployment.settle(tmp_path / "2")["committed_before"]
    assert deployment.dump() == before
    # A batch that moves nothing has nothing to wait for.
    deployment.settle(later(tmp_path / "3", None, THIRD))
    assert life(deployment, NEXT)[-1] == "FINAL"
    assert deployment.trine("verify").exit_code == 0


def test_statements_that_equal_the_book_make_it_final_without_a_word(deployment: Deployment, tmp_path: Path) -> None:
    deployment.settle(later(tmp_path / "2", CLOSING))
    assert life(deployment)[-1] == "FINAL"


def test_a_break_leaves_its_instruction_open_also_when_the_next_statement_agrees(
    deployment: Deployment, tmp_path: Path
) -> None:
    lacking = CLOSING.replace("B USD 342000", "B USD 5")
    deployment.settle(later(tmp_path / "2", lacking))
    assert open_ids(deployment) == {B_USD: None}
    deployment.settle(later(tmp_path / "3", lacking, THIRD))
    assert life(deployment)[-1] == "EXECUTING", "the book has followed the statement, which shows no payment"
    answer = deployment.trine("confirm", CYCLE, "--outcome", "DONE", "--by", "Ann")
    assert f"{FIRST}: 1 instructions DONE, 0 open. It is FINAL." in answer.out
    assert deployment.store.rows("confirmations", FIRST).filter(instruction_id=B_USD)["source"].to_list() == ["ann"]


def test_what_is_unknown_stays_open_until_the_custodian_says_done(deployment: Deployment, tmp_path: Path) -> None:
    rest = [name for name in ids(deployment) if name != B_USD]
    second = later(tmp_path / "2", None, DONE=rest, UNKNOWN=[B_USD])
    deployment.settle(second)
    assert life(deployment)[-1] == "EXECUTION_UNKNOWN"
    assert open_ids(deployment) == {B_USD: "UNKNOWN"}
    assert "1 instructions unknown, 0 rejected" in deployment.trine("report", "--cycle", CYCLE).out
    # Somebody asks, and what the second cycle said before is not said again over it.
    asked = ("confirm", CYCLE, "--instruction", B_USD, "--outcome", "REJECTED", "--by", "ann")
    assert deployment.trine(*asked).exit_code == 0
    before = deployment.dump()
    assert deployment.settle(second)["committed_before"]
    assert deployment.dump() == before
    strange = later(tmp_path / "3", None, THIRD, DONE=[B_USD, f"{FIRST}/PAY_OUT/Z/USD"])
    assert deployment.settle(strange, exit_code=3)["flaws"] == [
        {"file": "custody/confirmations.csv", "flaw": "UNKNOWN_INSTRUCTION", "rows": 1}
    ]
    assert life(deployment)[-1] == "FINAL"


def test_what_was_rejected_is_reversed_and_the_cycle_settles_again_under_other_ids(
    deployment: Deployment, tmp_path: Path
) -> None:
    first = ids(deployment)
    deployment.trine("confirm", CYCLE, "--instruction", B_USD, "--outcome", "REJECTED", "--by", "ann")
    reverse = ("compensate", CYCLE, "--reason", "the bank refused", "--by", "bob")
    answer = deployment.trine(*reverse)
    assert answer.exit_code == 2
    assert "of 6 of its 7 instructions it is not known whether they were executed" in answer.err
    deployment.trine("confirm", CYCLE, "--outcome", "DONE", "--by", "ann")
    assert open_ids(deployment) == {B_USD: "REJECTED"}, "a rejection is an answer"
    answer = deployment.trine(*reverse)
    assert answer.exit_code == 0, answer.err
    assert "which is EXECUTING: 6 instructions pay back" in answer.out
    back = ids(deployment, f"{CYCLE}#2")
    assert {name.replace("#2/", "#1/") for name in back} == set(first) - {B_USD}

    summary = deployment.settle(write_folder(tmp_path / "again", reports(FIVE_TRADES), SHORT))
    assert (summary["batch_id"], summary["state"]) == (f"{CYCLE}#3", "EXECUTING")
    third = ids(deployment, f"{CYCLE}#3")
    assert third
    assert not set(third) & {*first, *back}
    assert deployment.trine("confirm", CYCLE, "--outcome", "DONE", "--by", "ann").exit_code == 2, "of which batch?"
    assert deployment.trine("confirm", f"{CYCLE}#2", "--outcome", "DONE", "--by", "ann").out.endswith("FINAL.\n")
    assert deployment.trine("verify").exit_code == 0


def test_where_nothing_was_executed_nothing_is_paid_back(deployment: Deployment) -> None:
    deployment.trine("confirm", CYCLE, "--outcome", "REJECTED", "--by", "ann")
    answer = deployment.trine("compensate", CYCLE, "--reason", "all refused", "--by", "ann")
    assert "which is FINAL: 0 instructions pay back" in answer.out
    assert deployment.trine("report", "--cycle", CYCLE).exit_code == 2, "nothing of the cycle is settled"


def test_two_distinct_people_must_approve_what_the_policy_asks_two_for(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "home")
    source = write_folder(tmp_path / "in", reports(FIVE_TRADES), WHOLE)
    (source / "cycle.toml").write_text(f'cycle = "{CYCLE}"\n[policy]\napprovals = 2\n')
    assert deployment.trine("approve", CYCLE, "--by", "ann").exit_code == 2
    answer = deployment.trine("settle", "--input", source)
    assert answer.exit_code == 7
    assert "0 of 2 people have approved it" in answer.err
    assert not (deployment.folder / "outbox").exists()
    assert "reserved, inputs clean" in deployment.trine("report", "--cycle", CYCLE).out

    assert "1 of 2 people have approved it. It waits" in deployment.trine("approve", CYCLE, "--by", "Ann").out
    again = deployment.trine("approve", CYCLE, "--by", "ann ")
    assert again.exit_code == 2
    assert "ann has approved it before" in again.err
    assert deployment.trine("approve", CYCLE, "--by", "a\x1b[31m").exit_code == 2
    assert "2 of 2 people have approved it. Run" in deployment.trine("approve", CYCLE, "--by", "bob").out
    assert deployment.settle(source)["batch_id"] == FIRST
    steps = deployment.trine("report", "--json").record["life"]
    assert [step["decided_by"] for step in steps if step["state_after"] == "APPROVED"] == ["ann, bob"]
    assert deployment.trine("approve", CYCLE, "--by", "eve").exit_code == 2


@pytest.fixture
def stopped(worked_folder: Path, tmp_path: Path, dagster_home: Path) -> Iterator[subprocess.Popen[str]]:
    """A `trine settle` that has begun its batch and then hangs, holding the lock of the home."""
    # Dagster's history is its own, so that nothing of Dagster's is locked while it hangs.
    environment = {**os.environ, "DAGSTER_HOME": str(shutil.copytree(dagster_home, tmp_path / "dagster"))}
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "settle", "--input", str(worked_folder)]
    with subprocess.Popen(
        [*command, "--home", str(tmp_path / "home")], cwd=CHECKOUT, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert "cycle_inputs" in process.stderr.readline()
        os.kill(process.pid, signal.SIGSTOP)
        yield process
        process.kill()


def test_a_hung_process_is_taken_over_and_changes_nothing_when_it_wakes_up(
    stopped: subprocess.Popen[str], worked: Deployment, worked_folder: Path, tmp_path: Path
) -> None:
    deployment = Deployment(tmp_path / "home")
    answer = deployment.trine("settle", "--input", worked_folder, "--take-over", "--json")
    assert answer.exit_code == 0, answer.err
    assert (answer.record["batch_id"], answer.record["committed_before"]) == (FIRST, False)
    assert answer.record["plan_digest"] == worked.trine("report", "--json").record["plan_digest"]
    before = deployment.dump()
    os.kill(stopped.pid, signal.SIGCONT)
    _, said = stopped.communicate()
    assert stopped.returncode == 5
    assert "TakenOver" in said
    assert deployment.dump() == before


def test_who_waits_for_a_hung_process_is_told_so_and_how_to_go_on(
    stopped: subprocess.Popen[str], worked_folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "settle", "--input", str(worked_folder)]
    with subprocess.Popen(
        [*command, "--home", str(tmp_path / "home")], cwd=CHECKOUT, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    ) as waiting:  # fmt: skip
        assert waiting.stderr is not None
        said = waiting.stderr.readline()
        waiting.kill()
    assert "Another process is settling in" in said
    assert "--take-over" in said
