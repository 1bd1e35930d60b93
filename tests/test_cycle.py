"""Whole cycles, from the files of the outside world to the journal and back again."""

import hashlib
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from assets.ledger.store import Claim, Proposal, Store
from assets.ledger.trace import Batch, trace_amount, trace_fill
from assets.partitions import cycle_of
from pipelines.market import FLAWS, MarketPlan, write_market
from pipelines.market.world import VENUES
from tests.deployment import Deployment
from tests.input_folders import (
    CYCLE,
    FIVE_TRADES,
    NEXT,
    SHORT,
    THIRD,
    WHOLE,
    busts,
    reports,
    write_folder,
)  # fmt: skip
from tests.market_days import amount

BTC, ETH, USD = "BTC", "ETH", "USD"


def units(text: str) -> dict[tuple[str, str], int]:
    """Return atoms by participant and instrument from lines of 'participant instrument amount'."""
    found = {}
    for line in text.strip().splitlines():
        who, what, number = line.split()
        found[who, what] = amount(number, what)
    return found


# The worked example


def test_the_five_trades_settle_to_exactly_the_worked_figures(worked: Deployment) -> None:
    summary = worked.trine("report", "--json").record
    assert (summary["state"], summary["degraded"], summary["settled"], summary["chains"]) == ("EXECUTING", False, 5, 5)
    assert summary["settled_value_atoms"] == str(amount("2_659_500", USD))
    assert (summary["waiting"], summary["draws"], summary["verdict"]["failed"]) == ([], [], [])
    columns = ("gross_atoms", "bilateral_atoms", "multilateral_atoms")
    assert {
        row["instrument"]: (*(row[name] for name in columns), row["bilateral_payments"]) for row in summary["netting"]
    } == {
        BTC: (str(amount("66", BTC)), str(amount("2", BTC)), str(amount("1", BTC)), 2),
        ETH: (str(amount("300", ETH)), str(amount("300", ETH)), str(amount("100", ETH)), 3),
        USD: (str(amount("7_677_000", USD)), str(amount("1_227_000", USD)), str(amount("442_500", USD)), 4),
    }
    batch_id = summary["batch_id"]
    assert worked.home.frame(batch_id, "obligations").height == 28
    assert worked.atoms("net_atoms", batch_id) == units(
        "A BTC 1\nA ETH 100\nA USD -442500\nB ETH -100\nB USD 342000\nC BTC -1\nC USD 100500"
    )
    assert worked.atoms("closing_atoms", batch_id) == units("A BTC 1\nA ETH 100\nB USD 342000\nC USD 100500")
    moved = worked.store.rows("instructions", batch_id).select("kind", "participant", "instrument", "quantity_atoms")
    assert set(moved.rows()) == {
        ("PAY_IN", "A", USD, amount("442_500", USD)), ("PAY_IN", "B", ETH, amount("100", ETH)),
        ("PAY_IN", "C", BTC, amount("1", BTC)), ("PAY_OUT", "A", BTC, amount("1", BTC)),
        ("PAY_OUT", "A", ETH, amount("100", ETH)), ("PAY_OUT", "B", USD, amount("342_000", USD)),
        ("PAY_OUT", "C", USD, amount("100_500", USD)),
    }  # fmt: skip


def test_postgresql_settles_the_same_plan_as_sqlite(
    worked: Deployment, worked_folder: Path, postgres_url: str, tmp_path: Path
) -> None:
    deployment = Deployment(tmp_path / "home", postgres_url)
    summary, same = deployment.settle(worked_folder), worked.trine("report", "--json").record
    for record in (summary, same):
        record["life"] = [step | {"recorded_at": None} for step in record["life"]]
    assert summary | {"committed_before": None} == same | {"committed_before": None}
    tables = ("positions", "instructions", "holds", "postings", "netting_effects", "frames", "verdicts")
    for name in tables:  # All but when its holds end: that is a time after they were placed.
        mine, theirs = (
            [{key: value for key, value in row.items() if key != "expires_at"} for row in one.dump()[name]]
            for one in (deployment, worked)
        )
        assert mine == theirs, name
    assert deployment.settle(worked_folder)["committed_before"]


def test_a_client_that_is_short_draws_exactly_what_it_lacks_on_both_engines(postgres_url: str, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", reports(FIVE_TRADES), SHORT, lends="50000")
    plans = []
    for deployment in (Deployment(tmp_path / "lite"), Deployment(tmp_path / "post", postgres_url)):
        summary = deployment.settle(source)
        plans.append(summary["plan_digest"])
        assert (summary["settled"], summary["settled_value_atoms"]) == (5, str(amount("2_659_500", USD)))
        drawn = str(amount("42_500", USD))
        assert [(d["prime_broker"], d["client"], d["drawn_atoms"]) for d in summary["draws"]] == [("PX", "A", drawn)]
        moved = deployment.store.rows("instructions", summary["batch_id"]).filter(instrument=USD)
        assert set(moved.select("kind", "participant", "quantity_atoms").rows()) == {
            ("PAY_IN", "A", amount("400_000", USD)), ("CREDIT_PAY_IN", "PX", amount("42_500", USD)),
            ("PAY_OUT", "B", amount("342_000", USD)), ("PAY_OUT", "C", amount("100_500", USD)),
        }  # fmt: skip
    assert plans[0] == plans[1]


def test_the_order_of_rows_and_files_does_not_change_the_plan(worked: Deployment, tmp_path: Path) -> None:
    shuffled = reports(FIVE_TRADES)
    random.Random(1).shuffle(shuffled)
    source = write_folder(tmp_path / "in", shuffled, WHOLE)
    header, *rows = (source / "venues" / "SPTX" / "fills.csv").read_text().splitlines(keepends=True)
    (source / "venues" / "SPTX" / "fills.csv").write_text(header + "".join(rows[5:]))
    (source / "venues" / "SPTX" / "a-late-one.csv").write_text(header + "".join(rows[:5]))
    summary, before = Deployment(tmp_path / "home").settle(source), worked.trine("report", "--json").record
    assert summary["plan_digest"] == before["plan_digest"]
    assert summary["inputs_digest"] != before["inputs_digest"]


# Three cycles in a row


@dataclass(frozen=True)
class Story:
    """Three settled cycles and their input folders."""

    deployment: Deployment
    folders: tuple[Path, Path, Path]
    summaries: tuple[dict[str, Any], dict[str, Any], dict[str, Any]]

    def batch_id(self, turn: int) -> str:
        return str(self.summaries[turn - 1]["batch_id"])


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A is short, so of five trades only F5 settles. Then F4 and F5 are busted, and at last B and A are funded."""
    place = tmp_path_factory.mktemp("story")
    day, deployment = reports(FIVE_TRADES), Deployment(place / "home")
    sixth = reports("trade venue buyer seller base quantity price\nF6 VEN2 A B ETH 1 3500")
    late = "2026-11-02T13:00:00.000Z"
    again = [report for report in day if report["match_id"] == "F1"]
    cancelled = [report for report in day if report["match_id"] in ("F4", "F5")]
    folders = (
        write_folder(place / "1", [*day, sixth[0]], SHORT),
        write_folder(place / "2", [sixth[1], *busts(cancelled)], None, cycle_id=NEXT, resent=again),
        write_folder(place / "3", reports("trade venue buyer seller base quantity price\nF7 SPTX C A ETH 1 3500", late),
                     "A USD 698500\nA ETH 1\nB BTC 6\nC BTC 1\nC USD 3500", cycle_id=THIRD),
    )  # fmt: skip
    first, second, third = (deployment.settle(folder) for folder in folders)
    return Story(deployment, folders, (first, second, third))


def test_in_the_first_cycle_only_what_is_funded_settles_and_the_rest_has_reasons(story: Story) -> None:
    summary, states = story.summaries[0], story.deployment.states(story.batch_id(1))
    assert (summary["chains"], summary["settled"]) == (5, 1)
    assert states["F5b"] == states["F5s"] == ("SETTLED", None, 0)
    assert {states[f"F{n}{side}"][0] for n in (1, 2, 3, 4) for side in "bs"} == {"WAITING"}
    assert all(states[f"F{n}{side}"][1] for n in (1, 2, 3, 4) for side in "bs")
    assert states["F6b"] == ("UNMATCHED", "XUNM", 0)


def test_a_one_sided_report_settles_when_the_other_side_comes_in_the_next_cycle(story: Story) -> None:
    states = story.deployment.states(story.batch_id(2))
    assert states["F6b"] == ("SETTLED", None, 1)
    assert states["F6s"][0] == "SETTLED"


def test_a_report_of_an_earlier_cycle_sent_again_is_a_duplicate(story: Story) -> None:
    assert {row["file"]: (row["records"], row["duplicates"]) for row in story.summaries[1]["files"]
            if row["stage"] == "fills"} == {"venues/SPTX/fills.csv": (6, 2), "venues/VEN2/fills.csv": (1, 0)}  # fmt: skip
    assert not story.summaries[1]["degraded"]


def test_a_bust_of_a_waiting_trade_removes_it(story: Story) -> None:
    states = story.deployment.states(story.batch_id(2))
    assert {states[name][0] for name in ("F4b", "F4s")} == {"BUSTED"}
    assert {states[name][0] for name in ("XF4b", "XF4s")} == {"APPLIED"}
    assert not {"F4b", "F4s"} & story.deployment.states(story.batch_id(3)).keys()


def test_a_bust_of_a_settled_trade_settles_its_exact_reverse_and_edits_nothing(story: Story) -> None:
    first, second = story.deployment.batch(story.batch_id(1)), story.deployment.batch(story.batch_id(2))
    settled = first.trades.filter(chain_id="SPTX:2026-11-02:F5").row(0, named=True)
    reverse = second.trades.filter(compensates=settled["chain_id"]).row(0, named=True)
    for name in ("base", "quote", "base_atoms", "quote_atoms", "value_atoms"):
        assert reverse[name] == settled[name]
    assert (reverse["buyer"], reverse["seller"]) == (settled["seller"], settled["buyer"]) == ("B", "A")
    assert second.decisions.filter(chain_id=reverse["chain_id"])["settles"].item()
    positions = [story.deployment.atoms("net_atoms", story.batch_id(turn)) for turn in (1, 2)]
    assert positions[0] == units("A ETH 100\nA USD -350000\nB ETH -100\nB USD 350000")
    # The reverse of that, and F6: A buys one ether for 3,500.
    assert positions[1] == units("A ETH -99\nA USD 346500\nB ETH 99\nB USD -346500")


def test_what_waits_grows_older_and_settles_when_it_is_funded(story: Story) -> None:
    second, third = (story.deployment.states(story.batch_id(turn)) for turn in (2, 3))
    for name in ("F1b", "F1s", "F2b", "F2s", "F3b", "F3s"):
        assert (second[name][0], second[name][2]) == ("WAITING", 1)
        assert third[name] == ("SETTLED", None, 2)
    assert third["F7b"] == ("SETTLED", None, 0)
    assert (story.summaries[2]["settled"], story.summaries[2]["chains"]) == (4, 4)
    assert story.summaries[2]["fills"]["carried"] == 6


def test_without_a_statement_a_cycle_opens_with_what_the_one_before_closed_with(story: Story) -> None:
    closing = story.deployment.atoms("closing_atoms", story.batch_id(1))
    assert story.deployment.atoms("available_atoms", story.batch_id(2)) == closing
    assert closing == units("A USD 50000\nA ETH 100\nB USD 350000\nC BTC 1")


def test_a_deposit_that_the_book_does_not_know_is_an_open_break_that_warns(story: Story) -> None:
    failed = {(row["rule"], row["severity"]) for row in story.summaries[2]["verdict"]["failed"]}
    assert failed == {("book_and_custodians_agree", "WARN")}
    assert story.deployment.atoms("break_atoms", story.batch_id(3))["B", BTC] == amount("6", BTC)


def test_each_batch_names_the_one_that_it_follows(story: Story) -> None:
    previous = [summary["previous_batch_id"] for summary in story.summaries]
    assert previous == [None, story.batch_id(1), story.batch_id(2)]


# Doing it twice


def test_running_a_committed_cycle_again_changes_nothing_and_says_so(story: Story) -> None:
    before = story.deployment.dump()
    answer = story.deployment.trine("settle", "--input", story.folders[2])
    assert answer.exit_code == 0
    assert "was committed before, from the same inputs. Nothing was changed." in answer.out
    assert story.deployment.dump() == before


def test_an_earlier_cycle_can_be_run_again_after_later_ones_and_changes_nothing(story: Story) -> None:
    before = story.deployment.dump()
    assert story.deployment.settle(story.folders[0])["committed_before"]
    assert story.deployment.dump() == before


@pytest.mark.parametrize("changed", ["venues/SPTX/fills.csv", "reference/prices.csv", "credit/credit_lines.csv"])
def test_a_committed_cycle_whose_folder_changed_by_one_byte_is_refused(
    story: Story, changed: str, tmp_path: Path
) -> None:
    source, before = shutil.copytree(story.folders[2], tmp_path / "in"), story.deployment.dump()
    content = (source / changed).read_bytes()
    (source / changed).write_bytes(content.replace(b"00", b"01", 1))
    answer = story.deployment.trine("settle", "--input", source)
    assert answer.exit_code == 5
    assert f"CommittedCycleChanged: cycle {THIRD} is committed" in answer.err
    assert "give the changed files to a later cycle" in answer.err
    assert story.deployment.dump() == before


def test_a_committed_cycle_with_another_policy_is_refused(story: Story, tmp_path: Path) -> None:
    source = shutil.copytree(story.folders[2], tmp_path / "in")
    (source / "cycle.toml").write_text(f'cycle = "{THIRD}"\n[policy]\nwaiting_cycles_max = 1\n')
    assert story.deployment.trine("settle", "--input", source).exit_code == 5


def test_a_cycle_before_a_committed_one_is_refused(story: Story, tmp_path: Path) -> None:
    source, before = write_folder(tmp_path / "in", [], "", cycle_id="C4H-20261102-0400"), story.deployment.dump()
    answer = story.deployment.trine("settle", "--input", source)
    assert answer.exit_code == 5
    assert "CycleOutOfOrder" in answer.err
    assert story.deployment.dump() == before


def test_a_batch_whose_stored_records_disagree_is_blocked_and_the_next_attempt_settles(
    worked: Deployment, worked_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, propose = Deployment(tmp_path / "home"), Store.propose

    def propose_and_corrupt(store: Store, claim: Claim, proposal: Proposal) -> None:
        propose(store, claim, proposal)
        with store.engine.begin() as connection:
            connection.execute(text("UPDATE positions SET closing_atoms = '1' WHERE participant = 'PX'"))

    with monkeypatch.context() as fault:
        fault.setattr(Store, "propose", propose_and_corrupt)
        answer = deployment.trine("settle", "--input", worked_folder)
    assert answer.exit_code == 4
    assert "closing_is_opening_and_what_moved" in answer.err
    assert "Nothing was settled" in answer.err
    dump = deployment.dump()
    assert (dump["holds"], dump["postings"], deployment.store.settled()) == ([], [], [])
    assert deployment.store.batch(f"{CYCLE}#1")["state"] == "ABORTED"
    assert deployment.trine("report").exit_code == 2

    summary = deployment.settle(worked_folder)
    assert summary["batch_id"] == f"{CYCLE}#2"
    assert summary["plan_digest"] == worked.trine("report", "--json").record["plan_digest"]
    assert [batch["batch_id"] for batch in deployment.store.settled()] == [f"{CYCLE}#2"]


# Lineage both ways, in a market with every flaw


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    place = tmp_path_factory.mktemp("market")
    cycle, deployment = cycle_of(CYCLE), Deployment(place / "home")
    write_market(MarketPlan(CYCLE, cycle.opens_at, cycle.cut_at, trades=120, flaws=tuple(FLAWS)), place / "in")
    summary = deployment.settle(place / "in", exit_code=3)
    assert summary["degraded"]
    assert 0 < summary["settled"] < summary["chains"]
    return deployment


@pytest.fixture(scope="module")
def batch(market: Deployment) -> Batch:
    return market.batch(f"{CYCLE}#1")


def stands_at(market: Deployment, fill: dict[str, Any]) -> bool:
    """Whether the bytes that lineage names hold the fill's own id, in the file as it was settled."""
    [frozen] = (market.folder / "inputs").iterdir()
    content = (frozen / fill["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == fill["file_sha256"]
    span = content[fill["offset"] : fill["offset"] + fill["length"]]
    # Of "BTCUSDT:107/BUY" the venue itself says 107: its API has no id of one side.
    own = fill["fill_id"].split(":", 2)[2].removesuffix("/BUY").removesuffix("/SELL").rpartition(":")[2]
    return own.encode() in span and (fill["file"].endswith(".json") or span.count(b"\n") == 1)


def test_every_settled_amount_is_the_sum_of_its_fills_each_found_in_its_file(market: Deployment, batch: Batch) -> None:
    positions, seen = market.store.rows("positions", batch.row["batch_id"]), set()
    for row in positions.iter_rows(named=True):
        found = trace_amount(batch, positions, row["participant"], row["instrument"])
        assert sum(int(part["atoms"]) for part in found["contributions"]) == row["net_atoms"]
        assert int(found["net_atoms"]) == row["net_atoms"]
        for part in found["contributions"]:
            assert len(part["fills"]) == 2
            for fill in part["fills"]:
                if not fill["file"].endswith(".parquet"):  # Its rows have no bytes of their own.
                    assert stands_at(market, fill), fill
                seen.add(fill["fill_id"])
    assert seen == set(batch.outcomes.filter(state="SETTLED")["fill_id"])
    assert {fill_id.split(":")[0] for fill_id in seen} == {venue.mic for venue in VENUES}


def test_every_fill_tells_what_became_of_it(market: Deployment, batch: Batch) -> None:
    for outcome in batch.outcomes.iter_rows(named=True):
        found = trace_fill([batch], outcome["fill_id"])
        [step] = found["cycles"]
        assert (step["state"], step["reason"], step["chain_id"]) == tuple(
            outcome[name] for name in ("state", "reason", "chain_id")
        )
        assert ("obligations" in step) == (outcome["state"] == "SETTLED")
        assert step["state"] != "SETTLED" or len(step["obligations"]) in (2, 4, 6)
    assert {"SETTLED", "WAITING", "UNMATCHED", "BUSTED", "CORRECTED"} <= set(batch.outcomes["state"])


def test_a_fill_is_followed_through_the_cycles_in_which_it_waited(story: Story) -> None:
    found = story.deployment.trine("trace", "SPTX:2026-11-02:F1b", "--json").record
    assert [(step["batch_id"], step["state"], step["age"]) for step in found["cycles"]] == [
        (story.batch_id(1), "WAITING", 0), (story.batch_id(2), "WAITING", 1), (story.batch_id(3), "SETTLED", 2),
    ]  # fmt: skip
    assert found["fill"]["file"] == "venues/SPTX/fills.csv"
    paid = {(row["payer"], row["receiver"], row["instrument"], row["quantity_atoms"])
            for row in found["cycles"][2]["obligations"]}  # fmt: skip
    hops = [("B", "PY"), ("PY", "PX"), ("PX", "A")]
    assert paid == {(payer, receiver, BTC, str(amount("10", BTC))) for payer, receiver in hops} | {
        (receiver, payer, USD, str(amount("1_000_000", USD))) for payer, receiver in hops
    }


def test_what_was_quarantined_is_listed_with_its_reason_and_has_no_trace(market: Deployment) -> None:
    summary = market.trine("report", "--quarantine", "--json").record
    listed = summary["quarantine"]
    assert {row["flaw"] for row in listed} >= {"UNKNOWN_PARTY", "EXCESS_DECIMALS"}
    assert sum(row["record"] > 0 for row in listed) == sum(file["quarantined"] for file in summary["files"])
    accepted = set(market.home.frame(f"{CYCLE}#1", "fills").select("file", "record").rows())
    assert not accepted & {(row["file"], row["record"]) for row in listed}
    answer = market.trine("trace", "SPTX:2026-11-02:never-seen")
    assert answer.exit_code == 2
    assert "no committed cycle has accepted a fill" in answer.err
    assert "trine report --quarantine" in answer.err


@pytest.mark.parametrize("who", [("nobody", USD), ("A", "XAU"), ("A", USD, "more")])
def test_an_amount_that_nobody_settled_has_no_trace(worked: Deployment, who: tuple[str, ...]) -> None:
    assert worked.trine("trace", *who).exit_code == 2


def test_a_trace_for_people_ends_with_the_sum(worked: Deployment) -> None:
    answer = worked.trine("trace", "A", USD)
    assert answer.out.split("\n")[-2].split() == ["-442,500.00", "settled,", "the", "sum", "of", "4", "chains"]
