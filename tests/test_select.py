"""Which chains settle: gridlocks, coins promised twice, what is asked of a settlement, limits, reasons, and proofs."""

from random import Random
from typing import Any

import polars as pl
import pytest

from assets.funding.certify import Certificate, verify
from assets.funding.cuts import Cut
from assets.funding.decide import Answer
from assets.funding.problem import Problem, RowName
from assets.funding.select import Selection, require_funded
from assets.obligations.agree import value_scale
from assets.obligations.derive import derive_obligations, settling_obligations
from schemas.errors import BrokenInvariant
from schemas.instruction import CreditDraw
from schemas.obligation import Link
from tests import auditor
from tests.market_days import (
    accounts_of,
    amount,
    atoms_by_account,
    available,
    chosen_of,
    credit_of,
    lines_of,
    reference,
    removed_and_refilled,
    ring,
    searched,
    settled,
    table,
    trades_from,
    trades_of,
)

WEI = 10**21 + 7
SIZES = {"bitcoin": ("BTC", 123_456_789), "wei": ("ETH", 10**18 + 1), "24 digits": ("NEAR", 10**27 + 3)}
DOLLARS: dict[str, Any] = {"scale": value_scale(reference("A", "B", "C"), "USD"), "reference_instrument": "USD"}


def reasons(selection: Selection) -> dict[str, str | None]:
    return dict(selection.decisions.select("chain_id", "reason").rows())


def parts(selection: Selection) -> dict[str, tuple[int, int]]:
    rows = selection.decisions.filter("settles").select("chain_id", "base_atoms", "quote_atoms").rows()
    return {chain: (base, quote) for chain, base, quote in rows}


@pytest.mark.parametrize("coin", list(SIZES))
@pytest.mark.parametrize("size", [10, 100, 1_000])
def test_a_ring_of_clients_without_a_coin_settles_whole_where_one_by_one_nothing_does(size: int, coin: str) -> None:
    base, atoms = SIZES[coin]
    trades = ring(size, atoms, base)
    funds = accounts_of(trades)
    selection = chosen_of(trades, funds)
    assert len(settled(selection)) == size
    assert selection.path == "ALL_FUNDED"
    assert auditor.one_by_one(trades.to_dicts(), atoms_by_account(funds)) == set()


def uneven_ring(size: int, atoms: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A ring of clients that each pass on another amount, and accounts that hold exactly the difference."""
    amounts = [atoms + 10**9 * ((k * 7) % 13) + k for k in range(size)]
    trades = trades_from(
        {
            "chain_id": f"R{k:05}", "seller": f"C{k}", "buyer": f"C{(k + 1) % size}", "base": "ETH", "quote": "USD",
            "base_atoms": amounts[k], "quote_atoms": 350_000, "value_atoms": 350_000 + k,
        }
        for k in range(size)
    )  # fmt: skip
    lacking = auditor.shortages(trades.to_dicts(), {})
    return trades, accounts_of(trades, extra=lacking)


@pytest.mark.parametrize("atoms", [10**8, WEI, 10**27 + 1], ids=["1e8", "wei", "1e27"])
@pytest.mark.parametrize("size", [10, 100])
def test_a_whole_ring_settles_beside_a_chain_that_cannot(size: int, atoms: int) -> None:
    trades, funds = uneven_ring(size, atoms)
    broke = trades_from(
        [{"chain_id": "Z", "seller": "C0", "buyer": "C1", "base": "ETH", "quote": "USD", "base_atoms": 1,
          "quote_atoms": 1, "value_atoms": 10**9}]
    )  # fmt: skip
    day = pl.concat([trades, broke])
    selection = chosen_of(day, funds)
    assert selection.path == ("ENUMERATED" if size == 10 else "MIP_OPTIMAL")
    assert settled(selection) == set(trades["chain_id"])
    assert auditor.complaints(day.to_dicts(), selection.decisions.to_dicts(), atoms_by_account(funds), {}, []) == []


def test_one_wei_too_few_holds_the_ring() -> None:
    trades, funds = uneven_ring(10, WEI)
    short = funds.with_columns(
        available_atoms=pl.when(pl.col("available_atoms") > 0)
        .then(pl.col("available_atoms") - 1)
        .otherwise("available_atoms")
    )
    selection = chosen_of(trades, short)
    assert settled(selection) == set()
    assert auditor.best_weight(trades.to_dicts(), atoms_by_account(short)) == 0


TWICE = """
    chain_id  buyer  seller  base  quote  base_amount  quote_amount  age
    M1        A      B       BTC   USD    1            100_000       0
    M2        C      B       BTC   USD    1            110_000       0
"""
ONE_COIN = "A USD 100_000\nB BTC 1\nC USD 110_000"
TWO_COINS = "A USD 100_000\nB BTC 2\nC USD 110_000"


def test_of_two_settlements_on_the_same_coins_only_the_better_one_is_selected() -> None:
    trades = trades_of(TWICE)
    selection = chosen_of(trades, accounts_of(trades, ONE_COIN))
    assert settled(selection) == {"M2"}
    assert selection.decisions.select("chain_id", "reason", "short_participant", "short_instrument").row(0) == (
        "M1", "CYCL", "B", "BTC",
    )  # fmt: skip


def test_what_has_waited_two_cycles_counts_double() -> None:
    funds = accounts_of(trades_of(TWICE), ONE_COIN)
    waited = [TWICE.replace("100_000       0", f"100_000       {age}") for age in (0, 1, 2)]
    assert [settled(chosen_of(trades_of(text), funds)) for text in waited] == [{"M2"}, {"M1"}, {"M1"}]


def test_a_more_urgent_chain_settles_first_though_it_is_worth_less_and_each_class_has_its_own_bound() -> None:
    trades = trades_of(TWICE).with_columns(priority=pl.when(chain_id=pl.lit("M1")).then(2).otherwise(4).cast(pl.UInt32))
    selection = chosen_of(trades, accounts_of(trades, ONE_COIN))
    assert settled(selection) == {"M1"}
    assert selection.certificates.select("priority", "weight_atoms", "bound_atoms").rows() == [
        (2, amount("200_000", "USD"), amount("200_000", "USD")),
        (4, 0, 0),
    ]
    assert selection.weight_atoms == amount("200_000", "USD")


def test_chains_of_equal_worth_are_chosen_by_their_ids_whatever_the_order_of_rows() -> None:
    trades = trades_of(TWICE.replace("110_000", "100_000"))
    funds = accounts_of(trades, "A USD 100_000\nB BTC 1\nC USD 100_000")
    there, back = chosen_of(trades, funds), chosen_of(trades.reverse(), funds.reverse())
    assert there.decisions.equals(back.decisions)
    assert settled(there) == {"M1"}


@pytest.mark.parametrize(
    ("holdings", "reason", "who", "what"),
    [("A USD 100_000", "LACK", "B", "BTC"), ("B BTC 1", "MONY", "A", "USD"), ("", "LACK", "B", "BTC")],
)
def test_the_seller_lacks_the_instrument_or_the_buyer_the_money(
    holdings: str, reason: str, who: str, what: str
) -> None:
    trades = trades_of(TWICE).head(1)
    decision = chosen_of(trades, accounts_of(trades, holdings)).decisions.to_dicts()[0]
    assert (decision["reason"], decision["short_participant"], decision["short_instrument"]) == (reason, who, what)


def test_without_an_account_a_chain_is_blocked_and_the_rest_settles() -> None:
    trades = trades_of(TWICE)
    everyone = accounts_of(trades, TWO_COINS)
    homeless = everyone.filter((pl.col("participant") != "C") | (pl.col("instrument") != "BTC"))
    assert reasons(chosen_of(trades, homeless)) == {"M1": None, "M2": "BLOC"}


@pytest.mark.parametrize("hold", ["FUTU", "PRSY", "XPRC", "XLIM_NOP"])
def test_what_is_on_hold_waits_for_that_reason_however_well_it_is_funded(hold: str) -> None:
    trades = trades_of(TWICE, hold_reason=hold)
    selection = chosen_of(trades, accounts_of(trades, TWO_COINS))
    assert reasons(selection) == {"M1": hold, "M2": hold}
    assert selection.weight_atoms == 0


def test_credit_that_is_drawn_already_is_not_lent_again() -> None:
    trades = trades_of(TWICE).head(1)
    funds = accounts_of(trades, "A USD 60_000\nB BTC 1")
    assert settled(chosen_of(trades, funds, credit_of("PX A USD 50_000 10_000"))) == {"M1"}
    assert settled(chosen_of(trades, funds, credit_of("PX A USD 50_000 10_000.01"))) == set()
    assert settled(chosen_of(trades, funds, credit_of("PX A USD 50_000 60_000"))) == set()


def test_two_lines_are_drawn_in_the_order_of_their_ids() -> None:
    trades = trades_of(TWICE).head(1)
    funds = accounts_of(trades, "A USD 60_000\nB BTC 1")
    selection = chosen_of(trades, funds, credit_of("PY A USD 25_000\nPX A USD 30_000"))
    assert selection.draws.select("line_id", "drawn_atoms").rows() == [("PX-A", 3_000_000), ("PY-A", 1_000_000)]


def test_chains_worth_nothing_still_settle() -> None:
    trades = trades_of(TWICE, value_atoms=0)
    assert len(settled(chosen_of(trades, accounts_of(trades, ONE_COIN)))) == 1


def test_no_chains_need_no_decision() -> None:
    selection = chosen_of(trades_of(TWICE).clear(), available({}))
    assert all(frame.is_empty() for frame in selection if isinstance(frame, pl.DataFrame))
    assert (selection.weight_atoms, selection.bound_atoms) == (0, 0)


# What participants ask


def test_a_minimum_that_must_stay_is_not_spent_and_one_that_is_not_there_is_not_demanded() -> None:
    trades, keys = trades_of(TWICE), {"participant": "B", "instrument": "BTC"}
    funds = accounts_of(trades, TWO_COINS)
    for whole_coins, count in ((0, 2), (1, 1), (2, 0), (3, 0)):
        minimum = pl.DataFrame(
            [keys | {"minimum_atoms": whole_coins * 10**8}], schema_overrides={"minimum_atoms": pl.Int128}
        )
        assert len(settled(chosen_of(trades, funds, minimums=minimum))) == count
    receives = pl.DataFrame([{"participant": "A", "instrument": "BTC", "minimum_atoms": 10**9}])
    receives = receives.with_columns(pl.col("minimum_atoms").cast(pl.Int128))
    assert settled(chosen_of(trades, funds, minimums=receives)) == {"M1", "M2"}


def divisible(least: int, lot: int = 1, holdings: str = "A USD 100_000\nB BTC 0.7") -> Selection:
    trades = trades_of(TWICE, least_atoms=least, lot_atoms=lot).head(1)
    return chosen_of(trades, accounts_of(trades, holdings))


def test_a_divisible_chain_settles_the_most_that_is_there_in_whole_lots_and_the_money_is_rounded_down() -> None:
    assert parts(divisible(1)) == {"M1": (70_000_000, 7_000_000)}
    assert parts(divisible(1, lot=25_000_000)) == {"M1": (50_000_000, 5_000_000)}
    assert parts(divisible(1, holdings="A USD 33_333.33\nB BTC 1")) == {"M1": (33_333_339, 3_333_333)}


def test_a_part_smaller_than_the_least_that_both_sides_allow_waits() -> None:
    assert parts(divisible(70_000_000)) == {"M1": (70_000_000, 7_000_000)}
    assert parts(divisible(70_000_001)) == {}


def test_a_chain_that_its_lot_does_not_divide_is_all_or_nothing() -> None:
    assert parts(divisible(1, lot=30_000_000)) == {}


def test_a_part_passes_through_both_prime_brokers_without_leaving_an_atom_there() -> None:
    trades = trades_of(
        "chain_id buyer buyer_broker seller seller_broker base quote base_amount quote_amount\n"
        "M1 A PX B PY BTC USD 3 100_000.01",
        least_atoms=1,
    )
    selection = chosen_of(trades, accounts_of(trades, "A USD 100_000.01\nB BTC 1"))
    assert parts(selection) == {"M1": (10**8, 3_333_333)}
    nets = settling_obligations(derive_obligations(trades), trades, selection.decisions)
    through = nets.filter(pl.col("payer").is_in(["PX", "PY"])).select("instrument", "quantity_atoms").rows()
    assert sorted(set(through)) == [("BTC", 10**8), ("USD", 3_333_333)]


def linked(kind: str, chain: str, other: str) -> pl.DataFrame:
    return table(f"kind chain_id other_id\n{kind} {chain} {other}", Link)


@pytest.mark.parametrize(
    ("kind", "holdings", "expected"),
    [
        ("WITH", TWO_COINS, {"M1", "M2"}),
        ("WITH", ONE_COIN, set()),
        ("BEFO", ONE_COIN, {"M1"}),  # M2 is worth more, but comes after M1.
        ("AFTE", ONE_COIN, {"M2"}),
    ],
)
def test_linked_chains_settle_together_or_one_only_beside_the_other(
    kind: str, holdings: str, expected: set[str]
) -> None:
    trades = trades_of(TWICE)
    selection = chosen_of(trades, accounts_of(trades, holdings), links=linked(kind, "M1", "M2"))
    assert settled(selection) == expected
    assert all(reason is not None for chain, reason in reasons(selection).items() if chain not in expected)


@pytest.mark.parametrize(("kind", "waits"), [("WITH", "LINK"), ("AFTE", "LINK"), ("BEFO", None)])
def test_what_hangs_on_a_held_chain_waits_with_it_and_what_comes_before_it_does_not(kind: str, waits: str) -> None:
    trades = trades_of(TWICE).with_columns(hold_reason=pl.when(chain_id=pl.lit("M2")).then(pl.lit("PREA")))
    selection = chosen_of(trades, accounts_of(trades, TWO_COINS), links=linked(kind, "M1", "M2"))
    assert reasons(selection) == {"M1": waits, "M2": "PREA"}


# Limits on what settles


DRAWING = """
    chain_id  buyer  buyer_broker  seller  base  quote  base_amount  quote_amount
    M1        A      PX            B       BTC   USD    1            100_000
    M2        A      PX            B       ETH   JPY    10           5_000_000
"""


@pytest.mark.parametrize(
    ("limit", "drawn", "expected"),
    [("132_500", "0", {"M1", "M2"}), ("132_499.99", "0", {"M1"}), ("132_500", "0.01", {"M1"}), ("32_500", "0", {"M2"})],
)
def test_all_draws_on_a_line_together_are_limited_by_value_with_what_is_drawn_already(
    limit: str, drawn: str, expected: set[str]
) -> None:
    trades = trades_of(DRAWING)
    lines = lines_of("prime_broker client\nPX A").with_columns(
        draw_limit_atoms=pl.lit(amount(limit, "USD")).cast(pl.Int128)
    )
    credit = credit_of(f"PX A USD 200_000 {drawn}\nPX A JPY 6_000_000")
    selection = chosen_of(trades, accounts_of(trades, "B BTC 1\nB ETH 10"), credit, lines=lines, **DOLLARS)
    assert settled(selection) == expected
    assert {reason for reason in reasons(selection).values() if reason} <= {"XLIM_SHORT", "CYCL"}
    unlimited = lines.with_columns(draw_limit_atoms=pl.lit(None, dtype=pl.Int128))
    assert (
        len(settled(chosen_of(trades, accounts_of(trades, "B BTC 1\nB ETH 10"), credit, lines=unlimited, **DOLLARS)))
        == 2
    )


BACK_AND_FORTH = """
    chain_id  buyer  buyer_broker  seller  seller_broker  base  quote  base_amount  quote_amount
    M1        A      PX            B       -              BTC   USD    1            100_000
    M2        C      -             A       PX             BTC   USD    1            100_000
"""


@pytest.mark.parametrize("limits", ["dsl_limit\nPX A 50_000", "nop_limit\nPX A 50_000"])
def test_trades_that_net_within_a_limit_do_not_settle_one_by_one_beyond_it(limits: str) -> None:
    trades = trades_of(BACK_AND_FORTH)
    lines = lines_of(f"prime_broker client {limits}")
    both = "A USD 100_000\nA BTC 1\nB BTC 1\nC USD 100_000"
    assert settled(chosen_of(trades, accounts_of(trades, both), lines=lines, **DOLLARS)) == {"M1", "M2"}
    alone = chosen_of(trades, accounts_of(trades, both.replace("C USD 100_000", "")), lines=lines, **DOLLARS)
    assert settled(alone) == set()
    assert reasons(alone)["M1"] == ("XLIM_DSL" if limits.startswith("dsl") else "XLIM_NOP")
    enough = lines_of("prime_broker client\nPX A")
    assert settled(
        chosen_of(trades, accounts_of(trades, both.replace("C USD 100_000", "")), lines=enough, **DOLLARS)
    ) == {"M1"}


@pytest.mark.parametrize(
    ("formula", "limit", "expected"),
    [
        ("GREATER_OF_LONG_SHORT", "100_000", {"M1", "M3"}),
        ("SUM_ABS", "135_000", {"M1", "M3"}),
        ("SUM_ABS", "134_999.99", {"M1"}),
        ("NET_DOWNSIDE", "35_000", {"M1", "M3"}),
        ("NET_DOWNSIDE", "34_999.99", {"M1"}),
    ],
)
def test_each_formula_of_the_net_open_position_bounds_what_settles(
    formula: str, limit: str, expected: set[str]
) -> None:
    trades = trades_of(
        BACK_AND_FORTH.replace("M2        C      -             A       PX             BTC   USD    1            100_000",
                               "M3        C      -             A       PX             ETH   USD    10           35_000")
    )  # fmt: skip
    lines = lines_of(f"prime_broker client nop_limit nop_formula\nPX A {limit} {formula}")
    funds = accounts_of(trades, "A USD 100_000\nA ETH 10\nB BTC 1\nC USD 35_000")
    assert settled(chosen_of(trades, funds, lines=lines, **DOLLARS)) == expected


def test_a_reversal_after_a_bust_is_not_stopped_by_a_limit() -> None:
    trades = trades_of(BACK_AND_FORTH, compensates="M0").head(1)
    lines = lines_of("prime_broker client dsl_limit nop_limit\nPX A 0 0")
    assert settled(chosen_of(trades, accounts_of(trades, "A USD 100_000\nB BTC 1"), lines=lines, **DOLLARS)) == {"M1"}


@pytest.mark.parametrize(("limit", "expected"), [("110_000", {"M2"}), ("109_999.99", {"M1"}), ("99_999.99", set())])
def test_the_lower_of_two_limits_between_two_parties_bounds_what_one_owes_the_other_either_way(
    limit: str, expected: set[str]
) -> None:
    trades = trades_of(TWICE.replace("M2        C", "M2        A"))
    bilateral = pl.DataFrame(
        {"party": ["A", "B"], "counterparty": ["B", "A"],
         "limit_atoms": [amount("900_000", "USD"), amount(limit, "USD")]},
        schema_overrides={"limit_atoms": pl.Int128},
    )  # fmt: skip
    selection = chosen_of(trades, accounts_of(trades, "A USD 210_000\nB BTC 2"), bilateral=bilateral, **DOLLARS)
    assert settled(selection) == expected
    assert {reason for reason in reasons(selection).values() if reason} <= {"XLIM_BILAT", "CYCL"}


def test_what_has_no_price_waits_where_a_limit_would_have_to_value_it() -> None:
    trades = trades_of(TWICE)
    bilateral = pl.DataFrame({"party": ["A"], "counterparty": ["B"], "limit_atoms": [10**9]})
    dollars = DOLLARS | {"scale": value_scale(reference("A", unpriced=("BTC",)), "USD")}
    selection = chosen_of(
        trades, accounts_of(trades, TWO_COINS), bilateral=bilateral.cast({"limit_atoms": pl.Int128}), **dollars
    )
    assert reasons(selection) == {"M1": "XPRC", "M2": None}


# Proofs, schedules, and what cannot be believed


def test_a_search_names_the_prices_that_prove_its_bound() -> None:
    trades = trades_of(TWICE)
    selection = chosen_of(trades, accounts_of(trades, ONE_COIN), engine=searched)
    assert settled(selection) == {"M2"}
    (proof,) = selection.certificates.to_dicts()
    assert proof["proof"] == "PRICES"
    assert proof["weight_atoms"] == selection.weight_atoms <= proof["bound_atoms"] == selection.bound_atoms
    assert set(selection.prices.select("kind", "party", "instrument").rows()) == {("ACCOUNT", "B", "BTC")}
    assert proof["weight_atoms"] == proof["bound_atoms"]


def test_the_prices_that_are_kept_prove_the_bounds_that_are_kept_to_whoever_builds_the_problem_again() -> None:
    rng = Random(7)
    seen: dict[str, Any] = {}
    trades = trades_from(
        {
            "chain_id": f"M{k:02}", "buyer": "ABCD"[k % 4], "seller": "ABCD"[(k + rng.randint(1, 3)) % 4],
            "buyer_broker": "PX" if k % 4 < 2 else None, "base": "BTC" if k % 3 else "ETH", "quote": "USD",
            "base_atoms": rng.randint(1, 10**9), "quote_atoms": rng.randint(1, 10**8), "age": k % 3,
            "priority": rng.choice([2, 4]), "least_atoms": 1 if k % 5 == 0 else None,
        }
        for k in range(40)
    )  # fmt: skip
    needed = auditor.shortages(trades.to_dicts(), {})
    funds = accounts_of(trades, extra={key: atoms * 2 // 3 for key, atoms in needed.items()})
    lines = lines_of("prime_broker client dsl_limit nop_limit\nPX A 900_000 400_000\nPX B 2_000_000 50_000")
    lines = lines.with_columns(draw_limit_atoms=pl.lit(amount("1_000", "USD")).cast(pl.Int128))

    def engine(problem: Problem) -> Answer:
        seen["problem"], seen["answer"] = problem, searched(problem)
        return seen["answer"]

    credit = credit_of("PX A USD 5_000\nPX B USD 100_000\nPX B BTC 0.3")
    told = chosen_of(trades, funds, credit, lines=lines, engine=engine, **DOLLARS)
    problem, answer = seen["problem"], seen["answer"]
    assert {group.kind for group in problem.groups} == {"AGGREGATE_SHORT", "DSL", "NOP"}
    price = {tuple(key): int(price) for *key, divisor, price, _ in told.prices.rows() if not divisor}
    assert {"ACCOUNT", "FLOOR"} <= {kind for _, kind, _, _ in price}
    cuts = {
        number: [
            Cut(problem.rows.index(RowName("ACCOUNT", party, instrument)), int(divisor), int(price))
            for _, _, party, instrument, divisor, price, _ in told.prices.filter(kind="CUT", priority=number).rows()
        ]
        for number in (2, 4)
    }
    rebuilt = [
        Certificate(
            number, weight, bound, bits, [price.get((number, *name), 0) for name in problem.rows],
            [price.get((number, group.kind, group.name, ""), 0) for group in problem.groups],
            [price.get((number, "FLOOR", str(earlier), ""), 0) for earlier in (2, 4) if earlier < number], proof,
            cuts[number],
        )
        for number, weight, bound, bits, proof in told.certificates.rows()
    ]  # fmt: skip
    assert verify(problem, answer.units, answer.draws, rebuilt) == []
    # What is kept of the gap adds up to it, but for what was cut off to make the bound a whole number.
    for number, weight, bound, bits, _ in told.certificates.rows():
        parts = [int(idle) for idle in told.prices.filter(priority=number)["idle"]]
        parts += [int(regret) for regret in told.decisions.filter(priority_class=number)["regret"]]
        assert 0 <= sum(parts) - (bound - weight << bits) < 1 << bits
        assert sum(parts) > 0


def test_without_a_solver_what_settles_is_still_lawful_and_complete() -> None:
    trades = trades_of(TWICE)
    funds = accounts_of(trades, ONE_COIN)
    selection = chosen_of(trades, funds, engine=removed_and_refilled)
    assert (selection.path, selection.solver) == ("REMOVAL_REFILL", "none (highspy is missing)")
    assert auditor.complaints(trades.to_dicts(), selection.decisions.to_dicts(), atoms_by_account(funds), {}, []) == []


def test_an_engine_that_settles_what_is_not_funded_is_caught_by_netting() -> None:
    def everything(problem: Problem) -> Answer:
        claim = Certificate(4, 0, 0, 0, [0] * len(problem.rows), [0] * len(problem.groups), [])
        return Answer(problem.lots.copy(), [claim], {}, "SAYS_SO", "none")

    trades = trades_of(TWICE)
    with pytest.raises(BrokenInvariant, match="below zero"):
        chosen_of(trades, accounts_of(trades, ONE_COIN), engine=everything)
    assert settled(chosen_of(trades, accounts_of(trades, TWO_COINS), engine=everything)) == {"M1", "M2"}


def test_an_account_that_would_end_below_its_minimum_is_caught_by_netting() -> None:
    trades = trades_of(TWICE)
    funds, owed = accounts_of(trades, TWO_COINS), derive_obligations(trades)
    minimum = pl.DataFrame({"participant": ["B"], "instrument": ["BTC"], "minimum_atoms": [1]})
    require_funded(owed, funds, CreditDraw.empty())
    with pytest.raises(BrokenInvariant, match="below zero"):
        require_funded(owed, funds, CreditDraw.empty(), minimum.cast({"minimum_atoms": pl.Int128}))
