"""Problems of selection to try an engine on: random ones, rings, markets and the worked example, and changes to them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random

import numpy as np

from assets.funding.problem import Credit, Group, Problem, RowName, ints

Leg = tuple[RowName, int]
PRIME = 2**61 - 1
SIZES = {"small": 1, "wei": 10**18, "prime": PRIME, "24 digits": 10**23 + 9}


@dataclass(frozen=True)
class Way:
    """One chain of a case."""

    name: str
    weight: int
    legs: tuple[Leg, ...]
    priority: int = 4
    lots: int = 1
    least: int = 1


@dataclass(frozen=True)
class Loan:
    """One credit of a case. `group` names one of its groups."""

    row: RowName
    cap_atoms: int | None
    group: str | None = None
    units: int = 0


@dataclass(frozen=True)
class Case:
    """A problem in names instead of positions, so that it can be changed and built again."""

    ways: list[Way]
    funds: dict[RowName, int]
    loans: list[Loan] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)

    def problem(self) -> Problem:
        """Return the problem with its chains in canonical order. Rows and groups stay in the order of the case."""
        ways = sorted(self.ways, key=lambda way: way.name)
        at = {name: row for row, name in enumerate(self.funds)}
        group_at = {group.name: position for position, group in enumerate(self.groups)}
        legs = [(at[name], atoms) for way in ways for name, atoms in way.legs]
        return Problem(
            chains=[way.name for way in ways],
            weights=ints([way.weight for way in ways]),
            classes=np.array([way.priority for way in ways], dtype=np.int64),
            lots=ints([way.lots for way in ways]),
            least=ints([way.least for way in ways]),
            starts=np.cumsum([0, *(len(way.legs) for way in ways)], dtype=np.int64),
            leg_rows=np.array([row for row, _ in legs], dtype=np.int64),
            leg_atoms=ints([atoms for _, atoms in legs]),
            rows=list(self.funds),
            funds=ints(list(self.funds.values())),
            credits=[
                Credit(at[loan.row], loan.cap_atoms, None if loan.group is None else group_at[loan.group], loan.units)
                for loan in self.loans
            ],
            groups=list(self.groups),
        )


def case_of(problem: Problem) -> Case:
    """Return a problem as a case: the inverse of `Case.problem`."""
    ways = [
        Way(
            name,
            int(problem.weights[k]),
            tuple((problem.rows[row], int(atoms)) for row, atoms in problem.legs_of(k)),
            int(problem.classes[k]),
            int(problem.lots[k]),
            int(problem.least[k]),
        )
        for k, name in enumerate(problem.chains)
    ]
    loans = [
        Loan(
            problem.rows[credit.row],
            credit.cap_atoms,
            None if credit.group is None else problem.groups[credit.group].name,
            credit.units,
        )
        for credit in problem.credits
    ]
    funds = {name: int(atoms) for name, atoms in zip(problem.rows, problem.funds, strict=True)}
    return Case(ways, funds, loans, list(problem.groups))


# Changes that must change nothing, or only as much


def permuted(problem: Problem, rng: Random) -> Problem:
    """Return the same problem, told in another order: chains, legs, rows, groups, and credits of different rows."""
    case = case_of(problem)
    ways = [replace(way, legs=tuple(rng.sample(way.legs, len(way.legs)))) for way in case.ways]
    funds = dict(rng.sample(list(case.funds.items()), len(case.funds)))
    place = {name: position for position, name in enumerate(rng.sample(list(funds), len(funds)))}
    loans = sorted(case.loans, key=lambda loan: place[loan.row])  # Stable: a row draws in the same order.
    groups = rng.sample(case.groups, len(case.groups))
    return Case(rng.sample(ways, len(ways)), funds, loans, groups).problem()


def renamed(problem: Problem, rng: Random) -> Problem:
    """Return the problem with other names for its parties."""
    case = case_of(problem)
    parties = sorted({name.party for name in case.funds})
    others = dict(zip(parties, (f"R{k:04}" for k in rng.sample(range(10 * len(parties)), len(parties))), strict=True))
    new = {name: name._replace(party=others[name.party]) for name in case.funds}
    ways = [replace(way, legs=tuple((new[name], atoms) for name, atoms in way.legs)) for way in case.ways]
    loans = [replace(loan, row=new[loan.row]) for loan in case.loans]
    return Case(ways, {new[name]: atoms for name, atoms in case.funds.items()}, loans, case.groups).problem()


def scaled(problem: Problem, factor: int = 10**18) -> Problem:
    """Return the problem with every amount and weight `factor` times as large.

    The same sets are lawful where nothing is rounded: no lots, no divisors. Links count chains, which stay.
    """
    case = case_of(problem)

    def times(name: RowName, atoms: int) -> int:
        return atoms if name.kind == "LINK" else atoms * factor

    ways = [
        replace(way, weight=way.weight * factor, legs=tuple((name, times(name, atoms)) for name, atoms in way.legs))
        for way in case.ways
    ]
    loans = [
        replace(loan, cap_atoms=None if loan.cap_atoms is None else times(loan.row, loan.cap_atoms))
        for loan in case.loans
    ]
    groups = [group._replace(limit_atoms=group.limit_atoms * factor) for group in case.groups]
    return Case(ways, {name: times(name, atoms) for name, atoms in case.funds.items()}, loans, groups).problem()


def with_funds(problem: Problem, extra: Mapping[int, int]) -> Problem:
    """Return the problem with `extra` atoms more on the rows named."""
    case = case_of(problem)
    more = {problem.rows[row]: atoms for row, atoms in extra.items()}
    return replace(case, funds={name: atoms + more.get(name, 0) for name, atoms in case.funds.items()}).problem()


# Random problems, small enough for the judge


def account(party: str, instrument: str) -> RowName:
    return RowName("ACCOUNT", party, instrument)


def random_problem(
    rng: Random,
    chains: int,
    *,
    size: str = "small",
    lots: bool = True,
    limits: bool = True,
    credit: bool = True,
    several: bool = False,
) -> Problem:
    """Return a random problem. Without `lots`, `limits` (groups) or `credit` nothing is rounded; `size`: see SIZES.

    Funds are none, some, plenty, or exactly what a random set needs, so that a single atom decides. Some weights are
    equal and some 0. `several`: an account may have more than one credit.
    """
    unit = SIZES[size]
    parties = [f"P{k}" for k in range(rng.randint(2, max(3, chains)))]
    instruments = ["BTC", "ETH", "USD", "SOL"][: rng.randint(1, 4)]
    priorities = sorted(rng.sample(range(1, 6), rng.choice([1, 1, 2, 3])))
    names = [f"K{k:05}" for k in rng.sample(range(100_000), chains)]
    weights = rng.choice([[1], [0, 1, 2, 3], list(range(100)), [unit + k for k in range(50)]])

    def amount() -> int:
        return rng.randint(1, 12) * unit + (0 if size == "small" else rng.choice([0, 1, rng.randrange(unit)]))

    ways = []
    for name in names:
        count = rng.choice([2, 3, 4, 5]) if lots and rng.random() < 0.25 else 1
        way = Way(name, rng.choice(weights), _legs(rng, parties, instruments, amount), rng.choice(priorities), count)
        ways.append(replace(way, least=rng.randint(1, count)))
    case = _funded(rng, ways, unit)
    case = _linked(rng, case)
    if credit:
        case = _lent(rng, case, unit, limits=limits, several=several)
    if limits and rng.random() < 0.4:
        case = _watched(rng, case, unit)
    return case.problem()


def _legs(
    rng: Random, parties: Sequence[str], instruments: Sequence[str], amount: Callable[[], int]
) -> tuple[Leg, ...]:
    """Return one to four legs: payments of one sort, a trade (here and there through a broker), or one-legged ones."""
    giver, taker = rng.sample(parties, 2)
    form = rng.random()
    if form < 0.15:
        return tuple(
            (account(rng.choice(parties), rng.choice(instruments)), rng.choice([-1, 1]) * amount())
            for _ in range(rng.randint(1, 2))
        )
    legs = []
    for instrument in rng.sample(instruments, min(len(instruments), 1 if form < 0.3 else 2)):
        atoms = amount()
        legs += [(account(giver, instrument), -atoms), (account(taker, instrument), atoms)]
        if form > 0.9:  # A broker between them pays on what it receives: two legs on one row.
            broker = rng.choice(parties)
            legs = [(account(giver, instrument), -atoms), (account(broker, instrument), atoms),
                    (account(broker, instrument), -atoms), (account(taker, instrument), atoms)]  # fmt: skip
            break
        giver, taker = taker, giver
    return tuple(legs)


def _funded(rng: Random, ways: list[Way], unit: int) -> Case:
    needs: dict[RowName, int] = {}
    touched = sorted({name for way in ways for name, _ in way.legs})
    for way in rng.sample(ways, rng.randint(0, len(ways))):
        for name, atoms in way.legs:
            needs[name] = needs.get(name, 0) - atoms
    mood = rng.choice(["none", "exact", "scarce", "mixed", "mixed", "mixed", "mixed", "plenty"])
    funds = {}
    for name in touched:
        need = max(0, needs.get(name, 0))
        choices = {"none": 0, "exact": need, "scarce": rng.randint(0, 4) * unit, "plenty": 10**4 * unit}
        funds[name] = choices[rng.choice(list(choices)) if mood == "mixed" else mood]
        if rng.random() < 0.08:
            funds[name] = max(0, funds[name] - 1)
    return Case(ways, funds)


def _linked(rng: Random, case: Case) -> Case:
    """Return the case with some chains, all or nothing, that may only settle after others."""
    ways, funds = {way.name: way for way in case.ways}, dict(case.funds)
    whole = sorted(name for name, way in ways.items() if way.lots == 1)
    for number in range(rng.choice([0, 0, 1, 2])):
        if len(whole) < 2:
            break
        earlier, later = rng.sample(whole, 2)
        name = RowName("LINK", f"L{number}", "")
        funds[name] = 0
        ways[earlier] = replace(ways[earlier], legs=(*ways[earlier].legs, (name, 1)))
        ways[later] = replace(ways[later], legs=(*ways[later].legs, (name, -1)))
    return Case(list(ways.values()), funds, case.loans, case.groups)


def _lent(rng: Random, case: Case, unit: int, *, limits: bool, several: bool) -> Case:
    """Return the case with credit on some accounts. Several credits of one row are grouped only where amounts are small."""
    accounts = [name for name in case.funds if name.kind == "ACCOUNT"]
    groups = [
        Group("AGGREGATE_SHORT", f"A{k}", rng.randint(0, 25) * unit, rng.choice([1, 1, 3, 10]))
        for k in range(rng.randint(0, 2) if limits else 0)
    ]
    loans = []
    for name in rng.sample(accounts, rng.randint(0, min(3, len(accounts)))):
        count = rng.choice([1, 1, 1, 2, 3]) if several else 1
        grouped = 0
        for _ in range(count):
            cap = rng.choice([rng.randint(0, 8) * unit, rng.randint(1, 15) * unit + rng.randrange(unit)])
            if groups and rng.random() < 0.6 and (unit == 1 or not grouped):
                grouped += 1
                group = rng.choice(groups)
                loans.append(Loan(name, rng.choice([cap, cap, None]), group.name, rng.randint(1, 3 * group.divisor)))
            else:
                loans.append(Loan(name, cap))
    return Case(case.ways, case.funds, loans, groups)


def _watched(rng: Random, case: Case, unit: int) -> Case:
    """Return the case with net positions of one party, which a limit of its own watches and no money helps."""
    kind = rng.choice(["NOP", "DSL", "BILATERAL"])
    party = rng.choice(sorted({name.party for name in case.funds if name.kind == "ACCOUNT"}))
    group = Group(kind, f"W-{party}", rng.randint(0, 30) * unit, rng.choice([1, 7]))
    held = [name for name in case.funds if name.kind == "ACCOUNT" and name.party == party]
    rows = {name: RowName("POSITION", party, f"{kind}:{name.instrument}") for name in held}
    # A formula that counts what is long watches the mirror image: what is received makes the position fall.
    sign = rng.choice([1, -1])
    ways = [
        replace(way, legs=(*way.legs, *((rows[name], sign * atoms) for name, atoms in way.legs if name in rows)))
        for way in case.ways
    ]
    funds = {**case.funds, **{row: rng.choice([0, 0, rng.randint(0, 9) * unit]) for row in rows.values()}}
    loans = [*case.loans, *(Loan(row, None, group.name, rng.randint(1, 2 * group.divisor)) for row in rows.values())]
    return Case(ways, funds, loans, [*case.groups, group])


# Rings, markets and the worked example


def ring(size: int, atoms: Sequence[int] | int, extra: Iterable[Way] = ()) -> Case:
    """Return clients in a ring: each passes on an amount of ether for the same dollars, and has none of either.

    Where a client passes on more ether than it gets, it holds exactly the difference.
    """
    amounts = [atoms] * size if isinstance(atoms, int) else list(atoms)
    clients = [f"C{k:05}" for k in range(size)]
    dollars = 350_000
    ways = []
    for k, name in enumerate(clients):
        buyer = clients[(k + 1) % size]
        legs = ((account(name, "ETH"), -amounts[k]), (account(buyer, "ETH"), amounts[k]),
                (account(buyer, "USD"), -dollars), (account(name, "USD"), dollars))  # fmt: skip
        ways.append(Way(f"R{k:05}", 2 * dollars, legs))
    funds = {account(name, coin): 0 for name in clients for coin in ("ETH", "USD")}
    for k, name in enumerate(clients):
        funds[account(name, "ETH")] = max(0, amounts[k] - amounts[k - 1])
    return Case([*ways, *extra], funds)


def market(rng: Random, chains: int, *, size: str = "small", tightness: float = 0.5) -> Problem:
    """Return a market of trades in several coins against dollars, with funds for about `tightness` of what is needed."""
    unit = SIZES[size]
    parties = [f"P{k:04}" for k in range(max(4, chains // 8))]
    prices = {"BTC": 90_000, "ETH": 3_500, "SOL": 140, "EUR": 1}
    ways, needs = [], dict[RowName, int]()
    for k in range(chains):
        buyer, seller = rng.sample(parties, 2)
        coin = rng.choice(list(prices))
        quantity = rng.randint(1, 500) * unit + rng.randrange(unit)
        dollars = max(1, quantity * prices[coin] * rng.randint(990, 1_010) // 1_000)
        legs = ((account(seller, coin), -quantity), (account(buyer, coin), quantity),
                (account(buyer, "USD"), -dollars), (account(seller, "USD"), dollars))  # fmt: skip
        count = rng.choice([1, 1, 1, 1, 10])
        ways.append(Way(f"{rng.getrandbits(64):016x}{k:06}", dollars * (2 + rng.choice([0, 0, 0, 1, 5])), legs,
                        rng.choice([3, 4, 4, 4, 4]), count, rng.randint(1, count)))  # fmt: skip
        for name, atoms in legs:
            needs[name] = needs.get(name, 0) - atoms
    percent = round(100 * tightness)
    funds = {name: max(0, need) * rng.randint(0, 2 * percent) // 100 for name, need in sorted(needs.items())}
    loans = [Loan(name, rng.randint(0, 200) * unit) for name in rng.sample(sorted(funds), len(funds) // 20)]
    return Case(ways, funds, loans).problem()


UNITS = {"BTC": 10**8, "ETH": 10**18, "USD": 100}
FILLS = [
    ("F1", "A PX PY B", "BTC", 10, 1_000_000),
    ("F2", "B PY PX C", "BTC", 4, 402_000),
    ("F3", "C PX A", "BTC", 3, 301_500),
    ("F4", "B PY PX A", "BTC", 6, 606_000),
    ("F5", "A PX PY B", "ETH", 100, 350_000),
]


def worked(holdings: Mapping[tuple[str, str], int], line: int | None = None) -> Problem:
    """Return the five fills of the worked example, through their brokers. `holdings` in atoms; `line` in cents for A."""
    ways = []
    for name, path, coin, quantity, dollars in FILLS:
        parties = path.split()
        legs = []
        for taker, giver in pairwise(parties):
            for payer, receiver, instrument, atoms in (
                (giver, taker, coin, quantity * UNITS[coin]),
                (taker, giver, "USD", dollars * UNITS["USD"]),
            ):
                legs += [(account(payer, instrument), -atoms), (account(receiver, instrument), atoms)]
        ways.append(Way(name, 2 * dollars * UNITS["USD"], tuple(legs)))
    touched = sorted({leg for way in ways for leg, _ in way.legs})
    funds = {name: holdings.get((name.party, name.instrument), 0) for name in touched}
    loans = [] if line is None else [Loan(account("A", "USD"), line)]
    return Case(ways, funds, loans).problem()
