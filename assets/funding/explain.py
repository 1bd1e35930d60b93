"""Why each chain waits, the cheapest funds that release it, and what each participant pays in.

A small problem is answered exactly (`topup`). In a large one (`beside`) the funds named are enough for the chain to settle
beside all that settles now: with them that set is lawful and worth at least as much as the one chosen. That no other set
is worth more still is then not claimed, nor that no funds are cheaper: `exact` is False.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import lcm
from typing import NamedTuple, Protocol

import numpy as np

from assets.funding.beside import Waiting, chains_waiting, enough, for_everything
from assets.funding.lack import Ground, Lacks, Mask, Moves
from assets.funding.problem import Indices, Ints, Problem, ends
from assets.funding.topup import States, TopUp, cheapest, enumerable
from schemas.reasons import HoldReason

ENUMERATE_MAX = 65_536
LIMIT_REASONS = {
    "NOP": HoldReason.LIMIT_NOP,
    "DSL": HoldReason.LIMIT_DSL,
    "AGGREGATE_SHORT": HoldReason.LIMIT_SHORT,
    "BILATERAL": HoldReason.LIMIT_BILATERAL,
}
ORDER = [
    HoldReason.LINK,
    HoldReason.LIMIT_NOP,
    HoldReason.LIMIT_DSL,
    HoldReason.LIMIT_SHORT,
    HoldReason.LIMIT_BILATERAL,
    HoldReason.NO_SECURITIES,
    HoldReason.NO_MONEY,
    HoldReason.NEXT_CYCLE,
]
LINK, POSITION = 0, 1
SECURITIES, MONEY, CYCLE = range(len(ORDER) - 3, len(ORDER))

Worth = Mapping[str, tuple[int, int]]


class Decided(Protocol):
    """What selection answers, as far as it is explained here."""

    @property
    def units(self) -> Ints: ...

    @property
    def draws(self) -> dict[int, int]: ...


class Explanation(NamedTuple):
    """Why a chain waits. `row`: what is short or at its limit. `cost`: of the top-up, in reference atoms.

    `top_up` None: no funds release it, or, unless `exact`, none were found. An empty one: the set chosen is not the
    best, and the chain settles in a better one as things stand.
    """

    chain: int
    reason: str  # HoldReason
    row: int | None
    top_up: list[tuple[int, int]] | None  # Account row and atoms.
    cost: Fraction | None
    exact: bool


class PayIn(NamedTuple):
    """One account. `must_bring_atoms`: beyond funds and credit, so that every chain settles."""

    party: str
    instrument: str
    pays_net_atoms: int
    has_atoms: int
    draws_atoms: int
    must_bring_atoms: int


def explain(
    problem: Problem,
    answer: Decided,
    worth: Worth | None = None,
    enumerate_max: int = ENUMERATE_MAX,
    *,
    base: Sequence[str | None] | None = None,
) -> list[Explanation]:
    """Return an explanation of each chain that waits, in canonical order.

    `worth`: instrument -> (reference atoms, per atoms); what it does not name counts 1 per atom, as everything does
    without it. `base`: what each chain delivers; else the instrument of the first account that it pays from.
    """
    waiting = chains_waiting(problem, answer.units)
    if not waiting.chains.size:
        return []
    ground = Ground(problem, answer.units, answer.draws)
    reasons, rows = _reasons(problem, ground, waiting, base)
    prices, scale = _prices(problem, worth)
    table: States | None = None
    found: dict[int, TopUp] = {}
    if enumerable(problem, enumerate_max):
        table, found = cheapest(problem, prices, waiting.chains.tolist())
    bounds = {} if all(it.exact for it in found.values()) and found else enough(problem, ground, waiting, prices)
    explanations = []
    for owner, chain in enumerate(waiting.chains.tolist()):
        best = found.get(chain)
        if best is None or not best.exact:
            best = _cheaper(best, bounds.get(owner), table, chain)
        funds = None if best is None or best.funds is None else sorted(best.funds.items())
        cost = None if best is None or funds is None else Fraction(best.cost, scale)
        exact = best is not None and best.exact
        # What an account lacks of its minimum comes first; another account might then have been cheaper.
        for place, (row, atoms) in enumerate(funds or ()):
            if row in problem.missing:
                funds[place] = (row, atoms + problem.missing[row])  # type: ignore[index]
                cost, exact = cost + Fraction(problem.missing[row] * prices[row], scale), False  # type: ignore[operator]
        explanations.append(Explanation(chain, str(ORDER[reasons[owner]]), rows[owner], funds, cost, exact))
    return explanations


def pay_in_schedule(problem: Problem, answer: Decided) -> list[PayIn]:
    """Return what each account pays in for the set chosen, and what it must bring for every chain to settle.

    `has_atoms` is what it may use, less the minimum that must stay. Accounts that pay and bring nothing are left out.
    """
    drawn = [0] * len(problem.rows)
    for position, atoms in answer.draws.items():
        drawn[problem.credits[position].row] += atoms
    net = ends(problem, answer.units) - problem.funds
    bring = for_everything(problem, answer.units, Ground(problem, answer.units, answer.draws))[0]
    bring = {row: atoms + problem.missing.get(row, 0) for row, atoms in bring.items()}
    return [
        PayIn(
            name.party, name.instrument, max(0, -int(net[row])), int(problem.funds[row]), drawn[row], bring.get(row, 0)
        )
        for row, name in enumerate(problem.rows)
        if name.kind == "ACCOUNT" and (net[row] < 0 or row in bring)
    ]


def _prices(problem: Problem, worth: Worth | None) -> tuple[list[int], int]:
    """Return what an atom of each row costs, in integers, and how many of them make one reference atom."""
    ratios = [(worth or {}).get(name.instrument, (1, 1)) for name in problem.rows]
    scale = lcm(*{per for _, per in ratios})
    return [reference * (scale // per) for reference, per in ratios], scale


# Why


def _reasons(
    problem: Problem, ground: Ground, waiting: Waiting, base: Sequence[str | None] | None
) -> tuple[list[int], list[int | None]]:
    """Return per owner the place of its reason in ORDER, and the row it is about.

    First what the chain alone would break. If nothing, others need the funds (CYCL), unless all that is in its way
    beside them is a limit or a link.
    """
    moves, owners = waiting.least, len(waiting.chains)
    delivers = _delivers(problem, ground, waiting, base)
    alone = Ground(problem, np.zeros(problem.count, dtype=problem.lots.dtype), None).lacks(moves)
    rank, row = _first(_ranks(problem, alone, moves, delivers), moves, owners)
    beside = ground.lacks(moves)
    next_rank, next_row = _first(_ranks(problem, beside, moves, delivers), moves, owners)
    short, short_row = _first(np.where(beside.short, CYCLE - 1, CYCLE), moves, owners)
    competes = short < CYCLE
    fine = rank == CYCLE
    rank = np.where(fine & ~competes, next_rank, rank)
    row = np.where(fine, np.where(competes, short_row, next_row), row)
    return rank.tolist(), [None if at < 0 else at for at in row.tolist()]


def _ranks(problem: Problem, lacks: Lacks, moves: Moves, delivers: Mask) -> Indices:
    """Return per entry the place in ORDER of what is wrong with it."""
    links = np.array([row.kind == "LINK" for row in problem.rows], dtype=bool)
    kinds = np.array([ORDER.index(LIMIT_REASONS[group.kind]) for group in problem.groups] + [POSITION], dtype=np.int64)
    rank = np.where(lacks.short, np.where(delivers, SECURITIES, MONEY), CYCLE)
    rank = np.where(lacks.limit >= 0, kinds[lacks.limit], rank)
    # A position beyond its own cap counts as one beyond its limit; one without a limit as a net open position.
    own = np.full(len(problem.rows), POSITION)
    for credit in problem.credits:
        if credit.group is not None:
            own[credit.row] = kinds[credit.group]
    rank = np.where(lacks.broken, np.minimum(rank, own[moves.row]), rank)
    return np.where(lacks.broken & links[moves.row], LINK, rank)


def _first(rank: Indices, moves: Moves, owners: int) -> tuple[Indices, Indices]:
    """Return per owner the lowest rank of its entries, and the first row that has it (-1: nothing is wrong)."""
    order = np.lexsort((moves.row, rank, moves.owner))
    first = order[np.flatnonzero(np.diff(moves.owner[order], prepend=-1))]
    lowest, row = np.full(owners, CYCLE), np.full(owners, -1)
    lowest[moves.owner[first]] = rank[first]
    row[moves.owner[first]] = np.where(rank[first] < CYCLE, moves.row[first], -1)
    return lowest, row


def _delivers(problem: Problem, ground: Ground, waiting: Waiting, base: Sequence[str | None] | None) -> Mask:
    """Return for each entry whether its account is in what the chain delivers."""
    moves, codes = waiting.least, {"": 0}
    instruments = np.array([codes.setdefault(row.instrument, len(codes)) for row in problem.rows], dtype=np.int64)
    of_owner = np.full(len(waiting.chains), -1)
    pays = np.flatnonzero(ground.account[moves.row] & (moves.atoms < 0))[::-1]
    of_owner[moves.owner[pays]] = instruments[moves.row[pays]]  # The first account is written last.
    if base is not None:
        named = [base[chain] for chain in waiting.chains.tolist()]
        given = np.array([-1 if name is None else codes.get(name, -2) for name in named], dtype=np.int64)
        of_owner = np.where(given == -1, of_owner, given)
    return instruments[moves.row] == of_owner[moves.owner]


def _cheaper(found: TopUp | None, bound: TopUp | None, table: States | None, chain: int) -> TopUp | None:
    """Return the cheaper of the two. Where every state is known, the bound must release the chain in the best set."""
    if bound is None or bound.funds is None or (table and not table.releases(bound.funds, chain)):
        return found
    return bound if found is None or found.funds is None or bound.cost < found.cost else found
