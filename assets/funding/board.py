"""The board that search plays on: the problem as flat arrays of floats, whole or of the undecided chains alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from assets.funding.problem import Problem
from assets.funding.relax import View

ACTIVE_MAX = 100_000  # Chains on the narrow board: those nearest indifference.


class Board(NamedTuple):
    """What the compiled functions work on. Rows of groups may go down to `-depth` while the group's limit lasts."""

    weights: Any
    starts: Any
    rows: Any
    values: Any
    free: Any  # Chains that may be flipped.
    prices: Any
    depth: Any
    group: Any  # Of each row, or -1.
    usage: Any  # What a unit below zero uses of the group's limit.
    limits: Any
    row_starts: Any  # Chains of each row, by size of the leg.
    row_chains: Any
    row_values: Any


def board(
    problem: Problem, seen: View, prices: Any, target: int, floors: list[tuple[int, int]]
) -> tuple[Board, np.ndarray]:
    """Return the board for class `target`, and what each row has with nothing settled. Floors are rows at the end."""
    legs = np.diff(problem.starts)
    rows, values, starts = problem.leg_rows, seen.leg_values, problem.starts
    funds = np.concatenate([seen.funds, [-value / seen.unit for _, value in floors]])
    if floors:
        extra = [np.flatnonzero(problem.classes == number) for number, _ in floors]
        owner = np.concatenate([np.repeat(np.arange(problem.count), legs), *extra])
        order = np.argsort(owner, kind="stable")
        first = len(problem.rows)
        rows = np.concatenate([rows, *[np.full(len(who), first + place) for place, who in enumerate(extra)]])[order]
        values = np.concatenate([values, *[seen.weights[who] for who in extra]])[order]
        starts = np.searchsorted(owner[order], np.arange(problem.count + 1))
        legs = np.diff(starts)
    count = len(funds)
    depth, usage = np.zeros(count), np.zeros(count)
    group = np.full(count, -1, dtype=np.int64)
    bounds = np.zeros(len(problem.groups) or 1)
    for index, one in enumerate(problem.groups):
        bounds[index] = float(one.limit_atoms) * one.divisor / max(seen.unit * one.divisor, 1.0)
    for credit in problem.credits:
        cap = np.inf if credit.cap_atoms is None else float(credit.cap_atoms) * seen.scale[credit.row]
        if credit.group is None:
            funds[credit.row] += cap
        elif group[credit.row] < 0 and seen.scale[credit.row] > 0:
            # One grouped credit per row is seen here; the others are left to the exact refill.
            group[credit.row], depth[credit.row] = credit.group, cap
            divisor = problem.groups[credit.group].divisor
            usage[credit.row] = credit.units / divisor / seen.scale[credit.row] / seen.unit
    owner = np.repeat(np.arange(problem.count), legs)
    order = np.lexsort((np.abs(values), rows))
    return Board(
        np.where(problem.classes == target, seen.weights, 0.0), starts.astype(np.int64), rows.astype(np.int64), values,
        np.asarray(problem.lots == 1, dtype=bool), np.concatenate([prices, np.zeros(count - len(prices))]), depth, group,
        usage, bounds, np.searchsorted(rows[order], np.arange(count + 1)).astype(np.int64), owner[order].astype(np.int64),
        values[order],
    ), funds  # fmt: skip


def standing(table: Board, funds: np.ndarray, settled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the room that each row has left, and what is used of each group's limit."""
    room = funds.copy()
    np.add.at(room, table.rows, table.values * np.repeat(settled, np.diff(table.starts)))
    used = np.zeros(len(table.limits))
    below = np.clip(-room, 0.0, table.depth) * table.usage
    np.add.at(used, table.group[table.group >= 0], below[table.group >= 0])
    return room, used


def active_chains(table: Board) -> np.ndarray:
    """Return the chains that are worth about what their legs cost by the prices. In a large problem others are decided."""
    owner = np.repeat(np.arange(len(table.weights)), np.diff(table.starts))
    priced = np.bincount(owner, table.values * table.prices[table.rows], len(table.weights))
    margin = np.where(table.free, np.abs(table.weights + priced), np.inf)
    width = np.partition(margin, ACTIVE_MAX)[ACTIVE_MAX] if len(margin) > ACTIVE_MAX else np.inf
    return np.flatnonzero(margin < width)


def narrowed(table: Board, active: np.ndarray) -> Board:
    """Return the board of the `active` chains, numbered anew: a small one stays in the cache."""
    legs = np.diff(table.starts)
    number = np.full(len(legs), -1, dtype=np.int64)
    number[active] = np.arange(len(active))
    mine = np.repeat(number >= 0, legs)
    kept = number[table.row_chains] >= 0
    row = np.repeat(np.arange(len(table.prices)), np.diff(table.row_starts))[kept]
    return table._replace(
        weights=table.weights[active],
        starts=np.concatenate([[0], np.cumsum(legs[active])]).astype(np.int64),
        rows=table.rows[mine],
        values=table.values[mine],
        free=table.free[active],
        row_starts=np.searchsorted(row, np.arange(len(table.prices) + 1)).astype(np.int64),
        row_chains=number[table.row_chains[kept]],
        row_values=table.row_values[kept],
    )
