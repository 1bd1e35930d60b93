"""What `trine select` reads: tables in, a problem out; every refusal names its line, and then nothing is written."""

import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assets.funding.problem import RowName
from assets.funding.whatif.case import Case, read_case
from pipelines.selection_report import digits, result_of, select_case
from schemas.errors import RefusedInput
from tests import brute
from tests.whatif_tables import CHAINS, PRICES, RING, answer_of, write_tables


@pytest.fixture
def files(tmp_path: Path) -> Any:
    return partial(write_tables, tmp_path)


@pytest.fixture
def read(files: Any) -> Any:
    def case(reference: str | None = None, **tables: Any) -> Case:
        return read_case(**files(**tables), reference=reference)

    return case


@pytest.fixture
def refusal(files: Any) -> Any:
    def message(**tables: Any) -> str:
        with pytest.raises(RefusedInput) as caught:
            read_case(**files(**tables))
        return str(caught.value)

    return message


def legs(case: Case, chain: str = "c") -> dict[tuple[str, str], int]:
    """What a chain does to each account."""
    problem = case.problem
    found = [(problem.rows[row], atoms) for row, atoms in problem.legs_of(problem.chains.index(chain))]
    assert len({name for name, _ in found}) == len(found)
    return {(name.party, name.instrument): atoms for name, atoms in found if name.kind == "ACCOUNT"}


def funds(case: Case) -> dict[tuple[str, str], int]:
    rows = zip(case.problem.rows, case.problem.funds.tolist(), strict=True)
    return {(name.party, name.instrument): atoms for name, atoms in rows if name.kind == "ACCOUNT"}


def settles(case: Case) -> list[str]:
    """The best set, by the judge that tries them all."""
    units = brute.best(case.problem)[1]
    return sorted(
        chain
        for k, settled in enumerate(units)
        if settled
        for chain in case.members.get(k, [case.problem.chains[k]])
    )  # fmt: skip


def lawful(case: Case, *chosen: str) -> bool:
    problem = case.problem
    return brute.lawful(problem, [int(chain in chosen) for chain in problem.chains])


# What a chain is


def test_legs_of_a_chain_belong_together_wherever_they_stand(read: Any) -> None:
    case = read(chains=["c,,,,alpha,beta,BTC,2", "d,,,,alpha,beta,BTC,1", "c,,,,beta,alpha,USD,90"])
    assert case.problem.chains == ["c", "d"]
    assert legs(case) == {
        ("alpha", "BTC"): -2, ("beta", "BTC"): 2, ("beta", "USD"): -90, ("alpha", "USD"): 90,
    }  # fmt: skip


def test_a_chain_may_have_one_leg_free_of_payment(read: Any) -> None:
    case = read(chains=["c,,,,alpha,beta,BTC,2"], balances=["alpha,BTC,2"])
    assert settles(case) == ["c"]


def test_what_passes_through_an_account_leaves_no_leg_there(read: Any) -> None:
    case = read(chains=["c,,,,alpha,broker,USD,7", "c,,,,broker,beta,USD,7"])
    assert legs(case) == {("alpha", "USD"): -7, ("beta", "USD"): 7}
    assert RowName("ACCOUNT", "broker", "USD") not in case.problem.rows


def test_a_chain_that_moves_nothing_in_the_end_settles_with_no_funds(read: Any) -> None:
    case = read(chains=["c,,,,alpha,beta,USD,7", "c,,,,beta,alpha,USD,7"])
    assert settles(case) == ["c"]


def test_blank_terms_are_normal_priority_no_age_and_all_or_nothing(read: Any) -> None:
    problem = read(chains=["c,,,,alpha,beta,BTC,2"]).problem
    assert (problem.classes.tolist(), problem.weights.tolist(), problem.lots.tolist()) == ([4], [2 * 2], [1])


def test_priority_age_and_weight_may_stand_on_one_leg_of_the_chain(read: Any) -> None:
    chains = f"{CHAINS},weight_atoms\nc,,3,,alpha,beta,BTC,2,\nc,1,,,beta,alpha,USD,90,100\n"
    problem = read(chains=chains).problem
    assert (problem.classes.tolist(), problem.weights.tolist()) == ([1], [100 * (2 + 3)])


def test_without_prices_a_chain_weighs_the_sum_of_its_quantities(read: Any) -> None:
    assert read(chains=["c,,,,alpha,beta,BTC,2", "c,,,,beta,alpha,USD,90"]).problem.weights.tolist() == [2 * 92]


def test_with_prices_a_chain_weighs_its_most_valuable_leg_rounded_down(read: Any) -> None:
    prices = ["USD,1,1", "BTC,100,3"]
    chains = ["c,,,,alpha,beta,BTC,2", "c,,,,beta,alpha,USD,65", "d,,,,alpha,beta,BTC,2", "d,,,,beta,alpha,USD,67"]
    assert read(chains=chains, prices=prices).problem.weights.tolist() == [2 * 66, 2 * 67]


def test_a_weight_that_is_given_is_taken_and_needs_no_price(read: Any) -> None:
    chains = f"{CHAINS},weight_atoms\nc,,,,alpha,beta,ODD,2,5\nd,,,,alpha,beta,USD,7,\n"
    assert read(chains=chains, prices=["USD,1,1"]).problem.weights.tolist() == [10, 14]


# Amounts of any size


def test_amounts_of_sixty_digits_are_exact(read: Any) -> None:
    large = 10**59 + 1
    rows = [f"c,,,,alpha,beta,WEI,{large}", "d,,,,alpha,beta,WEI,1"]
    assert settles(read(chains=rows, balances=[f"alpha,WEI,{large}"])) == ["c"]
    assert settles(read(chains=rows, balances=[f"alpha,WEI,{large - 1}"])) == ["d"]
    assert settles(read(chains=rows, balances=[f"alpha,WEI,{large + 1}"])) == ["c", "d"]


def test_eighteen_decimals_are_exact(read: Any) -> None:
    ether = 10**18
    rows = [f"c,,,,alpha,beta,ETH,{20 * ether}", f"c,,,,beta,alpha,USD,{6_000_000}", "d,,,,alpha,beta,ETH,1"]
    case = read(
        chains=rows, balances=[f"alpha,ETH,{20 * ether}", "beta,USD,6000000"], prices=["USD,1,1", f"ETH,300000,{ether}"]
    )
    assert case.problem.weights.tolist() == [2 * 6_000_000, 0]
    assert settles(case) == ["c"]


def test_an_amount_has_at_most_four_thousand_digits(read: Any, refusal: Any) -> None:
    case = read(chains=[f"c,,,,alpha,beta,BTC,{'9' * 4000}"])
    assert legs(case)["beta", "BTC"] == 10**4000 - 1
    assert "chains.csv line 2: quantity_atoms has more than 4,000 digits" in refusal(
        chains=[f"c,,,,a,b,BTC,{'9' * 4001}"]
    )


def test_the_result_of_huge_amounts_has_all_digits() -> None:
    assert digits(10**9000 + 7) == "1" + "0" * 8999 + "7"
    assert digits(-(10**5)) == "-100000"


def test_sums_beyond_a_word_do_not_wrap(read: Any) -> None:
    each = 9 * 10**17
    rows = [f"c{n:02},,,,alpha,beta,WEI,{each}" for n in range(12)] + [f"z,,,,beta,alpha,WEI,{12 * each}"]
    case = read(chains=rows)
    assert len(settles(case)) == 13
    assert brute.best(case.problem)[0] == (2 * 24 * each,)


# Divisible chains


@pytest.mark.parametrize("word", ["", "NPAR", "npar", "0", "no", "No", "false", "FALSE"])
def test_words_for_all_or_nothing(read: Any, word: str) -> None:
    assert read(chains=[f"c,,,{word},alpha,beta,BTC,10"]).problem.lots.tolist() == [1]


@pytest.mark.parametrize("word", ["PART", "part", "1", "yes", "Yes", "true", "TRUE"])
def test_words_for_divisible_to_the_atom(read: Any, word: str) -> None:
    problem = read(chains=[f"c,,,{word},alpha,beta,BTC,10"]).problem
    assert (problem.lots.tolist(), problem.least.tolist()) == ([10], [1])


@pytest.mark.parametrize(
    ("word", "lots", "least"),
    [
        ("PARQ:4", 10, 4),
        ("PARQ:10", 10, 10),
        ("PARC:19", 10, 2),
        ("PARC:20", 10, 3),  # 2 of 10 lots move floor(19.8) of the 99.
        ("PARC:99", 10, 10),
        ("PARC:1", 10, 1),
        ("LOT:5", 2, 1),
        ("LOT:10", 1, 1),
        ("LOT:01", 10, 1),
    ],
)
def test_terms_of_a_divisible_chain_are_about_its_first_and_its_last_leg(
    read: Any, word: str, lots: int, least: int
) -> None:
    problem = read(chains=[f"c,,,{word},alpha,beta,BTC,10", f"c,,,{word},beta,alpha,USD,99"]).problem
    assert (problem.lots.tolist(), problem.least.tolist()) == ([lots], [least])


@pytest.mark.parametrize("word", ["PARQ:11", "PARC:100", "LOT:3", "LOT:0", "PARQ:", "LOT:1.5", "PARQ:-1", "SOME", "2"])
def test_terms_that_cannot_be_kept_are_refused_with_their_line(refusal: Any, word: str) -> None:
    chains = ["b,,,,alpha,beta,BTC,1", f"c,,,{word},alpha,beta,BTC,10", f"c,,,{word},beta,alpha,USD,99"]
    assert "chains.csv line 3: " in refusal(chains=chains)


def test_where_the_sides_disagree_the_chain_is_all_or_nothing_and_the_result_says_so(read: Any) -> None:
    case = read(chains=["c,,,PART,alpha,beta,BTC,10", "c,,,NPAR,beta,alpha,USD,99"], balances=["alpha,BTC,5"])
    assert case.problem.lots.tolist() == [1]
    assert result_of(case, answer_of(case), [])["all_or_nothing"] == [{"chain_id": "c", "reason": "PATD"}]


def test_two_different_ways_to_divide_a_chain_are_refused(refusal: Any) -> None:
    text = refusal(chains=["c,,,PARQ:2,alpha,beta,BTC,10", "c,,,LOT:5,beta,alpha,USD,99"])
    assert "chains.csv line 3: partial differs" in text


def test_legs_of_a_divisible_chain_are_cut_one_by_one(read: Any) -> None:
    rows = ["c,,,PART,alpha,beta,USD,10", "c,,,PART,gamma,beta,USD,5", "c,,,PART,beta,delta,USD,5"]
    problem = read(chains=rows).problem
    # beta gets 10 and 5 and gives 5: what comes and goes in one amount cancels, the rest is not added up.
    assert sorted(atoms for _, atoms in problem.legs_of(0)) == [-10, -5, 5, 10]


def test_equal_legs_of_a_divisible_chain_stay_two(read: Any) -> None:
    problem = read(chains=["c,,,PART,alpha,beta,USD,3", "c,,,PART,alpha,beta,USD,3"]).problem
    assert sorted(atoms for _, atoms in problem.legs_of(0)) == [-3, -3, 3, 3]
    # Two lots of three move floor(2) + floor(2).
    assert not brute.lawful(read(chains=["c,,,LOT:1,alpha,beta,USD,3", "c,,,LOT:1,alpha,beta,USD,3"]).problem, [2])


def test_a_part_settles_as_far_as_the_funds_go(read: Any) -> None:
    case = read(
        chains=["c,,,PART,alpha,beta,BTC,10", "c,,,PART,beta,alpha,USD,99"], balances=["alpha,BTC,4", "beta,USD,99"]
    )
    result = result_of(case, answer_of(case), [])
    assert result["chosen"] == ["c"]
    assert result["partly"] == [{"chain_id": "c", "quantity_atoms": "4"}]
    assert {"account": "beta", "instrument": "USD", "available_atoms": "60"} in result["balances"]


def test_a_part_in_lots_is_told_in_atoms_of_the_first_leg(read: Any) -> None:
    case = read(chains=["c,,,LOT:50,alpha,beta,BTC,200"], balances=["alpha,BTC,199"])
    assert result_of(case, answer_of(case), [])["partly"] == [{"chain_id": "c", "quantity_atoms": "150"}]


# Funds and limits


def test_a_ring_with_no_balances_settles_whole(read: Any) -> None:
    assert settles(read(chains=RING)) == ["r1", "r2", "r3"]
    assert settles(read(chains=RING[:2])) == []


def test_an_account_that_is_not_named_has_nothing(read: Any) -> None:
    case = read(chains=RING, balances=["alpha,USD,3", "omega,EUR,8"])
    assert funds(case) == {("alpha", "USD"): 3, ("beta", "USD"): 0, ("gamma", "USD"): 0}
    assert case.opening["omega", "EUR"] == 8


def test_a_minimum_and_a_hold_are_no_funds_but_are_still_there_afterwards(read: Any) -> None:
    rows, limits = ["c,,,,alpha,beta,USD,5"], ["MINIMUM,alpha,,USD,2", "HOLD,alpha,,USD,3"]
    assert settles(read(chains=rows, balances=["alpha,USD,9"], limits=limits)) == []
    case = read(chains=rows, balances=["alpha,USD,10"], limits=limits)
    assert settles(case) == ["c"]
    assert result_of(case, answer_of(case), [])["balances"][0] == {
        "account": "alpha", "instrument": "USD", "available_atoms": "5",
    }  # fmt: skip


def test_a_hold_beyond_the_funds_leaves_nothing_to_pay_with_but_what_comes_in(read: Any) -> None:
    case = read(
        chains=["c,,,,alpha,beta,USD,5"], balances=["alpha,USD,1"], limits=["HOLD,alpha,,USD,4", "HOLD,omega,,USD,4"]
    )
    assert funds(case) == {("alpha", "USD"): 0, ("beta", "USD"): 0}
    passed_on = ["c,,,,alpha,beta,USD,5", "d,,,,gamma,alpha,USD,5"]
    limits = ["HOLD,alpha,,USD,4"]
    assert settles(read(chains=passed_on, balances=["alpha,USD,1", "gamma,USD,5"], limits=limits)) == ["c", "d"]


def test_a_top_up_first_fills_the_minimum_up(read: Any) -> None:
    case = read(chains=["c,,,,alpha,beta,USD,3"], limits=["MINIMUM,alpha,,USD,1"])
    _, result = select_case(case, "full")
    (waiting,) = result["waiting"]
    assert waiting["top_up"] == [{"account": "alpha", "instrument": "USD", "quantity_atoms": "4"}]
    for funds, chosen in ((3, []), (4, ["c"])):
        again = read(chains=["c,,,,alpha,beta,USD,3"], balances=[f"alpha,USD,{funds}"], limits=["MINIMUM,alpha,,USD,1"])
        assert select_case(again, "full")[1]["chosen"] == chosen


def test_linked_amounts_beyond_a_word_are_read(read: Any) -> None:
    case = read(chains=[f"a,,,,A,B,I,{2**63}", f"b,,,,B,A,I,{2**63}"], links=["WITH,a,b"])
    assert select_case(case, "full")[1]["chosen"] == ["a", "b"]


def test_an_account_may_end_below_zero_as_far_as_its_short_limit(read: Any) -> None:
    rows = ["c,,,,alpha,beta,USD,5"]
    assert settles(read(chains=rows, limits=["SHORT,alpha,,USD,5"])) == ["c"]
    assert settles(read(chains=rows, limits=["SHORT,alpha,,USD,4"])) == []
    case = read(chains=rows, limits=["SHORT,alpha,,USD,5"])
    result = result_of(case, answer_of(case), [])
    assert result["draws"] == [{"account": "alpha", "instrument": "USD", "quantity_atoms": "5"}]
    assert result["balances"][0]["available_atoms"] == "-5"


def test_all_shorts_of_an_account_together_are_valued_with_their_haircut_and_rounded_up(read: Any) -> None:
    rows = ["c,,,,alpha,beta,USD,10", "d,,,,alpha,beta,BTC,1"]
    prices = f"{PRICES},haircut_bps\nUSD,1,1,\nBTC,100,3,500\n"
    shorts = ["SHORT,alpha,,USD,10", "SHORT,alpha,,BTC,1"]
    # 10 and ceil(33.33 x 1.05) = 35.
    enough = read(chains=rows, prices=prices, limits=[*shorts, "AGGREGATE_SHORT,alpha,,,45"])
    assert lawful(enough, "c", "d")
    short = read(chains=rows, prices=prices, limits=[*shorts, "AGGREGATE_SHORT,alpha,,,44"])
    assert not lawful(short, "c", "d")
    assert lawful(short, "c")
    assert lawful(short, "d")


def test_an_aggregate_limit_alone_allows_no_short(read: Any) -> None:
    case = read(chains=["c,,,,alpha,beta,USD,1"], prices=["USD,1,1"], limits=["AGGREGATE_SHORT,alpha,,,99"])
    assert settles(case) == []


def test_a_daily_settlement_limit_counts_net_payables_of_each_instrument(read: Any) -> None:
    rows = ["c,,,,alpha,beta,USD,60", "d,,,,alpha,gamma,BTC,1", "e,,,,beta,alpha,USD,20"]
    plenty = ["alpha,USD,100", "alpha,BTC,9", "beta,USD,100"]
    prices = ["USD,1,1", "BTC,100,3"]
    case = read(chains=rows, balances=plenty, prices=prices, limits=["DSL,alpha,,,74"])
    assert lawful(case, "c", "d", "e")  # 60 - 20, and ceil(33.33): 74.
    assert not lawful(case, "c", "d")
    assert not lawful(read(chains=rows, balances=plenty, prices=prices, limits=["DSL,alpha,,,73"]), "c", "d", "e")


def test_a_net_open_position_is_the_greater_of_longs_and_shorts_without_the_reference_instrument(read: Any) -> None:
    rows = ["c,,,,alpha,beta,USD,500", "d,,,,alpha,beta,BTC,2", "e,,,,beta,alpha,ETH,30"]
    plenty = ["alpha,USD,999", "alpha,BTC,9", "beta,ETH,99"]
    prices = ["USD,1,1", "BTC,10,1", "ETH,1,2"]

    def under(limit: int) -> Case:
        return read(chains=rows, balances=plenty, prices=prices, limits=[f"NOP,alpha,,,{limit}"])

    assert lawful(under(20), "c", "d", "e")
    assert not lawful(under(19), "d")
    assert lawful(under(15), "c", "e")
    assert not lawful(under(14), "e")


def test_of_two_bilateral_limits_the_lower_one_binds_both_directions(read: Any) -> None:
    rows = ["c,,,,alpha,beta,USD,10", "d,,,,beta,alpha,USD,12", "e,,,,alpha,gamma,USD,50"]
    plenty = ["alpha,USD,100", "beta,USD,100"]
    limits = ["BILATERAL,alpha,beta,,11", "BILATERAL,beta,alpha,,9"]
    case = read(chains=rows, balances=plenty, prices=["USD,1,1"], limits=limits)
    assert not lawful(case, "c")
    assert not lawful(case, "d")
    assert lawful(case, "c", "d", "e")
    one_sided = read(chains=rows, balances=plenty, prices=["USD,1,1"], limits=limits[:1])
    assert lawful(one_sided, "c")
    assert not lawful(one_sided, "d")


def test_what_is_owed_bilaterally_in_one_instrument_is_not_set_off_against_another(read: Any) -> None:
    rows = ["c,,,,alpha,beta,USD,10", "c,,,,beta,alpha,EUR,10"]
    balances, prices = ["alpha,USD,10", "beta,EUR,10"], ["USD,1,1", "EUR,1,1"]
    assert settles(read(chains=rows, balances=balances, prices=prices, limits=["BILATERAL,alpha,beta,,10"])) == ["c"]
    assert settles(read(chains=rows, balances=balances, prices=prices, limits=["BILATERAL,alpha,beta,,9"])) == []


def test_a_limit_in_value_without_the_price_it_needs_is_refused_with_its_line(refusal: Any) -> None:
    rows = ["c,,,,alpha,beta,USD,10"]
    for kind in ("DSL,alpha,", "NOP,alpha,", "BILATERAL,alpha,beta"):
        assert "limits.csv line 2: " in refusal(chains=rows, limits=[f"{kind},,5"])
    shorts = ["SHORT,alpha,,USD,5", "AGGREGATE_SHORT,alpha,,,5"]
    assert "limits.csv line 3: AGGREGATE_SHORT needs the prices of USD" in refusal(chains=rows, limits=shorts)


def test_the_reference_instrument_is_the_first_that_is_worth_itself_unless_named(read: Any, files: Any) -> None:
    rows, prices = ["c,,,,alpha,beta,USD,10"], ["BTC,9,1", "EUR,2,2", "USD,1,1"]
    assert read(chains=rows, prices=prices).prices.reference == "EUR"
    assert read(chains=rows, prices=prices, reference="USD").prices.reference == "USD"
    assert read(chains=rows, prices=[*prices[:1], "USD,1,100"], reference="XAU").prices.known["XAU"] == (1, 1, 0)
    with pytest.raises(RefusedInput, match="not worth itself"):
        read(chains=rows, prices=prices, reference="BTC")
    with pytest.raises(RefusedInput, match="without --prices"):
        read(chains=rows, reference="BTC")


# Links


def test_chains_linked_with_each_other_settle_all_or_none(read: Any) -> None:
    rows = ["a,2,,,alpha,beta,USD,5", "b,,1,PART,gamma,beta,USD,6"]
    case = read(chains=rows, balances=["alpha,USD,5"], links=["WITH,b,a"])
    assert settles(case) == []
    assert (case.problem.chains, case.problem.classes.tolist(), case.problem.weights.tolist()) == (
        ["a"],
        [2],
        [10 + 18],
    )
    assert case.made_whole == {"b": "LINK"}
    assert settles(read(chains=rows, balances=["alpha,USD,5", "gamma,USD,6"], links=["WITH,a,b"])) == ["a", "b"]


def test_links_join_in_any_order_of_rows(read: Any) -> None:
    rows = [f"{name},,,,alpha,beta,USD,1" for name in "abcdef"]
    links = ["WITH,f,e", "WITH,b,c", "WITH,c,f", "WITH,e,b"]
    for order in (links, links[::-1], sorted(links)):
        case = read(chains=rows, links=order)
        assert case.problem.chains == ["a", "b", "d"]
        assert case.members == {1: ["b", "c", "e", "f"]}


@pytest.mark.parametrize("link", ["BEFO,a,b", "AFTE,b,a"])
def test_a_chain_settles_only_if_the_one_before_it_does(read: Any, link: str) -> None:
    rows = ["a,,,,alpha,beta,USD,5", "b,,,,gamma,beta,USD,6"]
    assert settles(read(chains=rows, balances=["gamma,USD,6"], links=[link])) == []
    assert settles(read(chains=rows, balances=["alpha,USD,5"], links=[link])) == ["a"]
    assert settles(read(chains=rows, balances=["alpha,USD,5", "gamma,USD,6"], links=[link])) == ["a", "b"]


def test_a_chain_whose_link_is_not_there_waits_and_so_does_all_that_hangs_on_it(read: Any) -> None:
    rows = [f"{name},,,,alpha,beta,USD,1" for name in "abcde"]
    links = ["BEFO,a,missing", "AFTE,b,a", "WITH,b,c", "BEFO,d,a"]
    case = read(chains=rows, balances=["alpha,USD,9"], links=links)
    assert case.held == {"a": "LINK", "b": "LINK", "c": "LINK"}
    assert settles(case) == ["d", "e"]
    assert [row["chain_id"] for row in result_of(case, answer_of(case), [])["waiting"]] == ["a", "b", "c"]


def test_a_pool_settles_whole_and_waits_while_it_is_incomplete(read: Any) -> None:
    rows = [f"{name},,,,alpha,beta,USD,1" for name in "abc"]
    links = "kind,chain_id,other_id,pool_count\nPOOL,a,p,{}\nPOOL,b,p,\n"
    complete = read(chains=rows, balances=["alpha,USD,1"], links=links.format(2))
    assert complete.members == {0: ["a", "b"]}
    assert settles(complete) == ["c"]
    short = read(chains=rows, balances=["alpha,USD,9"], links=links.format(3))
    assert short.held == {"a": "INBC", "b": "INBC"}
    assert settles(short) == ["c"]
    named_only = read(chains=rows, links=["POOL,a,p", "POOL,missing,p"])
    assert named_only.held == {"a": "INBC"}


@pytest.mark.parametrize(
    "link", ["WITH,a,a", "NEXT,a,b", ",a,b", "WITH,,b", "WITH,a,", "WITH,a b,b"]
)  # fmt: skip
def test_links_that_say_nothing_are_refused(refusal: Any, link: str) -> None:
    assert "links.csv line 2: " in refusal(chains=["a,,,,alpha,beta,USD,1", "b,,,,alpha,beta,USD,1"], links=[link])


def test_a_pool_that_disagrees_on_its_size_is_refused(refusal: Any) -> None:
    links = "kind,chain_id,other_id,pool_count\nPOOL,a,p,2\nPOOL,b,p,3\n"
    assert "links.csv line 3: pool_count differs" in refusal(chains=RING, links=links)
    assert "more members" in refusal(chains=RING, links=links.replace("3", "").replace("2", "1"))


# Order


def test_the_order_of_rows_in_any_file_changes_nothing(read: Any) -> None:
    draw = random.Random(4)
    names, instruments = ["alpha", "beta", "gamma", "delta"], ["USD", "BTC", "ETH"]
    chains = []
    for n in range(9):
        for instrument in draw.sample(instruments, 2):
            payer, receiver = draw.sample(names, 2)
            chains.append(f"c{n},{n % 3},{n % 2},,{payer},{receiver},{instrument},{draw.randint(1, 9)}")
    tables = {
        "chains": chains,
        "balances": [f"{name},{instrument},{draw.randint(0, 9)}" for name in names for instrument in instruments],
        "prices": ["USD,1,1", "BTC,7,3", "ETH,2,5"],
        "limits": [
            "DSL,alpha,,,9",
            "BILATERAL,beta,gamma,,5",
            "SHORT,delta,,BTC,2",
            "HOLD,alpha,,USD,1",
            "NOP,beta,,,8",
        ],
        "links": ["BEFO,c1,c2", "WITH,c3,c4"],
    }

    def told() -> str:
        case = read(**tables)
        problem = case.problem
        fields = [getattr(problem, name) for name in problem.__slots__]
        plain = [field.tolist() if isinstance(field, np.ndarray) else field for field in fields]
        return json.dumps([plain, result_of(case, answer_of(case), [])])

    first = told()
    for _ in range(5):
        for rows in (tables["chains"], tables["balances"], tables["limits"], tables["links"]):
            draw.shuffle(rows)
        assert told() == first


def test_chains_come_in_the_order_of_the_bytes_of_their_ids(read: Any) -> None:
    rows = [f"{name},,,,alpha,beta,USD,1" for name in ("b", "a", "B", "a-1", "a1", "10", "9")]
    assert read(chains=rows).problem.chains == ["10", "9", "B", "a", "a-1", "a1", "b"]


# Refusals


@pytest.mark.parametrize(
    "number",
    [
        "1e5",
        "1.0",
        "+5",
        "-5",
        " 5",
        "5 ",
        "1_000",
        "\u0663",
        "\uff15",
        "0x10",
        "",
        "NaN",
        "inf",
        "1,000",
        "-0",
        "0",
        "\u00b2",
    ],
)
def test_a_quantity_is_a_whole_number_above_zero_in_ascii_digits(refusal: Any, number: str) -> None:
    assert "chains.csv line 3: " in refusal(chains=["b,,,,alpha,beta,USD,1", f"c,,,,alpha,beta,USD,{number}"])


@pytest.mark.parametrize(
    "row",
    [
        ",,,,alpha,beta,USD,1",
        "c,,,,,beta,USD,1",
        "c,,,,alpha,,USD,1",
        "c,,,,alpha,beta,,1",
        "c,,,,alpha,alpha,USD,1",
        "c,-1,,,alpha,beta,USD,1",
        "c,high,,,alpha,beta,USD,1",
        "c,,1.5,,alpha,beta,USD,1",
        "c,9999999999,,,alpha,beta,USD,1",
        "c,,,,alpha,beta,USD",
        "c,,,,alpha,beta,USD,1,",
        "c,,,,alpha ,beta,USD,1",
        "c,,,,\u0430lpha,beta,USD,1",  # A Cyrillic letter that looks like a Latin one.
        "c,,,,al\0pha,beta,USD,1",
        "c,,,,al\rpha,beta,USD,1",
        'c,,,,"alpha,beta,USD,1',
        " ",
    ],
)
def test_a_bad_row_is_refused_with_its_line(refusal: Any, row: str) -> None:
    assert "chains.csv line 3: " in refusal(chains=["b,,,,alpha,beta,USD,1", row, "d,,,,alpha,beta,USD,1"])


@pytest.mark.parametrize("column", ["priority", "age", "weight_atoms"])
def test_two_values_of_what_a_chain_has_once_are_refused(refusal: Any, column: str) -> None:
    rows = [{"chain_id": "c", "payer": "alpha", "receiver": "beta", "instrument": "USD", "quantity_atoms": "5"}] * 2
    names = [*CHAINS.split(","), "weight_atoms"]
    lines = [",".join(({**row, column: str(n)}).get(name, "") for name in names) for n, row in enumerate(rows)]
    text = refusal(chains="\n".join([",".join(names), *lines]) + "\n")
    assert f"chains.csv line 3: {column} differs" in text


def test_a_balance_that_is_named_twice_is_refused(refusal: Any) -> None:
    assert "balances.csv line 3: the same account, instrument" in refusal(balances=["alpha,USD,1", "alpha,USD,1"])


@pytest.mark.parametrize(
    "limit",
    [
        "LOAN,alpha,,USD,1", "HOLD,alpha,,,1", "HOLD,,,USD,1", "HOLD,alpha,beta,USD,1", "DSL,alpha,,USD,1",
        "BILATERAL,alpha,,,1", "BILATERAL,alpha,alpha,,1", "HOLD,alpha,,USD,-1", "HOLD,alpha,,USD,",
    ],
)  # fmt: skip
def test_a_limit_that_is_none_of_ours_is_refused(refusal: Any, limit: str) -> None:
    assert "limits.csv line 2: " in refusal(limits=[limit])


def test_a_limit_or_a_price_that_is_given_twice_is_refused(refusal: Any) -> None:
    assert "limits.csv line 3: " in refusal(limits=["HOLD,alpha,,USD,1", "HOLD,alpha,,USD,2"])
    assert "prices.csv line 3: " in refusal(prices=["USD,1,1", "USD,1,2"])
    assert "prices.csv line 2: per_atoms is below 1" in refusal(prices=["USD,1,0"])


def test_a_chain_that_cannot_be_valued_is_refused(refusal: Any) -> None:
    assert "chains.csv line 2: the instrument has no price" in refusal(chains=["c,,,,a,b,USD,1"], prices=["EUR,1,1"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", "is empty"),
        (b"\xff\xfec\x00", "UTF-16"),
        (CHAINS.encode(), "no whole first line"),
        (CHAINS.encode() + b"\rc,,,,a,b,USD,1\r", "no whole first line"),
        (b"\n" + CHAINS.encode() + b"\n", "lacks chain_id"),
        (b"chain_id,age\n", "lacks priority, partial, payer"),
        (CHAINS.encode() + b",note\n", "the unknown column 'note'"),
        (CHAINS.encode() + b",age\n", "names more than once age"),
        (CHAINS.encode() + b", weight_atoms\n", "the unknown column ' weight_atoms'"),
        (b"chain\xe9_id\n", "no line of column names in UTF-8"),
        (CHAINS.encode() + b"\nc,,,,al\xe9pha,b,USD,1\n", "chains.csv line 2: is no CSV line in UTF-8"),
        (CHAINS.encode() + b"\nc,,,,a,b,USD,1\nd,,,,a,b,USD,1", "chains.csv line 3: has no line end"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(refusal: Any, text: bytes, found: str) -> None:
    assert found in refusal(chains=text)


def test_a_byte_order_mark_crlf_quotes_blank_lines_and_other_column_orders_are_read(read: Any) -> None:
    plain = read(chains=["c,,,,alpha,beta,USD,5", "d,,,,beta,alpha,USD,7"])
    dressed = read(
        chains=(
            '\ufeffquantity_atoms,"chain_id",priority,age,partial,payer,receiver,instrument\r\n'
            '"5",c,,,,alpha,beta,USD\r\n\r\n007,"d",,,"",beta,alpha,USD\r\n\r\n'
        )
    )
    assert legs(dressed, "d") == legs(plain, "d")
    assert dressed.problem.weights.tolist() == plain.problem.weights.tolist()


def test_lines_are_counted_with_blank_ones(refusal: Any) -> None:
    assert "chains.csv line 4: quantity_atoms" in refusal(chains=f"{CHAINS}\nc,,,,a,b,USD,1\n\nc,,,,a,b,USD,x\n")


def test_many_findings_are_listed_together_up_to_twenty_with_their_number(refusal: Any) -> None:
    chains = [f"c{n},,,,alpha,beta,USD,-{n}" for n in range(30)]
    text = refusal(chains=chains, balances=["alpha,USD,x"], limits="kind\n")
    assert text.startswith("32 found wrong. Nothing was written.")
    assert "balances.csv line 2: available_atoms" in text
    assert "limits.csv: lacks account" in text
    assert text.endswith("and 12 more")
    assert len(text.splitlines()) == 1 + 20 + 1


def test_a_message_never_shows_what_stands_in_a_cell(refusal: Any) -> None:
    assert "31337" not in refusal(chains=["c,,,31337,alpha,beta,USD,-31337"], balances=["alpha,USD,+31337"])


def test_a_file_that_is_not_there_is_refused(files: Any, tmp_path: Path) -> None:
    with pytest.raises(RefusedInput, match=r"none\.csv: is no regular file"):
        read_case(tmp_path / "none.csv", files()["balances"])


def test_tables_without_rows_are_a_case_without_chains(read: Any) -> None:
    case = read(limits=[], prices=[], links=[])
    assert (case.problem.count, case.opening) == (0, {})
