"""A past cycle settled again: the same as recorded, or what later knowledge would have changed, and never the records."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from rich.console import Console
from sqlalchemy import select, text

from assets.custody.late import late_statements
from assets.fills.late import late_reports
from assets.intake import SourceFile
from assets.ledger.replay import MOMENTS, NOT_COMPARED
from assets.partitions import cycle_of
from assets.reference import Reference, read_reference
from pipelines.replay_report import print_now, print_then
from schemas.fill import Fill
from schemas.records import FACTS
from tests.deployment import Deployment
from tests.input_folders import CYCLE, FIVE_TRADES, NEXT, SHORT, THIRD, Report, busts, reports, write_folder
from tests.market_days import amount

BTC, ETH, USD = "BTC", "ETH", "USD"


def state_of(deployment: Deployment) -> tuple[Any, ...]:
    """Return all that a replay could change of a deployment: its rows, its files, and what Dagster remembers."""
    with dg.DagsterInstance.get() as instance:
        runs = len(instance.get_runs())
    files = {path: path.stat().st_mtime_ns for path in deployment.folder.rglob("*") if "records" not in path.name}
    return deployment.dump(), files, runs


def told(tell: Callable[[dict[str, Any], Console], None], record: dict[str, Any]) -> list[str]:
    """Return the lines that people are told."""
    text = StringIO()
    tell(record, Console(file=text, width=200))
    return [line.strip() for line in text.getvalue().splitlines()]


def copied(deployment: Deployment, folder: Path) -> Deployment:
    return Deployment(Path(shutil.copytree(deployment.folder, folder)))


# As known then


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Two cycles. The first settles at its second attempt, by a policy of its own, approved by two people, on credit."""
    place = tmp_path_factory.mktemp("days")
    sixth = reports("trade venue buyer seller base quantity price\nF6 VEN2 C A ETH 1 3500")
    deployment, day = Deployment(place / "home"), [*reports(FIVE_TRADES), sixth[0]]
    for attempt, lends in ((1, None), (2, "50000")):
        folder = write_folder(place / str(attempt), day, SHORT, lends=lends)
        policy = 'cycle = "C4H-20261102-0800"\n[policy]\napprovals = 2\ntop_up_minutes = 30\n'
        (folder / "cycle.toml").write_text(policy)
        assert deployment.trine("settle", "--input", folder).exit_code == 7
    for person in ("ana", "ben"):
        deployment.store.record_approval(f"{CYCLE}#2", person)
    deployment.settle(folder)
    again = [report for report in day if report["match_id"] == "F1"]
    cancelled = [report for report in day if report["match_id"] == "F5"]
    deployment.settle(write_folder(place / "3", [sixth[1], *busts(cancelled)], None, cycle_id=NEXT, resent=again))
    for folder in ("1", "2", "3"):
        shutil.rmtree(place / folder)
    return deployment


def test_every_cycle_comes_out_again_from_its_frozen_inputs_alone(
    days: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state_of(days)
    monkeypatch.setenv("TRINE_RECORDS", days.home.url())
    answer = days.trine("replay", NEXT, "--from-the-first", "--json")
    assert answer.exit_code == 0, answer.out
    assert [(one["batch_id"], one["same"]) for one in answer.record["cycles"]] == [
        (f"{CYCLE}#2", True),
        (f"{NEXT}#1", True),
    ]
    assert state_of(days) == before


def test_a_replay_that_is_kept_is_a_deployment_like_the_one_it_repeats(days: Deployment, tmp_path: Path) -> None:
    before, out = state_of(days), tmp_path / "out"
    answer = days.trine("replay", NEXT, "--out", out)
    assert answer.exit_code == 0, answer.out
    assert f"{NEXT}#1: the same came out again" in answer.out
    told = [Deployment(folder).trine("report", "--json").record for folder in (days.folder, out)]
    life, again = ([step["state_after"] for step in one.pop("life")] for one in told)
    assert life == again
    assert told[0] == told[1]
    assert Deployment(out).trine("trace", "SPTX:2026-11-02:F1b", "--json").record == days.trine(
        "trace", "SPTX:2026-11-02:F1b", "--json"
    ).record  # fmt: skip
    assert state_of(days) == before


def test_the_same_comes_out_on_postgresql(days: Deployment, postgres_url: str) -> None:
    answer = days.trine("replay", NEXT, "--records-out", postgres_url)
    assert answer.exit_code == 0, answer.out
    again = days.trine("replay", NEXT, "--records-out", postgres_url)
    assert again.exit_code == 2
    assert "holds settled batches" in again.err


def test_a_row_or_a_frame_that_is_not_what_came_out_is_told(days: Deployment, tmp_path: Path) -> None:
    changed = copied(days, tmp_path / "home")
    batch_id, expected = f"{CYCLE}#2", {}
    with changed.store.engine.begin() as connection:
        for table in FACTS:
            rows = (
                connection.execute(select(table).where(table.c.batch_id == batch_id)) if "batch_id" in table.c else []
            )
            row = next(iter(rows), None)
            if row is not None and table.name not in NOT_COMPARED | {"plans"}:
                key = (column == row._mapping[column.name] for column in table.primary_key.columns)
                connection.execute(table.delete().where(*key))
                expected[f"table {table.name}"] = 1
        connection.execute(text("UPDATE plans SET chains = chains + 1 WHERE batch_id = :b"), {"b": batch_id})
        connection.execute(text("UPDATE batches SET inputs_digest = '0' WHERE batch_id = :b"), {"b": batch_id})
        query = text("UPDATE frames SET digest = (SELECT digest FROM frames WHERE batch_id = :n AND name = 'outcomes') "
                     "WHERE batch_id = :b AND name = 'outcomes'")  # fmt: skip
        connection.execute(query, {"b": batch_id, "n": f"{NEXT}#1"})
    assert {"table positions", "table holds", "table postings", "table credit_draws"} <= expected.keys()
    answer = changed.trine("replay", CYCLE, "--json")
    assert answer.exit_code == 8
    [cycle] = answer.record["cycles"]
    found = {one["what"]: one["rows"] for one in cycle["differences"]}
    # Of eleven fills the next cycle has only the one that waited, and of that another state and age.
    assert found.pop("frame outcomes") == 11
    assert found == expected | {"table plans": 1, "inputs_digest": None}
    said = told(print_then, answer.record)
    assert f"{CYCLE}#2: not the same as recorded" in said
    assert {"frame outcomes: 11 rows differ", "inputs_digest: differs", "table holds: 1 rows differ"} <= set(said)


def test_only_what_is_of_a_time_an_attempt_or_a_person_is_not_compared() -> None:
    names = {table.name for table in FACTS if "batch_id" in table.c}
    assert names >= NOT_COMPARED
    columns = {column.name for table in FACTS if table.name not in NOT_COMPARED for column in table.columns}
    assert {name for name in columns if name.endswith("_at")} <= MOMENTS


def test_inputs_that_changed_or_are_gone_are_said_plainly(days: Deployment, tmp_path: Path) -> None:
    changed = copied(days, tmp_path / "home")
    frozen = changed.home.frozen(changed.store.batch(f"{CYCLE}#2")["manifest_digest"])
    fills = frozen / "venues" / "SPTX" / "fills.csv"
    content = fills.read_bytes()
    fills.write_bytes(content.replace(b"10", b"11", 1))
    answer = changed.trine("replay", CYCLE)
    assert answer.exit_code == 8
    assert "1 of its files are changed or missing (first: venues/SPTX/fills.csv)" in answer.err
    fills.write_bytes(content)
    (frozen / "custody" / "more.csv").write_text("")
    answer = changed.trine("replay", CYCLE)
    assert (answer.exit_code, "or one was added" in answer.err) == (8, True)
    shutil.rmtree(frozen)
    answer = changed.trine("replay", CYCLE)
    assert (answer.exit_code, "are not kept any more" in answer.err) == (2, True)
    with changed.store.engine.begin() as connection:
        connection.execute(text("UPDATE batches SET manifest_digest = ''"))
    answer = changed.trine("replay", NEXT)
    assert (answer.exit_code, "were not recorded by the Trine that settled it" in answer.err) == (2, True)


def test_a_replay_into_something_that_is_there_already_is_refused(days: Deployment, tmp_path: Path) -> None:
    before = state_of(days)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("")
    for given in (["--out", tmp_path / "kept"], ["--out", days.folder], ["--records-out", days.home.url()]):
        answer = days.trine("replay", CYCLE, *given)
        assert answer.exit_code == 2
        assert "Nothing was written" in answer.err
    assert days.trine("replay", THIRD).exit_code == 2
    assert days.trine("replay", CYCLE, "--known", "now", "--from-the-first").exit_code == 2
    assert state_of(days) == before


# As known now: what is about the cycle

LATER = "2026-11-02T13:00:00.000Z"


def fill(fill_id: str, exec_type: str = "F", names: str | None = None, traded_at: str = "09:00") -> dict[str, Any]:
    """Return a fill as the one row of a frame of A's, without what does not matter here."""
    return dict.fromkeys(Fill.names(), None) | {
        "fill_id": fill_id, "venue": "SPTX", "exec_type": exec_type, "exec_ref_id": names, "match_id": "M",
        "side": "BUY", "client": "A", "prime_broker": "PX", "base": BTC, "quote": USD, "base_atoms": 1,
        "quote_atoms": 1, "quote_increment_atoms": 1, "price": "1", "content_hash": fill_id, "file": "f",
        "file_sha256": "0", "record": 1, "offset": 0, "length": 1, "age": 0, "accepted": False,
        "traded_at": f"2026-11-02T{traded_at}:00Z", "trade_on": "2026-11-02", "value_on": "2026-11-02",
    }  # fmt: skip


def fills_of(*rows: dict[str, Any]) -> pl.DataFrame:
    dates = {"traded_at": pl.Datetime("ns", "UTC"), "trade_on": pl.Date, "value_on": pl.Date}
    schema = {name: pl.String if name in dates else kind for name, kind in Fill.dtypes().items()}
    frame = pl.DataFrame(list(rows), schema=schema).with_columns(
        pl.col("traded_at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="ns", time_zone="UTC"),
        pl.col("trade_on", "value_on").str.to_date(),
    )
    return Fill.hold(frame)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return read_reference(write_folder(tmp_path_factory.mktemp("world") / "in", [], None), USD)


def late_of(reference: Reference, *rows: dict[str, Any]) -> list[str]:
    found = late_reports(fills_of(fill("known")), fills_of(*rows), reference, cycle_of(CYCLE).cut_at)
    assert found["traded_at"].max() is None or found["traded_at"].max() <= cycle_of(CYCLE).cut_at  # type: ignore[operator]
    return found["fill_id"].to_list()


def test_a_trade_done_by_the_cut_is_about_the_cycle_and_one_done_after_it_is_not(reference: Reference) -> None:
    rows = fill("before", traded_at="11:59"), fill("at", traded_at="12:00"), fill("after", traded_at="12:01")
    assert late_of(reference, *rows) == ["at", "before"]


def test_busts_and_corrections_count_when_what_they_name_does_however_long_the_row(reference: Reference) -> None:
    rows = (
        fill("g1", "G", "known", "15:00"), fill("g2", "G", "g1", "16:00"), fill("h", "H", "g2", "17:00"),
        fill("late"), fill("late-h", "H", "late", "18:00"),
        fill("other", "F", None, "13:00"), fill("other-h", "H", "other", "13:00"), fill("unseen-h", "H", "unseen"),
    )  # fmt: skip
    assert late_of(reference, *rows) == ["g1", "g2", "h", "late", "late-h"]


def test_what_the_cycle_had_already_or_could_not_have_read_is_left_out(reference: Reference) -> None:
    stranger, foreign = fill("stranger") | {"client": "NEW"}, fill("foreign") | {"base": "SOL"}
    assert late_of(reference, fill("known"), stranger, foreign, fill("broker") | {"prime_broker": "NEW"}) == []


HEADER = (
    "statement_id,statement_seq,custodian_lei,account,account_title_lei,segregation,as_of,update,instrument,total,available,"
    "held,pledged,staked,restricted"
)


def statement(
    folder: Path, who: str, what: str, quantity: str, *, seq: int = 2, as_of: str = "11:45", update: str = "COMPLETE"
) -> str:
    """Return a line of a statement like those of `write_folder`'s custodian."""
    lines = (folder / "custody" / "cu.csv").read_text().splitlines()
    cells = next(line for line in lines if f",CU-{who}-{what}," in line).split(",")
    cells[0], cells[1], cells[6:8] = "LATE", str(seq), [f"2026-11-02T{as_of}:00Z", update]
    cells[9:11] = [quantity, quantity]
    return ",".join(cells)


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        ({}, True),
        ({"seq": 1}, False),
        ({"as_of": "12:01"}, False),
        ({"update": "DELTA"}, False),
        ({"seq": 1, "who": "new"}, True),
        ({"update": "DELTA", "who": "new"}, True),
    ],
)
def test_a_statement_corrects_an_earlier_one_of_its_account_by_a_higher_number_up_to_the_cut(
    given: dict[str, Any], counts: bool, reference: Reference, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "in", [], SHORT)
    line = statement(folder, "B", BTC, "6", **{name: value for name, value in given.items() if name != "who"})
    own = (folder / "custody" / "cu.csv").read_text()
    if given.get("who") == "new":  # The cycle had nothing of the account.
        own = "".join(row for row in own.splitlines(keepends=True) if ",CU-B-BTC," not in row)
    (folder / "custody" / "cu.csv").write_text(own)
    (tmp_path / "later.csv").write_text(f"{HEADER}\n{line}\n")
    found = late_statements(
        [SourceFile.of("custody", folder / "custody" / "cu.csv", folder)],
        [SourceFile.of("custody", tmp_path / "later.csv", tmp_path)],
        reference, cycle_of(CYCLE).cut_at, 24, cycle_of(CYCLE).cut_at - timedelta(hours=1),
    )  # fmt: skip
    assert found.select("statement_id", "account", "total").rows() == ([("LATE", "CU-B-BTC", "6")] if counts else [])


# As known now: what it would have changed

TRADES = """
    trade  venue  buyer  seller  base  quantity  price
    T1     SPTX   A      B       ETH   2         3500
    T2     SPTX   A      B       ETH   4         3500
    T3     VEN2   C      A       BTC   3         100000
"""
HELD = "A USD 21000\nB ETH 10\nC USD 300000"
LATE_TRADE = "trade venue buyer seller base quantity price\nT4 VEN2 C B ETH 1 3500"


def corrections(of: list[Report], quantity: str) -> list[Report]:
    """Return a correction of each report, to another quantity."""
    return [
        one | {"exec_type": "G", "exec_id": "G" + one["exec_id"], "exec_ref_id": one["exec_id"], "quantity": quantity,
               "quote_quantity": str(int(quantity) * int(one["price"]))}
        for one in of
    ]  # fmt: skip


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Deployment, Path]:
    """One settled cycle: A buys from B twice, and C cannot buy from A, who has nothing to deliver."""
    place = tmp_path_factory.mktemp("first")
    deployment, folder = Deployment(place / "home"), write_folder(place / "in", reports(TRADES), HELD)
    summary = deployment.settle(folder)
    assert (summary["chains"], summary["settled"]) == (3, 2)
    return deployment, folder


def of_trade(name: str) -> list[Report]:
    return [report for report in reports(TRADES) if report["match_id"] == name]


def test_what_came_later_changes_exactly_what_it_is_about(first: tuple[Deployment, Path], tmp_path: Path) -> None:
    deployment = copied(first[0], tmp_path / "home")
    came = [*busts(of_trade("T1")), *reports(LATE_TRADE)]
    fixed = corrections(of_trade("T2"), "3")
    folder = write_folder(tmp_path / "next", came, None, cycle_id=NEXT, resent=fixed)
    (folder / "venues" / "control_totals.csv").unlink()  # It would leave out the corrections, which are not sent again.
    (folder / "custody").mkdir()
    line = statement(first[1], "A", BTC, "3")
    (folder / "custody" / "corrected.csv").write_text(f"{HEADER}\n{line}\n")
    deployment.settle(folder, exit_code=3)  # The statement is too old for this cycle.
    before = state_of(deployment)
    answer = deployment.trine("replay", CYCLE, "--known", "now", "--json")
    assert answer.exit_code == 0, answer.err
    found = answer.record
    assert [one["fill_id"].split(":")[-1] for one in found["late_fills"]] == [
        "GT2b", "GT2s", "XT1b", "XT1s", "T4b", "T4s",
    ]  # fmt: skip
    assert [(one["account"], one["statement_seq"]) for one in found["late_statements"]] == [("CU-A-BTC", "2")]
    chains = {
        row["key"][0].split(":")[-1]: tuple(
            row[when] and (row[when]["settled_base_atoms"], row[when]["settled_quote_atoms"])
            for when in ("then", "now")
        )
        for row in found["chains"]
    }
    assert chains == {
        "T1": ((str(amount("2", ETH)), str(amount("7_000", USD))), None),  # Busted.
        "T2": tuple((str(amount(base, ETH)), str(amount(quote, USD))) for base, quote in (("4", "14_000"), ("3", "10_500"))),
        "T3": (("0", "0"), (str(amount("3", BTC)), str(amount("300_000", USD)))),  # Funded by the corrected statement.
        "T4": (None, ("0", "0")),  # Late, and the dollars of C are worth more in T3.
    }  # fmt: skip
    nets = {
        tuple(row["key"]): tuple(int(row[when]["net_atoms"]) for when in ("then", "now")) for row in found["positions"]
    }
    assert nets == {
        ("A", BTC): (0, amount("-3", BTC)), ("C", BTC): (0, amount("3", BTC)),
        ("A", ETH): (amount("6", ETH), amount("3", ETH)), ("B", ETH): (amount("-6", ETH), amount("-3", ETH)),
        ("A", USD): (amount("-21_000", USD), amount("289_500", USD)), ("C", USD): (0, amount("-300_000", USD)),
        ("B", USD): (amount("21_000", USD), amount("10_500", USD)),
    }  # fmt: skip
    assert state_of(deployment) == before
    assert {
        "SPTX:2026-11-02:T2", "then 4.000000000000000000 ETH for 14,000.00 USD settles",
        "now  3.000000000000000000 ETH for 10,500.00 USD settles", "now  is no chain",
        "now  1.000000000000000000 ETH for 3,500.00 USD waits (CYCL)",
        "net A USD: -21,000.00 then, 289,500.00 now", "net C BTC: 0.00000000 then, 3.00000000 now",
    } <= set(told(print_now, found))  # fmt: skip


def test_a_later_cycle_that_says_nothing_of_it_changes_nothing(first: tuple[Deployment, Path], tmp_path: Path) -> None:
    deployment = copied(first[0], tmp_path / "home")
    new = reports("trade venue buyer seller base quantity price\nT5 SPTX A B ETH 1 3500", LATER)
    folder = write_folder(
        tmp_path / "next", [*new, *busts(new)], "A BTC 3\nB ETH 4", cycle_id=NEXT, resent=of_trade("T1")
    )
    deployment.settle(folder)
    answer = deployment.trine("replay", CYCLE, "--known", "now", "--json")
    assert answer.exit_code == 0, answer.err
    found = answer.record
    assert found["same"]
    assert [found[name] for name in ("late_fills", "late_statements", "chains", "positions")] == [[], [], [], []]
    assert found["plan_digest"]["then"] == found["plan_digest"]["now"]
