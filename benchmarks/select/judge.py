"""Judges an answer from the files alone, in integers, with no code of any engine: is it lawful, and what is it worth?

python -m benchmarks.select.judge FOLDER ANSWER.csv [CERTIFICATE.json]
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path

from assets.funding.problem import Problem
from benchmarks.select.instances import read


class Unlawful(Exception):
    """The answer breaks a rule of the problem, or the certificate does not prove what it says."""


def settled_value(problem: Problem, settled: dict[str, int]) -> int:
    """Return what an answer (lots settled by chain id) is worth. Raises Unlawful where it may not settle."""
    if unknown := settled.keys() - set(problem.chains):
        raise Unlawful(f"{len(unknown)} chains of the answer are not in the instance (first: {min(unknown)})")
    end, value = problem.funds.tolist(), 0
    rows, atoms, weights = problem.leg_rows.tolist(), problem.leg_atoms.tolist(), problem.weights.tolist()
    lots, least = problem.lots.tolist(), problem.least.tolist()
    for chain, (start, stop) in enumerate(pairwise(problem.starts.tolist())):
        part = settled.get(problem.chains[chain], 0)
        if part == 0:
            continue
        if not least[chain] <= part <= lots[chain]:
            raise Unlawful(f"chain {problem.chains[chain]} settles {part} lots of {lots[chain]}")
        value += weights[chain] * part // lots[chain]
        for leg in range(start, stop):
            moves = abs(atoms[leg]) * part // lots[chain]
            end[rows[leg]] += moves if atoms[leg] > 0 else -moves
    if short := [row for row, left in enumerate(end) if left < 0]:
        first = problem.rows[short[0]]
        raise Unlawful(f"{len(short)} accounts end below zero (first: {first.party} {first.instrument})")
    return value


def proven_bound(problem: Problem, certificate: dict) -> int:
    """Return the bound that a certificate's prices prove: no lawful set of a problem of one class is worth more.

    Any prices that are not negative prove some bound: an account's price times its funds, and of each chain what
    its weight exceeds the price of what it takes, if it does. What a part of a chain gains by cutting amounts to
    whole atoms is less than one atom of each leg that pays, and is added. Raises Unlawful when the certificate
    claims less than its prices prove.

    A chain that pays more than its account and all other chains could ever bring settles in no lawful set: it counts
    nothing. A cut rounds the sum of one account by a divisor d: with y_k = 1 for what waits and `room` what the account would
    end with if all settled, sum(use_k y_k) <= room. Of integers y, with room = Q d + R and use_k = q_k d + r_k, follows
    sum((q_k (d - R) + max(0, r_k - R)) y_k) <= Q (d - R): mixed integer rounding.
    """
    prices, one = [int(price) for price in certificate["row_prices"]], 1 << int(certificate["scale_bits"])
    if len(prices) != len(problem.rows) or min(prices, default=0) < 0:
        raise Unlawful("the certificate has not one price, zero or more, for each account")
    total = sum(price * funds for price, funds in zip(prices, problem.funds.tolist(), strict=True))
    rows, atoms, lots = problem.leg_rows.tolist(), problem.leg_atoms.tolist(), problem.lots.tolist()
    weights = problem.weights.tolist()
    extra = [0] * problem.count
    hopeless = _hopeless(problem)
    if cuts := certificate.get("cuts"):
        total += _cut(problem, cuts, extra, hopeless)
    for chain, (start, stop) in enumerate(pairwise(problem.starts.tolist())):
        if chain in hopeless:
            continue
        gain = extra[chain] + one * weights[chain] + sum(prices[rows[leg]] * atoms[leg] for leg in range(start, stop))
        total += max(0, gain)
        if lots[chain] > 1:
            total += sum(prices[rows[leg]] for leg in range(start, stop) if atoms[leg] < 0 and atoms[leg] % lots[chain])
    proven = total // one
    if int(certificate["bound"]) < proven:
        raise Unlawful(f"the certificate claims the bound {certificate['bound']}, its prices prove {proven}")
    return proven


def _hopeless(problem: Problem) -> set[int]:
    """Return the chains of one lot that can settle in no lawful set, found again and again until there are no more."""
    rows, atoms, lots = problem.leg_rows.tolist(), problem.leg_atoms.tolist(), problem.lots.tolist()
    chains = list(enumerate(pairwise(problem.starts.tolist())))
    found: set[int] = set()
    while True:
        most = problem.funds.tolist()
        for chain, (start, stop) in chains:
            if chain not in found:
                for leg in range(start, stop):
                    most[rows[leg]] += max(0, atoms[leg])
        more = {
            chain
            for chain, (start, stop) in chains
            if chain not in found and lots[chain] == 1
            and any(atoms[leg] < 0 and most[rows[leg]] + atoms[leg] < 0 for leg in range(start, stop))
        }  # fmt: skip
        if not more:
            return found
        found |= more


def _cut(problem: Problem, cuts: list[dict], extra: list[int], hopeless: set[int]) -> int:
    """Return what the cuts add to the bound, and add to `extra` what they add to each chain's gain."""
    total, funds = 0, problem.funds.tolist()
    by_row: dict[int, list[tuple[int, int]]] = {int(cut["row"]): [] for cut in cuts}
    atoms, rows = problem.leg_atoms.tolist(), problem.leg_rows.tolist()
    for chain, (start, stop) in enumerate(pairwise(problem.starts.tolist())):
        for leg in range(start, stop):
            if rows[leg] in by_row and chain not in hopeless:
                by_row[rows[leg]].append((chain, atoms[leg]))
    for cut in cuts:
        row, divisor, price = int(cut["row"]), int(cut["divisor"]), int(cut["price"])
        legs = by_row[row]
        whole = all(problem.lots[chain] == 1 for chain, _ in legs)
        if divisor < 1 or price < 0 or not whole or len({chain for chain, _ in legs}) < len(legs):
            raise Unlawful("a cut of the certificate proves nothing")
        room = funds[row] + sum(moves for _, moves in legs)
        step = divisor - room % divisor
        total += price * (room // divisor) * step
        for chain, use in legs:
            part = price * (use // divisor * step + max(0, use % divisor - room % divisor))
            extra[chain] += part
            total -= part
    return total


def read_answer(path: Path) -> dict[str, int]:
    """Return the lots that settle, by chain id, of a file `chain_id,lots_settled`. What waits may be left out."""
    try:
        head, *lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError, ValueError) as why:
        raise Unlawful(f"{path.name} cannot be read: {why}") from why
    if head != "chain_id,lots_settled":
        raise Unlawful(f"{path.name} must begin with the line chain_id,lots_settled")
    settled: dict[str, int] = {}
    for number, line in enumerate(lines, start=2):
        chain, _, lots = line.partition(",")
        if not (lots.isascii() and lots.isdigit() and len(lots) <= 40):
            raise Unlawful(f"{path.name}, line {number}: expected a chain and a whole number of lots")
        if chain in settled:
            raise Unlawful(f"{path.name}, line {number}: chain {chain} is named twice")
        settled[chain] = int(lots)
    return settled


def ratio(value: int, bound: int) -> str:
    """Return value / bound cut (never rounded up) after eight digits; 1 when there is nothing to gain."""
    whole = value * 10**8 // bound if bound else 10**8
    return f"{whole // 10**8}.{whole % 10**8:08d}"


def main(arguments: list[str]) -> int:
    """Judge and say so. Returns 1 if the answer or the certificate does not hold."""
    try:
        problem = read(Path(arguments[0]))
        value = settled_value(problem, read_answer(Path(arguments[1])))
        sys.stdout.write(f"lawful, value {value}\n")
        if len(arguments) > 2:
            (certificate,) = json.loads(Path(arguments[2]).read_text(encoding="utf-8"))
            bound = proven_bound(problem, certificate)
            sys.stdout.write(f"proven bound {bound}, ratio {ratio(value, bound)}\n")
    except (Unlawful, IndexError, KeyError, TypeError, ValueError, OSError) as why:
        sys.stdout.write(f"not lawful: {type(why).__name__}: {why}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
