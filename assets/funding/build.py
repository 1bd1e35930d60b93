"""From the frames of a cycle to the problem that is decided: chains, accounts, credit, and positions that limits watch.

Everything is in canonical order (ids and names as bytes), so that the order of rows in any input changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import polars as pl

from assets.funding.assemble import Part, Terms, assemble
from assets.funding.links import Joined, Links, close
from assets.funding.problem import Credit, Group, Ints, Problem, RowName, ints
from assets.funding.watch import watched
from assets.funding.worth import Prices
from schemas.atoms import divide, sum_atoms
from schemas.reasons import HoldReason

NOTHING = pl.lit(0, dtype=pl.Int128)
WORD = 2**62


class Built(NamedTuple):
    """A problem, and what its reader needs to name things again."""

    problem: Problem
    trades: pl.DataFrame  # Sorted by chain; `hold_reason` now also says who has no account or a held link.
    stands: dict[str, int]  # Chain id -> chain of the problem, which stands for all that are joined with it.
    lot_atoms: Ints
    lenders: list[tuple[str, str, str, str]]  # Line, prime broker, client, instrument of the problem's first credits.


def build(
    trades: pl.DataFrame,
    obligations: pl.DataFrame,
    available: pl.DataFrame,
    settlement_credit: pl.DataFrame,
    prices: Prices,
    *,
    lines: pl.DataFrame | None,
    minimums: pl.DataFrame | None,
    bilateral: pl.DataFrame | None,
    links: pl.DataFrame | None,
) -> Built:
    """Return the problem of a cycle. Shapes: see `assets.funding.select.select_chains`."""
    accounts = usable(available, minimums).with_row_index("row")
    keys = ["participant", "instrument"]
    place = accounts.select(party="participant", instrument="instrument", row=pl.col("row").cast(pl.Int64))
    entries = pl.concat(
        [
            obligations.select("chain_id", "instrument", party="payer", atoms=0 - pl.col("quantity_atoms")),
            obligations.select("chain_id", "instrument", party="receiver", atoms="quantity_atoms"),
        ]
    ).join(place, on=["party", "instrument"], how="left", maintain_order="left")
    homeless = pl.col("chain_id").is_in(entries.filter(pl.col("row").is_null())["chain_id"].implode())
    trades = _held(trades, homeless, HoldReason.NO_ACCOUNT)
    watch = watched(trades, obligations, lines, bilateral, prices.reference)
    unpriced = ~watch["instrument"].is_in(list(prices.known or {}))
    # A limit cannot bound what has no price.
    trades = _held(trades, pl.col("chain_id").is_in(watch.filter(unpriced)["chain_id"].implode()), HoldReason.NO_PRICE)
    tied = _tied(links, trades)
    trades = _held(trades, pl.col("chain_id").is_in(list(tied.held)), HoldReason.LINK).sort("chain_id")

    eligible = trades.filter(pl.col("hold_reason").is_null())
    first = pl.col("chain_id").replace(tied.together) if tied.together else pl.col("chain_id")
    eligible = eligible.with_columns(first=first)
    ids = eligible["first"].unique().sort().to_list()
    terms = _terms(eligible, ids, tied.whole)
    code = pl.DataFrame({"first": ids, "chain": range(len(ids))}, schema={"first": pl.String, "chain": pl.Int64})
    code = eligible.select("chain_id", "first").join(code, on="first", how="left").select("chain_id", "chain")

    names = [RowName("ACCOUNT", *key) for key in accounts.select(keys).rows()]
    funds = accounts["available_atoms"].to_list()
    parts = [_part(entries, code)]
    row_of = {(name.party, name.instrument): row for row, name in enumerate(names)}
    touched = set(parts[0][1].tolist())
    lent, lenders, groups = _credits(settlement_credit, lines, prices, row_of, touched)
    watch = watch.join(code, on="chain_id", how="semi")
    for (kind, group, limit), rows in _binding(watch, prices):
        positions = rows.select("label", "instrument").unique().sort("label", "instrument")
        units, divisor = prices.units(positions["instrument"].unique().sort())
        groups.append(Group(kind, group, limit, divisor))
        numbered = positions.with_row_index("row", offset=len(names)).with_columns(pl.col("row").cast(pl.Int64))
        parts.append(_part(rows.join(numbered, on=["label", "instrument"], how="left", maintain_order="left"), code))
        for label, instrument in positions.rows():
            lent.append(Credit(len(names), None, len(groups) - 1, units[instrument]))
            names.append(RowName("POSITION", f"{kind} {label}", instrument))
            funds.append(0)
    number = {chain: k for k, chain in enumerate(ids)}
    for one, two in sorted(tied.before):
        if one in number and two in number:
            both = np.array([number[one], number[two]])
            parts.append((both, np.full(2, len(names)), np.array([1, -1])))
            names.append(RowName("LINK", one, two))
            funds.append(0)
    problem = assemble(ids, terms, parts, names, funds, lent, groups)
    return Built(problem, trades, dict(code.rows()), terms.lot_atoms, lenders)


def usable(available: pl.DataFrame, minimums: pl.DataFrame | None) -> pl.DataFrame:
    """Return what each account may use, sorted: participant, instrument, available_atoms less the minimum, at least 0."""
    keys = ["participant", "instrument"]
    accounts = sum_atoms(available, keys, ["available_atoms"]).drop("rows")
    if minimums is None:
        return accounts
    accounts = accounts.join(minimums, on=keys, how="left", maintain_order="left")
    left = pl.col("available_atoms") - pl.col("minimum_atoms").fill_null(NOTHING)
    return accounts.select(*keys, available_atoms=pl.max_horizontal(left, NOTHING))


def _held(trades: pl.DataFrame, held: pl.Expr, reason: HoldReason) -> pl.DataFrame:
    return trades.with_columns(hold_reason=pl.coalesce("hold_reason", pl.when(held).then(pl.lit(str(reason)))))


def _tied(links: pl.DataFrame | None, trades: pl.DataFrame) -> Links:
    """Return what links make of the chains. One to a chain that is not here says nothing."""
    tied, joined, before = Links(), Joined(), set()
    if links is None or links.is_empty():
        return tied
    known = set(trades["chain_id"])
    for kind, chain, other in links.select("kind", "chain_id", "other_id").rows():
        if {chain, other} <= known and chain != other:
            tied.whole |= {chain, other}
            if kind == "WITH":
                joined.join(chain, other)
            else:
                before.add((chain, other) if kind == "BEFO" else (other, chain))
    tied.held = dict(trades.filter(pl.col("hold_reason").is_not_null()).select("chain_id", "hold_reason").rows())
    return close(tied, joined, before)


def _terms(eligible: pl.DataFrame, ids: list[str], whole: set[str]) -> Terms:
    """Return the terms of each chain; of joined ones the weights are added and the most urgent class counts."""
    number = {chain: k for k, chain in enumerate(ids)}
    count = len(ids)
    weights, classes, lots, least, lot_atoms = [0] * count, [2**32] * count, [1] * count, [1] * count, [0] * count
    columns = ("chain_id", "first", "value_atoms", "age", "priority", "base_atoms", "least_atoms", "lot_atoms")
    for chain, first, value, age, priority, base, part, lot in eligible.select(columns).rows():
        k = number[first]
        weights[k] += value * (2 + age)
        classes[k] = min(classes[k], priority)
        lot_atoms[k] = base
        if part is not None and chain not in whole and base % lot == 0 and part <= base:
            lots[k], least[k], lot_atoms[k] = base // lot, divide(part, lot, "ceil"), lot
    return Terms(np.array(classes, dtype=np.int64), ints(weights), ints(lots), ints(least), ints(lot_atoms))


def _part(entries: pl.DataFrame, code: pl.DataFrame) -> Part:
    """Return chain, row and atoms of the entries whose chain is coded."""
    found = entries.join(code, on="chain_id", how="inner", maintain_order="left")
    return found["chain"].to_numpy(), found["row"].to_numpy(), _ints(found["atoms"])


def _ints(atoms: pl.Series) -> Ints:
    small = atoms.is_empty() or (int(atoms.max()) < WORD and int(atoms.min()) > -WORD)  # type: ignore[arg-type]
    return ints(atoms.cast(pl.Int64).to_numpy()) if small else ints(atoms.to_list())


def _credits(
    settlement_credit: pl.DataFrame,
    lines: pl.DataFrame | None,
    prices: Prices,
    row_of: dict[tuple[str, str], int],
    touched: set[int],
) -> tuple[list[Credit], list[tuple[str, str, str, str]], list[Group]]:
    """Return what each line lends on each row that chains touch, in order of line and instrument, and the limits on it.

    A line's limit on all its draws counts what is drawn already. What has no price cannot be lent under one.
    """
    limits: dict[str, int] = {}
    if lines is not None and "draw_limit_atoms" in lines.columns:
        limits = {
            line: limit for line, limit in lines.select("line_id", "draw_limit_atoms").rows() if limit is not None
        }
    lent: list[Credit] = []
    lenders: list[tuple[str, str, str, str]] = []
    groups: list[Group] = []
    columns = ("line_id", "prime_broker", "client", "instrument", "credit_atoms", "drawn_atoms")
    of_line: dict[str, list[tuple[str, str, str, int, int]]] = {}
    for line, *rest in settlement_credit.sort("line_id", "instrument").select(columns).rows():
        of_line.setdefault(line, []).append(tuple(rest))
    for line, rows in of_line.items():
        group, units = None, dict.fromkeys((instrument for _, _, instrument, _, _ in rows), 0)
        if line in limits:
            known = [instrument for instrument in units if instrument in (prices.known or {})]
            priced, divisor = prices.units(known)
            drawn = {instrument: atoms for _, _, instrument, _, atoms in rows if atoms}
            used = sum(divide(atoms * priced.get(name, 0), divisor, "ceil") for name, atoms in drawn.items())
            room = limits[line] - used if drawn.keys() <= priced.keys() else 0
            group, units = len(groups), priced
            groups.append(Group("AGGREGATE_SHORT", line, max(0, room), divisor))
        for broker, client, instrument, credit, drawn_atoms in rows:
            row = row_of.get((client, instrument))
            if row in touched and instrument in units and credit > (drawn_atoms or 0):
                lent.append(Credit(row, credit - (drawn_atoms or 0), group, units[instrument]))
                lenders.append((line, broker, client, instrument))
    return lent, lenders, groups


def _binding(watch: pl.DataFrame, prices: Prices) -> Iterable[tuple[tuple[str, str, int], pl.DataFrame]]:
    """Yield (kind, name, limit) and rows of each limit that could be exceeded if nothing were netted; others never are."""
    paying = watch.filter(pl.col("atoms") < 0).with_columns(gross=0 - pl.col("atoms"))
    gross = sum_atoms(paying, ["kind", "group", "limit_atoms", "instrument"], ["gross"])
    most: dict[tuple[str, str, int], int] = {}
    for *key, instrument, atoms in gross.drop("rows").rows():
        price = (prices.known or {})[instrument]
        value = divide(atoms * price.reference_atoms, price.per_atoms, "ceil")
        most[tuple(key)] = most.get(tuple(key), 0) + value
    keys = sorted(key for key, value in most.items() if value > key[2])
    if not keys:
        return []
    by_key = watch.partition_by("kind", "group", "limit_atoms", as_dict=True)
    return [(key, by_key[key]) for key in keys]
