"""From prices to a set: round what the relaxation says, mend what that breaks, then trade small for better.

Compiled, in floating point, and only a proposal: `allowed.repair` and the verifier have the last word in integers.
Every trial flips one chain that waits (or settles), follows the shortages that this makes from account to account with
the cheapest flips it finds, and keeps the result if it is worth more. Trials are counted, not timed, and the random
numbers are its own, so the same problem gives the same set on any machine.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from assets.funding.anneal import anneal, random_word
from assets.funding.board import Board, active_chains, narrowed, standing

EPSILON = 1e-9  # Of the mean value of a chain.
BOUGHT = 2.0  # What a shortage costs, in units of its value, while a trial runs.
KEPT = 0.5  # What room on a scarce account is worth, next to its price.
MENDING_ROUNDS = 8
STEPS_PER_TRIAL = 300  # Of annealing, for each trial: both then take about as long.


def improve(table: Board, funds: np.ndarray, share: np.ndarray, trials: int, depth: int = 60) -> np.ndarray:
    """Return which chains settle whole, near the best that `trials` trials find from `share` (of the relaxation) on.

    First all chains are made to fit. Then the search goes on among those near indifference, on a board of their own:
    annealing finds the region, where a row may lack a little for a while, and trials, which never do, settle it.
    """
    chosen = share > 0.5
    settled = np.where(table.free, chosen.astype(float), share)
    room, used = standing(table, funds, settled)
    order = np.argsort(-table.weights, kind="stable")
    _mend(chosen, room, used, *table)
    _grow_all(chosen, room, used, order, *table)
    if not trials:
        return chosen
    active = active_chains(table)
    small = narrowed(table, active)
    found = chosen.copy()
    part = found[active]
    anneal(part, room, STEPS_PER_TRIAL * trials, small.weights, small.starts, small.rows, small.values, small.free,
           small.prices, small.group, small.row_starts, small.row_chains, small.row_values)  # fmt: skip
    found[active] = part
    room, used = standing(table, funds, np.where(table.free, found.astype(float), share))
    _mend(found, room, used, *table)
    _grow_all(found, room, used, order, *table)
    part = found[active]
    _trials(part, room, used, trials, depth, *small)
    found[active] = part
    return found if table.weights[found].sum() > table.weights[chosen].sum() else chosen


def rounded(share: np.ndarray, bundle: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return `share` with the part of each bundle given to its chains one after the other, the largest first."""
    order = np.lexsort((-weights, bundle))
    own, mine = weights[order], bundle[order]
    taken = np.cumsum(own)
    first = np.searchsorted(mine, np.arange(int(bundle.max(initial=-1)) + 1))
    before = np.concatenate([[0.0], taken])
    total = np.bincount(bundle, share * weights)
    part = (total[mine] - (before[:-1] - before[first][mine])) / own
    result = np.empty(len(share))
    result[order] = np.clip(part, 0.0, 1.0)
    return result


@njit(cache=True)
def _change(k, sign, room, used, weights, starts, rows, values, prices, depth, group, usage, limits):
    """What flipping a chain costs: value lost, shortage bought, scarce room used; negative if it gains."""
    cost = -sign * weights[k]
    for leg in range(starts[k], starts[k + 1]):
        r = rows[leg]
        before = room[r]
        after = before + sign * values[leg]
        g = group[r]
        if g < 0:
            if before < 0:
                cost += BOUGHT * before
            else:
                cost += KEPT * prices[r] * before
            if after < 0:
                cost -= BOUGHT * after
            else:
                cost -= KEPT * prices[r] * after
        else:
            cost += BOUGHT * (max(0.0, -after - depth[r]) - max(0.0, -before - depth[r]))
            more = (min(max(0.0, -after), depth[r]) - min(max(0.0, -before), depth[r])) * usage[r]
            over = used[g] - limits[g]
            cost += BOUGHT * (max(0.0, over + more) - max(0.0, over))
    return cost


@njit(cache=True)
def _flip(k, chosen, room, used, starts, rows, values, depth, group, usage):
    sign = -1.0 if chosen[k] else 1.0
    chosen[k] = not chosen[k]
    for leg in range(starts[k], starts[k + 1]):
        r = rows[leg]
        g = group[r]
        if g < 0:
            room[r] += sign * values[leg]
        else:
            before = min(max(0.0, -room[r]), depth[r])
            room[r] += sign * values[leg]
            used[g] += (min(max(0.0, -room[r]), depth[r]) - before) * usage[r]
    return sign


@njit(cache=True)
def _lacks(r, room, used, depth, group, usage, limits):
    """How much the row must get before it may stand, in its own unit; 0 if it may."""
    g = group[r]
    if g < 0:
        return max(0.0, -room[r])
    lack = max(0.0, -room[r] - depth[r])
    over = used[g] - limits[g]
    if over > EPSILON and room[r] < 0 and usage[r] > 0:
        lack = max(lack, min(-room[r], over / usage[r]))
    return lack


@njit(cache=True)
def _cure(
    r, need, tick, stamp, tries, state, chosen, room, used, weights, starts, rows, values, free, prices, depth, group,
    usage, limits, row_starts, row_chains, row_values,
):  # fmt: skip
    """The cheapest flip found that gives the row something: some near the size that it needs, some at random."""
    first, last = row_starts[r], row_starts[r + 1]
    low, high = first, last
    while low < high:
        middle = (low + high) // 2
        if abs(row_values[middle]) < need:
            low = middle + 1
        else:
            high = middle
    best, found = 1e300, -1
    half = tries // 2
    for i in range(tries):
        if i < half:
            place = low - tries // 8 + i
            if place < first or place >= last:
                continue
        elif last - first > half:
            place = first + np.int64(random_word(state) % np.uint64(last - first))
        else:
            place = first + i - half
            if place >= last:
                break
        k = row_chains[place]
        if stamp[k] == tick or not free[k]:
            continue
        if chosen[k] == (row_values[place] > 0):
            continue
        sign = -1.0 if chosen[k] else 1.0
        cost = _change(k, sign, room, used, weights, starts, rows, values, prices, depth, group, usage, limits)
        if cost < best:
            best, found = cost, k
    return found


@njit(cache=True)
def _fits(k, room, used, starts, rows, values, depth, group, usage, limits):
    for leg in range(starts[k], starts[k + 1]):
        if values[leg] < 0:
            r = rows[leg]
            after = room[r] + values[leg]
            if group[r] < 0:
                if after < 0:
                    return False
            elif after < 0:
                if after < -depth[r]:
                    return False
                more = 0.0
                for other in range(starts[k], starts[k + 1]):
                    o = rows[other]
                    if group[o] == group[r]:
                        more += (max(0.0, -room[o] - values[other]) - max(0.0, -room[o])) * usage[o]
                if used[group[r]] + more > limits[group[r]]:
                    return False
    return True


@njit(cache=True)
def _mend(
    chosen, room, used, weights, starts, rows, values, free, prices, depth, group, usage, limits, row_starts,
    row_chains, row_values,
):  # fmt: skip
    """Flip chains for the row that lacks most, until none does. Each chain is flipped at most once in a round.

    What one round cannot mend, the next often can. It is worth the while: dropping chains instead starts a landslide.
    """
    state = np.full(1, np.uint64(88172645463325252))
    stamp = np.zeros(len(chosen), np.int32)
    for tick in range(1, MENDING_ROUNDS + 1):
        hopeless = np.zeros(len(room), np.bool_)
        left = False
        for _ in range(4 * len(chosen) + 100):
            worst, most = -1, EPSILON
            for r in range(len(room)):
                if not hopeless[r]:
                    lack = _lacks(r, room, used, depth, group, usage, limits)
                    if lack > most:
                        worst, most = r, lack
            if worst < 0:
                break
            k = _cure(
                worst, most, tick, stamp, 64, state, chosen, room, used, weights, starts, rows, values, free, prices,
                depth, group, usage, limits, row_starts, row_chains, row_values,
            )  # fmt: skip
            if k < 0:
                hopeless[worst] = left = True
                continue
            _flip(k, chosen, room, used, starts, rows, values, depth, group, usage)
            stamp[k] = tick
        if not left:
            return


@njit(cache=True)
def _grow_all(
    chosen, room, used, order, weights, starts, rows, values, free, prices, depth, group, usage, limits, row_starts,
    row_chains, row_values,
):  # fmt: skip
    """First drop whatever still leaves a row short, then add what fits, the most valuable first."""
    for r in range(len(room)):
        for place in range(row_starts[r], row_starts[r + 1]):
            if _lacks(r, room, used, depth, group, usage, limits) <= EPSILON:
                break
            k = row_chains[place]
            if chosen[k] and free[k] and row_values[place] < 0:
                _flip(k, chosen, room, used, starts, rows, values, depth, group, usage)
    again = True
    rounds = 0
    while again and rounds < 20:
        again = False
        rounds += 1
        for r in range(len(room)):
            if _lacks(r, room, used, depth, group, usage, limits) > EPSILON:
                for place in range(row_starts[r + 1] - 1, row_starts[r] - 1, -1):
                    k = row_chains[place]
                    if chosen[k] and free[k] and row_values[place] < 0:
                        _flip(k, chosen, room, used, starts, rows, values, depth, group, usage)
                        again = True
                        if _lacks(r, room, used, depth, group, usage, limits) <= EPSILON:
                            break
    for i in range(len(order)):
        k = order[i]
        if not chosen[k] and free[k] and _fits(k, room, used, starts, rows, values, depth, group, usage, limits):
            _flip(k, chosen, room, used, starts, rows, values, depth, group, usage)


@njit(cache=True)
def _trials(
    chosen, room, used, trials, longest, weights, starts, rows, values, free, prices, depth, group, usage, limits,
    row_starts, row_chains, row_values,
):  # fmt: skip
    state = np.full(1, np.uint64(88172645463325252))
    stamp = np.zeros(len(chosen), np.int32)
    seen = np.zeros(len(room), np.int32)
    log = np.zeros(1024, np.int64)
    kept = 0
    for trial in range(1, trials + 1):
        left = 1.0 - trial / trials
        heat = 0.1 * left * left * left * left
        # Start where room of the highest price lies idle, out of a few rows looked at.
        row, most = np.int64(-1), -1.0
        for _ in range(4):
            r = np.int64(random_word(state) % np.uint64(len(room)))
            if row_starts[r + 1] > row_starts[r] and room[r] * prices[r] > most and group[r] < 0:
                row, most = r, room[r] * prices[r]
        if row < 0:
            r = np.int64(random_word(state) % np.uint64(len(room)))
            if row_starts[r + 1] == row_starts[r]:
                continue
            row = r
        k = -1
        for _ in range(24):
            place = row_starts[row] + np.int64(random_word(state) % np.uint64(row_starts[row + 1] - row_starts[row]))
            k = row_chains[place]
            if not chosen[k] and row_values[place] < 0 and free[k]:
                break
        if not free[k]:
            continue
        sign = _flip(k, chosen, room, used, starts, rows, values, depth, group, usage)
        gain = sign * weights[k]
        stamp[k] = trial
        log[0], flips = k, 1
        stands = False
        for _ in range(longest):
            worst, most = -1, EPSILON
            for i in range(flips):
                for leg in range(starts[log[i]], starts[log[i] + 1]):
                    lack = _lacks(rows[leg], room, used, depth, group, usage, limits)
                    if lack > most:
                        worst, most = rows[leg], lack
            if worst < 0:
                stands = True
                break
            k = _cure(
                worst, most, trial, stamp, 32, state, chosen, room, used, weights, starts, rows, values, free, prices,
                depth, group, usage, limits, row_starts, row_chains, row_values,
            )  # fmt: skip
            if k < 0:
                break
            gain += weights[k] * _flip(k, chosen, room, used, starts, rows, values, depth, group, usage)
            stamp[k] = trial
            log[flips] = k
            flips += 1
        if stands:
            # Use the room that the flips have left.
            for i in range(flips):
                for leg in range(starts[log[i]], starts[log[i] + 1]):
                    r = rows[leg]
                    if room[r] <= 0 or seen[r] == trial:
                        continue
                    seen[r] = trial
                    low, high = row_starts[r], row_starts[r + 1]
                    while low < high:
                        middle = (low + high) // 2
                        if abs(row_values[middle]) <= room[r]:
                            low = middle + 1
                        else:
                            high = middle
                    looked = 0
                    place = low - 1
                    while place >= row_starts[r] and looked < 6:
                        k = row_chains[place]
                        if not chosen[k] and free[k] and row_values[place] < 0:
                            looked += 1
                            if flips < len(log) and _fits(
                                k, room, used, starts, rows, values, depth, group, usage, limits
                            ):
                                gain += weights[k] * _flip(
                                    k, chosen, room, used, starts, rows, values, depth, group, usage
                                )
                                log[flips] = k
                                flips += 1
                        place -= 1
        worth = gain
        if stands:
            for i in range(flips):
                k = log[i]
                sign = 1.0 if chosen[k] else -1.0
                for leg in range(starts[k], starts[k + 1]):
                    worth += 0.5 * prices[rows[leg]] * sign * values[leg]
        if stands and worth > -heat:
            kept += 1
        else:
            for i in range(flips - 1, -1, -1):
                _flip(log[i], chosen, room, used, starts, rows, values, depth, group, usage)
    return kept
