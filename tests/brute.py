"""The judge of selection: slow, obvious, in Python integers. It reads a problem's fields and no other code of ours.

Every state of every chain is tried, so it is for a handful of chains. Where one row can draw on several grouped
credits, every split is tried too, so there it is for a handful of atoms.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

SPLITS_MAX = 100_000
STATES_MAX = 200_000

Moves = list[tuple[int, int]]  # Row and atoms.
Topup = tuple[tuple[int, int], ...]  # Rows and atoms, sorted.
State = tuple[tuple[int, ...], tuple[int, ...]]  # Units per chain, and what each row ends with.


@dataclass(frozen=True)
class Chain:
    """One chain in plain integers."""

    weight: int
    priority: int
    lots: int
    least: int
    legs: Moves

    def choices(self) -> list[int]:
        return [0, *range(self.least, self.lots + 1)]

    def worth(self, units: int) -> int:
        return self.weight * units // self.lots

    def moves(self, units: int) -> Moves:
        parts = [(row, abs(atoms) * units // self.lots, atoms) for row, atoms in self.legs]
        return [(row, part if atoms > 0 else -part) for row, part, atoms in parts]


@dataclass(frozen=True)
class Plain:
    """A problem without arrays."""

    chains: list[Chain]
    funds: list[int]
    accounts: frozenset[int]  # Rows that hold money.
    credits: dict[int, list[tuple[int | None, int | None, int]]]  # By row: cap, group, units.
    groups: list[tuple[int, int]]  # Limit and divisor.
    priorities: list[int]


def plain(problem: Any) -> Plain:
    """Return `problem` in Python integers."""
    starts = [int(start) for start in problem.starts]
    legs = [(int(row), int(atoms)) for row, atoms in zip(problem.leg_rows, problem.leg_atoms, strict=True)]
    columns = (problem.weights, problem.classes, problem.lots, problem.least)
    chains = [
        Chain(*(int(column[k]) for column in columns), legs[starts[k] : starts[k + 1]])
        for k in range(len(problem.chains))
    ]
    lent: dict[int, list[tuple[int | None, int | None, int]]] = {}
    for credit in problem.credits:
        lent.setdefault(credit.row, []).append((credit.cap_atoms, credit.group, credit.units))
    return Plain(
        chains,
        [int(atoms) for atoms in problem.funds],
        frozenset(row for row, name in enumerate(problem.rows) if name.kind == "ACCOUNT"),
        lent,
        [(group.limit_atoms, group.divisor) for group in problem.groups],
        sorted({chain.priority for chain in chains}),
    )


# What is lawful


def lawful(problem: Any, units: Iterable[int]) -> bool:
    """Say whether a set may settle: each row ends at 0 or more, or no worse than below 0, or credit covers it."""
    model, settled = plain(problem), [int(count) for count in units]
    allowed = all(count in chain.choices() for chain, count in zip(model.chains, settled, strict=True))
    return allowed and _stands(model, _end(model, settled))


def _end(model: Plain, units: Sequence[int]) -> tuple[int, ...]:
    end = list(model.funds)
    for chain, count in zip(model.chains, units, strict=True):
        for row, atoms in chain.moves(count):
            end[row] += atoms
    return tuple(end)


def _lacks(funds: Sequence[int], end: Sequence[int]) -> dict[int, int]:
    """Return what credit must cover, by row. A row that began below 0 and was not made worse needs none."""
    return {row: -at for row, at in enumerate(end) if at < 0 and at < funds[row]}


def _stands(model: Plain, end: Sequence[int]) -> bool:
    return next(_uncovered(model, _lacks(model.funds, end), frozenset()), None) is not None


def draws_fit(problem: Any, units: Iterable[int], draws: Mapping[int, int]) -> bool:
    """Say whether `draws` (atoms by position of the credit) cover what a set lacks, to the atom, within caps and limits."""
    model = plain(problem)
    lacks, used = _lacks(model.funds, _end(model, [int(count) for count in units])), [0] * len(model.groups)
    drawn: dict[int, int] = {}
    for position, atoms in draws.items():
        credit = problem.credits[position]
        drawn[credit.row] = drawn.get(credit.row, 0) + atoms
        if atoms < 0 or (credit.cap_atoms is not None and atoms > credit.cap_atoms):
            return False
        if credit.group is not None:
            used[credit.group] += -(-atoms * credit.units // model.groups[credit.group][1])
    within = all(use <= limit for use, (limit, _) in zip(used, model.groups, strict=True))
    return within and {row: atoms for row, atoms in drawn.items() if atoms} == lacks


def _uncovered(model: Plain, lacks: Mapping[int, int], spared: Collection[int]) -> Iterator[dict[int, int]]:
    """Yield what stays uncovered of `lacks`, for each way to draw that keeps every cap and limit.

    Only rows in `spared` may stay uncovered. Credit outside any group is drawn first: it uses up nothing that
    another row could need, so no other order covers more.
    """
    left = [limit for limit, _ in model.groups]

    def cover(rows: Sequence[int]) -> Iterator[dict[int, int]]:
        if not rows:
            yield {}
            return
        row, *rest = rows
        free = [cap for cap, group, _ in model.credits.get(row, []) if group is None]
        grouped = [(cap, group, units) for cap, group, units in model.credits.get(row, []) if group is not None]
        need = 0 if None in free else max(0, lacks[row] - sum(free))
        for draws in _splits(need, [cap for cap, _, _ in grouped], exactly=row not in spared):
            used = [
                (group, -(-atoms * units // model.groups[group][1]))
                for atoms, (_, group, units) in zip(draws, grouped, strict=True)
            ]
            for group, use in used:
                left[group] -= use
            if min(left, default=0) >= 0:
                for others in cover(rest):
                    yield {row: need - sum(draws), **others}
            for group, use in used:
                left[group] += use

    return cover(list(lacks))


def _splits(total: int, caps: Sequence[int | None], *, exactly: bool) -> Iterator[tuple[int, ...]]:
    """Yield every way to draw `total`, or at most it, on credits with these caps; the first are drawn most first."""
    if not caps:
        if not exactly or total == 0:
            yield ()
        return
    highest = total if caps[0] is None else min(total, caps[0])
    lowest = total if exactly and len(caps) == 1 else 0
    if highest - lowest > SPLITS_MAX:
        raise ValueError(f"{highest - lowest:,} ways to split one draw: the judge needs smaller amounts here")
    for first in range(highest, lowest - 1, -1):
        for others in _splits(total - first, caps[1:], exactly=exactly):
            yield first, *others


# What is best


def every(problem: Any) -> Iterator[tuple[int, ...]]:
    """Yield every state: for each chain 0 or `least` up to `lots` units. Lawful or not."""
    for units, _ in _states(plain(problem)):
        yield units


def _states(model: Plain) -> list[State]:
    states: list[State] = [((), tuple(model.funds))]
    for chain in model.chains:
        steps = [(count, chain.moves(count)) for count in chain.choices()]
        states = [((*units, count), _plus(end, moves)) for units, end in states for count, moves in steps]
        if len(states) > STATES_MAX:
            raise ValueError(f"more than {STATES_MAX:,} states: too many for the judge")
    return states


def _plus(end: tuple[int, ...], moves: Moves) -> tuple[int, ...]:
    if not moves:
        return end
    changed = list(end)
    for row, atoms in moves:
        changed[row] += atoms
    return tuple(changed)


def value(problem: Any, units: Iterable[int]) -> tuple[int, ...]:
    """Return what a set is worth in each priority class that is present, in order."""
    return _value(plain(problem), [int(count) for count in units])


def _value(model: Plain, units: Sequence[int]) -> tuple[int, ...]:
    totals = dict.fromkeys(model.priorities, 0)
    for chain, count in zip(model.chains, units, strict=True):
        totals[chain.priority] += chain.worth(count)
    return tuple(totals.values())


def best(problem: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (value, units) of the best lawful set, class by class. Of equals, where two first differ, the fuller."""
    model = plain(problem)
    return max((_value(model, units), units) for units, end in _states(model) if _stands(model, end))


def addable(problem: Any, units: Iterable[int]) -> list[int]:
    """Return the chains that could settle more while no other changes. Nothing when the set is maximal."""
    model, settled = plain(problem), [int(count) for count in units]
    end, found = _end(model, settled), []
    for k, chain in enumerate(model.chains):
        back = _plus(end, [(row, -atoms) for row, atoms in chain.moves(settled[k])])
        more = [count for count in chain.choices() if count > settled[k]]
        if any(_stands(model, _plus(back, chain.moves(count))) for count in more):
            found.append(k)
    return found


def one_by_one(problem: Any) -> list[int]:
    """Return the chains that settle whole when each must stand by itself, in passes, until none is added. No credit."""
    model, settled, grew = plain(problem), set[int](), True
    if model.credits:
        raise ValueError("one by one knows no credit")
    end = list(model.funds)
    while grew:
        grew = False
        for k, chain in enumerate(model.chains):
            after: dict[int, int] = {}
            for row, atoms in chain.legs:
                after[row] = after.get(row, end[row]) + atoms
            if k not in settled and all(at >= min(0, model.funds[row]) for row, at in after.items()):
                for row, at in after.items():
                    end[row] = at
                settled.add(k)
                grew = True
    return sorted(settled)


# What no set can be worth more than


def bound_of(problem: Any, certificate: Any, achieved: Sequence[int] = ()) -> int | None:
    """Return the bound that a certificate's integer prices prove; None when they prove nothing.

    `achieved` are the values of the earlier classes, in order. Why no lawful set that is worth at least that much in
    each earlier class is worth more in this one (weak duality). Let S = 2**scale_bits, and let a lawful set settle
    u_k of each chain and draw d_j of each credit. It keeps, with moved_r the sum of what its legs do to row r:
      (1) max(0, funds_r) + moved_r + (draws of r) >= 0. A row that starts at 0 or more ends covered, which is this. One
          that starts below 0 either ends no worse, so moved_r >= 0, or is covered, so moved_r + draws >= -funds_r > 0.
      (2) limit_g * divisor_g - sum of units_j * d_j >= 0, since every draw was rounded up.
      (3) (value in class e) - V_e >= 0, for each earlier class.
    Add each of these, times its price p_r, q_g, z_e >= 0, to S x value: it can only grow. Then sort by what is decided:
      - what is not: sum p_r max(0, funds_r) + sum q_g limit_g divisor_g - sum z_e V_e;
      - of each credit d_j (p_r - q_g units_j), which over 0 <= d_j <= cap_j is at most cap_j times its positive part;
        without a cap that part must be 0, or nothing is proved;
      - of each chain S worth(u_k) [class is this] + z_e worth(u_k) [class is e] + sum of p_r times each leg's part.
    A part u of N lots is cut towards 0. Of what is received or worth, that gives at most u/N of the whole; of what is
    paid, at most u/N of the whole less one atom, and only where N does not divide it. The rest is u/N times what the
    whole chain counts, at most its positive part.
    The sum is an integer number of 1/S, so its floor over S bounds the value, which is an integer.
    A chain that pays more out of a row than all others could ever bring settles in no lawful set, and counts nothing.
    A cut adds one more inequality, of its row alone; see `_rounding`.
    """
    model, one = plain(problem), 1 << certificate.scale_bits
    rows, groups = [int(p) for p in certificate.row_prices], [int(q) for q in certificate.group_prices]
    earlier = [priority for priority in model.priorities if priority < certificate.priority]
    floors = dict(zip(earlier, (int(z) for z in certificate.floor_prices), strict=True))
    if min((*rows, *groups, *floors.values()), default=0) < 0:
        return None
    total = sum(price * max(0, atoms) for price, atoms in zip(rows, model.funds, strict=True))
    total += sum(price * limit * divisor for price, (limit, divisor) in zip(groups, model.groups, strict=True))
    if any(floors.values()):
        total -= sum(price * worth for price, worth in zip(floors.values(), achieved, strict=True))
    for row, lent in model.credits.items():
        for cap, group, units in lent:
            gain = rows[row] - (0 if group is None else groups[group] * units)
            if cap is None and gain > 0:
                return None
            total += (cap or 0) * max(0, gain)
    extra = [0] * len(model.chains)
    hopeless = _hopeless(model)
    for cut in certificate.cuts:
        most, parts = _rounding(model, cut.row, cut.divisor, hopeless)
        if cut.price < 0:
            return None
        total += cut.price * most
        for k, part in parts.items():
            extra[k] -= cut.price * part
    for k, chain in enumerate(model.chains):
        if k in hopeless:
            continue
        counts = one if chain.priority == certificate.priority else floors.get(chain.priority, 0)
        total += max(0, counts * chain.weight + sum(rows[row] * atoms for row, atoms in chain.legs) + extra[k])
        if chain.lots > 1:
            total += sum(rows[row] for row, atoms in chain.legs if atoms < 0 and atoms % chain.lots)
    return total // one


def _hopeless(model: Plain) -> set[int]:
    """Return the chains that settle whole or not and that no other chains together could ever fund."""
    found: set[int] = set()
    while True:
        more = set()
        for k, chain in enumerate(model.chains):
            for row, atoms in chain.legs if chain.lots == 1 and k not in found else ():
                lent = [cap for cap, _, _ in model.credits.get(row, [])]
                others = [other for o, other in enumerate(model.chains) if o not in found]
                brought = sum(part for other in others for at, part in other.legs if at == row and part > 0)
                if atoms < 0 and None not in lent and model.funds[row] + sum(lent) + brought + atoms < 0:  # type: ignore[arg-type]
                    more.add(k)
        if not more:
            return found
        found |= more


def _rounding(model: Plain, row: int, divisor: int, hopeless: set[int]) -> tuple[int, dict[int, int]]:
    """Return (most, parts): every lawful set of whole chains keeps sum(parts[k] x_k) <= most, x_k = 1 where k settles.

    Let y_k be 1 where k waits. The row keeps sum(use_k y_k) <= room, what it ends with if all settle. Divide by d
    and write room = Q d + R, use_k = q_k d + r_k. The chains with r_k <= R lose r_k, the others lose d - (their
    lack of a whole step): either way, because the y are whole, what stands on the left can be rounded so that
    sum((q_k + max(0, r_k - R) / (d - R)) y_k) <= Q. (Nemhauser and Wolsey 1990, theorem on MIR.)
    """
    chains = [(k, chain) for k, chain in enumerate(model.chains) if k not in hopeless]
    uses = {k: sum(atoms for at, atoms in chain.legs if at == row) for k, chain in chains}
    touched = {k: atoms for k, atoms in uses.items() if any(at == row for at, _ in model.chains[k].legs)}
    assert all(model.chains[k].lots == 1 for k in touched)
    assert not model.credits.get(row)
    room = model.funds[row] + sum(touched.values())
    rest = room % divisor
    most, parts = (room - rest) // divisor * (divisor - rest), {}
    for k, use in touched.items():
        part = use // divisor * (divisor - rest) + max(0, use % divisor - rest)
        parts[k] = -part
        most -= part
    return most, parts


# What would release a chain


def cheapest_topup(problem: Any, chain: int, cost: Mapping[int, Fraction]) -> dict[int, int] | None:
    """Return the cheapest extra funds, by ACCOUNT row, with which the best set settles `chain`; None if none can.

    `cost` is what one atom of each ACCOUNT row is worth. Cheapest: the least total cost, then the fewest accounts, then
    the first by (row, atoms). {} if the chain settles as it is.

    Only what some set that holds the chain lacks beyond credit is tried, for each way to draw. No other need be: let
    the best set S under extra funds t hold the chain. S is lawful then, with some draws; let d be what S lacks on each
    account beyond these draws, so that d <= t. With d alone S is lawful too. Less money never makes another set
    lawful, so every set that is lawful with d is so with t, where S was the best of them; hence S is the best with d.
    And d costs no more than t, names no account that t does not, and comes first of two that name the same ones.
    """
    model = plain(problem)
    states = sorted(_states(model), key=lambda state: (_value(model, state[0]), state[0]), reverse=True)
    candidates: set[Topup] = set()
    for units, end in states:
        if not units[chain]:
            continue
        if _stands(model, end):
            candidates.add(())
            continue
        for rest in _uncovered(model, _lacks(model.funds, end), model.accounts & cost.keys()):
            candidates.add(tuple(sorted((row, atoms) for row, atoms in rest.items() if atoms)))

    def order(topup: Topup) -> tuple[Fraction, int, Topup]:
        return sum((cost[row] * atoms for row, atoms in topup), Fraction(0)), len(topup), topup

    for topup in sorted(candidates, key=order):
        funds = list(_plus(tuple(model.funds), list(topup)))
        richer = Plain(model.chains, funds, model.accounts, model.credits, model.groups, model.priorities)
        winner = next(units for units, end in states if _stands(richer, _plus(end, list(topup))))
        if winner[chain]:
            return dict(topup)
    return None
