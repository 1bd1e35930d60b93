"""How instructions leave and what the answers mean: each rule on a few rows."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from assets.custody.confirmations import FILE, read_confirmations
from assets.intake import SourceFile
from assets.ledger.store import Claim, Store
from assets.settlement.confirm import derive_outcomes
from assets.settlement.outbox import files_of, hand_out
from schemas.balance import Available
from schemas.errors import BrokenInvariant
from schemas.instruction import Confirmation
from schemas.instrument import Instrument
from schemas.participant import Account
from tests.batches import CYCLE, NOON, at_noon, life_of, live
from tests.market_days import table

PENDING = {
    "batch_id": pl.String, "instruction_id": pl.String, "participant": pl.String, "account": pl.String,
    "custodian": pl.String, "instrument": pl.String, "opens_at": pl.String, "outcome": pl.String, "heard": pl.Boolean,
}  # fmt: skip
NOTHING = pl.DataFrame(schema={**Account.dtypes(), "opens_at": pl.String})
DUE = datetime(2026, 11, 2, 16, tzinfo=UTC)


def pending(*accounts: str, opens_at: str = "08", outcome: str | None = None, heard: bool = False) -> pl.DataFrame:
    """Return one instruction per account ('A BTC'), of a batch that is named for the hour of its cycle."""
    rows = []
    for account in accounts:
        who, what = account.split()
        rows.append((opens_at, f"{opens_at}/{who}/{what}", who, f"{who}-{what}", "CU", what, opens_at, outcome, heard))
    return pl.DataFrame(rows, schema=PENDING, orient="row")


def available(text: str) -> pl.DataFrame:
    return table(text, Available, account=lambda row: f"{row['participant']}-{row['instrument']}", custodian="CU",
                 available_atoms=0, total_atoms=0)  # fmt: skip


AGREED = available("""
    participant  instrument  book_atoms  statement_atoms  break_atoms
    A            BTC         5           5                0
    B            BTC         5           6                1
    C            BTC         5           -                0
    D            BTC         -           5                0
""")


def said(**outcomes: str) -> pl.DataFrame:
    rows = [(f"08/{who}/BTC", outcome, None, None) for who, outcome in outcomes.items()]
    return pl.DataFrame(rows, schema=Confirmation.dtypes(), orient="row")


def test_a_custodian_is_taken_at_its_word_whatever_the_statement_shows() -> None:
    found = derive_outcomes(pending("A BTC", "B BTC"), said(A="UNKNOWN", B="DONE"), AGREED, NOTHING, clear=True)
    assert found == {"08": {"08/A/BTC": "UNKNOWN", "08/B/BTC": "DONE"}}


def test_without_its_word_only_a_statement_that_equals_the_book_shows_it_done() -> None:
    everyone = pending("A BTC", "B BTC", "C BTC", "D BTC", "E BTC")
    assert derive_outcomes(everyone, said(), AGREED, NOTHING, clear=True) == {"08": {"08/A/BTC": "DONE"}}


def test_a_statement_answers_what_was_unknown_but_undoes_no_rejection() -> None:
    unknown, rejected = pending("A BTC", outcome="UNKNOWN"), pending("A BTC", outcome="REJECTED")
    assert derive_outcomes(unknown, said(), AGREED, NOTHING, clear=True) == {"08": {"08/A/BTC": "DONE"}}
    assert derive_outcomes(rejected, said(), AGREED, NOTHING, clear=True) == {}
    assert derive_outcomes(rejected, said(A="DONE"), AGREED, NOTHING, clear=True) == {"08": {"08/A/BTC": "DONE"}}


def test_after_a_break_the_book_follows_the_statement_and_shows_nothing_of_what_came_before() -> None:
    both = pl.concat([pending("A BTC"), pending("A BTC", opens_at="12")])
    broken = pl.DataFrame([("A-BTC", "CU", "A", "BTC", "12")], schema=NOTHING.schema, orient="row")
    assert derive_outcomes(both, said(), AGREED, broken.select(NOTHING.columns), clear=True) == {
        "12": {"12/A/BTC": "DONE"}
    }
    elsewhere = broken.with_columns(instrument=pl.lit("ETH"))
    assert set(derive_outcomes(both, said(), AGREED, elsewhere, clear=True)) == {"08", "12"}


def test_while_a_row_of_the_custodians_word_is_in_quarantine_no_statement_confirms() -> None:
    found = derive_outcomes(pending("A BTC", "B BTC"), said(B="REJECTED"), AGREED, NOTHING, clear=False)
    assert found == {"08": {"08/B/BTC": "REJECTED"}}


def test_what_a_batch_has_said_before_it_does_not_say_again() -> None:
    assert derive_outcomes(pending("A BTC", heard=True), said(A="UNKNOWN"), AGREED, NOTHING, clear=True) == {}


# The custodians' file


def read(root: Path, text: str) -> tuple[pl.DataFrame, list[tuple[int, str]], pl.DataFrame]:
    (root / "custody").mkdir()
    (root / FILE).write_text(text)
    source = SourceFile.of("custody", root / FILE, root)
    confirmations, quarantined, count = read_confirmations(source, pending("A BTC", "B BTC", "C BTC"), DUE)
    return confirmations, quarantined.select("record", "flaw").rows(), count


def test_every_row_of_the_file_is_an_answer_or_in_quarantine_with_a_reason(tmp_path: Path) -> None:
    confirmations, quarantined, count = read(tmp_path, "\n".join([
        "instruction_id,outcome,executed_at,reference",
        "08/A/BTC,DONE,2026-11-02T14:00:00.5Z,CU:77",
        "08/A/BTC,DONE,2026-11-02T14:00:00.5Z,CU:77",
        "08/B/BTC,DONE,,",
        "08/B/BTC,REJECTED,,",
        "08/Z/BTC,DONE,,",
        "08/C/BTC,PAID,,",
        "08/C/BTC,,,",
        "08/C/BTC,DONE,yesterday,",
        "08/C/BTC,DONE,2026-11-02T16:00:00.000000001Z,",
        "08/C/BTC,DONE,,=SUM(A1)",
        "",
    ]))  # fmt: skip
    assert confirmations.select("instruction_id", "outcome", "reference").rows() == [("08/A/BTC", "DONE", "CU:77")]
    assert quarantined == [
        (3, "CONFLICTING_COPIES"), (4, "CONFLICTING_COPIES"), (5, "UNKNOWN_INSTRUCTION"), (6, "BAD_CODE"),
        (7, "MISSING_FIELD"), (8, "BAD_TIME"), (9, "IN_THE_FUTURE"), (10, "BAD_IDENTIFIER"),
    ]  # fmt: skip
    assert count.select("records", "accepted", "quarantined", "duplicates").rows() == [(10, 1, 8, 1)]


def test_two_columns_are_enough_and_a_strange_one_keeps_the_file_out(tmp_path: Path) -> None:
    confirmations, quarantined, _ = read(tmp_path, "outcome,instruction_id\nREJECTED,08/A/BTC\n")
    assert confirmations["outcome"].to_list() == ["REJECTED"]
    assert quarantined == []
    (tmp_path / "other").mkdir()
    confirmations, quarantined, _ = read(tmp_path / "other", "instruction_id,outcome,amount\n08/A/BTC,DONE,1\n")
    assert confirmations.is_empty()
    assert quarantined == [(0, "FILE_BAD_HEADER")]


def test_no_file_is_no_answer() -> None:
    assert all(frame.is_empty() for frame in read_confirmations(None, pending("A BTC"), DUE))


# The outbox

INSTRUMENTS = table("""
    instrument  name  kind    decimals  status
    BTC         b     CRYPTO  8         ACTIVE
    ETH         e     CRYPTO  18        ACTIVE
    USD         u     FIAT    2         ACTIVE
""", Instrument)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path / 'records.sqlite'}", at_noon).prepare()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_committed_batch_writes_each_custodian_its_instructions_and_is_executing(
    store: Store, tmp_path: Path
) -> None:
    life, outbox = life_of(), tmp_path / "outbox"
    claim = live(store, life, until="commit")
    hand_out(store, claim, INSTRUMENTS, outbox)
    assert store.batch(claim.batch_id)["state"] == "EXECUTING"
    wanted = store.rows("instructions", claim.batch_id)
    assert {path.name for path in (outbox / f"{CYCLE}.1").iterdir()} == {f"{name}.csv" for name in wanted["custodian"]}
    rows = [row for text in contents(outbox).values() for row in csv.DictReader(text.decode().splitlines())]
    written = {row["instruction_id"]: (row["kind"], row["account"], row["quantity_atoms"]) for row in rows}
    assert written == {
        row["instruction_id"]: (row["kind"], row["account"], str(row["quantity_atoms"]))
        for row in wanted.iter_rows(named=True)
    }
    assert {row["execute_by"] for row in rows} == {"2026-11-02T14:45:00Z"}, "the cut and 165 minutes"
    assert {row["quantity"] for row in rows if row["instrument"] == "BTC"} == {"10.00000000"}


def test_killed_between_file_and_record_it_writes_the_same_again_and_never_over_another(
    store: Store, tmp_path: Path
) -> None:
    outbox, claim = tmp_path / "outbox", live(store, life_of(), until="commit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "execute", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            hand_out(store, claim, INSTRUMENTS, outbox)
    first = contents(outbox)
    assert first
    [name, *_] = first
    (outbox / name).write_bytes(b"something else")
    with pytest.raises(BrokenInvariant, match="is not what the batch says"):
        hand_out(store, claim, INSTRUMENTS, outbox)
    assert store.batch(claim.batch_id)["state"] == "COMMITTED"
    (outbox / name).unlink()
    hand_out(store, claim, INSTRUMENTS, outbox)
    assert contents(outbox) == first


def test_what_was_handed_out_is_not_handed_out_again_when_the_files_are_gone(store: Store, tmp_path: Path) -> None:
    claim = live(store, life_of())
    hand_out(store, claim, INSTRUMENTS, tmp_path / "outbox")
    assert not (tmp_path / "outbox").exists()


def test_a_reversal_pays_back_only_what_was_done_and_is_due_after_its_own_decision(
    store: Store, tmp_path: Path
) -> None:
    life = life_of()
    claim = live(store, life)
    rejected, *done = life.instructions_of(claim)
    store.confirm(claim.batch_id, {rejected: "REJECTED"} | dict.fromkeys(done, "DONE"), "custodian")
    store.clock = lambda: NOON + timedelta(days=1)
    reversal = store.compensate(claim.batch_id, "one was refused", "ann")
    hand_out(store, Claim(reversal, 1), INSTRUMENTS, tmp_path)
    rows = [row for name, text in contents(tmp_path).items() if name.endswith(".csv")
            for row in csv.DictReader(text.decode().splitlines())]  # fmt: skip
    assert {row["instruction_id"] for row in rows} == {name.replace(claim.batch_id, reversal) for name in done}
    assert {row["execute_by"] for row in rows} == {"2026-11-03T14:45:00Z"}


INSTRUCTION = {
    "instruction_id": "I", "kind": "PAY_IN", "account": "A-1", "custodian": "CU", "instrument": "BTC",
    "quantity_atoms": 1,
}  # fmt: skip


def test_a_custodians_name_is_a_file_name_of_its_own() -> None:
    rows = [INSTRUCTION | {"instruction_id": name, "custodian": name} for name in ("a/b", "a_b", "a#b", "a%2Fb")]
    files = files_of(pl.DataFrame(rows), INSTRUMENTS, "now")
    assert sorted(files) == ["a%23b.csv", "a%252Fb.csv", "a%2Fb.csv", "a_b.csv"]
    assert all(text.decode().splitlines()[1].endswith(",BTC,0.00000001,1,now") for text in files.values())


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@now", "\tx"])
def test_a_cell_that_a_spreadsheet_would_run_never_leaves(cell: str) -> None:
    with pytest.raises(BrokenInvariant, match="could be a formula"):
        files_of(pl.DataFrame([INSTRUCTION | {"account": cell}]), INSTRUMENTS, "now")
