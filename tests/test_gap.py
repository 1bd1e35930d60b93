"""The gap between value and bound: its terms say whose funds and which chains make it, and add up exactly."""

from random import Random

import numpy as np
import polars as pl
import pytest

from assets.funding.certify import bound_of
from assets.funding.decide import Answer, decide
from assets.funding.gap import Gap, gap_of
from assets.funding.problem import Problem, RowName, possible
from assets.ledger.report import _gap
from pipelines.summary import gap_lines
from schemas.errors import BrokenInvariant
from tests.selection_cases import SIZES, market, random_problem
from tests.test_certify import any_prices

CASES = [random_problem(Random(f"gap:{n}"), 1 + n % 9, size=list(SIZES)[n % len(SIZES)]) for n in range(200)]


def gaps(problem: Problem, answer: Answer) -> list[Gap]:
    floors = [(one.priority, one.value) for one in answer.certificates]
    return [
        gap_of(problem, answer.units, answer.draws, one, floors[:place])
        for place, one in enumerate(answer.certificates)
    ]


def test_all_terms_together_are_the_gap_and_none_but_the_rounding_is_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schemas.limits.STATES_MAX", 0)
    seen = {"credit": 0, "limit": 0, "part": 0, "class": 0, "cut": 0, "idle": 0, "regret": 0, "rounding": 0}
    markets = [market(Random(n), 60, tightness=0.5) for n in range(6)]
    for problem in [*CASES, *markets]:
        answer = decide(problem)
        for one, gap in zip(answer.certificates, gaps(problem, answer), strict=True):
            terms = [*gap.rows, *gap.groups, *gap.cuts, *gap.chains]
            assert min(terms, default=0) >= 0
            assert sum(terms) + gap.rounding == (one.bound - one.value) << one.scale_bits
            assert -(1 << one.scale_bits) < gap.rounding <= 0
            open_ = one.bound > one.value
            seen["credit"] += open_ and bool(answer.draws)
            seen["limit"] += any(gap.groups)
            seen["part"] += open_ and bool(((answer.units != 0) & (answer.units != problem.lots)).any())
            seen["class"] += open_ and any(one.floor_prices)
            seen["cut"] += any(gap.cuts)
            seen["idle"] += any(gap.rows)
            seen["regret"] += any(gap.chains)
            seen["rounding"] += bool(gap.rounding)
    assert all(count > 3 for count in seen.values()), seen  # Each kind of term has been there.


def test_any_prices_split_the_gap_that_they_make() -> None:
    for number, problem in enumerate(CASES):
        answer, rng = decide(problem), Random(number)
        for place, one in enumerate(answer.certificates):
            floors = [(earlier.priority, earlier.value) for earlier in answer.certificates[:place]]
            certificate = any_prices(problem, rng, one.priority)._replace(value=one.value)
            certificate = certificate._replace(bound=bound_of(possible(problem), certificate, floors))
            gap = gap_of(problem, answer.units, answer.draws, certificate, floors)
            assert min([*gap.rows, *gap.groups, *gap.chains], default=0) >= 0


def test_what_was_tried_out_has_no_gap() -> None:
    tried = [(problem, answer) for problem in CASES[:20] if (answer := decide(problem)).path == "ENUMERATED"]
    assert len(tried) > 3
    for problem, answer in tried:
        assert not any(any(part) for gap in gaps(problem, answer) for part in gap[:-1])


def test_a_bound_that_the_prices_do_not_make_is_our_fault() -> None:
    problem = market(Random(3), 60, tightness=0.5)
    answer = decide(problem)
    one = answer.certificates[0]._replace(bound=answer.certificates[0].bound + 1)
    with pytest.raises(BrokenInvariant):
        gap_of(problem, answer.units, answer.draws, one, [])


def test_idle_funds_and_the_regret_of_who_waits_are_told_where_they_are() -> None:
    # 25 coins, three chains of 10: at a price of one per coin two settle, and five coins are left.
    problem = Problem(
        chains=["a", "b", "c"], weights=np.array([10, 10, 12]), classes=np.ones(3, dtype=np.int64),
        lots=np.ones(3, dtype=np.int64), least=np.ones(3, dtype=np.int64), starts=np.arange(4),
        leg_rows=np.zeros(3, dtype=np.int64), leg_atoms=np.full(3, -10), rows=[RowName("ACCOUNT", "alpha", "USD")],
        funds=np.array([25]),
    )  # fmt: skip
    answer = decide(problem)
    one = answer.certificates[0]._replace(value=20, row_prices=[1], group_prices=[], scale_bits=0, proof="PRICES")
    one = one._replace(bound=bound_of(problem, one, []))
    # The wrong two settle: the one that waits is worth 2 more than it costs.
    gap = gap_of(problem, np.array([1, 1, 0]), {}, one, [])
    assert (one.bound, gap) == (27, Gap([5], [], [], [0, 0, 2], 0))


def test_a_report_names_the_greatest_first_and_knows_nothing_of_batches_from_before() -> None:
    classes = pl.DataFrame({"priority": [4], "scale_bits": [3]})
    prices = pl.DataFrame(
        {"priority": 4, "kind": ["ACCOUNT", "NOP", "CUT"], "party": ["alpha", "PX/beta", "gamma"],
         "instrument": ["USD", "", "BTC"], "divisor": ["", "", "7"], "price": "1", "idle": ["160", "0", "3200"]}
    )  # fmt: skip
    decisions = pl.DataFrame({"chain_id": ["M1", "M2", "M3"], "priority_class": 4, "regret": ["16", "0", "48"]})
    gap = _gap(classes, prices, decisions)
    assert gap_lines(gap, lambda atoms: f"{atoms} USD") == [
        "200 USD lies idle at gamma BTC, in whole chains", "10 USD lies idle at alpha USD",
        "3 USD regret of M3", "1 USD regret of M1",
    ]  # fmt: skip
    before = prices.with_columns(idle=pl.lit(None, dtype=pl.String)), decisions.drop("priority_class", "regret")
    assert _gap(classes, *before) == {"idle": [], "regret": []}
