"""What must hold on any day, judged by an auditor that knows nothing of the code."""

import random
from fractions import Fraction
from typing import Any, NamedTuple

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from assets.credit.exposure import NOP_FORMULAS, accept_giveups
from assets.funding.decide import decide
from assets.funding.select import Engine, Selection
from assets.netting.net import merge_nets, net_by_chain, net_obligations, netting_effect, require_zero_sum
from assets.obligations.agree import agree, value_scale
from assets.obligations.derive import derive_obligations
from assets.settlement.instruct import plan
from schemas.credit_line import SettlementCredit
from schemas.cycle import Policy
from schemas.net_position import NetPosition
from schemas.obligation import Trade
from tests import auditor
from tests.market_days import (
    CUT_AT,
    PROPERTY,
    accounts_of,
    atoms_by_account,
    chosen_of,
    designations_of,
    fills_of,
    following,
    frame,
    lines_of,
    reference,
    removed_and_refilled,
    searched,
    settled,
    trades_from,
)

CLIENTS, BROKERS = ("A", "B", "C", "D"), (None, "PX", "PY")
INSTRUMENTS = ("BTC", "ETH", "NEAR", "USD")


class Day(NamedTuple):
    """Trades, what is in each account, and what may be drawn."""

    trades: pl.DataFrame
    funds: pl.DataFrame
    credit: pl.DataFrame

    @property
    def lent(self) -> auditor.Amounts:
        rows = self.credit.select("client", "instrument", "credit_atoms", "drawn_atoms").rows()
        return {(client, instrument): max(0, credit - drawn) for client, instrument, credit, drawn in rows}

    @property
    def usable(self) -> auditor.Amounts:
        return {key: atoms + self.lent.get(key, 0) for key, atoms in atoms_by_account(self.funds).items()}

    def complaints(self, selection: Selection) -> list[str]:
        return auditor.complaints(
            self.trades.to_dicts(), selection.decisions.to_dicts(), atoms_by_account(self.funds), self.lent,
            selection.draws.to_dicts(),
        )  # fmt: skip

    def choose(self, engine: Engine = decide) -> Selection:
        return chosen_of(self.trades, self.funds, self.credit, engine=engine)


@st.composite
def days(draw: st.DrawFn, most: int = 9) -> Day:
    """A day with odd amounts up to 10^30, where some set is funded to the atom, or short by one."""
    atoms = st.sampled_from([10**2, 10**9, 10**21, 10**30]).flatmap(lambda top: st.integers(1, top))
    rows = []
    for number in range(draw(st.integers(1, most))):
        buyer, seller = draw(st.permutations(CLIENTS))[:2]
        base, quote = draw(st.permutations(INSTRUMENTS))[:2]
        rows.append(
            {
                "chain_id": f"M{number}", "buyer": buyer, "seller": seller, "base": base, "quote": quote,
                "buyer_broker": draw(st.sampled_from(BROKERS)), "seller_broker": draw(st.sampled_from(BROKERS)),
                "base_atoms": draw(atoms), "quote_atoms": draw(atoms), "value_atoms": draw(st.integers(0, 10**9)),
                "age": draw(st.integers(0, 3)), "hold_reason": draw(st.sampled_from([None] * 9 + ["FUTU"])),
            }
        )  # fmt: skip
    trades = trades_from(rows)
    needed = auditor.shortages([row for row in trades.to_dicts() if draw(st.booleans())], {})
    held: auditor.Amounts = {}
    lines = []
    for (participant, instrument), lack in sorted(needed.items()):
        lent = min(lack, draw(st.sampled_from([0, 0, 0, 1, lack // 3, lack])))
        held[participant, instrument] = max(0, lack - lent + draw(st.sampled_from([-1, 0, 0, 0, 1])))
        if lent:
            lines.append(
                {"line_id": f"PX-{participant}", "prime_broker": "PX", "client": participant, "instrument": instrument,
                 "credit_atoms": lent + 5, "drawn_atoms": 5}
            )  # fmt: skip
    return Day(trades, accounts_of(trades, extra=held), SettlementCredit.hold(frame(SettlementCredit, lines)))


@PROPERTY
@given(days())
def test_the_best_set_is_found_and_the_auditor_has_no_complaint(day: Day) -> None:
    selection = day.choose()
    assert selection.path in ("ALL_FUNDED", "ENUMERATED")
    assert day.complaints(selection) == []
    eligible = [trade for trade in day.trades.to_dicts() if trade["hold_reason"] is None]
    assert selection.weight_atoms == selection.bound_atoms == auditor.best_weight(eligible, day.usable)


@PROPERTY
@given(days(most=12))
def test_removal_and_refill_is_always_funded_and_leaves_nothing_out_that_fits(day: Day) -> None:
    selection = day.choose(removed_and_refilled)
    assert selection.path in ("ALL_FUNDED", "REMOVAL_REFILL")
    assert day.complaints(selection) == []


@settings(PROPERTY, max_examples=25)
@given(days())
def test_a_search_is_lawful_and_its_bound_is_above_the_best_of_all_sets(day: Day) -> None:
    selection, best = day.choose(searched), day.choose()
    assert day.complaints(selection) == []
    assert selection.weight_atoms <= best.weight_atoms <= selection.bound_atoms


@settings(PROPERTY, max_examples=40)
@given(days(most=7), st.data())
def test_more_funds_never_settle_less(day: Day, data: st.DataObject) -> None:
    keys = sorted(atoms_by_account(day.funds))
    lucky = data.draw(st.sampled_from(keys))
    gift = data.draw(st.integers(1, 10**30))
    richer = accounts_of(
        day.trades, extra=atoms_by_account(day.funds) | {lucky: atoms_by_account(day.funds)[lucky] + gift}
    )
    assert chosen_of(day.trades, richer, day.credit).weight_atoms >= day.choose().weight_atoms


@settings(PROPERTY, max_examples=40)
@given(days(most=7), st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from(sorted(NOP_FORMULAS)))
def test_what_settles_keeps_the_limits_of_every_line_and_more_only_settles_with_larger_ones(
    day: Day, nop: int, dsl: int, formula: str
) -> None:
    terms = lines_of(
        "prime_broker client nop_limit_atoms dsl_limit_atoms nop_formula\n"
        + "\n".join(f"{broker} {client} {nop} {dsl} {formula}" for broker in ("PX", "PY") for client in CLIENTS)
    )
    dear = {"scale": value_scale(reference(*CLIENTS), "USD"), "reference_instrument": "USD"}
    worth = {instrument: Fraction(units, per) for instrument, units, per in dear["scale"].rows()}
    selection = chosen_of(day.trades, day.funds, day.credit, lines=terms, **dear)
    settling = [trade for trade in day.trades.to_dicts() if trade["chain_id"] in settled(selection)]
    for line in terms.to_dicts():
        open_position, payable = auditor.exposure(settling, line, worth, "USD")
        assert open_position <= nop
        assert payable <= dsl
    assert selection.weight_atoms <= day.choose().weight_atoms


@PROPERTY
@given(days(), st.integers(0, 2**32))
def test_the_order_of_rows_changes_nothing_of_a_decision(day: Day, seed: int) -> None:
    shuffled = Day(*(part.sample(fraction=1, shuffle=True, seed=seed) for part in day))
    there, back = day.choose(), shuffled.choose()
    for one, other in zip(there, back, strict=True):
        if isinstance(one, pl.DataFrame):
            assert_frame_equal(one, other)


@PROPERTY
@given(days(most=12), st.integers(1, 4))
def test_positions_are_the_sum_of_what_the_fills_contribute_in_any_partition(day: Day, pieces: int) -> None:
    obligations = derive_obligations(day.trades)
    positions = net_obligations(obligations)
    require_zero_sum(positions)
    nets = {(p, i): net for p, i, net in positions.select("participant", "instrument", "net_atoms").rows()}
    assert nets == auditor.nets(day.trades.to_dicts())
    parts = [net_obligations(obligations.gather_every(pieces, offset)) for offset in range(pieces)]
    assert_frame_equal(merge_nets(parts), positions)
    assert_frame_equal(merge_nets([merge_nets(parts[1:]), parts[0], NetPosition.empty()]), positions)
    by_chain = {(c, p, i): net for c, p, i, net in net_by_chain(obligations).rows()}
    assert by_chain == {
        (t["chain_id"], *key): net for t in day.trades.to_dicts() for key, net in auditor.nets([t]).items()
    }
    effect = netting_effect(obligations, value_scale(reference(*CLIENTS), "USD"))
    columns = ("instrument", "gross_atoms", "bilateral_atoms", "bilateral_payments", "multilateral_atoms")
    assert {row[0]: row[1:] for row in effect.select(columns).rows()} == auditor.movements(day.trades.to_dicts())


@PROPERTY
@given(days())
def test_a_plan_balances_and_ends_no_account_below_zero(day: Day) -> None:
    selection = day.choose()
    chosen = settled(selection)
    settling = [trade for trade in day.trades.to_dicts() if trade["chain_id"] in chosen]
    obligations = derive_obligations(day.trades).filter(pl.col("chain_id").is_in(list(chosen)))
    made = plan(net_obligations(obligations), selection.draws, day.funds)
    books: dict[str, int] = {}
    for instrument, atoms in made.postings.select("instrument", "atoms").rows():
        books[instrument] = books.get(instrument, 0) + atoms
    assert set(books.values()) <= {0}
    moved = {name: [0, 0] for name in INSTRUMENTS}
    for kind, instrument, atoms in made.instructions.select("kind", "instrument", "quantity_atoms").rows():
        moved[instrument][kind == "PAY_OUT"] += atoms
    assert all(paid_in == paid_out for paid_in, paid_out in moved.values())
    nets, drawn = (
        auditor.nets(settling),
        {(d["client"], d["instrument"]): d["drawn_atoms"] for d in selection.draws.to_dicts()},
    )
    for account in made.accounts.to_dicts():
        key = account["participant"], account["instrument"]
        assert account["net_atoms"] == nets.get(key, 0)
        assert account["drawn_atoms"] == drawn.get(key, 0)
        assert account["closing_atoms"] >= 0


@st.composite
def reported(draw: st.DrawFn) -> pl.DataFrame:
    """Reports of a few trades, with sides missing, amounts that differ, and busts and corrections of anything."""
    lines = ["chain_id buyer buyer_broker seller seller_broker base quote base_amount quote_amount"]
    for number in range(draw(st.integers(1, 4))):
        buyer, seller = draw(st.sampled_from([("A PX", "B PY"), ("B -", "C PX"), ("C PX", "A PX"), ("A -", "A -")]))
        lines.append(f"M{number} {buyer} {seller} BTC USD 0.{draw(st.integers(1, 9))} {draw(st.integers(1, 9))}000")
    fills = fills_of("\n".join(lines))
    for number in range(draw(st.integers(0, 8))):
        target = draw(st.sampled_from(sorted(fills["fill_id"])))
        kind = draw(st.sampled_from(["G", "G", "H"]))
        changed: dict[str, Any] = {"quote_atoms": draw(st.integers(100_000, 100_003))} if kind == "G" else {}
        fills = following(fills, target, f"X{number}", kind, **changed)
    gone = draw(st.sets(st.sampled_from(sorted(fills["fill_id"])), max_size=3))
    return fills.filter(~pl.col("fill_id").is_in(list(gone)))


@PROPERTY
@given(reported())
def test_reports_fold_and_match_as_the_auditor_says_and_none_is_lost(fills: pl.DataFrame) -> None:
    agreed = agree(fills, Trade.empty(), reference=reference(*CLIENTS), cut_at=CUT_AT, policy=Policy())
    ends = [*agreed.outcomes["fill_id"], *agreed.trades["buy_fill_id"], *agreed.trades["sell_fill_id"]]
    assert sorted(ends) == sorted(fills["fill_id"])
    said = dict(agreed.outcomes.select("fill_id", "state").rows())
    folded = auditor.fold(fills.to_dicts())
    assert {f: s for f, s in said.items() if s in ("BUSTED", "CORRECTED", "APPLIED")} == {
        f: s for f, s in folded.items() if s in ("BUSTED", "CORRECTED", "APPLIED")
    }
    pairs = auditor.matches(fills.to_dicts())
    one_account = {
        m for m, (buy, sell) in pairs.items() if (buy["client"], buy["account"]) == (sell["client"], sell["account"])
    }
    assert set(agreed.trades["chain_id"]) == set(pairs) - one_account
    assert {fill for fill, state in said.items() if state == "REJECTED"} == {
        report["fill_id"] for match in one_account for report in pairs[match]
    }


def whole_day(fills: pl.DataFrame, lines: pl.DataFrame, designations: pl.DataFrame) -> tuple[pl.DataFrame, ...]:
    """From reports to a plan: trades, outcomes, decisions, positions, postings."""
    world = reference(*CLIENTS)
    agreed = agree(fills, Trade.empty(), reference=world, cut_at=CUT_AT, policy=Policy())
    given_up = accept_giveups(
        agreed.trades, designations=designations, lines=lines, scale=value_scale(world, "USD"),
        reference_instrument="USD", cut_at=CUT_AT,
    )  # fmt: skip
    trades = given_up.trades
    funds = accounts_of(trades, "A USD 3_000\nB BTC 0.7\nC BTC 0.3")
    selection = chosen_of(trades, funds)
    settling = selection.decisions.filter("settles")["chain_id"].to_list()
    obligations = derive_obligations(trades)
    positions = net_obligations(obligations.filter(pl.col("chain_id").is_in(settling)))
    made = plan(positions, selection.draws, funds)
    outcomes = pl.concat([agreed.outcomes, given_up.outcomes]).sort("fill_id")
    in_trades = [*trades["buy_fill_id"], *trades["sell_fill_id"]]
    assert sorted([*outcomes["fill_id"], *in_trades]) == sorted(fills["fill_id"])
    return (
        trades,
        outcomes,
        obligations,
        selection.decisions,
        positions,
        made.accounts,
        made.instructions,
        made.postings,
    )


@settings(PROPERTY, max_examples=25)
@given(reported(), st.randoms(use_true_random=False))
def test_the_order_of_rows_in_any_input_changes_nothing_of_a_whole_day(
    fills: pl.DataFrame, shuffle: random.Random
) -> None:
    lines = lines_of("prime_broker client nop_limit\nPX A 60_000\nPY B 1_000_000\nPX C 50_000")
    designations = designations_of("prime_broker client\nPX A\nPY B\nPX C")
    inputs = (fills, lines, designations)
    shuffled = [part.sample(fraction=1, shuffle=True, seed=shuffle.randrange(2**32)) for part in inputs]
    for there, back in zip(whole_day(*inputs), whole_day(*shuffled), strict=True):
        assert_frame_equal(there.sort(there.columns[0]), back.sort(back.columns[0]), check_row_order=True)
