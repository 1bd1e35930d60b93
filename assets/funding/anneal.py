"""Annealing among the chains near indifference: single flips and swaps, a tenth of a millisecond for a thousand of them.

A row may lack something on the way, which costs more and more as it cools. So what comes out may still lack a little,
and is mended by `search`. Its only float functions are sums and products, and its random numbers are its own: the same
board gives the same set on any machine.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCKS = 128  # The temperature changes after each.
HEAT, COOLING = 0.3, 0.96  # Of the mean value of a chain, down to a two hundredth of it.
LACK, STIFFENING = 0.7, 1.025  # What a unit that a row lacks costs beyond its price, up to sixteen.
SWAPS = 220  # Of 256 steps. The others flip one chain.
# -log of a uniform draw, rounded, so that no machine's logarithm shows.
TOLERANCES = np.round(-np.log((np.arange(1024) + 0.5) / 1024), 6)


def anneal(
    chosen, room, steps, weights, starts, rows, values, free, prices, group, row_starts, row_chains, row_values
):  # fmt: skip
    """Flip `chosen` and the `room` that it leaves in place, in about `steps` steps. Rows of groups stay as they are."""
    grouped = np.bincount(np.repeat(np.arange(len(starts) - 1), np.diff(starts)), group[rows] >= 0, len(starts) - 1)
    movable = free & (grouped == 0)
    paying = (row_values < 0) & movable[row_chains]
    owner = np.repeat(np.arange(len(prices)), np.diff(row_starts))[paying]
    payers = np.searchsorted(owner, np.arange(len(prices) + 1))
    candidates = np.flatnonzero(movable)
    if len(candidates):
        _anneal(chosen, room, candidates, steps // BLOCKS, TOLERANCES, weights, starts, rows, values, prices, payers,
                row_chains[paying])  # fmt: skip


@njit(cache=True)
def random_word(state):
    x = state[0]
    x ^= x << np.uint64(13)
    x ^= x >> np.uint64(7)
    x ^= x << np.uint64(17)
    state[0] = x
    return x


@njit(cache=True)
def _flip(k, chosen, room, weights, starts, rows, values, fine, waiting, place, count):
    """Flip a chain, keep the list of those that wait, and return what it costs: value lost, and more lacking."""
    sign = -1.0 if chosen[k] else 1.0
    chosen[k] = not chosen[k]
    cost = -sign * weights[k]
    for leg in range(starts[k], starts[k + 1]):
        r = rows[leg]
        before = room[r]
        after = before + sign * values[leg]
        room[r] = after
        if before < 0:
            cost += fine[r] * before
        if after < 0:
            cost -= fine[r] * after
    if sign < 0:
        waiting[count[0]] = k
        place[k] = count[0]
        count[0] += 1
    else:
        count[0] -= 1
        last = waiting[count[0]]
        waiting[place[k]] = last
        place[last] = place[k]
    return cost


@njit(cache=True)
def _anneal(chosen, room, candidates, length, tolerances, weights, starts, rows, values, prices, payers, payer_chains):
    state = np.full(1, np.uint64(88172645463325252))
    waiting, place = np.empty(len(chosen) + 1, np.int64), np.zeros(len(chosen), np.int64)
    count = np.zeros(1, np.int64)
    for k in candidates:
        if not chosen[k]:
            waiting[count[0]], place[k] = k, count[0]
            count[0] += 1
    heat, lack = HEAT, LACK
    for _ in range(BLOCKS):
        fine = prices + lack
        for _ in range(length):
            x = random_word(state)
            tolerated = heat * tolerances[np.int64(x & np.uint64(1023))]
            swaps = np.int64((x >> np.uint64(10)) & np.uint64(255)) < SWAPS
            x >>= np.uint64(18)
            other = -1
            if swaps and count[0] > 0:
                # One that waits comes in, and another that pays from an account of its takes its place.
                k = waiting[np.int64(x % np.uint64(count[0]))]
                x = random_word(state)
                legs = starts[k + 1] - starts[k]
                if legs == 0:
                    continue
                leg = starts[k] + np.int64(x % np.uint64(legs))
                r = rows[leg]
                size = payers[r + 1] - payers[r]
                if size == 0:
                    continue
                other = payer_chains[payers[r] + np.int64((x >> np.uint64(16)) % np.uint64(size))]
                # Where it pays, one that settles goes; where it receives, one that waits comes in too.
                if other == k or chosen[other] != (values[leg] < 0):
                    continue
            else:
                k = candidates[np.int64(x % np.uint64(len(candidates)))]
            cost = _flip(k, chosen, room, weights, starts, rows, values, fine, waiting, place, count)
            if other >= 0:
                cost += _flip(other, chosen, room, weights, starts, rows, values, fine, waiting, place, count)
            if cost >= tolerated:
                if other >= 0:
                    _flip(other, chosen, room, weights, starts, rows, values, fine, waiting, place, count)
                _flip(k, chosen, room, weights, starts, rows, values, fine, waiting, place, count)
        heat *= COOLING
        lack *= STIFFENING
