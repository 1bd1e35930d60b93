"""What a venue says it reported is held against what was read, before anything settles."""

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from rich.console import Console

from assets.fills.control import Stated, read_totals, reconcile
from assets.home import Home
from assets.intake import SourceFile
from assets.reference import Reference
from pipelines.cli import main
from pipelines.market import FLAWS, MarketPlan, write_market
from pipelines.resources import CHECKOUT, home_resource
from pipelines.run import run_cycle
from schemas.control_total import ControlTotal
from schemas.fill import FileCount, Fill, Quarantined
from schemas.instrument import Instrument, Price
from schemas.participant import Account, Participant, Symbol, TradingAccount
from tests.market_days import amount, cells, fills_of, frame, table

INSTRUMENTS = table("""
    instrument  decimals
    BTC         8
    ETH         18
    USD         2
""", Instrument, name="some", kind="CRYPTO", status="ACTIVE")  # fmt: skip
SYMBOLS = table("""
    venue  symbol   base  quote
    SPTX   BTC/USD  BTC   USD
    SPTX   XBT/USD  BTC   USD
    SPTX   ETH/USD  ETH   USD
    VEN2   BTC-USD  BTC   USD
""", Symbol)  # fmt: skip
REFERENCE = Reference(
    INSTRUMENTS, Price.empty(), Participant.empty(), Account.empty(), TradingAccount.empty(), SYMBOLS, {},
    Quarantined.empty(), FileCount.empty(),
)  # fmt: skip
HEADER = "venue,symbol,side,reports,quantity,quote_quantity\n"
NO_FILES = FileCount.empty()

# Two trades of bitcoin and one of ether at SPTX, one at VEN2, each reported by both sides.
FILLS = fills_of("""
    chain_id  venue  buyer  seller  base  quote  base_amount  quote_amount
    SPTX:1    SPTX   A      B       BTC   USD    1.5          150_000.00
    SPTX:2    SPTX   A      B       BTC   USD    0.5          50_000.01
    SPTX:3    SPTX   B      A       ETH   USD    10           35_000.00
    VEN2:1    VEN2   A      B       BTC   USD    7            700_000.00
""")
TRUE = """\
SPTX,BTC/USD,1,2,2,200000.01
SPTX,BTC/USD,2,2,2.00,
SPTX,ETH/USD,1,1,10.000000000000000000,35000
SPTX,ETH/USD,2,1,10,35000
"""


@pytest.fixture
def stated(tmp_path: Path) -> Callable[[str], Stated]:
    """Read a file of totals with these lines."""

    def read(lines: str, header: str = HEADER) -> Stated:
        path = tmp_path / "venues" / "control_totals.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(header + lines, encoding="utf-8")
        return read_totals([SourceFile.of("fills", path, tmp_path)], REFERENCE)

    return read


def totals(text: str) -> pl.DataFrame:
    """ControlTotal rows, amounts in whole units; nothing quarantined unless a column says so."""
    rows = []
    for row in cells(text):
        made = {name: int(row[name]) for name in ("stated_reports", "counted_reports")}
        for leg in ("base", "quote"):
            for told in ("stated", "counted"):
                cell = row[f"{told}_{leg}"]
                made[f"{told}_{leg}_atoms"] = None if cell == "-" else amount(cell, row[leg])
        named = {name: row[name] for name in ("venue", "base", "quote", "side")}
        rows.append({**named, **made, "quarantined": int(row.get("quarantined", 0))})
    return frame(ControlTotal, rows)


def test_true_totals_stand_beside_the_same_counted_and_a_venue_without_totals_is_left_out(
    stated: Callable[[str], Stated],
) -> None:
    read = stated(TRUE)
    assert read.counts.select("stage", "records", "accepted").rows() == [("control", 4, 4)]
    assert reconcile(read, FILLS, NO_FILES).equals(
        totals("""
        venue  base  quote  side  stated_reports  counted_reports  stated_base  counted_base  stated_quote  counted_quote
        SPTX   BTC   USD    BUY   2               2                2            2             200_000.01    200_000.01
        SPTX   BTC   USD    SELL  2               2                2            2             -             200_000.01
        SPTX   ETH   USD    BUY   1               1                10           10            35_000        35_000
        SPTX   ETH   USD    SELL  1               1                10           10            35_000        35_000
    """)
    )


def test_without_the_file_nothing_is_reconciled() -> None:
    read = read_totals([], REFERENCE)
    assert reconcile(read, FILLS, NO_FILES).is_empty()
    assert read.counts.is_empty()


def test_a_total_without_reports_and_reports_without_a_total_are_differences(stated: Callable[[str], Stated]) -> None:
    read = stated("SPTX,BTC/USD,1,2,2,\nSPTX,BTC/USD,2,2,2,\nVEN2,BTC-USD,1,1,7,700000\n")
    elsewhere = FILLS.filter(venue="SPTX")
    found = reconcile(read, elsewhere, NO_FILES).filter(pl.col("stated_reports") != pl.col("counted_reports"))
    assert found.equals(
        totals("""
        venue  base  quote  side  stated_reports  counted_reports  stated_base  counted_base  stated_quote  counted_quote
        SPTX   ETH   USD    BUY   0               1                0            10            -             35_000
        SPTX   ETH   USD    SELL  0               1                0            10            -             35_000
        VEN2   BTC   USD    BUY   1               0                7            0             700_000       0
    """)
    )


def test_busts_are_not_counted_and_corrections_are(stated: Callable[[str], Stated]) -> None:
    bought = FILLS.filter(venue="VEN2", side="BUY")
    later = [
        bought.with_columns(fill_id=pl.lit(f"VEN2:{kind}"), exec_type=pl.lit(kind), exec_ref_id=pl.col("fill_id"))
        for kind in ("G", "H")
    ]
    found = reconcile(stated("VEN2,BTC-USD,1,2,14,1400000\n"), Fill.hold(pl.concat([bought, *later])), NO_FILES)
    assert found.select("counted_reports", "counted_base_atoms").rows() == [(2, amount("14", "BTC"))]


def test_two_symbols_of_one_market_are_added_up_and_their_quote_total_needs_both(
    stated: Callable[[str], Stated],
) -> None:
    btc = FILLS.filter(venue="SPTX", base="BTC", side="BUY")
    both = stated("SPTX,BTC/USD,1,1,1.5,150000\nSPTX,XBT/USD,1,1,0.5,50000.01\n")
    one = stated("SPTX,BTC/USD,1,1,1.5,150000\nSPTX,XBT/USD,1,1,0.5,\n")
    assert reconcile(both, btc, NO_FILES).equals(
        totals("""
        venue  base  quote  side  stated_reports  counted_reports  stated_base  counted_base  stated_quote  counted_quote
        SPTX   BTC   USD    BUY   2               2                2            2             200_000.01    200_000.01
    """)
    )
    assert reconcile(one, btc, NO_FILES)["stated_quote_atoms"].to_list() == [None]


def test_rows_and_files_of_the_venue_that_were_kept_out_are_told_and_those_of_others_not(
    stated: Callable[[str], Stated],
) -> None:
    counts = pl.DataFrame(
        [
            ("fills", "venues/SPTX/a.fix", "", 9, 5, 3, 2, 0, None),
            ("fills", "venues/SPTX/b.fix", "", 9, 0, 0, 0, 0, "FILE_NOT_UTF8"),
            ("fills", "venues/VEN2/c.csv", "", 9, 4, 0, 4, 0, None),
            ("fills", "venues/loose.csv", "", 9, 0, 0, 0, 0, "FILE_UNKNOWN_VENUE"),
        ],
        schema=FileCount.dtypes(), orient="row",
    )  # fmt: skip
    assert set(reconcile(stated(TRUE), FILLS, counts)["quarantined"]) == {3}


def test_a_total_that_cannot_be_read_is_quarantined_and_counts_as_a_row_of_its_venue(
    stated: Callable[[str], Stated],
) -> None:
    wrong = [
        "VEN2,BTC-USD,1,1,7.000000001,", "VEN2,BTC-USD,2,one,7,", "VEN2,DOGE-USD,1,1,7,", "VEN2,BTC-USD,3,1,7,",
        "VEN2,BTC-USD,1,1,-7,", "VEN2,BTC-USD,1,1,7,1e5", f"VEN2,BTC-USD,1,1,{'9' * 30},", "VEN2,BTC-USD,1,-1,7,",
        "VEN2,BTC-USD,1,1,,", "venue two,BTC-USD,1,1,7,", "VEN2,BTC-USD,1", "VEN2,BTC-USD,1,100000001,7,",
        "VEN2,BTC-USD,2,1,7,", "VEN2,BTC-USD,2,1,8,",
    ]  # fmt: skip
    read = stated(TRUE + "SPTX,BTC/USD,1,02,2.0,200000.01\n" + "\n".join(wrong) + "\n")
    assert read.quarantined["flaw"].to_list() == [
        "EXCESS_DECIMALS", "BAD_NUMBER", "UNKNOWN_SYMBOL", "BAD_CODE", "NOT_POSITIVE", "BAD_NUMBER",
        "AMOUNT_TOO_LARGE", "BAD_NUMBER", "MISSING_FIELD", "BAD_IDENTIFIER", "COLUMN_COUNT", "BAD_NUMBER",
        "CONFLICTING_COPIES", "CONFLICTING_COPIES",
    ]  # fmt: skip
    assert read.counts.select("records", "accepted", "quarantined", "duplicates").rows() == [(19, 4, 14, 1)]
    assert sorted(read.unread) == ["VEN2"] * 12 + ["venue two"]
    assert set(reconcile(read, FILLS, NO_FILES)["quarantined"]) == {0}
    spoilt = stated(TRUE.replace(",35000\n", ",35000.001\n"))
    assert set(reconcile(spoilt, FILLS, NO_FILES)["quarantined"]) == {2}


def test_a_file_of_totals_with_a_misspelt_column_is_quarantined_whole(tmp_path: Path) -> None:
    path = tmp_path / "venues" / "control_totals.csv"
    path.parent.mkdir()
    path.write_text(HEADER.replace("quote_quantity", "quote") + TRUE, encoding="utf-8")
    read = read_totals([SourceFile.of("fills", path, tmp_path)], REFERENCE)
    assert read.counts.select("stage", "flaw").rows() == [("control", "FILE_BAD_HEADER")]
    assert reconcile(read, FILLS, NO_FILES).is_empty()


def test_the_synthetic_venues_state_what_they_sent_each_report_once_and_no_bust(tmp_path: Path) -> None:
    plan = replace(PLAN, trades=400, flaws=("duplicates", "busts", "corrections", "one_sided"))
    write_market(plan, tmp_path / "market")
    sent: dict[tuple[str, str], dict[str, Decimal]] = {}
    for row in rows_of(tmp_path / "market/venues/CALX/dropcopy.csv"):
        if row["exec_type"] != "H":
            sent.setdefault((row["symbol"], row["side"]), {})[row["exec_id"]] = Decimal(row["quantity"])
    told = {
        (row["symbol"], row["side"]): (int(row["reports"]), Decimal(row["quantity"]))
        for row in rows_of(tmp_path / "market/venues/control_totals.csv")
        if row["venue"] == "CALX"
    }
    assert told == {key: (len(reports), sum(reports.values())) for key, reports in sent.items()}
    assert len(told) == 6


# A whole cycle

CYCLE = "C4H-20261120-0800"
PLAN = MarketPlan(
    CYCLE, datetime(2026, 11, 20, 8, tzinfo=UTC), datetime(2026, 11, 20, 12, tzinfo=UTC), trades=40
)  # fmt: skip
QUIET = Console(quiet=True)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    history = tmp_path / "dagster"
    history.mkdir()
    shutil.copy(CHECKOUT / "dagster_home" / "dagster.yaml", history)
    monkeypatch.setenv("DAGSTER_HOME", str(history))
    return home_resource(str(tmp_path / "home"))


def failed(home: Home, batch_id: str) -> set[str]:
    return set(home.store().rows("verdicts", batch_id).filter(success=0)["rule"])


def test_a_cycle_whose_venues_state_true_totals_settles(home: Home, tmp_path: Path) -> None:
    write_market(PLAN, tmp_path / "market")
    done = run_cycle(CYCLE, tmp_path / "market", home=Path(home.folder), records_url="", console=QUIET)
    (batch,) = home.store().settled()
    assert batch["batch_id"] == done.batch_id
    stored = home.store().rows("control_totals", done.batch_id)
    assert stored["counted_reports"].sum() == batch["fills_new"] == 2 * PLAN.trades
    assert not {name for name in failed(home, done.batch_id) if name.startswith(("venue_totals", "every_venue"))}


def test_a_total_that_is_off_by_one_base_unit_blocks_the_batch(home: Home, tmp_path: Path) -> None:
    write_market(PLAN, tmp_path / "market")
    path = tmp_path / "market/venues/control_totals.csv"
    row = next(row for row in rows_of(path) if row["symbol"] == "BTC/USD" and row["side"] == "1")
    one_more = str(Decimal(row["quantity"]) + Decimal("0.00000001"))
    line = ",".join(row.values())
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(line, line.replace(row["quantity"], one_more)), encoding="utf-8")
    command = ["settle", "--input", str(tmp_path / "market"), "--home", home.folder]
    assert CliRunner().invoke(main, command).exit_code == 4
    assert home.store().settled() == []
    batch_id = f"{CYCLE}#1"
    assert home.store().batch(batch_id)["state"] == "ABORTED"
    assert home.store().rows("postings", batch_id).is_empty()
    blocking = home.store().rows("verdicts", batch_id).filter(severity="BLOCK", success=0)
    assert blocking.select("rule", "found").rows() == [("venue_totals_reconcile", "1 row breaks it")]


def test_totals_that_quarantined_rows_can_explain_only_warn(home: Home, tmp_path: Path) -> None:
    write_market(replace(PLAN, flaws=tuple(FLAWS)), tmp_path / "market")
    done = run_cycle(CYCLE, tmp_path / "market", home=Path(home.folder), records_url="", console=QUIET)
    assert [batch["batch_id"] for batch in home.store().settled()] == [done.batch_id]
    assert "venue_totals_agree_despite_quarantine" in failed(home, done.batch_id)
    stored = home.store().rows("control_totals", done.batch_id)
    differing = stored.filter(pl.col("stated_reports") > pl.col("counted_reports"))
    missing = (differing["stated_reports"] - differing["counted_reports"]).sum()
    assert missing == 6, "three reports with a bad number and three of a stranger"
