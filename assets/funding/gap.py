"""Where the gap between value and bound comes from: priced room that lies idle, and chains on the wrong side of their price.

The certificate says how large the gap is at most. Its terms say whose funds and which chains make it, and add up to it
exactly, because each of them is what the proof of the bound gives away at that place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from assets.funding.certify import Certificate
from assets.funding.cuts import Rows, inequality
from assets.funding.problem import Ints, Problem, ends, impossible, moved, restricted
from schemas.errors import BrokenInvariant


class Gap(NamedTuple):
    """What makes (bound - value) of one class, in 2^-scale_bits units of weight: all terms together are that, exactly.

    No term but `rounding` is negative.
    """

    rows: list[int]  # Price x room that is left, own and lent.
    groups: list[int]  # Price x what is left of the limit, and what draws cost there beyond the price of their row.
    cuts: list[int]
    chains: list[int]  # Regret: what a chain that waits would earn above its prices, or one that settles earns below.
    rounding: int  # What was cut off the bound: more than -2^scale_bits, at most 0.


def gap_of(
    problem: Problem, units: Ints, draws: Mapping[int, int], certificate: Certificate, floors: Sequence[tuple[int, int]]
) -> Gap:
    """Return the terms of the gap of a lawful set (`units`, `draws`) by a certificate of it.

    `floors`: (class, value) of each earlier class, as for `bound_of`. Raises BrokenInvariant if they do not add up.
    """
    nothing = Gap(
        [0] * len(problem.rows), [0] * len(problem.groups), [0] * len(certificate.cuts), [0] * problem.count, 0
    )
    if certificate.proof == "ENUMERATION":
        return nothing
    gone = impossible(problem)
    if gone.any():
        found = _split(restricted(problem, ~gone), units[~gone], draws, certificate, floors)
        chains = np.array(nothing.chains, dtype=object)
        chains[~gone] = found.chains
        found = found._replace(chains=chains.tolist())
    else:
        found = _split(problem, units, draws, certificate, floors)
    terms = sum(sum(part) for part in found[:-1])
    found = found._replace(rounding=-(terms & ((1 << certificate.scale_bits) - 1)))
    if terms + found.rounding != (certificate.bound - certificate.value) << certificate.scale_bits:
        raise BrokenInvariant("the gap of a selection does not split as its prices say. Please report it.")
    return found


def _split(
    problem: Problem, units: Ints, draws: Mapping[int, int], certificate: Certificate, floors: Sequence[tuple[int, int]]
) -> Gap:
    prices, bits = certificate.row_prices, certificate.scale_bits
    rows = [price * atoms for price, atoms in zip(prices, ends(problem, units).tolist(), strict=True)]
    groups = [q * g.limit_atoms * g.divisor for q, g in zip(certificate.group_prices, problem.groups, strict=True)]
    for index, credit in enumerate(problem.credits):
        drawn = draws.get(index, 0)
        rows[credit.row] += prices[credit.row] * drawn
        paid = 0
        if credit.group is not None:
            paid = certificate.group_prices[credit.group] * credit.units
            groups[credit.group] -= paid * drawn
        # Of credit that is worth more than its limit asks, the rest lies idle; where it is worth less, a draw was dear.
        if prices[credit.row] >= paid:
            rows[credit.row] += (prices[credit.row] - paid) * ((credit.cap_atoms or 0) - drawn)
        else:
            groups[credit.group or 0] += (paid - prices[credit.row]) * drawn
    whole = np.zeros(problem.count, dtype=object)
    now = np.zeros(problem.count, dtype=object)
    cuts, lines = [], Rows(problem)
    for cut in certificate.cuts:
        chains, coefficients, most = inequality(lines, cut)
        taken = cut.price * np.array(coefficients, dtype=object)
        whole[chains] -= taken
        now[chains] -= np.where(units[chains] != 0, taken, 0)
        cuts.append(cut.price * most - int(taken[units[chains] != 0].sum()))
    gain = {certificate.priority: 1 << bits}
    for (number, _), price in zip(floors, certificate.floor_prices, strict=True):
        gain[number] = gain.get(number, 0) + price
    counts = np.array([gain.get(number, 0) for number in problem.classes.tolist()], dtype=object)
    weights, lots = problem.weights.astype(object), problem.lots.astype(object)
    whole += counts * weights + _priced(problem, prices, problem.leg_atoms)
    now += counts * (weights * units.astype(object) // lots) + _priced(problem, prices, moved(problem, units))
    # Cutting a paying leg can add less than an atom.
    odd = np.asarray(problem.leg_atoms < 0, dtype=bool) & np.asarray(
        problem.leg_atoms % np.repeat(problem.lots, np.diff(problem.starts)) != 0, dtype=bool
    )
    added = _priced(problem, prices, odd.astype(np.int64))
    return Gap(rows, groups, cuts, (np.maximum(whole, 0) + added - now).tolist(), 0)


def _priced(problem: Problem, prices: Sequence[int], amounts: Ints) -> Ints:
    """Return the sum of price x amount over the legs of each chain."""
    legs = np.array(prices, dtype=object)[problem.leg_rows] * amounts.astype(object)
    running = np.concatenate([np.zeros(1, dtype=object), np.cumsum(legs)])
    return running[problem.starts[1:]] - running[problem.starts[:-1]]
