"""Which chains settle now: frames in, a decision for every chain out, with what proves and what would improve it.

The engine decides on integers. Whatever it says is checked by another road, by netting, before anything is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from assets.funding.build import Built, build, usable
from assets.funding.certify import Certificate
from assets.funding.decide import Answer, decide
from assets.funding.explain import Explanation, explain, pay_in_schedule
from assets.funding.gap import Gap, gap_of
from assets.funding.problem import Problem
from assets.funding.worth import Price, Prices
from assets.netting.net import net_obligations
from assets.obligations.derive import settling_obligations
from schemas.atoms import require_carried, sum_atoms
from schemas.errors import BrokenInvariant
from schemas.instruction import CreditDraw
from schemas.obligation import Decision
from schemas.selection import ClassBound, PayIn, ShadowPrice, TopUp

NOTHING = pl.lit(0, dtype=pl.Int128)

Engine = Callable[[Problem], Answer]


class Selection(NamedTuple):
    """What is decided about each chain, and how."""

    decisions: pl.DataFrame  # Decision
    draws: pl.DataFrame  # CreditDraw
    top_ups: pl.DataFrame  # TopUp
    schedule: pl.DataFrame  # PayIn
    certificates: pl.DataFrame  # ClassBound
    prices: pl.DataFrame  # ShadowPrice
    weight_atoms: int
    bound_atoms: int
    solver: str
    path: str


def select_chains(
    trades: pl.DataFrame,
    obligations: pl.DataFrame,
    available: pl.DataFrame,
    settlement_credit: pl.DataFrame,
    *,
    lines: pl.DataFrame | None = None,
    scale: pl.DataFrame | None = None,
    reference_instrument: str | None = None,
    minimums: pl.DataFrame | None = None,
    bilateral: pl.DataFrame | None = None,
    links: pl.DataFrame | None = None,
    engine: Engine = decide,
) -> Selection:
    """Return the decision on every chain of `trades`.

    Shapes: Trade, Obligation, Available, SettlementCredit, CreditLine, `scale` as of `assets.reference.value_scale`,
    `minimums` (participant, instrument, minimum_atoms), `bilateral` (party, counterparty, limit_atoms of the reference
    instrument), Link. `lines` bound what settles by NOP and DSL, and where they have `draw_limit_atoms` what is drawn.
    """
    known = None
    if scale is not None:
        known = {instrument: Price(units, divisor) for instrument, units, divisor in scale.rows()}
    worth = Prices(known, reference_instrument)
    built = build(
        trades, obligations, available, settlement_credit, worth,
        lines=lines, minimums=minimums, bilateral=bilateral, links=links,
    )  # fmt: skip
    answer = engine(built.problem)
    gaps = _gaps(built.problem, answer)
    decisions, top_ups = _decisions(built, answer, worth, _regrets(built.problem, answer, gaps))
    draws = _draws(built, answer)
    settling = settling_obligations(obligations, trades, decisions)
    require_funded(settling, available, draws, minimums)
    return Selection(
        decisions, draws, top_ups, _schedule(built, answer), *_proof(built.problem, answer, gaps),
        sum(one.value for one in answer.certificates), sum(one.bound for one in answer.certificates),
        answer.solver, answer.path,
    )  # fmt: skip


def _gaps(problem: Problem, answer: Answer) -> list[Gap]:
    """Return how the gap of each class splits, in the order of the certificates."""
    values = [(one.priority, one.value) for one in answer.certificates]
    return [
        gap_of(problem, answer.units, answer.draws, one, values[:place])
        for place, one in enumerate(answer.certificates)
    ]


def _regrets(problem: Problem, answer: Answer, gaps: list[Gap]) -> list[int]:
    """Return what each chain adds to the gap of its own class."""
    own = {one.priority: gap.chains for one, gap in zip(answer.certificates, gaps, strict=True)}
    return [own[number][k] for k, number in enumerate(problem.classes.tolist())]


def _decisions(built: Built, answer: Answer, worth: Prices, regrets: list[int]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Say of each chain what of it settles, or the first reason why not and the funds found that would release it."""
    problem, units, lots = built.problem, answer.units.tolist(), built.problem.lots.tolist()
    lot_atoms = built.lot_atoms.tolist()
    bases: list[str | None] = [None] * problem.count
    for chain, base in built.trades.select("chain_id", "base").rows():
        if chain in built.stands and bases[built.stands[chain]] is None:
            bases[built.stands[chain]] = base
    why = {found.chain: found for found in explain(problem, answer, worth.worth(), base=bases)}
    rows: list[tuple[Any, ...]] = []
    top_ups = []
    told = set[int]()
    columns = ("chain_id", "hold_reason", "value_atoms", "age", "base_atoms", "quote_atoms")
    for chain, hold, value, age, base, quote in built.trades.select(columns).rows():
        k = built.stands.get(chain)
        if k is None:
            rows.append((chain, False, hold, None, None, value, age, 0, 0, None, None, None, "0"))
            continue
        proof = int(problem.classes[k]), "0" if k in told else str(regrets[k])
        told.add(k)
        if units[k]:
            part = units[k] * lot_atoms[k] if lots[k] > 1 else base
            rows.append((chain, True, None, None, None, value, age, part, quote * part // base, None, None, *proof))
        else:
            found = why[k]
            short = problem.rows[found.row] if found.row is not None else None
            who = (short.party, short.instrument) if short and short.kind == "ACCOUNT" else (None, None)
            rows.append((chain, False, found.reason, *who, value, age, 0, 0, _cost(found), found.exact, *proof))
            for row, atoms in found.top_up or ():
                top_ups.append((chain, problem.rows[row].party, problem.rows[row].instrument, atoms))
    dtypes = Decision.dtypes()
    names = (
        "chain_id", "settles", "reason", "short_participant", "short_instrument", "value_atoms", "age", "base_atoms",
        "quote_atoms", "top_up_value_atoms", "top_up_exact", "priority_class", "regret",
    )  # fmt: skip
    require_carried((atoms for *_, atoms in top_ups), "a top-up")
    decisions = pl.DataFrame(rows, schema={name: dtypes[name] for name in names}, orient="row")
    return Decision.hold(decisions), TopUp.hold(pl.DataFrame(top_ups, schema=TopUp.dtypes(), orient="row"))


def _cost(found: Explanation) -> int | None:
    """Return what the funds that release a chain are worth, rounded up."""
    if found.cost is None:
        return None
    cost = math.ceil(found.cost)
    require_carried([cost], "the value of a top-up")
    return cost


def _draws(built: Built, answer: Answer) -> pl.DataFrame:
    """Return what each client draws on its brokers: exactly what its own funds lack, line by line in order of id."""
    rows = [
        (*built.lenders[place], int(atoms))
        for place, atoms in sorted(answer.draws.items())
        if atoms and place < len(built.lenders)  # The others are limits on positions.
    ]
    return CreditDraw.hold(pl.DataFrame(rows, schema=CreditDraw.dtypes(), orient="row"))


def _schedule(built: Built, answer: Answer) -> pl.DataFrame:
    rows = sorted(pay_in_schedule(built.problem, answer))
    require_carried((max(row.has_atoms, row.pays_net_atoms, row.must_bring_atoms) for row in rows), "a pay-in")
    return PayIn.hold(pl.DataFrame(rows, schema=PayIn.dtypes(), orient="row"))


def _proof(problem: Problem, answer: Answer, gaps: list[Gap]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return what each class is worth and can be worth at most, the prices that prove it, and what the gap is made of."""
    bounds = []
    prices = []
    for one, gap in zip(answer.certificates, gaps, strict=True):
        require_carried([one.bound], "the weight of chains")
        bounds.append((one.priority, one.value, one.bound, one.scale_bits, one.proof))
        for *name, price, idle in _priced(problem, answer, one, gap):
            if price or idle:
                prices.append((one.priority, *name, "", str(price), str(idle)))
        for cut, idle in zip(one.cuts, gap.cuts, strict=True):
            _, party, instrument = problem.rows[cut.row]
            prices.append((one.priority, "CUT", party, instrument, str(cut.divisor), str(cut.price), str(idle)))
    return (
        ClassBound.hold(pl.DataFrame(bounds, schema=ClassBound.dtypes(), orient="row")),
        ShadowPrice.hold(pl.DataFrame(prices, schema=ShadowPrice.dtypes(), orient="row")),
    )


def _priced(problem: Problem, answer: Answer, one: Certificate, gap: Gap) -> list[tuple[str, str, str, int, int]]:
    """Return kind, party, instrument, price and idle of each row, limit and other class."""
    regrets = np.array(gap.chains, dtype=object)
    others = [other.priority for other in answer.certificates if other.priority != one.priority]
    floors = dict(zip(others, one.floor_prices, strict=False))  # A later class has no floor yet.
    return [
        *((*name, price, idle) for name, price, idle in zip(problem.rows, one.row_prices, gap.rows, strict=True)),
        *(
            (group.kind, group.name, "", price, idle)
            for group, price, idle in zip(problem.groups, one.group_prices, gap.groups, strict=True)
        ),
        *(
            ("FLOOR", str(other), "", floors.get(other, 0), int(regrets[problem.classes == other].sum()))
            for other in others
        ),
    ]


def require_funded(
    settling: pl.DataFrame, available: pl.DataFrame, draws: pl.DataFrame, minimums: pl.DataFrame | None = None
) -> None:
    """Raise BrokenInvariant unless every account keeps its minimum, or what it has of it, once `settling` moves.

    By netting, not by the numbers of the search. Shapes: Obligation, Available, CreditDraw. An unknown account holds
    nothing.
    """
    keys = ["participant", "instrument"]
    drawn = sum_atoms(draws.rename({"client": "participant"}), keys, ["drawn_atoms"]).drop("rows")
    free = usable(available, minimums)
    ends = (
        net_obligations(settling)
        .join(free, on=keys, how="left")
        .join(drawn, on=keys, how="left")
        .with_columns(pl.col("available_atoms", "drawn_atoms").fill_null(NOTHING))
    )
    short = ends.filter(pl.col("net_atoms") + pl.col("available_atoms") + pl.col("drawn_atoms") < 0)
    if short.height:
        raise BrokenInvariant(f"{short.height} accounts would end below zero. Nothing was written. Please report it.")
