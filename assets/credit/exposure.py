"""Whether the prime brokers stand for a trade: designation, fill limit, and the exposure that it adds.

A give-up that was accepted in an earlier cycle stays accepted; if its line has been cut since, it waits. A limit that
is exceeded stops the trade and never raises the limit.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple

import polars as pl

from schemas.atoms import divide
from schemas.obligation import Outcome, Trade
from schemas.reasons import FillState, HoldReason, Rejection

Scale = dict[str, tuple[int, int]]  # instrument -> (units, divisor): atoms x units / divisor, in reference atoms


class GiveUps(NamedTuple):
    """Trades whose brokers stand for them (some on hold), and the outcomes of the fills whose brokers do not."""

    trades: pl.DataFrame  # Trade
    outcomes: pl.DataFrame  # Outcome


NOP_FORMULAS: dict[str, Callable[[int, int], int]] = {
    # Of what the client is long and short per instrument, the reference instrument left out.
    "GREATER_OF_LONG_SHORT": max,
    "SUM_ABS": lambda long, short: long + short,
    "NET_DOWNSIDE": lambda _, short: short,
}


class Exposure:
    """What one client owes and is owed under one line. Values are in reference atoms, against the client."""

    def __init__(self, line: dict[str, Any], scale: Scale, reference: str) -> None:
        self.line, self.scale, self.reference = line, scale, reference
        self.net: dict[str, int] = defaultdict(int)
        self.payable: dict[Any, dict[str, int]] = defaultdict(lambda: defaultdict(int))

    def value(self, instrument: str, atoms: int) -> int:
        """Return what so many atoms are worth, in reference atoms."""
        units, divisor = self.scale[instrument]
        return divide(atoms * units, divisor, "ceil")  # Exposure is rounded up (R7).

    def add(self, moves: Iterable[tuple[str, int]], value_on: Any) -> HoldReason | None:
        """Add the client's moves (instrument, signed atoms), or leave all as it was and return the limit they break."""
        net, due = dict(self.net), dict(self.payable[value_on])
        for instrument, atoms in moves:
            net[instrument] = net.get(instrument, 0) + atoms
            due[instrument] = due.get(instrument, 0) + atoms
        values = [(self.value(i, abs(a)), a) for i, a in net.items() if a and i != self.reference]
        long = sum(value for value, atoms in values if atoms > 0)
        short = sum(value for value, atoms in values if atoms < 0)
        if NOP_FORMULAS[self.line["nop_formula"]](long, short) > self.line["nop_limit_atoms"]:
            return HoldReason.LIMIT_NOP
        if sum(self.value(i, -a) for i, a in due.items() if a < 0) > self.line["dsl_limit_atoms"]:
            return HoldReason.LIMIT_DSL
        self.net.update(net)
        self.payable[value_on].update(due)
        return None


def accept_giveups(
    trades: pl.DataFrame,
    *,
    designations: pl.DataFrame,
    lines: pl.DataFrame,
    scale: pl.DataFrame,
    reference_instrument: str,
    cut_at: datetime,
    complete: bool = True,
) -> GiveUps:
    """Return which of `trades` (Trade with buyer_accepted and seller_accepted) the brokers of both sides stand for.

    When the credit data are not `complete`, a trade without a designation or line waits: nobody has refused it.
    Trades are tried in the order of acceptance, time and id, so that the answer does not depend on the order of rows.
    """
    worth: Scale = {instrument: (units, divisor) for instrument, units, divisor in scale.rows()}
    designated = _designated(trades, designations)
    exposures = {
        (line["prime_broker"], line["client"]): Exposure(line, worth, reference_instrument)
        for line in lines.iter_rows(named=True)
        if line["status"] == "ACTIVE"
        and line["valid_from"] <= cut_at
        and (line["valid_to"] is None or cut_at < line["valid_to"])
    }
    order = trades.sort(~(pl.col("buyer_accepted") & pl.col("seller_accepted")), "traded_at", "chain_id")
    holds: dict[str, str] = {}
    stood_for: list[str] = []
    rejected: dict[str, str] = {}
    for trade in order.iter_rows(named=True):
        chain = trade["chain_id"]
        # What waits for its date or its counterpart's release is exposure all the same; without a price it has none.
        if trade["compensates"] is not None or not {trade["base"], trade["quote"]} <= worth.keys():
            continue
        answer = _ask(trade, designated, exposures)
        if not complete and answer in (Rejection.NO_DESIGNATION, Rejection.NO_CREDIT_LINE):
            holds[chain] = HoldReason.NO_CREDIT_DATA
        elif isinstance(answer, Rejection):
            rejected[chain] = answer
        elif answer is not None:
            holds[chain] = answer
        else:
            stood_for.append(chain)
    why = pl.DataFrame(
        {"chain_id": [*holds, *rejected], "held": [*holds.values(), *[None] * len(rejected)],
         "refused": [*[None] * len(holds), *rejected.values()]},
        schema={"chain_id": pl.String, "held": pl.String, "refused": pl.String},
    )  # fmt: skip
    trades = trades.join(why, on="chain_id", how="left", maintain_order="left")
    refused = trades.filter(pl.col("refused").is_not_null())
    outcomes = pl.concat(
        [
            refused.select(
                fill_id=side,
                chain_id="chain_id",
                state=pl.lit(str(FillState.REJECTED)),
                reason="refused",
                age="age",
            )
            for side in ("buy_fill_id", "sell_fill_id")
        ]
    )
    kept = trades.filter(pl.col("refused").is_null()).with_columns(
        pl.coalesce("hold_reason", "held").alias("hold_reason"),
        accepted=pl.col("accepted") | pl.col("chain_id").is_in(stood_for),
    )
    return GiveUps(Trade.hold(kept.select(Trade.names())), Outcome.hold(outcomes))


def _ask(
    trade: dict[str, Any], designated: set[tuple[str, str]], exposures: dict[tuple[str, str], Exposure]
) -> Rejection | HoldReason | None:
    """Ask the broker of each side. Only when both accept is the exposure of either one used."""
    undo: list[Any] = []
    for side, sign in (("buyer", 1), ("seller", -1)):
        broker, client = trade[f"{side}_broker"], trade[side]
        if broker is None:
            continue
        exposure = exposures.get((broker, client))
        if not trade[f"{side}_accepted"]:
            if (trade["chain_id"], side) not in designated:
                return _undone(undo, Rejection.NO_DESIGNATION)
            if exposure is None:
                return _undone(undo, Rejection.NO_CREDIT_LINE)
            worth = max(
                exposure.value(trade["base"], trade["base_atoms"]),
                exposure.value(trade["quote"], trade["quote_atoms"]),
            )
            if worth > exposure.line["fill_limit_atoms"]:
                return _undone(undo, Rejection.FILL_LIMIT)
        if exposure is None:
            return _undone(undo, HoldReason.LIMIT_NOP)  # Accepted once, and its line has gone: it waits.
        moves = [(trade["base"], sign * trade["base_atoms"]), (trade["quote"], -sign * trade["quote_atoms"])]
        broken = exposure.add(moves, trade["value_on"])
        if broken is not None:
            rejects = exposure.line["breach_action"] == "REJECT" and not trade[f"{side}_accepted"]
            names = {HoldReason.LIMIT_NOP: Rejection.LIMIT_NOP, HoldReason.LIMIT_DSL: Rejection.LIMIT_DSL}
            return _undone(undo, names[broken] if rejects else broken)
        undo.append((exposure, moves, trade["value_on"]))
    return None


def _undone(undo: list[Any], answer: Rejection | HoldReason) -> Rejection | HoldReason:
    for exposure, moves, value_on in undo:
        for instrument, atoms in moves:
            exposure.net[instrument] -= atoms
            exposure.payable[value_on][instrument] -= atoms
    return answer


def _designated(trades: pl.DataFrame, designations: pl.DataFrame) -> set[tuple[str, str]]:
    """Return (chain_id, side) for each side whose broker had designated its client at trade time."""
    found: set[tuple[str, str]] = set()
    notices = designations.filter(pl.col("status") == "ACTIVE").rename({"venue": "at", "client": "for_client"})
    for side in ("buyer", "seller"):
        allowed = trades.select(
            "chain_id", "venue", "base", "quote", "traded_at", prime_broker=f"{side}_broker", for_client=side
        ).join(notices, on=["prime_broker", "for_client"], how="inner")
        listed = pl.col("instruments").str.split(";")
        allowed = allowed.filter(
            pl.col("at").is_null() | (pl.col("at") == pl.col("venue")),
            pl.col("instruments").is_null()
            | (listed.list.contains(pl.col("base")) & listed.list.contains(pl.col("quote"))),
            pl.col("valid_from") <= pl.col("traded_at"),
            pl.col("valid_to").is_null() | (pl.col("traded_at") < pl.col("valid_to")),
        )
        found |= {(chain, side) for chain in allowed["chain_id"].to_list()}
    return found
