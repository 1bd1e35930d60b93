"""Is what is judged right let through, and what is wrong stopped, to the atom?"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Text, create_engine, event, text

from assets.quality.report import Verdict, judge
from schemas import records
from schemas.expectations.cycle import FRAMES, RULES

BATCH = "C4H-20261120-0800#1"
BTC, ETH, USD = 10**8, 10**18, 10**2
DIGEST = "0a" * 32


def positions(eth: int) -> list[dict[str, Any]]:
    """Five trades among A, B and C; A is 42,500.00 USD short, which its prime broker PX lends."""
    table = [
        # participant, instrument, available, debit, credit, drawn, lent
        ("A", "BTC", 0, 9 * BTC, 10 * BTC, 0, 0),
        ("A", "ETH", 0, 0, eth, 0, 0),
        ("A", "USD", 400_000 * USD, 1_350_000 * USD, 907_500 * USD, 42_500 * USD, 0),
        ("B", "BTC", 0, 10 * BTC, 10 * BTC, 0, 0),
        ("B", "ETH", eth, eth, 0, 0, 0),
        ("B", "USD", 0, 1_008_000 * USD, 1_350_000 * USD, 0, 0),
        ("C", "BTC", 1 * BTC, 4 * BTC, 3 * BTC, 0, 0),
        ("C", "USD", 0, 301_500 * USD, 402_000 * USD, 0, 0),
        ("PX", "USD", 42_500 * USD, 2_659_500 * USD, 2_659_500 * USD, 0, 42_500 * USD),
    ]
    return [
        {
            "batch_id": BATCH, "participant": who, "instrument": what, "account": f"acc-{who}-{what}",
            "custodian": "CU", "available_atoms": available, "debit_atoms": debit, "credit_atoms": credit,
            "net_atoms": credit - debit, "drawn_atoms": drawn, "break_atoms": 0,
            "closing_atoms": available + credit - debit + drawn - lent, "lent_atoms": lent,
            "total_atoms": available + credit - debit + drawn - lent,
        }
        for who, what, available, debit, credit, drawn, lent in table
    ]  # fmt: skip


def instructions(eth: int) -> list[dict[str, Any]]:
    moves = [
        ("PAY_IN", "A", "USD", 400_000 * USD), ("CREDIT_PAY_IN", "PX", "USD", 42_500 * USD),
        ("PAY_OUT", "B", "USD", 342_000 * USD), ("PAY_OUT", "C", "USD", 100_500 * USD),
        ("PAY_IN", "C", "BTC", 1 * BTC), ("PAY_OUT", "A", "BTC", 1 * BTC),
        ("PAY_IN", "B", "ETH", eth), ("PAY_OUT", "A", "ETH", eth),
    ]  # fmt: skip
    return [
        {
            "instruction_id": f"{BATCH}/{kind}/{who}/{what}", "batch_id": BATCH, "kind": kind,
            "participant": who, "account": f"acc-{who}-{what}", "custodian": "CU", "instrument": what,
            "quantity_atoms": atoms,
        }
        for kind, who, what, atoms in moves
    ]  # fmt: skip


def effects() -> list[dict[str, Any]]:
    """Per instrument: pre-funded, gross, bilateral (and payments), multilateral."""
    table = {
        "BTC": (3 * BTC, 66 * BTC, 2 * BTC, 2, 1 * BTC),
        "ETH": (100 * ETH, 300 * ETH, 300 * ETH, 3, 100 * ETH),
        "USD": (1_000_000 * USD, 7_677_000 * USD, 1_227_000 * USD, 4, 442_500 * USD),
    }
    return [
        {
            "batch_id": BATCH, "instrument": instrument, "decimals": 8, "prefunded_atoms": prefunded,
            "gross_atoms": gross, "bilateral_atoms": bilateral, "bilateral_payments": payments,
            "multilateral_atoms": multilateral,
        }
        for instrument, (prefunded, gross, bilateral, payments, multilateral) in table.items()
    ]  # fmt: skip


def store(connection: Connection, eth: int = 100 * ETH) -> None:
    """Store a batch of which every statement is true: five trades of two reports each, all settled."""

    def file(name: str, stage: str, rows: int) -> dict[str, Any]:
        return {
            "batch_id": BATCH, "file": name, "stage": stage, "file_sha256": DIGEST, "bytes": 9,
            "records": rows, "accepted": rows, "quarantined": 0, "duplicates": 0, "flaw": None,
        }  # fmt: skip

    def put(table: Any, *rows: dict[str, Any]) -> None:
        # A column that no rule looks at is blank, or nothing.
        blank = {c.name: "" if isinstance(c.type, Text) else 0 for c in table.columns if not c.nullable}
        connection.execute(table.insert(), [blank | row for row in rows])

    put(records.batches, {
        "batch_id": BATCH, "cycle_id": "C4H-20261120-0800", "attempt": 1, "state": "PROPOSED", "policy": "{}",
        "opens_at": "2026-11-20T08:00:00Z", "cut_at": "2026-11-20T12:00:00Z", "inputs_digest": DIGEST,
    })  # fmt: skip
    put(records.plans, {
        "batch_id": BATCH, "plan_digest": DIGEST, "degraded": 0, "reference_instrument": "USD", "fills_new": 10,
        "fills_carried": 0, "chains": 5, "chains_settled": 5, "weight_atoms": 7, "bound_atoms": 7,
    })  # fmt: skip
    put(
        records.input_files,
        file("venues/SPTX/fills.fix", "fills", 6),
        file("venues/VEN2/fills.csv", "fills", 4),
        file("custody/cu.csv", "custody", 9),
        file("credit/lines.csv", "credit", 2),
    )
    put(records.control_totals, *(
        {
            "batch_id": BATCH, "venue": venue, "base": "ETH", "quote": "USD", "side": side,
            "stated_reports": 5, "counted_reports": 5, "stated_base_atoms": eth, "counted_base_atoms": eth,
            "stated_quote_atoms": quote, "counted_quote_atoms": 300_000 * USD,
        }
        for venue, side, quote in (("SPTX", "BUY", 300_000 * USD), ("SPTX", "SELL", None), ("VEN2", "BUY", None))
    ))  # fmt: skip
    put(records.frames, *(
        {"batch_id": BATCH, "name": name, "digest": DIGEST, "rows": 10} for name in FRAMES
    ))  # fmt: skip
    put(records.fill_states, {"batch_id": BATCH, "state": "SETTLED", "reason": "", "fills": 10})
    put(records.selections, {
        "batch_id": BATCH, "priority": 4, "weight_atoms": 7, "bound_atoms": 7, "scale_bits": 2, "proof": "PRICES",
    })  # fmt: skip
    put(records.prices, {
        "batch_id": BATCH, "priority": 4, "kind": "ACCOUNT", "party": "A", "instrument": "USD", "price": "3",
    })  # fmt: skip
    put(records.pay_ins, *(
        {"batch_id": BATCH, "participant": who, "instrument": what, "pays_atoms": pays, "draws_atoms": draws}
        for who, what, pays, draws in (
            ("A", "USD", 442_500 * USD, 42_500 * USD), ("B", "ETH", eth, 0), ("C", "BTC", 1 * BTC, 0)
        )
    ))  # fmt: skip
    put(records.positions, *positions(eth))
    put(records.netting_effects, *effects())
    put(records.credit_draws, {
        "batch_id": BATCH, "line_id": "L1", "instrument": "USD", "prime_broker": "PX", "client": "A",
        "drawn_atoms": 42_500 * USD,
    })  # fmt: skip
    put(records.instructions, *instructions(eth))


@pytest.fixture
def records_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'records of $HOME.db'}"
    engine = create_engine(url)
    records.metadata.create_all(engine)
    engine.dispose()
    return url


@pytest.fixture
def change(records_url: str) -> Callable[..., None]:
    """Change the stored rows past the database's own checks, as a fault or a hand could."""

    def run(*statements: str | Callable[[Connection], None]) -> None:
        engine = create_engine(records_url)

        @event.listens_for(engine, "connect")
        def _(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA ignore_check_constraints = ON")

        with engine.begin() as connection:
            for statement in statements:
                if callable(statement):
                    statement(connection)
                else:
                    assert connection.execute(text(statement)).rowcount, "the statement changes nothing"
        engine.dispose()

    return run


def broken(records_url: str) -> set[str]:
    """The names of the rules whose query, run without Great Expectations, finds rows."""
    engine = create_engine(records_url)
    with engine.connect() as connection:
        found = {rule.name for rule in RULES if connection.execute(text(rule.sql), {"batch": BATCH}).fetchall()}
    engine.dispose()
    return found


# Rule -> the least that makes it fail, and which others must then fail with it.
FAULTS: dict[str, tuple[str, set[str]]] = {
    "batch_is_stored": ("UPDATE batches SET state = 'ABORTED'", set()),
    "batch_follows_a_committed_one": ("UPDATE batches SET previous_batch_id = batch_id", set()),
    "positions_sum_to_zero": (
        "UPDATE positions SET credit_atoms = '265950001', net_atoms = '1', closing_atoms = '1'"
        " WHERE participant = 'PX'",
        {"instructions_move_the_positions"},
    ),
    "net_is_credit_less_debit": ("UPDATE positions SET debit_atoms = '1' WHERE participant = 'PX'", set()),
    "closing_is_opening_and_what_moved": (
        "UPDATE positions SET closing_atoms = '1' WHERE participant = 'PX'",
        set(),
    ),
    "nobody_is_below_zero": (
        "UPDATE positions SET available_atoms = '4249999', closing_atoms = '-1' WHERE participant = 'PX'",
        set(),
    ),
    "accounts_belong_to_one_participant": (
        "UPDATE positions SET account = 'acc-A-BTC' WHERE participant = 'PX'",
        set(),
    ),
    "every_record_is_accounted_for": ("UPDATE input_files SET duplicates = 1 WHERE stage = 'custody'", set()),
    "quarantine_is_explained": (
        f"INSERT INTO flaws VALUES ('{BATCH}', 'custody/cu.csv', 'BAD_LEI', 1)",
        set(),
    ),
    "degraded_says_the_truth": ("UPDATE plans SET degraded = 1", set()),
    "accepted_fills_enter_the_batch": ("UPDATE plans SET fills_new = 9, fills_carried = 1", set()),
    "venue_totals_reconcile": (
        "UPDATE control_totals SET stated_quote_atoms = '30000001' WHERE stated_quote_atoms IS NOT NULL",
        set(),
    ),
    "every_fill_has_one_outcome": ("UPDATE fill_states SET fills = 9", set()),
    "what_settles_is_within_what_could": (
        "UPDATE plans SET weight_atoms = '8'",
        {"classes_add_up_to_the_batch"},
    ),
    "every_class_is_within_its_bound": (
        f"INSERT INTO selections VALUES ('{BATCH}', 5, '1', '0', 0, 'PRICES'), ('{BATCH}', 6, '-1', '0', 0, 'PRICES')",
        set(),
    ),
    "classes_add_up_to_the_batch": ("UPDATE plans SET bound_atoms = '8'", set()),
    "prices_prove_a_class": ("UPDATE prices SET priority = 5", set()),
    "what_waits_has_a_reason": ("UPDATE fill_states SET state = 'WAITING'", set()),
    "top_ups_are_for_what_waits": (f"INSERT INTO top_ups VALUES ('{BATCH}', 'M9', 'A', 'USD', '1')", set()),
    "pay_in_schedule_is_what_is_owed": ("UPDATE pay_ins SET draws_atoms = '4249999' WHERE participant = 'A'", set()),
    "settled_chains_have_positions": (
        "DELETE FROM positions",
        {"credit_drawn_is_on_a_line", "instructions_name_known_accounts", "pay_in_schedule_is_what_is_owed"},
    ),
    "pay_ins_equal_pay_outs": (
        "UPDATE instructions SET quantity_atoms = '40000001' WHERE kind = 'PAY_IN' AND participant = 'A'",
        {"instructions_move_the_positions"},
    ),
    "instructions_move_the_positions": (
        "UPDATE instructions SET participant = 'A', account = 'acc-A-USD'"
        " WHERE kind = 'PAY_OUT' AND participant = 'C' AND instrument = 'USD'",
        set(),
    ),
    "instructions_name_known_accounts": (
        "UPDATE instructions SET account = 'acc-C-BTC' WHERE kind = 'PAY_OUT' AND instrument = 'ETH'",
        set(),
    ),
    "credit_drawn_is_on_a_line": ("UPDATE credit_draws SET client = 'C'", set()),
    "credit_drawn_is_paid_in": (
        "UPDATE instructions SET kind = 'PAY_IN' WHERE kind = 'CREDIT_PAY_IN'",
        {"instructions_move_the_positions"},
    ),
    "nobody_lends_more_than_is_drawn": (
        "UPDATE positions SET lent_atoms = '4250001', available_atoms = '4250001' WHERE participant = 'PX'",
        set(),
    ),
    "netting_never_adds": ("UPDATE netting_effects SET bilateral_atoms = multilateral_atoms || '0'", set()),
    "every_amount_has_its_lineage": ("DELETE FROM frames WHERE name = 'obligations'", set()),
    "digests_are_whole": ("UPDATE frames SET digest = upper(digest) WHERE name = 'trades'", set()),
    "nothing_was_quarantined": (
        "UPDATE input_files SET quarantined = 1, accepted = 8 WHERE stage = 'custody'",
        {"quarantine_is_explained", "degraded_says_the_truth"},
    ),
    "no_file_was_kept_out": (
        "UPDATE input_files SET flaw = 'FILE_EMPTY', records = 0, accepted = 0 WHERE stage = 'custody'",
        {"degraded_says_the_truth"},
    ),
    "venue_totals_agree_despite_quarantine": (
        "UPDATE control_totals SET counted_reports = 4, quarantined = 1 WHERE venue = 'VEN2'",
        set(),
    ),
    "every_venue_states_its_totals": ("DELETE FROM control_totals WHERE venue = 'VEN2'", set()),
    "book_and_custodians_agree": ("UPDATE positions SET break_atoms = '-1' WHERE participant = 'PX'", set()),
    "every_trade_has_two_sides": ("UPDATE fill_states SET state = 'UNMATCHED', reason = 'XUNM'", set()),
    "every_wish_has_its_effect": (f"INSERT INTO frames VALUES ('{BATCH}', 'disagreements', '{DIGEST}', 1)", set()),
    "no_give_up_was_rejected": ("UPDATE fill_states SET state = 'REJECTED', reason = 'NOP'", set()),
}


def test_a_correct_batch_breaks_no_rule(records_url: str, change: Callable[..., None]) -> None:
    change(store)
    assert broken(records_url) == set()


def test_every_rule_has_a_fault_that_it_must_find() -> None:
    assert sorted(FAULTS) == sorted(rule.name for rule in RULES)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_by_its_rule(name: str, records_url: str, change: Callable[..., None]) -> None:
    fault, others = FAULTS[name]
    change(store, fault)
    assert broken(records_url) == {name} | others


def test_one_atom_in_a_quintillion_ether_is_seen(records_url: str, change: Callable[..., None]) -> None:
    change(lambda connection: store(connection, eth=10**36))
    assert broken(records_url) == set()
    change(
        f"UPDATE positions SET net_atoms = '{10**36 + 1}' WHERE participant = 'A' AND instrument = 'ETH'",
    )
    assert broken(records_url) == {
        "positions_sum_to_zero", "net_is_credit_less_debit", "closing_is_opening_and_what_moved",
        "instructions_move_the_positions",
    }  # fmt: skip


@pytest.mark.parametrize(
    "one_less",
    [
        "counted_reports = 4",
        f"counted_base_atoms = '{100 * ETH - 1}'",
        f"counted_quote_atoms = '{300_000 * USD - 1}'",
    ],
)
def test_a_venue_total_that_is_off_by_one_in_any_column_is_found(
    one_less: str, records_url: str, change: Callable[..., None]
) -> None:
    change(store, f"UPDATE control_totals SET {one_less} WHERE side = 'BUY' AND venue = 'SPTX'")
    assert broken(records_url) == {"venue_totals_reconcile"}
    change("UPDATE control_totals SET quarantined = 1")
    explained = "counted_reports" in one_less
    assert broken(records_url) == {"venue_totals_agree_despite_quarantine" if explained else "venue_totals_reconcile"}


@pytest.mark.parametrize(
    "fault",
    [
        "UPDATE netting_effects SET multilateral_atoms = prefunded_atoms || '0' WHERE instrument = 'BTC'",
        "UPDATE netting_effects SET prefunded_atoms = gross_atoms || '0' WHERE instrument = 'BTC'",
        "UPDATE netting_effects SET multilateral_atoms = '-1' WHERE instrument = 'BTC'",
    ],
)
def test_netting_that_adds_anywhere_is_found(fault: str, records_url: str, change: Callable[..., None]) -> None:
    change(store, fault)
    assert broken(records_url) == {"netting_never_adds"}


def test_quarantined_records_with_their_reasons_are_no_fault_but_are_told(
    records_url: str, change: Callable[..., None]
) -> None:
    change(
        store,
        "UPDATE plans SET degraded = 1",
        "UPDATE input_files SET quarantined = 3, accepted = 6 WHERE file = 'custody/cu.csv'",
        f"INSERT INTO flaws VALUES ('{BATCH}', 'custody/cu.csv', 'BAD_LEI', 2)",
        f"INSERT INTO flaws VALUES ('{BATCH}', 'custody/cu.csv', 'BAD_NUMBER', 1)",
        "UPDATE input_files SET flaw = 'FILE_EMPTY', records = 0, accepted = 0 WHERE stage = 'credit'",
        f"INSERT INTO flaws VALUES ('{BATCH}', 'credit/lines.csv', 'FILE_EMPTY', 1)",
    )
    assert broken(records_url) == {"nothing_was_quarantined", "no_file_was_kept_out"}


def test_a_batch_that_is_not_there_does_not_pass(records_url: str) -> None:
    assert "batch_is_stored" in broken(records_url)


def test_a_later_attempt_is_judged_apart_from_an_earlier_one(records_url: str, change: Callable[..., None]) -> None:
    change(store)
    written = ("instructions", "log_entries", "log_frames", "checkpoints", "keys")  # The first has ids of its own.
    tables = [t for t in records.metadata.sorted_tables if t.name not in ("batches", *written)]
    change(
        f"UPDATE batches SET batch_id = '{BATCH}0'",
        *(f"UPDATE {table.name} SET batch_id = '{BATCH}0'" for table in tables if table.name not in
          ("flaws", "holds", "postings", "top_ups", "verdicts", "transitions", "approvals", "confirmations")),
        f"UPDATE instructions SET batch_id = '{BATCH}0', instruction_id = '0' || instruction_id",
        store,
        "UPDATE batches SET state = 'ABORTED' WHERE batch_id LIKE '%0'",
        "UPDATE plans SET degraded = 1 WHERE batch_id LIKE '%0'",
        "UPDATE positions SET net_atoms = '5', break_atoms = '5' WHERE batch_id LIKE '%0'",
        "UPDATE instructions SET quantity_atoms = '5' WHERE batch_id LIKE '%0'",
    )  # fmt: skip
    assert broken(records_url) == set()


def failed(verdicts: list[Verdict]) -> set[str]:
    return {verdict.rule for verdict in verdicts if not verdict.success}


def test_the_report_says_what_the_queries_say_and_can_be_read_offline(
    records_url: str, change: Callable[..., None], tmp_path: Path
) -> None:
    docs = tmp_path / "docs of $HOME"  # A dollar sign and a space stay what they are.
    change(store)
    verdicts = judge(records_url, BATCH, docs)
    assert failed(verdicts) == set()
    assert [(v.rule, v.statement, v.severity) for v in verdicts] == [(r.name, r.statement, r.severity) for r in RULES]
    assert {verdict.found for verdict in verdicts} == {"0 rows"}

    change(
        "UPDATE positions SET closing_atoms = '777777777' WHERE instrument = 'ETH'",
        "UPDATE positions SET break_atoms = '-888888888' WHERE participant = 'B'",
        "ALTER TABLE netting_effects RENAME TO gone",
    )
    verdicts = judge(records_url, BATCH, docs)
    found = {verdict.rule: verdict.found for verdict in verdicts if not verdict.success}
    assert found == {
        "closing_is_opening_and_what_moved": "2 rows break it",
        "book_and_custodians_agree": "3 rows break it",
        "netting_never_adds": "it could not be judged: its query did not run",
    }

    pages = list(docs.rglob("*.html"))
    index = (docs / "index.html").read_text()
    assert index.count("C4H-20261120-0800-attempt-1/") >= 4, "both runs are listed, each with two suites"
    assert all(any(rule.statement in page.read_text() for page in pages) for rule in RULES)
    for page in [*pages, *docs.glob("results/**/*.json")]:
        content = page.read_text()
        assert not re.search(r"(src|href)=\"(https?:)?//|url\(['\"]?https?:", content), page.name
        assert "777777777" not in content
        assert "888888888" not in content
        assert page.suffix == ".json" or "Traceback" not in content
        for local in re.findall(r"(?:src|href)=\"([^\"#?]+\.(?:css|js|html))\"", content):
            assert (page.parent / local).is_file(), f"{page.name} wants {local}"
