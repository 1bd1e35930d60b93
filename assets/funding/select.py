"""Which chains settle now: the most valuable set with every side fully funded after netting.

The solver only proposes. Whatever it says is checked in integers here, and again by another road in `require_funded`
before anything is written. When it is missing, fails or runs out of nodes, removal and refill decides: always
feasible, and the record says which path was taken.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from assets.netting.net import net_by_chain, net_obligations
from schemas import limits
from schemas.atoms import divide, sum_atoms
from schemas.errors import BrokenInvariant
from schemas.instruction import CreditDraw
from schemas.obligation import Decision
from schemas.reasons import HoldReason

Row = int  # An account: one participant and one instrument.
# Measured against enumeration: wider numbers, or tighter tolerances than its own, make HiGHS miss sets it calls optimal.
SEARCH_BITS = 24


@dataclass(slots=True)
class Problem:
    """Chains in canonical order (by id) as integers. Chain k settles or not; row r must not end below zero."""

    chains: list[str]
    weights: list[int]  # Value x (2 + age): what has waited two cycles counts double.
    legs: list[list[tuple[Row, int]]]  # Per chain: what it does to each row, in atoms, never 0.
    rows: list[tuple[str, str]]  # Participant and instrument of each row.
    funds: list[int]  # Available and credit of each row, never negative.
    touching: list[list[tuple[int, int]]] = field(default_factory=list)  # Per row: chain and atoms.

    def __post_init__(self) -> None:
        self.touching = [[] for _ in self.rows]
        for chain, legs in enumerate(self.legs):
            for row, atoms in legs:
                self.touching[row].append((chain, atoms))


class Proposal(NamedTuple):
    """A set of chains by position, an upper bound on the weight of any set (None: unknown), and how it was found."""

    chosen: set[int]
    bound: int | None
    path: str


class Selection(NamedTuple):
    """What is decided about each chain, and how."""

    decisions: pl.DataFrame  # Decision
    draws: pl.DataFrame  # CreditDraw
    weight_atoms: int
    bound_atoms: int
    solver: str
    path: str


Solver = Callable[[Problem], Proposal]


def select_chains(
    trades: pl.DataFrame,
    obligations: pl.DataFrame,
    available: pl.DataFrame,
    settlement_credit: pl.DataFrame,
    *,
    solve: Solver | None = None,
) -> Selection:
    """Return the decision on every chain of `trades`.

    Shapes: Trade, Obligation, Available, SettlementCredit. `solve` replaces the exact solver (tests do).
    """
    effects = net_by_chain(obligations)
    accounts = available.select("participant", "instrument")
    homeless = effects.join(accounts, on=["participant", "instrument"], how="anti")["chain_id"].implode()
    no_account = pl.when(pl.col("chain_id").is_in(homeless)).then(pl.lit(str(HoldReason.NO_ACCOUNT)))
    trades = trades.with_columns(hold_reason=pl.coalesce("hold_reason", no_account)).sort("chain_id")
    eligible = trades.filter(pl.col("hold_reason").is_null())
    credit = sum_atoms(
        settlement_credit.with_columns(
            left=pl.max_horizontal(pl.col("credit_atoms") - pl.col("drawn_atoms"), pl.lit(0, dtype=pl.Int128))
        ),
        ["client", "instrument"],
        ["left"],
    )
    problem = _problem(eligible, effects, available, credit)
    proposal, solver = _decide(problem, solve)
    chosen = _refill(problem, proposal.chosen)
    require_feasible(problem, chosen)
    weight = sum(problem.weights[k] for k in chosen)
    # Refilled chains may be worth nothing or lift a proposal that was not optimal; no bound is below what was found.
    bound = max(weight, sum(problem.weights) if proposal.bound is None else proposal.bound)
    decisions = _decisions(trades, problem, chosen)
    draws = _draws(obligations, decisions, available, settlement_credit)
    require_funded(obligations, decisions, available, draws)
    return Selection(decisions, draws, weight, bound, solver, proposal.path)


def _problem(trades: pl.DataFrame, effects: pl.DataFrame, available: pl.DataFrame, credit: pl.DataFrame) -> Problem:
    """Cast frames into integers. Canonical order, so that the order of rows in any input changes nothing."""
    chains = trades["chain_id"].to_list()
    position = {chain: k for k, chain in enumerate(chains)}
    keys = available.select("participant", "instrument").sort("participant", "instrument").rows()
    row_of = {key: row for row, key in enumerate(keys)}
    funds = [0] * len(keys)
    for participant, instrument, atoms in available.select("participant", "instrument", "available_atoms").rows():
        funds[row_of[participant, instrument]] += atoms
    for client, instrument, atoms in credit.select("client", "instrument", "left").rows():
        if (client, instrument) in row_of:
            funds[row_of[client, instrument]] += atoms
    legs: list[list[tuple[Row, int]]] = [[] for _ in chains]
    for chain, participant, instrument, atoms in effects.rows():
        if atoms and chain in position:
            legs[position[chain]].append((row_of[participant, instrument], atoms))
    weights = [value * (2 + age) for value, age in trades.select("value_atoms", "age").rows()]
    return Problem(chains, weights, legs, keys, funds)


def _decide(problem: Problem, solve: Solver | None) -> tuple[Proposal, str]:
    """Return a feasible proposal, and which solver made it."""
    everything = set(range(len(problem.chains)))
    if not short_rows(problem, everything):
        return Proposal(everything, sum(problem.weights), "ALL_FUNDED"), "none"
    if solve is not None:
        return _checked(problem, solve, "given"), "given"
    try:
        import highspy
    except ImportError:
        return remove_and_refill(problem, everything), "none (highspy is missing)"
    search = solve_exactly if len(problem.chains) <= limits.SOLVER_CHAINS_MAX else solve_relaxed
    return _checked(problem, search, "highspy"), f"highspy {highspy.Highs().version()}"


def _checked(problem: Problem, solve: Solver, name: str) -> Proposal:
    """Return what `solve` proposes if it is feasible in integers, else what removal and refill makes of it."""
    try:
        proposal = solve(problem)
        chosen = {k for k in proposal.chosen if type(k) is int and 0 <= k < len(problem.chains)}
        if len(chosen) == len(proposal.chosen) and not short_rows(problem, chosen):
            return proposal
    except Exception as error:  # noqa: BLE001  A solver that fails never stops a cycle; the record says so.
        repaired = remove_and_refill(problem, set(range(len(problem.chains))))
        return repaired._replace(path=f"{repaired.path} ({name} failed: {type(error).__name__})")
    repaired = remove_and_refill(problem, chosen or set(range(len(problem.chains))))
    return repaired._replace(path=f"{repaired.path} ({name} proposed what is not funded)")


def totals(problem: Problem, chosen: set[int]) -> list[int]:
    """Return what each row ends with."""
    ends = list(problem.funds)
    for chain in chosen:
        for row, atoms in problem.legs[chain]:
            ends[row] += atoms
    return ends


def short_rows(problem: Problem, chosen: set[int]) -> list[Row]:
    """Return the rows that would end below zero."""
    return [row for row, atoms in enumerate(totals(problem, chosen)) if atoms < 0]


def require_feasible(problem: Problem, chosen: set[int]) -> None:
    """Raise BrokenInvariant if a row would end below zero."""
    if short_rows(problem, chosen):
        raise BrokenInvariant("a selection leaves an account short. Nothing was written. Please report it.")


def _search(problem: Problem, *, whole: bool) -> tuple[Any, float]:
    """Return HiGHS' model of the problem, each chain `whole` or divisible, and how many atoms its unit of value has.

    The search sees each row in coarse units, rounded so that no funded set is lost and every number is a small integer.
    """
    import highspy
    import numpy as np

    model = highspy.Highs()
    for option, value in {
        "output_flag": False, "threads": 1, "random_seed": 7, "mip_rel_gap": 0.0, "mip_abs_gap": 0.0,
        "mip_max_nodes": limits.SOLVER_NODES_MAX,
    }.items():  # fmt: skip
        model.setOptionValue(option, value)
    count = len(problem.chains)
    unit = max(problem.weights, default=1) / 1e6 or 1.0
    every = np.arange(count, dtype=np.int32)
    model.addVars(count, np.zeros(count), np.ones(count))
    # Worth nothing still beats waiting.
    model.changeColsCost(count, every, np.array([weight / unit + 1e-6 for weight in problem.weights]))
    model.changeObjectiveSense(highspy.ObjSense.kMaximize)
    if whole:
        model.changeColsIntegrality(count, every, np.full(count, highspy.HighsVarType.kInteger))
    for row, touching in enumerate(problem.touching):
        if sum(atoms for _, atoms in touching if atoms < 0) + problem.funds[row] >= 0:
            continue  # Whatever settles, this row is funded.
        common = math.gcd(*(atoms for _, atoms in touching))
        coarse = max(common, max(abs(atoms) for _, atoms in touching) >> SEARCH_BITS)
        # In common units only whole ones can be used; in coarser ones a funded set must not be lost.
        model.addRow(
            divide(0 - problem.funds[row], coarse, "ceil" if coarse == common else "floor"), highspy.kHighsInf,
            len(touching), [k for k, _ in touching], [divide(atoms, coarse, "ceil") for _, atoms in touching],
        )  # fmt: skip
    return model, unit


def _bound(problem: Problem, value: float, unit: float) -> int | None:
    """Return what the search says is the most that any set is worth, in atoms, widened by its tolerance."""
    return min(sum(problem.weights), math.ceil(value * unit * (1 + 1e-9)) + 1) if math.isfinite(value) else None


def solve_relaxed(problem: Problem) -> Proposal:
    """Return a feasible set close to the optimum, for many chains: as if they were divisible, then rounded and repaired.

    Only chains that the relaxation settles whole are taken; few are cut, as many as accounts that are short.
    """
    import highspy

    model, unit = _search(problem, whole=False)
    model.run()
    if model.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return remove_and_refill(problem, set(range(len(problem.chains))))
    solution = model.getSolution().col_value
    chosen = {k for k, share in enumerate(solution) if share > 1 - 1e-6}
    bound = _bound(problem, model.getInfo().objective_function_value, unit)
    return remove_and_refill(problem, chosen)._replace(bound=bound, path="LP_ROUNDED")


def solve_exactly(problem: Problem) -> Proposal:
    """Return the optimum by HiGHS, as a MIP over the chains that can matter.

    A proposal that breaks a row in atoms is cut off by what is wrong with it (a payer too many or a receiver too few),
    and the search goes on. So the first that holds is the best, but for what 12 digits cannot tell apart.
    """
    import highspy

    model, unit = _search(problem, whole=True)
    count = len(problem.chains)
    for _ in range(limits.SOLVER_ROUNDS_MAX):
        model.run()
        status = model.getModelStatus()
        solution = model.getSolution().col_value
        chosen = {k for k in range(count) if solution[k] > 0.5}
        broken = short_rows(problem, chosen)
        if not broken:
            optimal = status == highspy.HighsModelStatus.kOptimal
            weight = sum(problem.weights[k] for k in chosen)
            if optimal:
                # What the search cannot tell apart: its tolerance, and the little that each chain counts by itself.
                blur = (count + 1) * max(problem.weights) // 10**12
                return Proposal(chosen, weight + blur, "MIP_OPTIMAL")
            bound = _bound(problem, model.getInfo().mip_dual_bound, unit)
            return Proposal(_refill(problem, chosen), bound, "MIP_NODE_LIMIT")
        for row in broken:
            payers = [k for k, atoms in problem.touching[row] if atoms < 0 and k in chosen]
            absent = [k for k, atoms in problem.touching[row] if atoms > 0 and k not in chosen]
            model.addRow(
                1.0 - len(payers), highspy.kHighsInf, len(payers) + len(absent), [*payers, *absent],
                [-1.0] * len(payers) + [1.0] * len(absent),
            )  # fmt: skip
    return remove_and_refill(problem, chosen)._replace(path="MIP_ROUNDS_LIMIT")


def remove_and_refill(problem: Problem, start: set[int]) -> Proposal:
    """Return a feasible and maximal set: from `start`, drop the least value that cures each shortage, then refill."""
    chosen, ends = set(start), totals(problem, start)
    # Least weight first among those that pay out of the row; ties by canonical position.
    cheapest = {
        row: sorted((problem.weights[k], k) for k, atoms in touching if atoms < 0)
        for row, touching in enumerate(problem.touching)
    }
    at: dict[Row, int] = defaultdict(int)
    open_rows = {row for row, atoms in enumerate(ends) if atoms < 0}
    while open_rows:
        row = min(open_rows)
        if ends[row] >= 0:
            open_rows.discard(row)
            continue
        candidates = cheapest[row]
        while candidates[at[row]][1] not in chosen:
            at[row] += 1
        chain = candidates[at[row]][1]
        chosen.discard(chain)
        for other, atoms in problem.legs[chain]:
            ends[other] -= atoms
            if ends[other] < 0:
                open_rows.add(other)
    return Proposal(_refill(problem, chosen), None, "REMOVAL_REFILL")


def _refill(problem: Problem, chosen: set[int]) -> set[int]:
    """Add every chain that still fits, the most valuable first, until none does (I11)."""
    chosen, ends = set(chosen), totals(problem, chosen)
    waiting = sorted(set(range(len(problem.chains))) - chosen, key=lambda k: (-problem.weights[k], k))
    grew = True
    while grew:
        grew, rest = False, []
        for chain in waiting:
            if all(ends[row] + atoms >= 0 for row, atoms in problem.legs[chain]):
                for row, atoms in problem.legs[chain]:
                    ends[row] += atoms
                chosen.add(chain)
                grew = True
            else:
                rest.append(chain)
        waiting = rest
    return chosen


def _decisions(trades: pl.DataFrame, problem: Problem, chosen: set[int]) -> pl.DataFrame:
    """Say of each chain whether it settles, or the first reason why not."""
    ends = totals(problem, chosen)
    bases = dict(trades.select("chain_id", "base").rows())
    verdicts: dict[str, tuple[bool, str | None, str | None, str | None]] = {}
    for position, chain in enumerate(problem.chains):
        if position in chosen:
            verdicts[chain] = (True, None, None, None)
            continue
        alone = _shortage(problem, position, problem.funds, bases[chain])
        row = alone if alone is not None else _shortage(problem, position, ends, bases[chain])
        if row is None:
            raise BrokenInvariant("a chain that still fits was left out. Nothing was written. Please report it.")
        participant, instrument = problem.rows[row]
        reason = HoldReason.NO_SECURITIES if instrument == bases[chain] else HoldReason.NO_MONEY
        verdicts[chain] = (
            False, str(reason if alone is not None else HoldReason.NEXT_CYCLE), participant, instrument
        )  # fmt: skip
    rows = []
    for chain, hold, value, age in trades.select("chain_id", "hold_reason", "value_atoms", "age").rows():
        settles, reason, participant, instrument = verdicts.get(chain, (False, hold, None, None))
        rows.append((chain, settles, reason, participant, instrument, value, age))
    return Decision.hold(pl.DataFrame(rows, schema=Decision.dtypes(), orient="row"))


def _shortage(problem: Problem, chain: int, ends: Sequence[int], base: str) -> Row | None:
    """Return the first row that the chain would leave short: the base instrument's first, as LACK precedes MONY."""
    short = [row for row, atoms in problem.legs[chain] if ends[row] + atoms < 0]
    return min(short, key=lambda row: (problem.rows[row][1] != base, row), default=None)


def _draws(
    obligations: pl.DataFrame,
    decisions: pl.DataFrame,
    available: pl.DataFrame,
    settlement_credit: pl.DataFrame,
) -> pl.DataFrame:
    """Return what each client draws on its brokers: exactly what its own funds lack, line by line in order of id."""
    positions = net_obligations(_settling(obligations, decisions))
    lacking = {
        (participant, instrument): 0 - ends
        for participant, instrument, ends in _ends(positions, available).rows()
        if ends < 0
    }
    rows = []
    for line in settlement_credit.sort("line_id", "instrument").iter_rows(named=True):
        key = line["client"], line["instrument"]
        drawn = min(lacking.get(key, 0), max(0, line["credit_atoms"] - line["drawn_atoms"]))
        if drawn > 0:
            lacking[key] -= drawn
            rows.append((line["line_id"], line["prime_broker"], line["client"], line["instrument"], drawn))
    return CreditDraw.hold(pl.DataFrame(rows, schema=CreditDraw.dtypes(), orient="row"))


def _settling(obligations: pl.DataFrame, decisions: pl.DataFrame) -> pl.DataFrame:
    return obligations.filter(pl.col("chain_id").is_in(decisions.filter("settles")["chain_id"].implode()))


def _ends(positions: pl.DataFrame, available: pl.DataFrame) -> pl.DataFrame:
    """Return what each account ends with before credit: participant, instrument, ends. Unknown accounts hold nothing."""
    nothing = pl.lit(0, dtype=pl.Int128)
    return positions.join(available, on=["participant", "instrument"], how="left").select(
        "participant", "instrument", ends=pl.col("net_atoms") + pl.col("available_atoms").fill_null(nothing)
    )


def require_funded(
    obligations: pl.DataFrame, decisions: pl.DataFrame, available: pl.DataFrame, draws: pl.DataFrame
) -> None:
    """Raise BrokenInvariant unless every account ends at zero or more: by netting, not by the numbers of the search."""
    positions = net_obligations(_settling(obligations, decisions))
    drawn = sum_atoms(draws, ["client", "instrument"], ["drawn_atoms"])
    ends = _ends(positions, available).join(
        drawn, left_on=["participant", "instrument"], right_on=["client", "instrument"], how="left"
    )
    ends = ends.with_columns(ends=pl.col("ends") + pl.col("drawn_atoms").fill_null(pl.lit(0, dtype=pl.Int128)))
    short = ends.filter(pl.col("ends") < 0)
    if short.height:
        raise BrokenInvariant(f"{short.height} accounts would end below zero. Nothing was written. Please report it.")
