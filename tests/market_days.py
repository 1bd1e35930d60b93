"""Market days as text: a table that a person reads becomes a frame that the kernel takes.

A cell '-' is null. Amounts named `*_atoms` are integers of the smallest unit; `amount("12.5", "BTC")` makes them.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest.mock import patch

import polars as pl
from hypothesis import HealthCheck, settings

from assets.funding.decide import Answer, decide
from assets.funding.problem import Problem
from assets.funding.select import Selection, select_chains
from assets.obligations.derive import derive_obligations
from assets.reference import Reference
from schemas import limits
from schemas.balance import Available
from schemas.contract import Contract
from schemas.credit_line import CreditLine, Designation, SettlementCredit
from schemas.fill import FileCount, Fill, Quarantined
from schemas.instrument import Instrument, Price
from schemas.obligation import Trade
from schemas.participant import Account, Participant, Symbol, TradingAccount
from tests import auditor

DECIMALS = {"BTC": 8, "ETH": 18, "USD": 2, "NEAR": 24, "JPY": 0, "USDC.ETH": 6, "USDC.BNB": 18}
PRICES = {"BTC": "100_000", "ETH": "3_500", "NEAR": "3.12", "JPY": "0.0065", "USDC.ETH": "1", "USDC.BNB": "1"}
TODAY = date(2026, 11, 20)
TRADED_AT = datetime(2026, 11, 20, 9, tzinfo=UTC)
CUT_AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
# The same examples on every machine; how long one takes is of no matter.
PROPERTY = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def amount(text: str, instrument: str) -> int:
    """Return a decimal text in whole units as atoms: '1_000.50', 'USD' -> 100050."""
    whole, _, fraction = text.replace("_", "").partition(".")
    decimals = DECIMALS[instrument]
    assert len(fraction) <= decimals, f"{instrument} has {decimals} decimals"
    return int(whole + fraction.ljust(decimals, "0"))


def _value(text: str, dtype: Any) -> Any:
    if text == "-":
        return None
    if dtype == pl.Boolean:
        return {"yes": True, "no": False}[text]
    if dtype == pl.Date:
        return date.fromisoformat(text)
    if isinstance(dtype, pl.Datetime):
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(text.replace("_", "")) if dtype.is_integer() else text


def cells(text: str) -> list[dict[str, str]]:
    """Return the rows of a text table as dicts of text. The first line names the columns."""
    header, *lines = (line.split() for line in text.strip().splitlines() if line.strip())
    return [dict(zip(header, line, strict=True)) for line in lines]


def table(text: str, contract: type[Contract], **given: Any) -> pl.DataFrame:
    """Return the frame of `contract` that `text` shows. `given` fills the columns it leaves out, else null."""
    dtypes = contract.dtypes()
    rows = [{name: _value(cell, dtypes[name]) for name, cell in row.items()} for row in cells(text)]
    return contract.hold(frame(contract, rows, **given))


def frame(contract: type[Contract], rows: Iterable[Mapping[str, Any]], **given: Any) -> pl.DataFrame:
    """Return rows as a frame with the columns and types of `contract`. A value given as a function sees its row."""
    complete = [
        {
            name: row[name] if name in row else given[name](row) if callable(given.get(name)) else given.get(name)
            for name in contract.names()
        }
        for row in rows
    ]
    return pl.DataFrame(complete, schema=contract.dtypes(), orient="row")


def trades_of(text: str, **given: Any) -> pl.DataFrame:
    """Return the agreed trades of a table with chain_id, buyer, seller, base, quote, base_amount and quote_amount.

    Brokers, venue, age and the rest may be columns too. The value is the quote amount.
    """
    dtypes = Trade.dtypes()
    rows = []
    for row in cells(text):
        made = {name: _value(cell, dtypes[name]) for name, cell in row.items() if name in dtypes}
        for leg in ("base", "quote"):
            made.setdefault(f"{leg}_atoms", amount(row[f"{leg}_amount"], row[leg]) if f"{leg}_amount" in row else None)
        rows.append(made)
    return trades_from(rows, **given)


def trades_from(rows: Iterable[Mapping[str, Any]], **given: Any) -> pl.DataFrame:
    """Return Trade rows with sensible defaults: traded today at SPTX, new, worth their quote amount."""
    defaults: dict[str, Any] = {
        "venue": "SPTX",
        "value_atoms": lambda row: row["quote_atoms"],
        "traded_at": TRADED_AT,
        "value_on": TODAY,
        "age": 0,
        "accepted": True,
        "priority": 4,
        "lot_atoms": 1,
        "buy_fill_id": lambda row: f"{row['chain_id']}:b",
        "sell_fill_id": lambda row: f"{row['chain_id']}:s",
    }
    return Trade.hold(frame(Trade, rows, **defaults | given))


def fills_of(trades: str, **given: Any) -> pl.DataFrame:
    """Return both reports of each trade of a table like that of `trades_of`; ids end in ':b' and ':s'.

    Columns of Fill that both sides share (price, traded_at, age, accepted ...) may be columns or `given`.
    """
    rows = []
    for row in cells(trades):
        base, quote = row["base"], row["quote"]
        for side, who, letter in (("BUY", "buyer", "b"), ("SELL", "seller", "s")):
            dtypes = Fill.dtypes()
            shared = {name: _value(cell, dtypes[name]) for name, cell in row.items() if name in dtypes}
            broker = row.get(f"{who}_broker", "-")
            rows.append(
                {
                    "fill_id": f"{row['chain_id']}:{letter}", "match_id": row["chain_id"], "side": side,
                    "client": row[who], "prime_broker": None if broker == "-" else broker,
                    "base_atoms": amount(row["base_amount"], base), "quote_atoms": amount(row["quote_amount"], quote),
                    "account": f"{row[who]}-1", **shared,
                }
            )  # fmt: skip
    return reports(rows, **given)


def reports(rows: Iterable[Mapping[str, Any]], **given: Any) -> pl.DataFrame:
    """Return Fill rows with sensible defaults; the place in the file is of no matter here."""
    defaults: dict[str, Any] = {
        "venue": "SPTX", "exec_type": "F", "quote_increment_atoms": 1, "price": "1", "traded_at": TRADED_AT,
        "trade_on": TODAY, "value_on": TODAY, "content_hash": lambda row: row["fill_id"], "file": "venues/SPTX/fills",
        "file_sha256": "0" * 64, "record": 1, "offset": 0, "length": 1, "age": 0, "accepted": False,
    }  # fmt: skip
    return Fill.hold(frame(Fill, rows, **defaults | given))


def following(fills: pl.DataFrame, fill_id: str, new_id: str, exec_type: str, **changed: Any) -> pl.DataFrame:
    """Return `fills` and one more report: a bust (H) or correction (G) of `fill_id`, equal to it but for `changed`."""
    before = fills.row(by_predicate=pl.col("fill_id") == fill_id, named=True)
    after = before | {"fill_id": new_id, "exec_ref_id": fill_id, "exec_type": exec_type} | changed
    return pl.concat([fills, reports([after])])


def reference(
    *participants: str, brokers: tuple[str, ...] = ("PX", "PY"), idle: tuple[str, ...] = (),
    frozen: tuple[str, ...] = (), unpriced: tuple[str, ...] = (), **prices: str,
) -> Reference:  # fmt: skip
    """Return reference data: the instruments of this module, `participants` as clients, and the prime brokers."""
    instruments = frame(
        Instrument,
        [{"instrument": name, "decimals": places, "status": "SUSPENDED" if name in frozen else "ACTIVE"}
         for name, places in DECIMALS.items()],
        name=lambda row: row["instrument"], kind=lambda row: "FIAT" if row["instrument"] in ("USD", "JPY") else "CRYPTO",
    )  # fmt: skip
    said = [(name, price) for name, price in ({"USD": "1"} | PRICES | prices).items() if name not in unpriced]
    parties = frame(
        Participant,
        [{"participant": name, "role": "PB" if name in brokers else "CLNT",
          "status": "SUSPENDED" if name in idle else "ACTIVE"} for name in (*participants, *brokers)],
        lei=lambda row: row["participant"], name=lambda row: row["participant"],
    )  # fmt: skip
    return Reference(
        Instrument.hold(instruments), Price.hold(prices_of(said)), Participant.hold(parties), Account.empty(),
        TradingAccount.empty(), Symbol.empty(), {}, Quarantined.empty(), FileCount.empty(),
    )  # fmt: skip


def prices_of(said: Iterable[tuple[str, str]]) -> pl.DataFrame:
    """Return Price rows from decimal texts."""
    rows = []
    for instrument, text in said:
        whole, _, fraction = text.replace("_", "").partition(".")
        rows.append(
            {
                "instrument": instrument,
                "price_units": int(whole + fraction),
                "price_scale": 10 ** len(fraction),
            }
        )
    return frame(Price, rows)


def accounts_of(
    trades: pl.DataFrame, holdings: str = "", *, extra: Mapping[tuple[str, str], int] | None = None
) -> pl.DataFrame:
    """Return Available: an account for every party and instrument of `trades`, empty but for `holdings`.

    `holdings` is lines of 'participant instrument amount'; `extra` maps (participant, instrument) to atoms.
    """
    keys = dict.fromkeys(auditor.nets(trades.to_dicts()), 0)
    for line in holdings.strip().splitlines():
        participant, instrument, text = line.split()
        keys[participant, instrument] = amount(text, instrument)
    return available(keys | dict(extra or {}))


def available(atoms: Mapping[tuple[str, str], int]) -> pl.DataFrame:
    """Return Available from atoms by participant and instrument; the rest as a fresh, complete statement has it."""
    made: dict[str, Callable[[Mapping[str, Any]], Any] | Any] = {
        "account": lambda row: f"{row['participant']}/{row['instrument']}",
        "custodian": "VAULT",
        "statement_atoms": lambda row: row["available_atoms"],
        "total_atoms": lambda row: row["available_atoms"],
        "break_atoms": 0,
    }
    rows = [{"participant": p, "instrument": i, "available_atoms": held} for (p, i), held in sorted(atoms.items())]
    return frame(Available, rows, **made)


def credit_of(text: str = "") -> pl.DataFrame:
    """Return SettlementCredit from lines of 'broker client instrument amount [drawn]'."""
    rows = []
    for line in text.strip().splitlines():
        broker, client, instrument, lent, *drawn = line.split()
        rows.append(
            {
                "line_id": f"{broker}-{client}", "prime_broker": broker, "client": client, "instrument": instrument,
                "credit_atoms": amount(lent, instrument), "drawn_atoms": amount(drawn[0], instrument) if drawn else 0,
            }
        )  # fmt: skip
    return SettlementCredit.hold(frame(SettlementCredit, rows))


def lines_of(text: str, **given: Any) -> pl.DataFrame:
    """Return CreditLine from a table with prime_broker and client; limits in dollars, a billion if left out."""
    dtypes = CreditLine.dtypes()
    rows = []
    for row in cells(text):
        made = {name: _value(cell, dtypes[name]) for name, cell in row.items() if name in dtypes}
        made |= {
            f"{name}_atoms": amount(row[name], "USD")
            for name in ("fill_limit", "nop_limit", "dsl_limit")
            if name in row
        }
        rows.append(made)
    billion = amount("1_000_000_000", "USD")
    defaults: dict[str, Any] = {
        "line_id": lambda row: f"{row['prime_broker']}-{row['client']}", "status": "ACTIVE", "valid_from": LONG_AGO,
        "fill_limit_atoms": billion, "nop_limit_atoms": billion, "dsl_limit_atoms": billion,
        "nop_formula": "GREATER_OF_LONG_SHORT", "breach_action": "HOLD",
    }  # fmt: skip
    return CreditLine.hold(frame(CreditLine, rows, **defaults | given))


def designations_of(text: str, **given: Any) -> pl.DataFrame:
    """Return Designation from a table with prime_broker and client."""
    defaults: dict[str, Any] = {
        "designation_id": lambda row: f"{row['prime_broker']}-{row['client']}", "valid_from": LONG_AGO, "status": "ACTIVE",
    }  # fmt: skip
    return table(text, Designation, **defaults | given)


def chosen_of(trades: pl.DataFrame, funds: pl.DataFrame, credit: pl.DataFrame | None = None, **given: Any) -> Selection:
    """Return the selection among `trades`. `given`: lines, minimums, links, engine and the like of `select_chains`."""
    credit = SettlementCredit.empty() if credit is None else credit
    return select_chains(trades, derive_obligations(trades), funds, credit, **given)


def searched(problem: Problem) -> Answer:
    """Decide without trying every set: as in a market too large for that."""
    with patch.object(limits, "STATES_MAX", 0):
        return decide(problem)


def removed_and_refilled(problem: Problem) -> Answer:
    """Decide as where no solver is installed."""
    with patch("assets.funding.decide._search", side_effect=ImportError(name="highspy")):
        return searched(problem)


def settled(selection: Selection) -> set[str]:
    """Return the ids of the chains that settle."""
    return set(selection.decisions.filter("settles")["chain_id"])


def atoms_by_account(funds: pl.DataFrame) -> dict[tuple[str, str], int]:
    """Return what is available by participant and instrument."""
    return {(p, i): atoms for p, i, atoms in funds.select("participant", "instrument", "available_atoms").rows()}


def ring(size: int, atoms: int, base: str = "BTC", quote: str = "USD", *, name: str = "R") -> pl.DataFrame:
    """Return a gridlock: each of `size` clients sells `atoms` to the next for the same money, and all are broke."""
    return trades_from(
        {
            "chain_id": f"{name}{k:05}", "seller": f"{name}-C{k}", "buyer": f"{name}-C{(k + 1) % size}",
            "base": base, "quote": quote, "base_atoms": atoms, "quote_atoms": 7 * atoms + 1, "value_atoms": 100 + k,
            "traded_at": TRADED_AT + timedelta(seconds=k),
        }
        for k in range(size)
    )  # fmt: skip
