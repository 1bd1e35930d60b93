"""What parties ask of their trades: parts, priorities, holds, links and pools, and what is left of a part."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assets.clients import Wishes, read_wishes
from assets.fills.carry import carry_over
from assets.intake import SourceFile
from assets.obligations.agree import Agreed, agree
from assets.obligations.derive import derive_obligations, settling_obligations
from assets.obligations.settled import settled_so_far
from assets.obligations.terms import Asked, apply_terms, carry_terms
from assets.settlement.outcomes import account_for_fills
from schemas.cycle import Policy
from schemas.obligation import Decision, Outcome, Trade
from schemas.terms import Terms
from tests.market_days import CUT_AT, amount, fills_of, following, frame, reference, table, trades_of

WORLD = reference("A", "B", "C")
NOBODY = pl.DataFrame(schema={"venue": pl.String, "match_id": pl.String})
THREE = trades_of("""
    chain_id  buyer  buyer_broker  seller  seller_broker  base  quote  base_amount  quote_amount
    M1        A      PX            B       PY             BTC   USD    2            200_000
    M2        B      -             C       -              BTC   USD    1            100_000
    M3        C      -             A       -              ETH   USD    10           35_000
""")


def terms_of(text: str) -> pl.DataFrame:
    """Return Terms of a table with match_id and party; nothing else is asked unless a column says so."""
    return table(text, Terms, venue="SPTX", partial="NPAR", on_hold=False, age=0)


def asked_of(terms: str, trades: pl.DataFrame = THREE, settled: pl.DataFrame | None = None) -> Asked:
    settled = Trade.empty() if settled is None else settled
    return apply_terms(trades, terms_of(terms), NOBODY, settled, WORLD.instruments)


def column(asked: Asked, name: str) -> dict[str, Any]:
    return dict(asked.trades.select("chain_id", name).rows())


def holds(asked: Asked) -> dict[str, str]:
    return {chain: reason for chain, reason in column(asked, "hold_reason").items() if reason}


# Reading the files


def read(root: Path, **files: str) -> Wishes:
    made = []
    for name, text in files.items():
        path = root / "clients" / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        made.append(SourceFile.of("clients", path, root))
    return read_wishes(made, WORLD)


def test_what_is_not_asked_is_the_default(tmp_path: Path) -> None:
    (row,) = read(tmp_path, terms="venue,match_id,party\nSPTX,M1,A\n").terms.to_dicts()
    assert (row["partial"], row["on_hold"], row["priority"], row["pool"], row["age"]) == ("NPAR", False, None, None, 0)


@pytest.mark.parametrize(
    ("columns", "cells", "flaw"),
    [
        ("priority", "5", "BAD_CODE"), ("partial", "SOME", "BAD_CODE"), ("hold", "yes", "BAD_CODE"),
        ("partial", "PARQ", "MISSING_FIELD"), ("least", "1", "BAD_CODE"), ("lot", "0.00", "NOT_POSITIVE"),
        ("lot", "-1", "NOT_POSITIVE"), ("lot", "1e3", "BAD_NUMBER"), ("partial,least", "PARC,0", "NOT_POSITIVE"),
        ("link", "WITH", "MISSING_FIELD"), ("linked_to", "M2", "MISSING_FIELD"), ("link,linked_to", "WITH,M1", "BAD_CODE"),
        ("pool", "P", "MISSING_FIELD"), ("pool,pool_count", "P,0", "BAD_NUMBER"), ("pool,pool_count", "P,9999999", "BAD_NUMBER"),
    ],
)  # fmt: skip
def test_a_wish_that_cannot_be_read_is_quarantined_and_holds_its_trade(
    columns: str, cells: str, flaw: str, tmp_path: Path
) -> None:
    wishes = read(tmp_path, terms=f"venue,match_id,party,{columns}\nSPTX,M1,A,{cells}\n")
    assert wishes.quarantined["flaw"].to_list() == [flaw]
    assert wishes.terms.is_empty()
    asked = apply_terms(THREE, wishes.terms, wishes.unclear, Trade.empty(), WORLD.instruments)
    assert holds(asked) == {"M1": "PREA"}


def test_two_contrary_wishes_of_one_party_are_both_quarantined_and_hold_the_trade(tmp_path: Path) -> None:
    wishes = read(tmp_path, terms="venue,match_id,party,hold\nSPTX,M1,A,YES\nSPTX,M1,A,NO\nSPTX,M2,B,NO\n")
    assert wishes.quarantined["flaw"].to_list() == ["CONFLICTING_COPIES"] * 2
    assert wishes.unclear.rows() == [("SPTX", "M1")]
    assert wishes.counts.select("records", "accepted", "quarantined", "duplicates").row(0) == (3, 1, 2, 0)


def test_a_stranger_and_a_file_with_another_name_are_kept_out(tmp_path: Path) -> None:
    wishes = read(tmp_path, terms="venue,match_id,party\nSPTX,M1,NOBODY\n", wishes="a\n1\n")
    assert sorted(wishes.quarantined["flaw"]) == ["FILE_UNREADABLE", "UNKNOWN_PARTY"]


def test_minimum_balances_are_atoms_and_bad_ones_are_quarantined(tmp_path: Path) -> None:
    wishes = read(
        tmp_path,
        minimum_balances="""participant,instrument,minimum
A,USD,100.50
B,USD,-1
B,BTC,0.000000001
C,XAU,1
C,BTC,
""",
    )
    assert wishes.minimums.rows() == [("A", "USD", 10_050)]
    flaws = ["BAD_NUMBER", "EXCESS_DECIMALS", "UNKNOWN_INSTRUMENT", "MISSING_FIELD"]
    assert wishes.quarantined["flaw"].to_list() == flaws


# Holds, priorities, links and pools


@pytest.mark.parametrize("party", ["A", "B", "PX", "PY"])
def test_any_party_of_a_chain_can_hold_it(party: str) -> None:
    assert holds(asked_of(f"match_id party on_hold\nM1 {party} yes")) == {"M1": "PREA"}


def test_who_is_no_party_of_a_trade_cannot_hold_it_and_that_is_recorded() -> None:
    asked = asked_of("match_id party on_hold\nM1 C yes")
    assert holds(asked) == {}
    assert asked.disagreements.rows() == [("M1", "C", "STRANGER")]


def test_a_hold_comes_after_a_date_and_before_a_price() -> None:
    for before, shown in (("FUTU", "FUTU"), ("PRSY", "PRSY"), ("XPRC", "PREA"), ("XLIM_NOP", "PREA")):
        trades = THREE.with_columns(hold_reason=pl.lit(before))
        assert column(asked_of("match_id party on_hold\nM1 A yes", trades), "hold_reason")["M1"] == shown


@pytest.mark.parametrize(
    ("terms", "priority"),
    [("M1 A 2", 2), ("M1 A 2\nM1 B 3", 3), ("M1 A 4\nM1 B 1", 4), ("M1 PX 1", 4), ("M1 B -", 4)],
)
def test_priority_is_the_less_urgent_of_both_sides(terms: str, priority: int) -> None:
    assert column(asked_of(f"match_id party priority\n{terms}"), "priority")["M1"] == priority


def test_a_link_of_two_open_trades_makes_both_whole() -> None:
    asked = asked_of("""
        match_id  party  partial  link  linked_to
        M1        A      PART     WITH  M2
        M1        B      PART     -     -
        M2        B      PART     AFTE  M3
        M2        C      PART     -     -
    """)
    assert asked.links.rows() == [("AFTE", "M2", "M3"), ("WITH", "M1", "M2")]
    assert set(column(asked, "least_atoms").values()) == {None}
    assert holds(asked) == {}


@pytest.mark.parametrize("kind", ["WITH", "BEFO", "AFTE"])
def test_a_link_to_a_trade_that_is_not_open_holds_it(kind: str) -> None:
    asked = asked_of(f"match_id party link linked_to\nM1 A {kind} M9")
    assert holds(asked) == {"M1": "LINK"}
    assert asked.links.is_empty()


def test_what_comes_after_a_trade_that_has_settled_does_not_wait_for_it() -> None:
    before = trades_of("chain_id buyer seller base quote base_amount quote_amount\nM9 A B BTC USD 1 1")
    assert holds(asked_of("match_id party link linked_to\nM1 A AFTE M9", settled=before)) == {}
    assert holds(asked_of("match_id party link linked_to\nM1 A WITH M9", settled=before)) == {"M1": "LINK"}


def test_a_complete_pool_settles_together_and_an_incomplete_one_waits() -> None:
    terms = "match_id party pool pool_count\nM1 B P {count}\nM2 B P {count}\nM2 C P 1\nM3 A - -"
    complete = asked_of(terms.format(count=2))
    assert complete.links.rows() == [("WITH", "M1", "M2")]
    assert holds(complete) == {}
    assert holds(asked_of(terms.format(count=3))) == {"M1": "INBC", "M2": "INBC"}
    assert holds(asked_of("match_id party pool pool_count\nM1 B P 2\nM2 B P 1")) == {"M1": "INBC", "M2": "INBC"}


# Parts


def parts_of(buyer: str, seller: str, trades: pl.DataFrame = THREE) -> tuple[int | None, int]:
    asked = asked_of(f"match_id party partial least lot\nM1 A {buyer}\nM1 B {seller}", trades)
    return column(asked, "least_atoms")["M1"], column(asked, "lot_atoms")["M1"]


BITCOIN = amount("1", "BTC")


@pytest.mark.parametrize(
    ("buyer", "seller", "least", "lot"),
    [
        ("PART - -", "PART - -", 10, 1),  # Less than ten atoms of bitcoin are not worth a cent.
        ("PARQ 0.5 -", "PART - -", BITCOIN // 2, 1),
        ("PARQ 0.5 -", "PARC 75000 -", BITCOIN * 3 // 4, 1),
        ("PARC 0.01 -", "PART - -", 10, 1),
        ("PART - 0.5", "PART - 0.2", 10, BITCOIN),  # Both lots: the least whole number of each.
        ("PART - 0.3", "PART - -", None, 1),  # It does not divide the trade.
        ("PARQ 2 -", "PART - -", None, 1),  # All of it.
        ("PARQ 99999999999999999999 -", "PART - -", None, 1),
        ("PARC 999999999999999999999999999999999999 -", "PART - -", None, 1),
        ("PART - -", "NPAR - -", None, 1),
    ],
)
def test_a_part_is_what_both_sides_allow(buyer: str, seller: str, least: int | None, lot: int) -> None:
    assert parts_of(buyer, seller) == (least, lot)


def test_the_least_part_is_the_fewest_atoms_that_move_the_quote_amount() -> None:
    trades = trades_of("chain_id buyer seller base_atoms quote_atoms base quote\nM1 A B 1_000 7 BTC USD")
    least, _ = parts_of("PARC 0.03 -", "PART - -", trades)
    assert least == 429
    assert (7 * 429 // 1_000, 7 * 428 // 1_000) == (3, 2)


def test_sides_that_disagree_on_parts_settle_whole_and_are_named() -> None:
    asked = asked_of("match_id party partial\nM1 A PART\nM1 B NPAR\nM2 C PART")
    assert column(asked, "least_atoms") == {"M1": None, "M2": None, "M3": None}
    assert asked.disagreements.rows() == [("M1", "A", "PATD"), ("M2", "C", "PATD")]


def test_an_amount_of_more_digits_than_the_instrument_has_allows_no_part() -> None:
    asked = asked_of("match_id party partial least\nM1 A PARQ 0.000000001\nM1 B PART -")
    assert column(asked, "least_atoms")["M1"] is None
    assert asked.disagreements.rows() == [("M1", "A", "DECIMALS"), ("M1", "B", "PATD")]


def test_who_trades_between_two_own_accounts_speaks_for_both_sides() -> None:
    own = trades_of("chain_id buyer seller base quote base_amount quote_amount\nM1 A A BTC USD 2 200_000")
    assert column(asked_of("match_id party partial\nM1 A PART", own), "least_atoms")["M1"] == 10


# From cycle to cycle


def test_terms_hold_until_the_party_says_otherwise_or_the_trade_is_done() -> None:
    last = terms_of("""
        match_id  party  on_hold
        M1        A      yes
        M1        B      yes
        M2        B      yes
        M9        A      yes
    """)
    outcomes = table("""
        fill_id  chain_id            state           age
        1        SPTX:2026-11-20:M1  PARTLY_SETTLED  0
        2        SPTX:2026-11-20:M2  SETTLED         0
    """, Outcome)  # fmt: skip
    now = terms_of("match_id party on_hold\nM1 A no")
    kept = carry_terms(last, outcomes, now, 1)
    assert kept.select("match_id", "party", "on_hold", "age").rows() == [
        ("M1", "A", False, 0), ("M1", "B", True, 1), ("M9", "A", True, 1),
    ]  # fmt: skip
    assert carry_terms(kept, outcomes, now.clear(), 1)["match_id"].to_list() == ["M1", "M1"]


ONE = """
    chain_id            buyer  buyer_broker  seller  seller_broker  base  quote  base_amount  quote_amount
    SPTX:2026-11-20:M1  A      PX            B       PY             BTC   USD    2            200_000.01
"""


def agreed_of(fills: pl.DataFrame, settled: pl.DataFrame) -> Agreed:
    return agree(fills, settled, reference=WORLD, cut_at=CUT_AT, policy=Policy())


def decided(trades: pl.DataFrame, settles: Mapping[str, int]) -> pl.DataFrame:
    """Return decisions by which so many base atoms of each chain settle."""
    rows = [
        {
            "chain_id": trade["chain_id"], "settles": settles.get(trade["chain_id"], 0) > 0, "value_atoms": 1, "age": 0,
            "reason": None if trade["chain_id"] in settles else "MONY", "regret": "0",
            "base_atoms": settles.get(trade["chain_id"], 0),
            "quote_atoms": trade["quote_atoms"] * settles.get(trade["chain_id"], 0) // trade["base_atoms"],
        }
        for trade in trades.to_dicts()
    ]  # fmt: skip
    return Decision.hold(frame(Decision, rows))


class Chain:
    """One trade, settled part by part."""

    name = "SPTX:2026-11-20:M1"

    def __init__(self) -> None:
        self.fills, self.batches = fills_of(ONE), list[tuple[pl.DataFrame, pl.DataFrame]]()
        self.states: set[str] = set()

    def settle(self, atoms: int) -> dict[str, Any]:
        """Settle so many base atoms in the next cycle, and return the trade as it was in it."""
        agreed = agreed_of(self.fills, settled_so_far(self.batches))
        trades = agreed.trades.select(Trade.names())
        decisions = decided(trades, {self.name: atoms} if atoms else {})
        outcomes = account_for_fills(self.fills, agreed.outcomes, trades, decisions, Policy())
        self.batches.append((trades, decisions))
        self.states = set(outcomes["state"])
        self.fills = carry_over(self.fills, outcomes, trades)
        return trades.row(by_predicate=pl.col("chain_id") == self.name, named=True)


def test_what_is_left_of_a_part_is_the_trade_of_the_next_cycle_and_nothing_is_lost() -> None:
    chain, atoms = Chain(), amount("2", "BTC")
    first, third = chain.settle(atoms // 3), None
    assert chain.states == {"PARTLY_SETTLED"}
    assert first["quote_atoms"] == 20_000_001
    chain.settle(0)
    assert chain.states == {"WAITING"}
    third = chain.settle(atoms - atoms // 3)
    assert chain.states == {"SETTLED"}
    assert (third["base_atoms"], third["quote_atoms"]) == (
        atoms - atoms // 3,
        20_000_001 - 20_000_001 * (atoms // 3) // atoms,
    )
    assert (third["age"], third["accepted"], third["buy_fill_id"]) == (2, first["accepted"], first["buy_fill_id"])
    assert chain.fills.is_empty()
    paid: dict[str, int] = {}
    for trades, decisions in chain.batches:
        for row in settling_obligations(derive_obligations(trades), trades, decisions).to_dicts():
            paid[row["obligation_id"]] = paid.get(row["obligation_id"], 0) + row["quantity_atoms"]
    assert len(paid) == 6
    assert set(paid.values()) == {atoms, 20_000_001}


def test_a_bust_by_both_sides_cancels_the_rest_and_reverses_what_has_settled() -> None:
    chain, atoms = Chain(), amount("0.5", "BTC")
    chain.settle(atoms)
    busted = chain.fills
    for side in "bs":
        busted = following(busted, f"{chain.name}:{side}", f"H:{side}", "H")
    agreed = agreed_of(busted, settled_so_far(chain.batches))
    (back,) = agreed.trades.to_dicts()
    assert (back["compensates"], back["buyer"], back["priority"]) == (chain.name, "B", 3)
    assert (back["base_atoms"], back["quote_atoms"]) == (atoms, 5_000_000)
    assert set(agreed.outcomes.select("fill_id", "state").rows()) == {
        (f"{chain.name}:b", "BUSTED"), (f"{chain.name}:s", "BUSTED"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["G", "H"])
def test_a_bust_or_correction_by_one_side_of_a_part_waits_and_so_does_the_rest(kind: str) -> None:
    chain = Chain()
    chain.settle(amount("0.5", "BTC"))
    fills = following(chain.fills, f"{chain.name}:b", "X:b", kind)
    agreed = agreed_of(fills, settled_so_far(chain.batches))
    assert agreed.trades.is_empty()
    found = {
        fill: (state, reason) for fill, state, reason in agreed.outcomes.select("fill_id", "state", "reason").rows()
    }
    assert found == {
        "X:b": ("UNMATCHED", "XREF"), f"{chain.name}:b": ("UNMATCHED", "XUNM"), f"{chain.name}:s": ("UNMATCHED", "XUNM"),
    }  # fmt: skip


def test_a_bust_of_the_report_that_a_part_was_corrected_from_does_not_lose_what_has_settled() -> None:
    chain = Chain()
    for side in "bs":
        chain.fills = following(chain.fills, f"{chain.name}:{side}", f"G:{side}", "G")
    chain.settle(amount("0.5", "BTC"))
    assert set(chain.fills["fill_id"]) >= {"G:b", "G:s"}
    agreed = agreed_of(following(chain.fills, f"{chain.name}:b", "H:b", "H"), settled_so_far(chain.batches))
    states = dict(agreed.outcomes.select("fill_id", "state").rows())
    assert agreed.trades.is_empty()
    assert (states["G:b"], states["H:b"]) == ("UNMATCHED", "UNMATCHED")


def test_decisions_from_before_there_were_parts_settled_whole() -> None:
    old = decided(THREE, {"M1": 1}).drop("base_atoms", "quote_atoms", "top_up_value_atoms", "top_up_exact")
    before = settled_so_far([(THREE.drop("priority", "least_atoms", "lot_atoms"), old)])
    assert before.select("chain_id", "base_atoms", "quote_atoms").rows() == [("M1", 2 * BITCOIN, 20_000_000)]


def test_a_participant_in_default_settles_nothing() -> None:
    parties = WORLD.participants.with_columns(
        status=pl.when(pl.col("participant") == "B").then(pl.lit("DEFAULTED")).otherwise("status")
    )
    world = WORLD.__class__(**{name: getattr(WORLD, name) for name in WORLD.__slots__} | {"participants": parties})
    agreed = agree(fills_of(ONE), Trade.empty(), reference=world, cut_at=CUT_AT, policy=Policy())
    assert agreed.trades["hold_reason"].to_list() == ["PRSY"]
