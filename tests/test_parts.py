"""A trade that settles in parts, and what its parties ask of it, from input folders to lineage."""

from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest

from tests.deployment import Deployment
from tests.input_folders import CYCLE, NEXT, THIRD, busts, reports, write_folder, write_table
from tests.market_days import amount

TRADES = """
    trade  venue  buyer  seller  base  quantity  price
    F1     SPTX   A      B       BTC   10        100000
    F5     SPTX   A      B       ETH   100       3500
    F6     SPTX   C      B       ETH   1         3500
"""
TERMS = ("venue", "match_id", "party", "partial", "least", "lot", "hold")
BTC, ETH, USD = "BTC", "ETH", "USD"


@dataclass(frozen=True)
class Story:
    """Three settled cycles."""

    deployment: Deployment
    summaries: tuple[dict[str, Any], ...]

    def batch_id(self, turn: int) -> str:
        return str(self.summaries[turn - 1]["batch_id"])

    def states(self, turn: int) -> dict[str, tuple[str, str | None, int]]:
        return self.deployment.states(self.batch_id(turn))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A has money for four of ten bitcoin beyond its minimum; B's broker holds F5. Then A is funded, then F1 is busted."""
    place = tmp_path_factory.mktemp("parts")
    day, deployment = reports(TRADES), Deployment(place / "home")
    first = write_folder(place / "1", day, "A USD 450000\nB BTC 10\nB ETH 101\nC USD 1")
    write_table(first / "clients" / "terms.csv", TERMS, [
        ("SPTX", "F1", "A", "PARQ", "2", "1", ""), ("SPTX", "F1", "B", "PART", "", "", ""),
        ("SPTX", "F5", "PY", "", "", "", "YES"), ("SPTX", "F6", "C", "PART", "", "", ""),
    ])  # fmt: skip
    write_table(
        first / "clients" / "minimum_balances.csv",
        ("participant", "instrument", "minimum"),
        [("A", "USD", 50000)],
    )
    second = write_folder(
        place / "2", [], "A USD 1000000\nA BTC 4\nB BTC 6\nB ETH 101\nB USD 400000\nC USD 1", cycle_id=NEXT
    )
    cancelled = [report for report in day if report["match_id"] == "F1"]
    third = write_folder(
        place / "3", busts(cancelled), "A USD 400000\nA BTC 10\nB ETH 101\nB USD 1000000\nC USD 1", cycle_id=THIRD
    )
    write_table(third / "clients" / "terms.csv", TERMS, [("SPTX", "F5", "PY", "", "", "", "NO")])
    return Story(deployment, tuple(deployment.settle(folder) for folder in (first, second, third)))


def test_the_part_that_is_funded_beyond_the_minimum_settles_and_the_rest_is_taken_over(story: Story) -> None:
    states = story.states(1)
    assert states["F1b"] == states["F1s"] == ("PARTLY_SETTLED", None, 0)
    assert states["F5b"] == ("WAITING", "PREA", 0)
    assert states["F6b"] == ("WAITING", "MONY", 0)
    assert story.deployment.atoms("closing_atoms", story.batch_id(1))["A", USD] == amount("50_000", USD)
    assert story.deployment.atoms("net_atoms", story.batch_id(1)) == {
        ("A", BTC): amount("4", BTC), ("B", BTC): -amount("4", BTC), ("A", USD): -amount("400_000", USD),
        ("B", USD): amount("400_000", USD),
    }  # fmt: skip
    assert story.summaries[0]["settled_value_atoms"] == str(amount("400_000", USD))
    assert story.summaries[0]["waiting_value_atoms"] == str(amount("953_500", USD))


def test_the_rest_settles_in_the_next_cycle_with_its_age_while_the_hold_goes_on(story: Story) -> None:
    states = story.states(2)
    assert states["F1b"] == states["F1s"] == ("SETTLED", None, 1)
    assert states["F5b"] == ("WAITING", "PREA", 1)
    rest = story.deployment.batch(story.batch_id(2)).trades.filter(pl.col("base") == BTC).row(0, named=True)
    assert (rest["base_atoms"], rest["quote_atoms"]) == (amount("6", BTC), amount("600_000", USD))
    assert rest["chain_id"] == "SPTX:2026-11-02:F1"


def test_a_bust_after_all_parts_have_settled_reverses_all_of_them_and_a_hold_ends_when_it_is_lifted(
    story: Story,
) -> None:
    states = story.states(3)
    assert states["XF1b"] == states["XF1s"] == ("SETTLED", None, 0)
    assert states["F5b"] == ("SETTLED", None, 2)
    assert story.deployment.atoms("net_atoms", story.batch_id(3)) == {
        ("A", BTC): -amount("10", BTC), ("B", BTC): amount("10", BTC), ("A", ETH): amount("100", ETH),
        ("B", ETH): -amount("100", ETH), ("A", USD): amount("650_000", USD), ("B", USD): -amount("650_000", USD),
    }  # fmt: skip


def test_lineage_shows_each_part_to_the_atom(story: Story) -> None:
    parts = story.deployment.trine("trace", "SPTX:2026-11-02:F1b", "--json").record["cycles"]
    assert [(step["state"], step["batch_id"]) for step in parts] == [
        ("PARTLY_SETTLED", story.batch_id(1)), ("SETTLED", story.batch_id(2)), ("REVERSED", story.batch_id(3)),
    ]  # fmt: skip
    moved = [
        {int(row["quantity_atoms"]) for row in step["obligations"] if row["instrument"] == BTC} for step in parts[:2]
    ]
    assert moved == [{amount("4", BTC)}, {amount("6", BTC)}]
    found = story.deployment.trine("trace", "A", USD, "--cycle", CYCLE, "--json").record
    assert [(part["chain_id"], part["atoms"]) for part in found["contributions"]] == [
        ("SPTX:2026-11-02:F1", str(-amount("400_000", USD)))
    ]


def test_one_side_that_alone_allows_parts_is_a_warning(story: Story) -> None:
    failed = [{row["rule"] for row in summary["verdict"]["failed"]} for summary in story.summaries]
    assert "every_wish_has_its_effect" in failed[0]
    kept = story.deployment.home.frame(story.batch_id(1), "disagreements")
    assert kept.rows() == [("SPTX:2026-11-02:F6", "C", "PATD")]
