"""The relaxation: as if every chain could be cut. Its prices bound what any set is worth, and say who is scarce.

Chains between the same accounts differ only in size, so they enter as one bundle: a million chains make a problem of
some hundred thousand columns. Whatever comes out is a proposal in floating point; nothing here is believed without an
integer check.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from assets.funding.cuts import Facet
from assets.funding.problem import Indices, Problem

Floats = np.ndarray


class View(NamedTuple):
    """The problem in floating point, each row in units of value, so that all numbers are of one size."""

    weights: Floats  # Mean 1 over the chains of all classes; never 0, so that worth nothing still beats waiting.
    leg_values: Floats
    funds: Floats
    scale: Floats  # Value per atom of each row.
    unit: float  # Atoms of weight in one unit of value.


class Relaxed(NamedTuple):
    """`share` of each chain, and prices per unit of value: of rows, groups, earlier classes and cuts."""

    share: Floats
    rows: Floats
    groups: Floats
    floors: Floats
    cuts: Floats


def view(problem: Problem) -> View:
    """Return the problem in floating point."""
    weights = problem.weights.astype(float)
    unit = float(weights.mean()) if problem.count and weights.any() else 1.0
    weights = weights / unit + 1e-9
    sizes = np.abs(problem.leg_atoms).astype(float)
    legs = np.diff(problem.starts)
    worth = np.bincount(problem.leg_rows, np.repeat(weights, legs), len(problem.rows))
    moved = np.bincount(problem.leg_rows, sizes, len(problem.rows))
    scale = np.where(moved > 0, worth / np.where(moved > 0, moved, 1.0), 0.0)
    values = problem.leg_atoms.astype(float) * scale[problem.leg_rows]
    return View(weights, values, problem.funds.astype(float) * scale, scale, unit)


def signatures(problem: Problem) -> Indices:
    """Return the bundle of each chain: chains of one class whose legs touch the same rows in the same directions."""
    legs = np.diff(problem.starts)
    sign = (problem.leg_atoms > 0).astype(np.uint64)
    mixed = (problem.leg_rows.astype(np.uint64) * np.uint64(2) + sign + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    whole = np.zeros(problem.count, dtype=np.uint64)
    np.add.at(whole, np.repeat(np.arange(problem.count), legs), mixed)
    whole = whole * np.uint64(31) + problem.classes.astype(np.uint64) * np.uint64(7) + legs.astype(np.uint64)
    return np.unique(whole, return_inverse=True)[1]


def gains(problem: Problem, seen: View, target: int, priced: Relaxed) -> Floats:
    """Return what each chain earns above the prices of rows and floors, in units of value: the sign says which way."""
    earned = np.where(problem.classes == target, seen.weights, 0.0)
    for number, price in zip(np.unique(problem.classes[problem.classes < target]), priced.floors, strict=True):
        earned = earned + np.where(problem.classes == number, price * seen.weights, 0.0)
    legs = np.repeat(np.arange(problem.count), np.diff(problem.starts))
    return earned + np.bincount(legs, seen.leg_values * priced.rows[problem.leg_rows], problem.count)


class Relaxation:
    """The linear problem of class `target` over bundles, each earlier class worth at least its floor; solved on demand.

    Chains of bundle -1 take no part: they settle or wait as `settled` says. What the solver raises is passed on.
    """

    def __init__(
        self, problem: Problem, seen: View, bundle: Indices, target: int, floors: Sequence[tuple[int, int]],
        settled: Any = None,
    ) -> None:  # fmt: skip
        import highspy

        self._problem, self._bundle, self._settled = problem, bundle, settled
        inside = bundle >= 0
        count = int(bundle.max(initial=-1)) + 1
        rows = len(problem.rows)
        of_leg = np.repeat(bundle, np.diff(problem.starts))
        funds, floor_left = seen.funds, [value / seen.unit for _, value in floors]
        if settled is not None:
            fixed = ~inside & settled
            legs = np.repeat(fixed, np.diff(problem.starts))
            funds = funds + np.bincount(problem.leg_rows[legs], seen.leg_values[legs], rows)
            floor_left = [
                left - seen.weights[fixed & (problem.classes == number)].sum()
                for left, (number, _) in zip(floor_left, floors, strict=True)
            ]
        self._worth = worth = np.bincount(bundle[inside], seen.weights[inside], count)
        taken = of_leg >= 0
        key, place = np.unique(of_leg[taken] * rows + problem.leg_rows[taken], return_inverse=True)
        # A column counts in units of value, so that its entries are near 1.
        entries = [np.bincount(place, seen.leg_values[taken], len(key)) / worth[key // rows]]
        owners, places = [key // rows], [key % rows]
        classes = np.zeros(count, dtype=np.int64)
        classes[bundle[inside]] = problem.classes[inside]
        # Below the rows: one row per group and per floor. Beside the bundles: one column per credit.
        self._sizes = sizes = np.array([float(group.limit_atoms) * group.divisor for group in problem.groups])
        caps = []
        for number, credit in enumerate(problem.credits):
            caps.append(np.inf if credit.cap_atoms is None else float(credit.cap_atoms) * seen.scale[credit.row])
            owners.append(np.array([count + number]))
            places.append(np.array([credit.row]))
            entries.append(np.ones(1))
            if credit.group is not None and credit.units and seen.scale[credit.row] > 0:
                used = float(credit.units) / seen.scale[credit.row] / max(sizes[credit.group], 1.0)
                owners.append(np.array([count + number]))
                places.append(np.array([rows + credit.group]))
                entries.append(np.array([-used]))
        first = rows + len(sizes)
        for number, (earlier, _) in enumerate(floors):
            members = np.flatnonzero(classes == earlier)
            owners.append(members)
            places.append(np.full(len(members), first + number))
            entries.append(np.ones(len(members)))
        self._parts = np.cumsum([rows, len(sizes), len(floors)])
        owner = np.concatenate(owners)
        order = np.argsort(owner, kind="stable")
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = count + len(caps), first + len(floors)
        lp.sense_ = highspy.ObjSense.kMaximize
        lp.col_cost_ = np.concatenate([(classes == target).astype(float), np.zeros(len(caps))])
        lp.col_lower_ = np.zeros(lp.num_col_)
        lp.col_upper_ = np.concatenate([worth, np.array(caps, dtype=float)])
        lp.row_lower_ = np.concatenate([-funds, np.where(sizes >= 1, -1.0, 0.0), floor_left])
        lp.row_upper_ = np.full(lp.num_row_, highspy.kHighsInf)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.searchsorted(owner[order], np.arange(lp.num_col_ + 1)).astype(np.int32)
        lp.a_matrix_.index_ = np.concatenate(places)[order].astype(np.int32)
        lp.a_matrix_.value_ = np.concatenate(entries)[order]
        self._model = highspy.Highs()
        # All columns are bounded, so the dual simplex starts at once: measured from 20,000 to a million chains, it is up to
        # twelve times as fast as an interior point method, and faster without looking for what can be presolved.
        options: dict[str, Any] = {
            "output_flag": False, "threads": 1, "random_seed": 7, "solver": "simplex", "presolve": "off",
        }  # fmt: skip
        for option, value in options.items():
            self._model.setOptionValue(option, value)
        self._model.passModel(lp)

    def add(self, facets: Sequence[Facet]) -> None:
        """Add what cuts demand; the next solution starts from the last one."""
        import highspy

        starts: list[int] = []
        places: list[Any] = []
        entries: list[Any] = []
        for facet in facets:
            columns, place = np.unique(self._bundle[facet.chains], return_inverse=True)
            starts.append(sum(map(len, places)))
            places.append(columns)
            entries.append(-np.bincount(place, facet.values, len(columns)) / self._worth[columns])
        self._model.addRows(
            len(facets), np.array([-facet.most for facet in facets]), np.full(len(facets), highspy.kHighsInf),
            sum(map(len, places)), np.array(starts, dtype=np.int32), np.concatenate(places).astype(np.int32),
            np.concatenate(entries),
        )  # fmt: skip

    def solve(self) -> Relaxed:
        """Return shares and prices. Raises ArithmeticError when there is no answer."""
        import highspy

        self._model.run()
        solution = self._model.getSolution()
        filled, dual = np.asarray(solution.col_value, dtype=float), np.asarray(solution.row_dual, dtype=float)
        asked = self._model.getNumCol(), self._model.getNumRow()
        optimal = self._model.getModelStatus() == highspy.HighsModelStatus.kOptimal
        if (
            not optimal
            or (len(filled), len(dual)) != asked
            or not (np.isfinite(filled).all() and np.isfinite(dual).all())
        ):
            raise ArithmeticError("the relaxation has no answer")
        inside = self._bundle >= 0
        share = np.zeros(self._problem.count) if self._settled is None else self._settled.astype(float)
        part = filled[: len(self._worth)] / self._worth
        share[inside] = np.clip(part, 0.0, 1.0)[self._bundle[inside]]
        rows, groups, floors, cuts = np.split(np.maximum(0.0, -dual), self._parts)
        return Relaxed(share, rows, groups / np.maximum(self._sizes, 1.0), floors, cuts)


def solver_version() -> str:
    """Return which solver is installed."""
    import highspy

    return f"highspy {highspy.Highs().version()}"
