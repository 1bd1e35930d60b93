"""The benchmark of selection: its instances are what they say, and no answer counts before the judge has seen it."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from assets.funding.certify import Certificate
from assets.funding.problem import Problem, RowName
from benchmarks.select import judge, worker
from benchmarks.select.__main__ import main
from benchmarks.select.engines import ENGINES, Engine, Result, removal
from benchmarks.select.instances import Case, digest, family, generate, read, write
from benchmarks.select.judge import Unlawful, proven_bound, ratio, read_answer, settled_value
from pipelines.resources import CHECKOUT
from schemas.errors import BrokenInvariant

KINDS = {
    "all or nothing": {},
    "divisible": {"divisible": True},
    "all digits": {"wei": True},
    "divisible, all digits": {"divisible": True, "wei": True},
}
PRICES_OF_NOTHING = {"scale_bits": "0", "row_prices": ["0", "0", "0"]}


def case(size: int = 300, of: str = "part:.9", seed: int = 1, **kind: bool) -> Case:
    return Case(size, *family(of), seed, **kind)


def ring(funds: list[int], lots: int = 1) -> Problem:
    """A owes B 10, B owes C 10, C owes A 10, each a chain of one payment that is worth 10."""
    return Problem(
        chains=["a-b", "b-c", "c-a"],
        weights=np.full(3, 10),
        classes=np.ones(3, dtype=np.int64),
        lots=np.full(3, lots),
        least=np.ones(3, dtype=np.int64),
        starts=np.array([0, 2, 4, 6]),
        leg_rows=np.array([0, 1, 1, 2, 2, 0]),
        leg_atoms=np.array([-10, 10, -10, 10, -10, 10]),
        rows=[RowName("ACCOUNT", party, "USD") for party in "ABC"],
        funds=np.array(funds),
    )


def settled(problem: Problem, engine: str) -> dict[str, int]:
    units = ENGINES[engine].solve(problem).units.tolist()
    return {chain: part for chain, part in zip(problem.chains, units, strict=True) if part}


def needs(problem: Problem) -> list[int]:
    net = [0] * len(problem.rows)
    for row, atoms in zip(problem.leg_rows.tolist(), problem.leg_atoms.tolist(), strict=True):
        net[row] += atoms
    return [max(0, -atoms) for atoms in net]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_seed_is_one_instance_and_another_seed_another(kind: dict[str, bool]) -> None:
    assert digest(generate(case(**kind))) == digest(generate(case(**kind)))
    assert digest(generate(case(**kind))) != digest(generate(case(seed=2, **kind)))


def test_the_families_of_a_size_and_seed_differ_in_funds_alone() -> None:
    one, other = generate(case(of="part:.9")), generate(case(of="mix:.9"))
    assert one.leg_atoms.tolist() == other.leg_atoms.tolist()
    assert one.weights.tolist() == other.weights.tolist()
    assert one.funds.tolist() != other.funds.tolist()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_in_part_every_payer_holds_the_fraction_of_its_need_and_a_receiver_nothing(kind: dict[str, bool]) -> None:
    problem = generate(case(of="part:.9", **kind))
    assert problem.funds.tolist() == [need * 9 // 10 for need in needs(problem)]
    assert generate(case(of="short", **kind)).funds.tolist() == [need * 3 // 4 for need in needs(problem)]


def test_in_half_one_payer_of_two_holds_half_and_the_rest_all() -> None:
    problem = generate(case(of="half"))
    payers = [(funds, need) for funds, need in zip(problem.funds.tolist(), needs(problem), strict=True) if need]
    poor = sum(funds == need // 2 for funds, need in payers)
    assert poor == len(payers) // 2
    assert sum(funds == need for funds, need in payers) == len(payers) - poor


def test_in_mix_the_fraction_holds_all_and_the_rest_a_share_of_its_need() -> None:
    problem = generate(case(3_000, "mix:.9"))
    payers = [(funds, need) for funds, need in zip(problem.funds.tolist(), needs(problem), strict=True) if need]
    assert all(funds <= need for funds, need in payers)
    full = sum(funds == need for funds, need in payers)
    assert 0.86 < full / len(payers) < 0.94
    assert generate(case(of="mix:1")).funds.tolist() == needs(generate(case(of="mix:1")))


def test_a_family_that_is_not_there_is_refused() -> None:
    assert family("part:.9") == ("part", Fraction(9, 10))
    for text in ("most:.9", "part:1.5", "part:x"):
        with pytest.raises(ValueError, match=r"family|Invalid"):
            family(text)


def test_amounts_with_all_digits_need_more_than_64_bits() -> None:
    assert max(generate(case(wei=True)).leg_atoms.tolist()) > 2**64
    assert generate(case(wei=False)).leg_atoms.dtype == np.int64


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_is_written_is_read_back_as_the_same_problem(kind: dict[str, bool], tmp_path: Path) -> None:
    problem = generate(case(**kind))
    write(problem, tmp_path)
    again = read(tmp_path)
    for name in Problem.__slots__:
        one, other = getattr(problem, name), getattr(again, name)
        assert (
            (one.tolist(), one.dtype) == (other.tolist(), other.dtype) if isinstance(one, np.ndarray) else one == other
        )


def test_the_published_digests_are_those_of_the_instances() -> None:
    text = (CHECKOUT / "docs/reference/benchmark-select.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(part|mix):(\S+)` \| ([0-9,]+) \| ([0-9]+) \| `([0-9a-f]{64})` \|$", text, re.MULTILINE)
    assert len(rows) >= 3
    for name, share, size, seed, published in rows:
        assert digest(generate(case(int(size.replace(",", "")), f"{name}:{share}", int(seed)))) == published


@pytest.mark.parametrize("of", ["mix:.9", "part:.9", "short", "half"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_answers_lawfully_and_settles_something(engine: str, kind: dict[str, bool], of: str) -> None:
    problem = generate(case(of=of, **kind))
    assert 0 < settled_value(problem, settled(problem, engine)) < sum(problem.weights.tolist())


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_settles_everything_that_is_funded(engine: str) -> None:
    problem = generate(case(of="part:1"))
    # One by one and in pairs is not enough even then: who is to receive first and pay later waits for ever.
    everything = dict.fromkeys(problem.chains, 1)
    assert (settled(problem, engine) == everything) == (engine not in ("fifo", "bilateral"))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_gridlock_settles_whole_or_not_at_all(engine: str) -> None:
    one_by_one = engine in ("fifo", "bilateral")
    assert settled(ring([0, 0, 0]), engine) == ({} if one_by_one else {"a-b": 1, "b-c": 1, "c-a": 1})
    assert settled(ring([10, 0, 0]), engine) == {"a-b": 1, "b-c": 1, "c-a": 1}


def test_fifo_settles_the_part_that_is_funded_of_what_may_be_parted() -> None:
    assert settled(ring([7, 0, 0], lots=10), "fifo").get("a-b") == 7
    assert settled(ring([7, 0, 0]), "fifo") == {}


def test_the_judge_refuses_what_is_not_lawful() -> None:
    problem = ring([9, 0, 0])
    assert settled_value(problem, {"a-b": 1, "b-c": 1, "c-a": 1}) == 30
    with pytest.raises(Unlawful, match=r"1 accounts end below zero \(first: A USD\)"):
        settled_value(problem, {"a-b": 1, "b-c": 1})
    with pytest.raises(Unlawful, match="settles 2 lots of 1"):
        settled_value(problem, {"a-b": 2})
    with pytest.raises(Unlawful, match="not in the instance"):
        settled_value(problem, {"a-c": 1})


def test_a_part_moves_and_is_worth_its_share_cut_to_whole_atoms() -> None:
    assert settled_value(ring([3, 0, 0], lots=3), {"a-b": 1}) == 3
    with pytest.raises(Unlawful):
        settled_value(ring([2, 0, 0], lots=3), {"a-b": 1})


def test_any_prices_prove_a_bound_and_no_smaller_one_may_be_claimed() -> None:
    problem = ring([4, 0, 0])
    assert proven_bound(problem, PRICES_OF_NOTHING | {"bound": "30"}) == 30
    # At a price of one half each chain pays and gets the same: its weight stays, and A's four atoms cost two more.
    assert proven_bound(problem, {"scale_bits": "1", "row_prices": ["1", "1", "1"], "bound": "32"}) == 32
    # What a part gains by cutting the payment is at most an atom of each leg that pays.
    assert (
        proven_bound(ring([0, 0, 0], lots=3), {"scale_bits": "0", "row_prices": ["1", "1", "1"], "bound": "33"}) == 33
    )
    for wrong in (
        {"bound": "29"},
        {"bound": "30", "row_prices": ["0", "0"]},
        {"bound": "30", "row_prices": ["0", "0", "-1"]},
    ):
        with pytest.raises(Unlawful):
            proven_bound(problem, PRICES_OF_NOTHING | wrong)


def test_a_ratio_is_cut_and_never_rounded_up_to_one() -> None:
    assert ratio(10**12 - 1, 10**12) == "0.99999999"
    assert ratio(30, 30) == ratio(0, 0) == "1.00000000"


def test_an_answer_file_that_cannot_be_trusted_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "answer.csv"
    path.write_text("chain_id,lots_settled\na-b,1\nb-c,10\n")
    assert read_answer(path) == {"a-b": 1, "b-c": 10}
    for content in ("", "chain,lots\na-b,1\n", *(f"chain_id,lots_settled\n{row}\n" for row in (
        "a-b,1\na-b,1", "a-b,-1", "a-b,1.0", "a-b,", "a-b", "a-b,1,2", "a-b,٣"))):  # fmt: skip
        path.write_text(content, encoding="utf-8")
        with pytest.raises(Unlawful):
            read_answer(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(Unlawful):
        read_answer(path)


def test_a_run_leaves_instances_answers_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--sizes=60", "--families=part:.9", "--seeds=1-2", "--engines=fifo,removal", f"--out={tmp_path}"]
    assert main(arguments) == 0
    results = pl.read_csv(tmp_path / "results.csv", infer_schema=False)
    assert results.select("seed", "engine", "status").rows() == [
        (seed, engine, "lawful") for seed in ("1", "2") for engine in ("fifo", "removal")
    ]
    folder = tmp_path / "part-0.9-60-1"
    assert settled_value(read(folder), read_answer(folder / "answer-fifo.csv")) == int(results["value"][0])
    assert "| part:.9 | 60 | first in, first out, with bypass | 2 | ? | ? |" in capsys.readouterr().out


def test_the_judge_needs_only_the_files_that_a_run_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def proving(problem: Problem) -> Result:
        bound = sum(problem.weights.tolist())
        return Result(removal(problem).units, (Certificate(1, value, bound, 0, [0] * len(problem.rows), [], []),))

    monkeypatch.setitem(ENGINES, "ours", Engine(proving, "a stand-in"))
    problem = generate(case(divisible=True, wei=True))
    write(problem, tmp_path)
    value, bound = settled_value(problem, settled(problem, "removal")), sum(problem.weights.tolist())
    worker.run(tmp_path, "ours")
    files = [str(tmp_path), str(tmp_path / "answer-ours.csv"), str(tmp_path / "certificate-ours.json")]
    assert judge.main(files) == 0
    assert capsys.readouterr().out == f"lawful, value {value}\nproven bound {bound}, ratio {ratio(value, bound)}\n"
    (tmp_path / "certificate-ours.json").write_text("[{}]")
    assert judge.main(files) == 1
    value += 1
    with pytest.raises(BrokenInvariant):
        worker.run(tmp_path, "ours")
