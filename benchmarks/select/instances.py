"""Instances of the selection problem: made from a seed, and kept as two CSV files that any engine can read.

A hundred participants trade twenty instruments; few of them do most of it. What the families differ in is only the
funds: the trades of one size and seed are the same in all of them. Everything after the draw of a trade's size is
integers, so a seed means the same instance on every machine (`SHA256SUMS` tells).
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from assets.funding.problem import Indices, Ints, Problem, RowName, ints

SEEDS = range(1, 11)  # The named ones: published figures use these.
FAMILIES = ("mix", "part", "short", "half")
PARTICIPANTS = 100
CENTS_MAX = 10**10  # A hundred million dollars: with the digits below, a million chains stay within 64 bits.


class Instrument(NamedTuple):
    """`digits` are those of a ledger that keeps what venues trade in, `digits_full` those of the chain itself."""

    name: str
    price_cents: int  # Of one whole unit.
    digits: int
    digits_full: int
    popularity: int  # Rank as the base of a trade; the reference currency is never one.


# In the order of their names, so that an account's number is its place in canonical order.
INSTRUMENTS = (
    Instrument("ADA", 45, 3, 6, 9), Instrument("AVAX", 1_400, 4, 18, 14), Instrument("BCH", 50_000, 5, 8, 15),
    Instrument("BTC", 9_000_000, 8, 8, 1), Instrument("CHF", 124, 2, 2, 16), Instrument("DOGE", 15, 3, 8, 8),
    Instrument("DOT", 230, 4, 10, 17), Instrument("ETH", 300_000, 6, 18, 2), Instrument("EUR", 116, 2, 2, 6),
    Instrument("GBP", 132, 2, 2, 12), Instrument("LINK", 1_300, 4, 18, 10), Instrument("LTC", 9_500, 4, 8, 11),
    Instrument("SOL", 14_000, 4, 9, 3), Instrument("TRX", 28, 3, 6, 13), Instrument("UNI", 600, 4, 18, 18),
    Instrument("USD", 100, 2, 2, 0), Instrument("USDC", 100, 4, 6, 5), Instrument("USDT", 100, 4, 6, 4),
    Instrument("XLM", 25, 3, 7, 19), Instrument("XRP", 210, 4, 6, 7),
)  # fmt: skip
NAMES = [instrument.name for instrument in INSTRUMENTS]
USD, USDC = NAMES.index("USD"), NAMES.index("USDC")


class Case(NamedTuple):
    """Names one instance. `share` is the family's fraction; `wei` gives every instrument all digits of its chain."""

    size: int  # Chains.
    family: str
    share: Fraction
    seed: int
    divisible: bool = False
    wei: bool = False

    @property
    def name(self) -> str:
        """Return the name of the instance's folder, 'part-0.9-100000-1'."""
        kind = f"{self.family}-{float(self.share):g}-{self.size}-{self.seed}"
        return kind + "-divisible" * self.divisible + "-wei" * self.wei


def family(text: str) -> tuple[str, Fraction]:
    """Return the family and its fraction of 'mix:.9', 'part:.75', 'short' (part of three quarters) or 'half'."""
    name, _, share = text.partition(":")
    if name not in FAMILIES:
        raise ValueError(f"no family {name!r}: there are {', '.join(FAMILIES)}")
    fraction = Fraction(share) if share else Fraction(1, 2) if name == "half" else Fraction(3, 4)
    if not 0 <= fraction <= 1:
        raise ValueError(f"the fraction of family {name} is {share}: give one from 0 to 1")
    return name, fraction


def generate(case: Case) -> Problem:
    """Return the instance. Its weights are the value in cents times two, as selection counts what waits for nothing."""
    seller, buyer, base, quote, base_atoms, quote_atoms, cents = _trades(case)
    count = len(INSTRUMENTS)
    # Base from seller to buyer, then quote from buyer to seller; of each leg the payer's side comes first.
    rows = np.stack([seller * count + base, buyer * count + base, buyer * count + quote, seller * count + quote], 1)
    atoms = np.stack([0 - base_atoms, base_atoms, 0 - quote_atoms, quote_atoms], 1)
    width = len(str(case.size))
    touched, leg_rows = np.unique(rows.ravel(), return_inverse=True)
    leg_atoms = ints(atoms.ravel())
    return Problem(
        chains=[f"c{number:0{width}d}" for number in range(1, case.size + 1)],
        weights=ints(cents * 2),
        classes=np.ones(case.size, dtype=np.int64),
        lots=ints(base_atoms) if case.divisible else np.ones(case.size, dtype=np.int64),
        least=np.ones(case.size, dtype=np.int64),
        starts=np.arange(case.size + 1, dtype=np.int64) * 4,
        leg_rows=leg_rows.astype(np.int64),
        leg_atoms=leg_atoms,
        rows=[RowName("ACCOUNT", f"P{row // count + 1:03d}", NAMES[row % count]) for row in touched.tolist()],
        funds=ints(_funds(case, _needs(leg_rows, leg_atoms, touched.size))),
    )


def _trades(case: Case) -> tuple[Ints, ...]:
    """Return seller, buyer, base, quote (numbers), base and quote atoms and the value in cents of each trade."""
    draw = np.random.Generator(np.random.PCG64([case.seed, case.size]))
    activity = _power_law(np.arange(1, PARTICIPANTS + 1), 0.8)
    seller = draw.choice(PARTICIPANTS, case.size, p=activity)
    buyer = draw.choice(PARTICIPANTS, case.size, p=activity)
    while (same := np.flatnonzero(seller == buyer)).size:
        buyer[same] = draw.choice(PARTICIPANTS, same.size, p=activity)
    rank = np.array([instrument.popularity for instrument in INSTRUMENTS])
    base = draw.choice(len(INSTRUMENTS), case.size, p=_power_law(rank, 0.9))
    # Six of ten trades are against dollars, a quarter against a dollar coin, the rest are crosses.
    quote = draw.choice(len(INSTRUMENTS), case.size, p=_power_law(rank, 0.9))
    money = draw.random(case.size)
    quote = np.where(money < 0.6, USD, np.where(money < 0.85, USDC, quote))
    quote = np.where(quote == base, USD, quote)
    worth = np.exp(draw.normal(14.1, 1.0, case.size))  # The only float: half of the trades are above 13,000 dollars.
    cents = np.clip(worth, 100, CENTS_MAX).astype(np.int64)
    haggled = cents * draw.integers(9_900, 10_101, case.size) // 10_000  # The base's price moves by up to a percent.
    # With all digits an amount needs more than 64 bits, and is a Python integer.
    price = np.array([instrument.price_cents for instrument in INSTRUMENTS])
    unit = np.array([10 ** (i.digits_full if case.wei else i.digits) for i in INSTRUMENTS])
    if case.wei:
        unit, cents, haggled = unit.astype(object), cents.astype(object), haggled.astype(object)
    base_atoms = np.maximum(haggled * unit[base] // price[base], 1)
    quote_atoms = np.maximum(cents * unit[quote] // price[quote], 1)
    value = (quote_atoms * price[quote] // unit[quote]).astype(np.int64)
    return seller, buyer, base, quote, base_atoms, quote_atoms, value


def _power_law(rank: Indices, exponent: float) -> np.ndarray:
    weight = np.where(rank > 0, np.maximum(rank, 1.0) ** -exponent, 0.0)
    return weight / weight.sum()


def _needs(leg_rows: Indices, leg_atoms: Ints, rows: int) -> list[int]:
    """Return what each account must bring if everything settles; 0 where it receives."""
    net = np.zeros(rows, dtype=leg_atoms.dtype)
    np.add.at(net, leg_rows, leg_atoms)
    return [max(0, -atoms) for atoms in net.tolist()]


def _funds(case: Case, needs: list[int]) -> list[int]:
    """Return what each account holds: the family's part of what it needs, rounded down."""
    draw = np.random.Generator(np.random.PCG64([case.seed, case.size, 1]))
    cut = [need * case.share.numerator // case.share.denominator for need in needs]
    if case.family in ("part", "short"):
        return cut
    if case.family == "half":
        payers = np.flatnonzero([need > 0 for need in needs])
        poor = set(draw.permutation(payers)[: payers.size // 2].tolist())
        return [cut[row] if row in poor else need for row, need in enumerate(needs)]
    chance = draw.integers(0, 2**32, len(needs)).tolist()
    part = draw.integers(0, 2**32, len(needs)).tolist()
    full = [luck * case.share.denominator < case.share.numerator * 2**32 for luck in chance]
    return [need if full[row] else need * part[row] >> 32 for row, need in enumerate(needs)]


def frames(problem: Problem) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return `chains` (two rows per chain, one per leg) and `balances`, as they are written."""
    payer, receiver = problem.leg_rows[::2], problem.leg_rows[1::2]
    party = pl.Series([row.party for row in problem.rows])
    instrument = pl.Series([row.instrument for row in problem.rows])
    divisible = pl.Series(np.repeat(problem.lots > 1, 2).astype(bool))
    chains = pl.DataFrame(
        {
            "chain_id": pl.Series(problem.chains).gather(np.repeat(np.arange(problem.count), 2)),
            "priority": pl.Series(np.repeat(problem.classes, 2)),
            "age": pl.repeat(0, 2 * problem.count, eager=True),
            "partial": pl.select(pl.when(divisible).then(pl.lit("PART")).otherwise(pl.lit("NPAR"))).to_series(),
            "payer": party.gather(payer),
            "receiver": party.gather(receiver),
            "instrument": instrument.gather(payer),
            "quantity_atoms": _text(problem.leg_atoms[1::2]),
            "weight_atoms": _text(np.repeat(problem.weights // 2, 2)),
        }
    )
    balances = pl.DataFrame({"account": party, "instrument": instrument, "available_atoms": _text(problem.funds)})
    return chains, balances


def _text(values: Ints) -> pl.Series:
    return pl.Series(values if values.dtype != object else [str(value) for value in values.tolist()], strict=True)


def write(problem: Problem, folder: Path) -> None:
    """Write `chains.csv`, `balances.csv` and their `SHA256SUMS` into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    sums = []
    for name, frame in zip(("chains.csv", "balances.csv"), frames(problem), strict=True):
        content = frame.write_csv().encode()
        (folder / name).write_bytes(content)
        sums.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    (folder / "SHA256SUMS").write_text("".join(sums))


def read(folder: Path) -> Problem:
    """Return the Problem of an instance's files. The rows of a chain stand together, chains in the order of their ids.

    Every account that a chain touches must be in `balances.csv`, which is in the order of account and instrument.
    """
    chains = pl.read_csv(folder / "chains.csv", infer_schema=False)
    balances = pl.read_csv(folder / "balances.csv", infer_schema=False).with_row_index("row")
    names = balances.select("account", "instrument", "row")
    sides = [
        chains.select(pl.col(side).alias("account"), "instrument")
        .join(names, on=["account", "instrument"], how="left", maintain_order="left")["row"]
        .to_numpy()
        .astype(np.int64)
        for side in ("payer", "receiver")
    ]
    atoms = _integers(chains["quantity_atoms"])
    first = np.flatnonzero((chains["chain_id"] != chains["chain_id"].shift(1)).fill_null(value=True).to_numpy())
    head = chains[first]
    whole = (head["partial"] == "NPAR").to_numpy()
    age = head["age"].cast(pl.Int64).to_numpy()
    return Problem(
        chains=head["chain_id"].to_list(),
        weights=ints(_integers(head["weight_atoms"]) * (2 + age)),
        classes=head["priority"].cast(pl.Int64).to_numpy(),
        lots=ints(np.where(whole, 1, atoms[first])),
        least=np.ones(head.height, dtype=np.int64),
        starts=np.append(first, chains.height).astype(np.int64) * 2,
        leg_rows=np.stack(sides, 1).ravel(),
        leg_atoms=ints(np.stack([0 - atoms, atoms], 1).ravel()),
        rows=[RowName("ACCOUNT", *key) for key in balances.select("account", "instrument").iter_rows()],
        funds=ints(_integers(balances["available_atoms"])),
    )


def _integers(text: pl.Series) -> Ints:
    """Return decimal digits as int64 where they all fit, else as Python integers."""
    if (text.str.len_bytes().max() or 0) <= 18:
        return text.cast(pl.Int64).to_numpy()
    exact = np.empty(text.len(), dtype=object)
    exact[:] = [int(digits) for digits in text]
    return exact


def digest(problem: Problem) -> str:
    """Return the SHA-256 of the two files' contents, one after the other."""
    return hashlib.sha256("".join(frame.write_csv() for frame in frames(problem)).encode()).hexdigest()
