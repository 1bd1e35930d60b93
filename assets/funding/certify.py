"""The certificate of a selection: prices from which anyone computes, in integers, how good it is at most and at least.

No solver and no floating point here: who checks needs neither. Wrong prices only weaken the bound, they cannot fake it.

Why it is a bound (weak duality): with prices p >= 0 on the rows, q on the groups and z on the floors of earlier classes,
no lawful set is worth more than what it is worth plus every price times the room that it leaves, as no room is negative.
Ordered by chain, each chain's part of that sum is at most max(0, weight + prices x legs); each credit's at most its cap
times what its row's price exceeds its group's by.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import polars as pl

from assets.funding.cuts import Cut, Rows, inequality
from assets.funding.exact import enumerate_best
from assets.funding.problem import Ints, Problem, ends, possible, worths
from schemas.atoms import BITS_SAFE

WORD = 2**62


class Certificate(NamedTuple):
    """What one priority class is worth, and prices that prove no lawful set is worth more than `bound` in it.

    Prices are integers of 2^-scale_bits units of weight per unit of the row; for a floor, per unit of weight.
    """

    priority: int
    value: int
    bound: int
    scale_bits: int
    row_prices: list[int]
    group_prices: list[int]
    floor_prices: list[int]  # Of each earlier class, for being worth what was achieved in it.
    proof: str = "PRICES"  # Or ENUMERATION: all sets were tried, and whoever checks tries them too.
    cuts: Sequence[Cut] = ()  # Roundings of single rows, each with its price: see assets.funding.cuts.


def certify(
    problem: Problem, number: int, floors: Sequence[tuple[int, int]], value: int, row_prices: Sequence[int],
    group_prices: Sequence[int], floor_prices: Sequence[int], scale_bits: int, cuts: Sequence[Cut] = (),
) -> Certificate:  # fmt: skip
    """Return the certificate of class `number` by these prices, or by none at all if that bounds it better."""
    rows, groups = list(row_prices), list(group_prices)
    for credit in problem.credits:
        if credit.cap_atoms is None:
            # A credit without end bounds nothing unless its group is dearer than its row.
            paid = groups[credit.group] * credit.units if credit.group is not None else 0
            rows[credit.row] = min(rows[credit.row], paid)
    priced = Certificate(number, value, 0, scale_bits, rows, groups, list(floor_prices), "PRICES", tuple(cuts))
    free = Certificate(number, value, 0, 0, [0] * len(rows), [0] * len(groups), [0] * len(floor_prices))
    bounds = [bound_of(problem, one, floors) for one in (priced, free)]
    best = priced if bounds[0] < bounds[1] else free
    return best._replace(bound=min(bounds))


def bound_of(problem: Problem, certificate: Certificate, floors: Sequence[tuple[int, int]]) -> int:
    """Return the most that class `certificate.priority` can be worth by the certificate's prices, rounded down.

    `problem` without the chains that can never settle (`possible`), which would only raise it. `floors`: (class, value)
    of each earlier class, what it is worth at least. Raises ValueError for prices that are
    negative, or too many, or that leave a credit without end unpriced: those bound nothing.
    """
    _, _, _, bits, rows, groups, floor_prices, _, cuts = certificate
    if (len(rows), len(groups), len(floor_prices)) != (len(problem.rows), len(problem.groups), len(floors)):
        raise ValueError("the certificate is of another problem: it has other rows, groups or classes")
    if min([0, *rows, *groups, *floor_prices, *(cut.price for cut in cuts)]) < 0:
        raise ValueError("a price of the certificate is negative")
    total = sum(price * int(atoms) for price, atoms in zip(rows, problem.funds.tolist(), strict=True))
    for price, group in zip(groups, problem.groups, strict=True):
        total += price * group.limit_atoms * group.divisor
    for credit in problem.credits:
        left = rows[credit.row] - (groups[credit.group] * credit.units if credit.group is not None else 0)
        if credit.cap_atoms is None and left > 0:
            raise ValueError("a credit without end has a price: the certificate bounds nothing")
        total += max(0, left) * (credit.cap_atoms or 0)
    gain = {certificate.priority: 1 << bits}
    for (number, value), price in zip(floors, floor_prices, strict=True):
        total -= price * value
        gain[number] = gain.get(number, 0) + price
    rounded, extra = _rounded(problem, cuts)
    total += rounded + _chains(problem, rows, gain, extra)
    return total >> bits


def _rounded(problem: Problem, cuts: Sequence[Cut]) -> tuple[int, dict[int, int]]:
    """Return what the cuts add to the bound, and to what each chain earns."""
    total = 0
    extra: dict[int, int] = {}
    if cuts:
        rows = Rows(problem)
        for cut in cuts:
            chains, coefficients, most = inequality(rows, cut)
            total += cut.price * most
            for chain, coefficient in zip(chains.tolist(), coefficients, strict=True):
                extra[chain] = extra.get(chain, 0) - cut.price * coefficient
    return total, extra


def _chains(problem: Problem, rows: Sequence[int], gain: dict[int, int], extra: dict[int, int]) -> int:
    """Return the sum over chains of max(0, weight x gain + prices x legs), and what cutting a leg can add."""
    if not any(rows) and not extra:
        by_class = worths(problem, problem.lots)
        return sum(value * gain.get(number, 0) for number, value in by_class)
    widest = max((int(np.abs(values).max(initial=0)) for values in (problem.weights, problem.leg_atoms)), default=0)
    # In frames a price may have two limbs of so many bits that no sum of a limb x atoms can leave 128.
    terms = len(problem.leg_atoms) + 2 * problem.count
    limb = BITS_SAFE - 2 - widest.bit_length() - terms.bit_length()
    longest = max([*rows, *gain.values()]).bit_length()
    longest = max([longest, *(abs(value).bit_length() - widest.bit_length() for value in extra.values())])
    if widest >= WORD or longest > 2 * limb:
        total = _in_python(problem, rows, gain, extra)
    else:
        total = _in_frames(problem, rows, gain, extra, limb, wide=longest > limb)
    return total + _cuts(problem, rows, gain)


def _in_frames(
    problem: Problem, rows: Sequence[int], gain: dict[int, int], extra: dict[int, int], limb: int, *, wide: bool
) -> int:
    """128 bits hold every sum here, as the caller has shown; `wide`: that of each of two limbs."""
    if not wide:
        return int(_earned(problem, rows, gain, extra).clip(lower_bound=0).sum())
    size, mask = pl.lit(1 << limb, dtype=pl.Int128), (1 << limb) - 1
    low = _earned(problem, [p & mask for p in rows], *({k: v & mask for k, v in of.items()} for of in (gain, extra)))
    high = _earned(problem, [p >> limb for p in rows], *({k: v >> limb for k, v in of.items()} for of in (gain, extra)))
    frame = pl.DataFrame({"low": low, "high": high}).with_columns(carry=pl.col("low") // size)
    frame = frame.select(low=pl.col("low") - pl.col("carry") * size, high=pl.col("high") + pl.col("carry"))
    earning = frame.filter(pl.col("high") >= 0).sum()
    return (int(earning["high"].item()) << limb) + int(earning["low"].item())


def _earned(problem: Problem, rows: Sequence[int], gain: dict[int, int], extra: dict[int, int]) -> pl.Series:
    """Return weight x gain + prices x legs + extra of each chain."""
    prices = pl.Series(list(rows), dtype=pl.Int128).gather(problem.leg_rows)
    running = pl.concat([pl.Series([0], dtype=pl.Int128), (prices * _wide(problem.leg_atoms)).cum_sum()])
    legs = running.gather(problem.starts[1:]) - running.gather(problem.starts[:-1])
    numbers, place = np.unique(problem.classes, return_inverse=True)
    gains = pl.Series([gain.get(int(number), 0) for number in numbers], dtype=pl.Int128).gather(place)
    worth = _wide(problem.weights) * gains + legs
    if extra:
        changed = sorted(extra)
        added = pl.Series([extra[k] for k in changed], dtype=pl.Int128)
        worth = worth.scatter(changed, worth.gather(changed) + added)
    return worth


def _wide(values: Ints) -> pl.Series:
    return pl.Series(values.astype(np.int64)).cast(pl.Int128)


def _in_python(problem: Problem, rows: Sequence[int], gain: dict[int, int], extra: dict[int, int]) -> int:
    total, starts = 0, problem.starts.tolist()
    places, atoms = problem.leg_rows.tolist(), problem.leg_atoms.tolist()
    for k, (weight, number) in enumerate(zip(problem.weights.tolist(), problem.classes.tolist(), strict=True)):
        worth = weight * gain.get(number, 0) + extra.get(k, 0)
        for leg in range(starts[k], starts[k + 1]):
            worth += rows[places[leg]] * atoms[leg]
        total += max(0, worth)
    return total


def _cuts(problem: Problem, rows: Sequence[int], gain: dict[int, int]) -> int:
    """What rounding can add: a part pays less than its share, by less than one atom, and a floor counts less likewise."""
    divisible = problem.lots > 1
    if not divisible.any():
        return 0
    of_leg = np.repeat(np.arange(problem.count), np.diff(problem.starts))
    paying = divisible[of_leg] & (problem.leg_atoms < 0)
    paying &= np.asarray(problem.leg_atoms % problem.lots[of_leg] != 0, dtype=bool)
    counts = np.bincount(problem.leg_rows[paying], minlength=len(rows)).tolist()
    return sum(count * price for count, price in zip(counts, rows, strict=True))


def verify(problem: Problem, units: Ints, draws: dict[int, int], certificates: Sequence[Certificate]) -> list[str]:
    """Return all that is wrong with a selection and its certificates; nothing when all of it holds."""
    found: list[str] = []
    if len(units) != problem.count:
        return ["the selection is of another problem: it decides another number of chains"]
    partly = (units != 0) & (units != problem.lots)
    if bool(((units < 0) | (units > problem.lots) | (partly & (units < problem.least))).any()):
        found.append("a chain settles more than all of it, or less than its least part")
    end = ends(problem, units).tolist()
    drawn = [0] * len(end)
    used = [0] * len(problem.groups)
    for index, atoms in draws.items():
        if not 0 <= index < len(problem.credits):
            found.append("a draw is on no credit that there is")
            continue
        credit = problem.credits[index]
        drawn[credit.row] += atoms
        if atoms < 0 or (credit.cap_atoms is not None and atoms > credit.cap_atoms):
            found.append(f"{_name(problem, credit.row)} draws more than is lent")
        if credit.group is not None:
            used[credit.group] += -(-atoms * credit.units // problem.groups[credit.group].divisor)
    for row, (atoms, lent) in enumerate(zip(end, drawn, strict=True)):
        if atoms + lent < 0:
            found.append(f"{_name(problem, row)} ends below zero")
        elif lent > max(0, -atoms):
            found.append(f"{_name(problem, row)} draws more than it lacks")
    found += [
        f"the {group.kind} limit of {group.name} is exceeded"
        for group, atoms in zip(problem.groups, used, strict=True)
        if atoms > group.limit_atoms
    ]
    values = worths(problem, units)
    counted = cache(lambda: possible(problem))
    best = cache(lambda: dict(worths(counted(), enumerate_best(counted()))))
    if [one.priority for one in certificates] != [number for number, _ in values]:
        return [*found, "there is not one certificate for each class"]
    for place, ((number, value), one) in enumerate(zip(values, certificates, strict=True)):
        if one.value != value:
            found.append(f"class {number} is worth {value}, not {one.value}")
        try:
            bound = bound_of(counted(), one, values[:place]) if one.proof == "PRICES" else best().get(number, 0)
        except ValueError as error:
            found.append(f"class {number}: {error}")
            continue
        if bound != one.bound:
            found.append(f"the prices of class {number} prove {bound}, not {one.bound}")
        if one.bound < value:
            found.append(f"class {number} is worth more than its bound")
    return found


def _name(problem: Problem, row: int) -> str:
    kind, party, instrument = problem.rows[row]
    return f"{kind.lower()} {party} {instrument}".rstrip()


__all__ = ["Certificate", "bound_of", "certify", "verify"]
