"""Chains of `trine select`: the rows of chains.csv as legs, and what each chain is worth and allows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from assets.funding.assemble import Terms
from assets.funding.problem import WORD_BITS, Indices, Ints, ints
from assets.funding.whatif.tables import DIGITS_MAX, Table
from assets.funding.whatif.terms import Prices

COLUMNS = ("chain_id", "priority", "age", "partial", "payer", "receiver", "instrument", "quantity_atoms")
NORMAL = 4  # Priority where none is said.
PRIORITY_MAX = 10**9
WHOLE_WORDS = ("NPAR", "0", "NO", "FALSE")
PARTIAL_WORDS = ("PART", "1", "YES", "TRUE")
TERMS_PATTERN = r"^(PARQ|PARC|LOT):0*([1-9][0-9]*)$"


class Legs(NamedTuple):
    """One entry per leg. Parties, instruments and chains are positions in sorted lists of names."""

    ids: list[str]
    parties: list[str]
    instruments: list[str]
    chain: Indices
    payer: Indices
    receiver: Indices
    instrument: Indices
    atoms: Ints


def _numbered(*columns: pl.Series) -> tuple[list[str], list[Indices]]:
    """Return the names in the columns, sorted as bytes, and each column as positions among them."""
    names = pl.concat(columns).unique().sort()
    return names.to_list(), [c.cast(pl.Enum(names)).to_physical().cast(pl.Int64).to_numpy() for c in columns]


def read_legs(table: Table) -> tuple[Legs, Indices]:
    """Return the legs in the order of the file, and the order that brings each chain together, legs as they stand."""
    chain, payer, receiver, instrument = table.identifiers("chain_id", "payer", "receiver", "instrument")
    selfish = np.flatnonzero((payer == receiver).to_numpy() & (payer != "").to_numpy())
    table.refuse(selfish, "payer and receiver are the same; expected two accounts")
    ids, (of_chain,) = _numbered(chain)
    parties, (payers, receivers) = _numbered(payer, receiver)
    instruments, (of_instrument,) = _numbered(instrument)
    atoms = table.numbers("quantity_atoms", least=1)
    legs = Legs(ids, parties, instruments, of_chain, payers, receivers, of_instrument, atoms)
    return legs, np.argsort(of_chain, kind="stable")


def read_terms(table: Table, legs: Legs, order: Indices, prices: Prices) -> tuple[Terms, Indices]:
    """Return the terms of each chain, and the chains whose legs disagree on being divisible."""
    count = len(legs.ids)
    starts = np.searchsorted(legs.chain[order], np.arange(count + 1))
    first, last = order[starts[:-1]], order[starts[1:] - 1]
    priority, _ = _of_chain(table, "priority", legs.chain, count, NORMAL)
    table.refuse(np.flatnonzero(priority[legs.chain] > PRIORITY_MAX), f"priority is above {PRIORITY_MAX}")
    age, _ = _of_chain(table, "age", legs.chain, count, 0)
    weight, weighed = _of_chain(table, "weight_atoms", legs.chain, count, 0)
    if not weighed.all():
        worth = _worth(table, legs, order, starts, weighed, prices)
        weight = ints(np.where(weighed, weight, worth))
    words, disagreed = _partial(table, legs.chain, order, starts)
    whole, part = legs.atoms[first], legs.atoms[last]
    terms = words.gather(first)
    divisible = (terms != "NPAR").to_numpy()
    divisible[disagreed] = False
    lots = np.where(divisible, whole, 1)
    least, lot_atoms = np.ones_like(lots), np.where(divisible, 1, whole)
    for k in np.flatnonzero(divisible & (terms != "PART").to_numpy()).tolist():
        kind, _, figure = terms[k].partition(":")
        row = first[k : k + 1]
        threshold, all_atoms = int(figure), int(part[k] if kind == "PARC" else whole[k])
        if threshold > all_atoms:
            table.refuse(row, f"{kind} asks for more atoms than its {'last' if kind == 'PARC' else 'first'} leg has")
        elif kind == "PARC":
            # The fewest lots n with floor(last x n / lots) at or above the threshold.
            least[k] = -(-threshold * int(lots[k]) // all_atoms)
        elif kind == "PARQ":
            least[k] = threshold
        elif all_atoms % threshold:
            table.refuse(row, "LOT does not divide the atoms of the first leg; expected a whole number of lots")
        else:
            lots[k], lot_atoms[k] = all_atoms // threshold, threshold
    classes = np.minimum(priority, PRIORITY_MAX).astype(np.int64)
    return Terms(classes, times(weight, 2 + age), ints(lots), ints(least), lot_atoms), disagreed


def _of_chain(table: Table, column: str, chain: Indices, count: int, default: int) -> tuple[Ints, Indices]:
    """Return one value per chain of what may stand on one leg or be repeated equal on all, and where it stood at all."""
    given, found = table.given(column), table.numbers(column, default=default)
    values, stood = np.full(count, default, dtype=found.dtype), np.zeros(count, dtype=bool)
    values[chain[given][::-1]] = found[given][::-1]  # The last assignment stays: the first leg of the file.
    stood[chain[given]] = True
    differs = given[np.asarray(values[chain[given]] != found[given], dtype=bool)]
    table.refuse(differs, f"{column} differs from an earlier leg of the chain; give it once, or the same on all")
    return values, stood


def _worth(
    table: Table, legs: Legs, order: Indices, starts: Indices, weighed: Indices, prices: Prices
) -> Ints:  # fmt: skip
    """Return per chain the sum of its quantities, or with prices the greatest value of a leg, rounded down."""
    if not len(legs.ids):
        return ints([])
    if prices.known is None:
        return np.add.reduceat(legs.atoms[order], starts[:-1])
    price = [prices.known.get(name) for name in legs.instruments]
    unpriced = np.array([found is None for found in price])[legs.instrument] & ~weighed[legs.chain]
    if not table.findings.total:  # What is wrong with the prices themselves is said first.
        lacking = "the instrument has no price, so the chain has no value; add it to the prices"
        table.refuse(np.flatnonzero(unpriced), lacking)
    reference = ints([found.reference_atoms if found else 0 for found in price])[legs.instrument]
    per = ints([found.per_atoms if found else 1 for found in price])[legs.instrument]
    return np.maximum.reduceat((times(legs.atoms, reference) // per)[order], starts[:-1])


def _partial(table: Table, chain: Indices, order: Indices, starts: Indices) -> tuple[pl.Series, Indices]:
    """Return the word of each leg (NPAR, PART, PARQ:n, PARC:n, LOT:n), and the chains where NPAR meets another."""
    text = table.rows["partial"].fill_null("NPAR").str.to_uppercase()
    terms = text.str.extract_groups(TERMS_PATTERN)
    figure = terms.struct.field("2")
    word = pl.select(
        pl.when(text.is_in(WHOLE_WORDS)).then(pl.lit("NPAR"))
        .when(text.is_in(PARTIAL_WORDS)).then(pl.lit("PART"))
        .when(figure.str.len_bytes() <= DIGITS_MAX).then(terms.struct.field("1") + ":" + figure)
    ).to_series()  # fmt: skip
    wrong = np.flatnonzero(word.is_null().to_numpy())
    expected = "expected NPAR, PART, PARQ:<atoms>, PARC:<atoms>, LOT:<atoms> or nothing"
    table.refuse(wrong, f"partial is none of ours; {expected}")
    word = word.fill_null("NPAR")
    names, (code,) = _numbered(word)
    if not names:
        return word, np.empty(0, dtype=np.int64)
    ordered, begins = code[order], starts[:-1]
    mixed = np.minimum.reduceat(ordered, begins) != np.maximum.reduceat(ordered, begins)
    npar = np.maximum.reduceat(ordered == (names.index("NPAR") if "NPAR" in names else -1), begins)
    clash = np.isin(chain, np.flatnonzero(mixed & ~npar)) & (code != code[order[begins]][chain])
    table.refuse(
        np.flatnonzero(clash), "partial differs from an earlier leg of the chain; expected the same on all legs"
    )
    return word, np.flatnonzero(mixed & npar)


def times(a: Ints, b: Ints) -> Ints:
    """Return a x b, exact."""
    if object not in (a.dtype, b.dtype) and bits(a) + bits(b) <= WORD_BITS:
        return ints(a * b)
    return ints(a.astype(object) * b.astype(object))


def bits(values: Ints) -> int:
    """Return how many bits the largest of `values` has."""
    return max(int(values.max()), -int(values.min())).bit_length() if values.size else 0
