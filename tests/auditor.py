"""A settlement that is slow and obvious, to judge the fast one by.

Plain dicts, Python integers and fractions, written from the business rules and not from the code: nothing of the
pipeline is imported here. A report, a trade or a line is a dict with the column names of the documented frames.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

Row = Mapping[str, Any]
Account = tuple[str, str]  # Participant and instrument.
Amounts = dict[Account, int]


# Reports become trades


def fold(reports: Sequence[Row], final: Iterable[str] = ()) -> dict[str, str]:
    """Return what each report is after all busts and corrections: LIVE, BUSTED, CORRECTED, APPLIED or PENDING.

    `final` are reports that settled in earlier cycles. A bust of any report of a family takes what it was corrected
    into with it.
    """
    known, states = {report["fill_id"]: report for report in reports}, {}
    names = defaultdict(list)
    for report in reports:
        if report["exec_ref_id"] is not None:
            names[report["exec_ref_id"]].append(report)

    def ancestors(report: Row) -> Iterator[str]:
        seen, at = {report["fill_id"]}, report["exec_ref_id"]
        while at is not None and at not in seen:
            yield at
            seen.add(at)
            at = known[at]["exec_ref_id"] if at in known and known[at]["exec_type"] == "G" else None

    def busted(fill_id: str) -> bool:
        return any(report["exec_type"] == "H" for report in names[fill_id])

    for fill_id, report in known.items():
        family = [fill_id, *ancestors(report)] if report["exec_type"] == "G" else [fill_id]
        target = report["exec_ref_id"]
        if any(busted(member) for member in family):
            states[fill_id] = "BUSTED"
        elif names[fill_id]:
            states[fill_id] = "CORRECTED"
        elif target is None:
            states[fill_id] = "LIVE"
        elif report["exec_type"] == "H":
            others = [other for other in names[target] if other is not report and other["exec_type"] == "G"]
            states[fill_id] = "APPLIED" if target in known or others else "PENDING"
        else:
            states[fill_id] = "LIVE" if target in known else "PENDING"
    return states


def matches(reports: Sequence[Row]) -> dict[str, tuple[Row, Row]]:
    """Return (buy, sell) by match id, where exactly two live reports say the same of one trade."""
    states, groups = fold(reports), defaultdict(list)
    for report in reports:
        if states[report["fill_id"]] in ("LIVE", "PENDING"):
            groups[report["match_id"]].append(report)
    found = {}
    for match_id, group in groups.items():
        if sorted(report["side"] for report in group) != ["BUY", "SELL"]:
            continue
        if any(states[report["fill_id"]] == "PENDING" for report in group):
            continue
        buy, sell = sorted(group, key=lambda report: report["side"])
        same = all(buy[name] == sell[name] for name in ("base", "quote", "base_atoms", "price", "value_on"))
        increment = min(buy["quote_increment_atoms"], sell["quote_increment_atoms"])
        if same and abs(buy["quote_atoms"] - sell["quote_atoms"]) <= increment:
            found[match_id] = (buy, sell)
    return found


# Trades become obligations


def obligations(trade: Row) -> list[tuple[str, str, str, int]]:
    """Return (payer, receiver, instrument, atoms) of each hop: base towards the buyer, quote towards the seller."""
    path = [trade["seller"], trade["seller_broker"], trade["buyer_broker"], trade["buyer"]]
    path = [party for party in path if party is not None]
    hops = [(giver, taker) for giver, taker in pairwise(path) if giver != taker]
    owed = [(giver, taker, trade["base"], trade["base_atoms"]) for giver, taker in hops]
    return owed + [(taker, giver, trade["quote"], trade["quote_atoms"]) for giver, taker in hops]


def nets(trades: Iterable[Row]) -> Amounts:
    """Return what each participant receives less what it pays, per instrument; riskless brokers with their 0."""
    totals: Amounts = defaultdict(int)
    for trade in trades:
        for payer, receiver, instrument, atoms in obligations(trade):
            totals[payer, instrument] -= atoms
            totals[receiver, instrument] += atoms
    return dict(totals)


class Movement(NamedTuple):
    """What has to move of one instrument, netted in three ways."""

    gross: int
    bilateral: int
    bilateral_payments: int
    multilateral: int


def movements(trades: Sequence[Row]) -> dict[str, Movement]:
    """Return what moves per instrument: each obligation by itself, net per pair, net of all."""
    gross: dict[str, int] = defaultdict(int)
    pairs: dict[tuple[str, str, str], int] = defaultdict(int)
    for trade in trades:
        for payer, receiver, instrument, atoms in obligations(trade):
            gross[instrument] += atoms
            low, high = sorted((payer, receiver))
            pairs[instrument, low, high] += atoms if payer == low else -atoms
    ends = nets(trades)
    return {
        name: Movement(
            atoms,
            sum(abs(net) for (instrument, *_), net in pairs.items() if instrument == name),
            sum(net != 0 for (instrument, *_), net in pairs.items() if instrument == name),
            sum(-net for (_, instrument), net in ends.items() if instrument == name and net < 0),
        )
        for name, atoms in gross.items()
    }


# Which chains settle


def shortages(trades: Iterable[Row], funds: Amounts) -> Amounts:
    """Return what each account lacks if all of `trades` settle at one instant; nothing when they can."""
    return {
        account: -(net + funds.get(account, 0))
        for account, net in nets(trades).items()
        if net + funds.get(account, 0) < 0
    }


def weight(trade: Row) -> int:
    """Return what settling a trade counts for: its value, and half as much again per cycle waited; times two."""
    return trade["value_atoms"] * (2 + trade["age"])


def subsets(trades: Sequence[Row]) -> Iterator[list[Row]]:
    """Yield every set of trades."""
    for bits in range(1 << len(trades)):
        yield [trade for position, trade in enumerate(trades) if bits >> position & 1]


def best_weight(trades: Sequence[Row], funds: Amounts) -> int:
    """Return the most that any set can count for with every account funded. Of 14 chains there are 16,384 sets."""
    legs = [nets([trade]) for trade in trades]
    best, ends = 0, dict(funds)
    for bits in range(1, 1 << len(trades)):
        flipped = (bits & -bits).bit_length() - 1  # Gray code: one chain comes or goes at each step.
        code = bits ^ (bits >> 1)
        sign = 1 if code >> flipped & 1 else -1
        for account, net in legs[flipped].items():
            ends[account] = ends.get(account, 0) + sign * net
        if min(ends.values()) >= 0:
            best = max(best, sum(weight(trade) for k, trade in enumerate(trades) if code >> k & 1))
    return best


def one_by_one(trades: Sequence[Row], funds: Amounts) -> set[str]:
    """Return what settles when each chain in turn must be funded by itself, passing over those that are not yet."""
    ends, settled = dict(funds), set()
    grew = True
    while grew:
        grew = False
        for trade in trades:
            if trade["chain_id"] not in settled and not shortages([trade], ends):
                for account, net in nets([trade]).items():
                    ends[account] = ends.get(account, 0) + net
                settled.add(trade["chain_id"])
                grew = True
    return settled


def cheapest_topup(trades: Sequence[Row], funds: Amounts, chain_id: str, prices: Mapping[str, Fraction]) -> Amounts:
    """Return the least extra funds, by value, with which some set that holds `chain_id` settles. `prices` per atom."""
    sets = (chosen for chosen in subsets(trades) if any(trade["chain_id"] == chain_id for trade in chosen))
    lacks = [shortages(chosen, funds) for chosen in sets]
    return min(lacks, key=lambda lack: sum(prices[instrument] * atoms for (_, instrument), atoms in lack.items()))


def complaints(
    trades: Sequence[Row], decisions: Sequence[Row], available: Amounts, credit: Amounts, draws: Sequence[Row]
) -> list[str]:
    """Return all that is wrong with a decision; nothing when it may stand.

    `available` are own funds and `credit` what may be drawn, per account; an account is known if it is in `available`.
    """
    found = []
    by_id = {trade["chain_id"]: trade for trade in trades}
    if Counter(decision["chain_id"] for decision in decisions) != Counter(list(by_id)):
        found.append("not every chain is decided exactly once")
    settling = [by_id[decision["chain_id"]] for decision in decisions if decision["settles"]]
    ends = nets(settling)
    if any(sum(net for (_, i), net in ends.items() if i == name) for name in {i for _, i in ends}):
        found.append("an instrument does not sum to zero")
    if any(trade["hold_reason"] is not None for trade in settling):
        found.append("a chain on hold settles")
    if not set(ends) <= set(available):
        found.append("a chain settles where a party has no account")
    drawn: Amounts = defaultdict(int)
    for draw in draws:
        drawn[draw["client"], draw["instrument"]] += draw["drawn_atoms"]
    if {account: atoms for account, atoms in drawn.items() if atoms} != shortages(settling, available):
        found.append("what is drawn is not exactly what own funds lack")
    if any(atoms > credit.get(account, 0) for account, atoms in drawn.items()):
        found.append("more is drawn than is lent")
    together = {account: atoms + credit.get(account, 0) for account, atoms in available.items()}
    for decision in decisions:
        trade = by_id[decision["chain_id"]]
        if decision["settles"]:
            continue
        if decision["reason"] is None:
            found.append("a chain waits without a reason")
        if (
            trade["hold_reason"] is None
            and set(nets([trade])) <= set(available)
            and not shortages([*settling, trade], together)
        ):
            found.append("a chain waits that could still be added")
    return found


# What the prime brokers stand for


def exposure(
    trades: Iterable[Row], line: Row, worth: Mapping[str, Fraction], reference: str
) -> tuple[Fraction, Fraction]:
    """Return the net open position and the largest net payable of one value date, of a client under its line.

    `worth` is what one atom is worth in reference atoms.
    """
    net: dict[str, int] = defaultdict(int)
    due: dict[Any, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for trade in trades:
        for side, sign in (("buyer", 1), ("seller", -1)):
            if (trade[f"{side}_broker"], trade[side]) == (line["prime_broker"], line["client"]):
                for leg, way in (("base", sign), ("quote", -sign)):
                    net[trade[leg]] += way * trade[f"{leg}_atoms"]
                    due[trade["value_on"]][trade[leg]] += way * trade[f"{leg}_atoms"]
    values = [atoms * worth[instrument] for instrument, atoms in net.items() if instrument != reference]
    long, short = sum(v for v in values if v > 0), -sum(v for v in values if v < 0)
    formula = {"GREATER_OF_LONG_SHORT": max(long, short), "SUM_ABS": long + short, "NET_DOWNSIDE": short}
    payable = [sum(-atoms * worth[i] for i, atoms in day.items() if atoms < 0) for day in due.values()]
    return Fraction(formula[line["nop_formula"]]), Fraction(max(payable, default=0))
