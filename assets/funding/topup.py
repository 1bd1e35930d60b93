"""The cheapest funds that release a chain, by trying every state of a small problem. Exact.

It is enough to try what each set that holds the chain lacks. Say that funds T release it through a set S. S is then
lawful under T, so what S lacks, T(S), is nowhere more than T. Under T(S) the set S is still lawful, and no set is that
was not under T: S is still the best. So the cheapest T(S) under which the best set holds the chain is the answer. A
set is never the best under its own lack if an earlier one (in the order of worth) lacks nowhere more.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from assets.funding.lack import Mask, bears, most, usage
from assets.funding.problem import WORD_BITS, Indices, Ints, Problem

CHECKS_MAX = 4_096  # Of one problem; then what is still open has no exact answer.


class TopUp(NamedTuple):
    """Funds by row. `cost` in the unit of the prices given; `funds` None: none were found."""

    funds: dict[int, int] | None
    cost: int
    exact: bool


def enumerable(problem: Problem, states_max: int) -> bool:
    """Return whether the chains have at most `states_max` states together, and no row draws under several limits."""
    rows = [credit.row for credit in problem.credits if credit.group is not None and credit.units]
    if problem.count >= states_max.bit_length() or len(rows) > len(set(rows)):
        return False
    return (
        prod(int(lots) - int(least) + 2 for lots, least in zip(problem.lots, problem.least, strict=True)) <= states_max
    )


class _Limited(NamedTuple):
    """A row that draws under a limit. `want`: what it lacks in each state, beyond credit without a limit."""

    want: Ints
    cap: int
    group: int
    units: int
    account: bool


class States:
    """The states of a problem from the most valuable down to the best lawful one, and what each of them lacks."""

    def __init__(self, problem: Problem, prices: Sequence[int]) -> None:
        """`prices`: what an atom costs, by row. The problem must be small: see `enumerable`."""
        self.problem = problem
        # The greatest part first, so that the position of a state is its canonical rank.
        self.options = [
            [*range(int(lots), int(least) - 1, -1), 0] for lots, least in zip(problem.lots, problem.least, strict=True)
        ]
        self.order = np.arange(prod(self._shape))
        self.order = np.lexsort([self.order, *reversed([-rank for rank in self._worth()])])
        self.never = np.zeros(len(self.order), dtype=bool)  # No funds make it lawful.
        self.plain: dict[int, tuple[list[int], Indices]] = {}  # What the row lacks: values, and which of them.
        self.limited: dict[int, _Limited] = {}
        self.cost: Ints = np.zeros(len(self.order), dtype=object)
        self._fill(prices)
        last = int(np.argmax(self.lawful({})))
        self._cut(last + 1)
        self._share_limits(prices)
        self.rank = self._by_cost()
        self.alive = ~self.never
        self.checks = 0

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(len(options) for options in self.options)

    def _axis(self, chain: int, values: list[int], exact: type) -> Ints:
        """Return one value per option of the chain, along the chain's own axis."""
        shape = [1] * len(self.options)
        shape[chain] = len(values)
        return np.array(values, dtype=exact).reshape(shape)

    def _all(self, small: Ints) -> Ints:
        return np.broadcast_to(small, self._shape).reshape(-1)[self.order]

    def _worth(self) -> list[Indices]:
        """Return the rank of each state in each priority class, the first class first."""
        ranks, problem = [], self.problem
        for priority in np.unique(problem.classes):
            total: Ints = np.zeros([1] * len(self.options), dtype=object)
            for k in np.flatnonzero(problem.classes == priority):
                weight, lots = int(problem.weights[k]), int(problem.lots[k])
                total = total + self._axis(int(k), [weight * units // lots for units in self.options[k]], object)
            rank = np.unique(total, return_inverse=True)[1]
            ranks.append(self._all(rank.reshape(total.shape)))
        return ranks

    def _fill(self, prices: Sequence[int]) -> None:
        """Work out what each row lacks in each state. Only the chains that touch a row are multiplied out for it."""
        problem = self.problem
        free, single = bears(problem, None)
        exact = np.int64 if most(problem).bit_length() + 2 <= WORD_BITS else object
        steps: dict[int, dict[int, list[int]]] = {}
        for k, options in enumerate(self.options):
            for row, atoms in problem.legs_of(k):
                parts = steps.setdefault(row, {}).setdefault(k, [0] * len(options))
                for place, units in enumerate(options):
                    part = abs(atoms) * units // int(problem.lots[k])
                    parts[place] += part if atoms > 0 else -part
        for row, touching in sorted(steps.items()):
            funds, account = int(problem.funds[row]), problem.rows[row].kind == "ACCOUNT"
            end: Ints = np.full([1] * len(self.options), funds, dtype=exact)
            for k, parts in touching.items():
                end = end + self._axis(k, parts, exact)
            lack = np.maximum(np.where(end < min(funds, 0), -end, 0) - int(free[row]), 0)
            if not lack.any():
                continue
            if row in single:
                credit, cap = single[row]
                self.limited[row] = _Limited(self._all(lack), cap, credit.group or 0, credit.units, account)
                self.never |= self._all(lack > cap).astype(bool) & (not account)
            elif account:
                values, rank = np.unique(lack, return_inverse=True)
                self.plain[row] = values.tolist(), self._all(rank.reshape(lack.shape))
                self.cost += self._all(lack.astype(object) * prices[row])
            else:
                self.never |= self._all(lack > 0).astype(bool)

    def _cut(self, count: int) -> None:
        """Forget the states below the best lawful one: it is lawful whatever is added, and beats them."""
        self.order, self.never, self.cost = self.order[:count], self.never[:count], self.cost[:count]
        self.plain = {row: (values, rank[:count]) for row, (values, rank) in self.plain.items()}
        self.limited = {row: it._replace(want=it.want[:count]) for row, it in self.limited.items()}

    def _share_limits(self, prices: Sequence[int]) -> None:
        """Cover what a limit does not allow with funds, first where they cost least for what they free.

        With one account under the limit there is no choice. With several, the state is marked as open: other
        shares may cost less, and never less than `least_cost`.
        """
        self.shares: dict[int, tuple[list[int], Indices]] = {}
        self.open = np.zeros(len(self.order), dtype=bool)
        used = {row: np.minimum(it.want, it.cap).astype(object) for row, it in self.limited.items()}
        self.least_cost = self.cost.copy()
        for row, it in self.limited.items():
            if it.account:
                self.least_cost += (it.want - used[row]) * prices[row]
        for group in {it.group for it in self.limited.values()}:
            terms, members = self.problem.groups[group], [r for r, it in self.limited.items() if it.group == group]
            taken = {row: usage(used[row], self.limited[row].units, terms.divisor) for row in members}
            excess = sum(taken.values()) - terms.limit_atoms
            accounts = [row for row in members if self.limited[row].account]
            choices = sum(np.where(taken[row] > 0, 1, 0) for row in accounts)
            self.open |= (excess > 0) & (choices > 1)
            for row in sorted(accounts, key=lambda r: (prices[r] * 10**30 // self.limited[r].units, r)):
                give = np.minimum(taken[row], np.maximum(excess, 0))
                fewer = (taken[row] - give) * terms.divisor // self.limited[row].units
                used[row] = np.where(give > 0, np.minimum(fewer, used[row]), used[row])
                excess = excess - give
            self.never |= (excess > 0).astype(bool)
        for row, it in self.limited.items():
            if it.account:
                values, rank = np.unique(it.want - used[row], return_inverse=True)
                self.shares[row] = values.tolist(), rank.ravel()
                self.cost = self.cost + (it.want - used[row]) * prices[row]

    def _by_cost(self) -> Indices:
        """Return the place of each state: by cost, then fewest accounts, then the first by row and atoms."""
        columns = [np.where(atoms > 0, atoms, len(self.order)) for atoms in self._ranks()]
        accounts = sum((atoms > 0 for atoms in self._ranks()), start=np.zeros(len(self.order), dtype=np.int64))
        cost = np.unique(self.cost, return_inverse=True)[1].ravel()
        place = np.empty(len(self.order), dtype=np.int64)
        place[np.lexsort([*reversed(columns), accounts, cost])] = np.arange(len(self.order))
        return place

    def _ranks(self) -> list[Indices]:
        """Return the rank of the funds that each state needs, by account: 0 is none."""
        return [rank for _, (_, rank) in sorted((self.plain | self.shares).items())]

    def lawful(self, funds: dict[int, int]) -> Mask:
        """Return which states are lawful when the rows have `funds` more."""
        mask = ~self.never
        for row, (values, rank) in self.plain.items():
            mask &= rank < bisect_right(values, funds.get(row, 0))
        totals: dict[int, Ints] = {}
        for row, it in self.limited.items():
            used = np.maximum(it.want - funds.get(row, 0), 0).astype(object)
            mask &= (used <= it.cap).astype(bool)
            taken = usage(used, it.units, self.problem.groups[it.group].divisor)
            totals[it.group] = totals.get(it.group, 0) + taken
        for group, total in totals.items():
            mask &= (total <= self.problem.groups[group].limit_atoms).astype(bool)
        return mask

    def settles(self, chain: int) -> Mask:
        """Return in which states the chain settles, in whole or in part."""
        return self._all(self._axis(chain, [int(units > 0) for units in self.options[chain]], object)).astype(bool)

    def releases(self, funds: dict[int, int], chain: int) -> bool:
        """Return whether the best set settles the chain when the rows have `funds` more."""
        return bool(self.settles(chain)[np.argmax(self.lawful(funds))])

    def lack_of(self, state: int) -> dict[int, int]:
        """Return the funds that make the state lawful."""
        columns = (self.plain | self.shares).items()
        return {row: values[rank[state]] for row, (values, rank) in columns if values[rank[state]]}

    def cheapest(self, chain: int) -> TopUp:
        """Return the cheapest funds under which the best set settles the chain."""
        holds = self.settles(chain)
        pool = np.flatnonzero(holds & self.alive)
        for state in pool[np.argsort(self.rank[pool])]:
            if not self.alive[state]:
                continue
            if self.checks == CHECKS_MAX:
                return TopUp(None, 0, False)
            self.checks += 1
            funds = self.lack_of(state)
            best = int(np.argmax(self.lawful(funds)))
            if holds[best]:
                cost = self.cost[state]
                cheaper = self.open & holds & ~self.never & (self.least_cost < cost).astype(bool)
                return TopUp(funds, int(cost), not cheaper.any())
            # The better set rules out all that lack at least as much as it does.
            beaten = np.ones(len(self.alive), dtype=bool)
            for rank in self._ranks():
                beaten &= rank >= rank[best]
            beaten[: best + 1] = False
            self.alive &= ~beaten
        return TopUp(None, 0, not (self.open & holds).any())


def cheapest(problem: Problem, prices: Sequence[int], waiting: Iterable[int]) -> tuple[States, dict[int, TopUp]]:
    """Return the cheapest top-up of each waiting chain."""
    table = States(problem, prices)
    return table, {chain: table.cheapest(chain) for chain in waiting}
