"""What `trine select` tells: the result, as one object, as a folder and for people."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from assets.funding.problem import RowName
from assets.funding.whatif.case import Case, read_case
from pipelines.cli import main
from pipelines.selection_report import ratio, result_of, write_folder
from schemas.errors import BrokenInvariant
from tests.whatif_tables import RING, answer_of, write_tables


@pytest.fixture
def files(tmp_path: Path) -> Any:
    return partial(write_tables, tmp_path)


@pytest.fixture
def read(files: Any) -> Any:
    def case(reference: str | None = None, **tables: Any) -> Case:
        return read_case(**files(**tables), reference=reference)

    return case


# The answer


@pytest.mark.parametrize(
    ("value", "bound", "told"),
    [(0, 0, 1.0), (5, 5, 1.0), (2, 3, 0.666666666666), (10**40 - 1, 10**40, 0.999999999999), (0, 7, 0.0)],
)
def test_a_ratio_is_cut_and_is_one_only_for_equals(value: int, bound: int, told: float) -> None:
    assert ratio(value, bound) == told


def test_value_and_bound_are_half_of_what_the_age_doubles(read: Any) -> None:
    case = read(chains=["c,,1,,alpha,beta,USD,5"], balances=["alpha,USD,5"])
    answer = answer_of(case)
    answer.certificates[0] = answer.certificates[0]._replace(bound=16)
    result = result_of(case, answer, [])
    assert (result["value"], result["bound"], result["ratio"]) == ("7", "8", 0.9375)


def test_a_top_up_is_told_by_account(read: Any) -> None:
    case = read(chains=RING[:1])
    row = case.problem.rows.index(RowName("ACCOUNT", "alpha", "USD"))
    found = SimpleNamespace(chain=0, reason="MONY", top_up=[(row, 5)], exact=True)
    assert result_of(case, answer_of(case), [found])["waiting"] == [
        {
            "chain_id": "r1",
            "reason": "MONY",
            "top_up": [{"account": "alpha", "instrument": "USD", "quantity_atoms": "5"}],
            "top_up_exact": True,
        }
    ]


def test_an_answer_that_is_not_what_its_certificate_says_is_our_fault(read: Any) -> None:
    case = read(chains=RING)
    answer = answer_of(case)
    answer.certificates[0] = answer.certificates[0]._replace(value=answer.certificates[0].value - 1)
    with pytest.raises(BrokenInvariant):
        result_of(case, answer, [])


def test_every_account_that_is_touched_or_given_has_an_ending_balance(read: Any) -> None:
    case = read(chains=["c,,,,alpha,beta,USD,5", "d,,,,gamma,beta,EUR,5"], balances=["alpha,USD,7", "omega,BTC,1"])
    told = {
        (r["account"], r["instrument"]): r["available_atoms"] for r in result_of(case, answer_of(case), [])["balances"]
    }
    assert told == {
        ("alpha", "USD"): "2", ("beta", "EUR"): "0", ("beta", "USD"): "5", ("gamma", "EUR"): "0", ("omega", "BTC"): "1",
    }  # fmt: skip


# The command


@pytest.fixture
def trine(files: Any) -> Any:
    def run(*options: str, **tables: Any) -> Any:
        paths = files(**tables)
        return CliRunner().invoke(
            main, ["select", *(x for k, v in paths.items() for x in (f"--{k}", str(v))), *options]
        )

    return run


def test_the_command_tells_one_json_object(trine: Any) -> None:
    done = trine("--json", chains=[*RING, "x,,,,alpha,beta,USD,20"], balances=["alpha,USD,3"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["chosen"], told["value"], told["bound"], told["ratio"]) == (["r1", "r2", "r3"], "15", "15", 1.0)
    (waits,) = told["waiting"]
    assert (waits["chain_id"], waits["top_up_exact"]) == ("x", True)
    # 3 and the 5 that r3 brings are there: x and r3 and r2 are then worth more than the ring.
    assert waits["top_up"] == [{"account": "alpha", "instrument": "USD", "quantity_atoms": "12"}]


def test_the_command_tells_whose_funds_and_which_chains_make_the_gap(trine: Any) -> None:
    coins = [f"K{k:02},,,,A,B,USD,10" for k in range(1, 20)] + ["K20,,,,A,B,USD,10"]
    done = trine("--json", "--effort", "quick", chains=coins, balances=["A,USD,25"])
    told = json.loads(done.stdout)
    assert (told["value"], told["bound"]) == ("20", "25")
    assert told["gap"]["idle"] == [
        {"priority": 4, "kind": "ACCOUNT", "party": "A", "instrument": "USD", "divisor": "", "atoms": "5"}
    ]
    assert "gap      5 lies idle at A USD" in trine("--effort", "quick", chains=coins, balances=["A,USD,25"]).stdout


def test_the_command_tells_people_what_waits_and_what_would_release_it(trine: Any) -> None:
    done = trine(chains=[*RING, "x,,,,alpha,beta,USD,20"], balances=["alpha,USD,3"])
    assert done.exit_code == 0, done.output
    assert "chosen   3 of 4 chains" in done.stdout
    assert "cheapest top-up: 12 USD for alpha" in done.stdout


def test_the_folder_holds_all_or_is_not_there(trine: Any, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "result"
    refused = trine("--out", str(folder), chains=["c,,,,alpha,beta,USD,1.5"])
    assert refused.exit_code == 2
    assert "chains.csv line 2: quantity_atoms" in refused.output
    assert not folder.parent.exists()
    done = trine("--out", str(folder), "--json", chains=[*RING, "x,,,,alpha,beta,USD,20"], balances=["alpha,USD,3"])
    assert done.exit_code == 0, done.output
    assert {path.name for path in folder.parent.rglob("*")} == {
        "result", "decisions.csv", "balances.csv", "pay_in.csv", "certificate.json", "result.json",
    }  # fmt: skip
    assert json.loads((folder / "result.json").read_text()) == json.loads(done.stdout)
    decisions = (folder / "decisions.csv").read_text().splitlines()
    assert decisions[:2] == ["chain_id,decision,part_atoms,reason", "r1,SETTLES,,"]
    assert decisions[-1].startswith("x,WAITS,,")
    assert "alpha,USD,0,0,17" in (folder / "pay_in.csv").read_text().splitlines()


def test_a_folder_that_is_not_empty_is_left_alone(trine: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note").write_text("keep")
    done = trine("--out", str(tmp_path / "mine"), chains=RING)
    assert done.exit_code == 2
    assert "is not empty" in done.output
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["note"]


def test_an_empty_folder_is_filled(read: Any, tmp_path: Path) -> None:
    case = read(chains=RING)
    answer = answer_of(case)
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "empty", case, answer, result_of(case, answer, []))
    assert len(list((tmp_path / "empty").iterdir())) == 5
    assert not list(tmp_path.glob(".trine-*"))


def test_each_finding_is_told_on_a_line_of_its_own(trine: Any) -> None:
    done = trine(chains=["c,,,,a,b,USD,x", "c,,,,a,b,USD,y"])
    assert done.exit_code == 2
    assert len([line for line in done.stderr.splitlines() if "chains.csv line" in line]) == 2
