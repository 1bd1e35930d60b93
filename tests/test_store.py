"""The records: settings that durability rests on, one commit whoever tries, and a gate that cannot be passed by."""

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import polars as pl
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.exc import IntegrityError, StatementError

from assets.ledger import store as ledger
from assets.ledger.store import Proposal, Store
from assets.netting.net import net_obligations
from assets.obligations.derive import derive_obligations
from assets.settlement.instruct import Plan, plan, plan_digest
from schemas import records
from schemas.digest import digest_of
from schemas.errors import BlockedByQuality, BrokenInvariant, CommittedCycleChanged, CycleOutOfOrder
from tests.deployment import Deployment
from tests.market_days import accounts_of, amount, chosen_of, credit_of, trades_of

CYCLE, NEXT = "C4H-20261102-0800", "C4H-20261102-1200"
RULES = ("nothing_is_lost", "everyone_is_content")
WORST = 10**38 - 1


def proposed(cycle_id: str = CYCLE, **changed: Any) -> tuple[Proposal, Plan]:
    """Return a small cycle's proposal: B buys 10 BTC from A for a million, of which PX lends it 42,500.00."""
    trades = trades_of("""
        chain_id  buyer  buyer_broker  seller  seller_broker  base  quote  base_amount  quote_amount
        F1        B      PX            A       PY             BTC   USD    10           1_000_000.00
    """)
    funds = accounts_of(trades, "A BTC 10\nB USD 957_500\nPX USD 50_000")
    chosen = chosen_of(trades, funds, credit_of("PX B USD 50_000"))
    planned = plan(cycle_id, net_obligations(derive_obligations(trades)), chosen.draws, funds)
    batch = {
        "cycle_id": cycle_id, "opens_at": f"2026-11-02T{cycle_id[-4:-2]}:00:00+00:00", "cut_at": "later",
        "previous_batch_id": None, "policy": "{}", "inputs_digest": "1" * 64, "trine_version": "0",
        "plan_digest": plan_digest(planned, chosen.decisions), "degraded": 0, "reference_instrument": "USD",
        "fills_new": 2, "fills_carried": 0, "chains": 1, "chains_settled": 1, "value_atoms": 10**8,
        "value_open_atoms": 0, "weight_atoms": 2 * 10**8, "bound_atoms": 2 * 10**8, "solver": "s", "path": "p",
    }  # fmt: skip
    frozen = {"name": ["postings"], "digest": [digest_of(planned.postings)], "rows": [planned.postings.height]}
    rows = {
        "positions": planned.accounts, "credit_draws": planned.draws, "instructions": planned.instructions,
        "frames": pl.DataFrame(frozen), "selections": chosen.certificates, "pay_ins": chosen.schedule,
        "top_ups": pl.DataFrame({"chain_id": ["F2"], "participant": ["A"], "instrument": ["BTC"], "quantity_atoms": [1]}),
    }  # fmt: skip
    return Proposal(batch | changed, rows), planned


def verdicts(*rules: str, severity: str = "BLOCK", success: int = 1) -> list[dict[str, Any]]:
    return [{"rule": rule, "statement": "s", "severity": severity, "success": success, "found": "f"} for rule in rules]


def settle(store: Store, cycle_id: str = CYCLE, **changed: Any) -> str:
    """Propose, judge and commit a small cycle."""
    proposal, planned = proposed(cycle_id, **changed)
    batch_id = store.propose(proposal)
    store.record_verdicts(batch_id, verdicts(*RULES))
    assert store.commit(batch_id, planned.postings, RULES)
    return batch_id


def rows_of(store: Store) -> dict[str, int]:
    with store.engine.connect() as connection:
        return {name: len(connection.execute(select(table)).all()) for name, table in records.metadata.tables.items()}


@pytest.fixture
def store(records_url: str) -> Store:
    return Store(records_url).prepare()


# The database itself


def test_the_migrations_make_exactly_the_tables_that_the_code_knows(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "render_as_batch": True})
        assert compare_metadata(context, records.metadata) == []


def test_records_of_the_first_tables_are_migrated_and_keep_their_rows(records_url: str) -> None:
    store, config = Store(records_url), Config()
    config.set_main_option("script_location", str(ledger.MIGRATIONS))
    with store.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    proposal, planned = proposed()
    first = {"positions", "credit_draws", "instructions", "frames"}
    batch_id = store.propose(Proposal(proposal.batch, {name: proposal.rows[name] for name in first}))
    store.prepare()
    assert store.rows("positions", batch_id).height == planned.accounts.height
    assert store.rows("selections", batch_id).is_empty()


def test_preparing_twice_changes_nothing(store: Store) -> None:
    settle(store)
    before = rows_of(store)
    store.prepare()
    assert rows_of(store) == before


def test_many_processes_may_prepare_an_empty_database_at_once(records_url: str) -> None:
    program = "import sys; from assets.ledger.store import Store; Store(sys.argv[1]).prepare()"
    started = [subprocess.Popen([sys.executable, "-c", program, records_url]) for _ in range(4)]
    assert [process.wait() for process in started] == [0, 0, 0, 0]
    settle(Store(records_url))


def test_sqlite_flushes_every_commit_and_knows_foreign_keys(tmp_path: Any) -> None:
    store = Store(f"sqlite:///{tmp_path / 'r.sqlite'}").prepare()
    with store.engine.connect() as connection:
        names = ("journal_mode", "synchronous", "foreign_keys")
        found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names}
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_sqlite_that_would_lose_commits_is_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(f"sqlite:///{tmp_path / 'r.sqlite'}")
    monkeypatch.setitem(ledger.SQLITE_SETTINGS, "synchronous", "NORMAL")
    with pytest.raises(BrokenInvariant, match="synchronous is 1 and must be"):
        store.prepare()


def test_a_batch_of_no_cycle_cannot_have_rows(store: Store) -> None:
    orphan = {"batch_id": "gone", "name": "fills", "digest": "0", "rows": 1}
    with pytest.raises(IntegrityError), store.engine.begin() as connection:
        connection.execute(insert(records.frames), orphan)


NOT_NEGATIVE = [
    (table.name, column.name)
    for table in records.metadata.sorted_tables
    for column in table.columns
    if any(f"{column.name}_not_negative" in str(constraint.name) for constraint in table.constraints)
]


def test_the_amounts_that_must_not_be_negative_are_these() -> None:
    assert sorted(NOT_NEGATIVE) == [
        ("holds", "held_atoms"), ("instructions", "quantity_atoms"), ("pay_ins", "draws_atoms"),
        ("pay_ins", "has_atoms"), ("pay_ins", "must_bring_atoms"), ("pay_ins", "pays_atoms"),
        ("positions", "available_atoms"), ("positions", "closing_atoms"), ("positions", "credit_atoms"),
        ("positions", "debit_atoms"), ("positions", "drawn_atoms"), ("positions", "lent_atoms"),
        ("selections", "bound_atoms"), ("selections", "weight_atoms"), ("top_ups", "quantity_atoms"),
    ]  # fmt: skip


@pytest.mark.parametrize("records_url", ["sqlite", "postgresql"], indirect=True)
def test_the_database_itself_refuses_a_negative_amount(store: Store) -> None:
    settle(store)
    wrong = ["'-1'"] + (["'NaN'"] if store.engine.dialect.name == "postgresql" else [])
    for table, column in NOT_NEGATIVE:
        for value in wrong:
            with pytest.raises(IntegrityError, match="not_negative"), store.engine.begin() as connection:
                connection.execute(text(f"UPDATE {table} SET {column} = {value}"))
        with store.engine.begin() as connection:
            assert connection.execute(text(f"UPDATE {table} SET {column} = '0'")).rowcount


# Amounts


@pytest.mark.parametrize("atoms", [0, 1, -1, 2**63, -(2**64), 10**37 + 1, WORST, -WORST])
def test_an_amount_comes_back_as_the_integer_that_it_was(store: Store, atoms: int) -> None:
    batch_id = settle(store)
    posting = {"posting_id": "p", "batch_id": batch_id, "kind": "DEBIT", "account": "a", "participant": "A",
               "instrument": "BTC", "atoms": atoms}  # fmt: skip
    with store.engine.begin() as connection:
        connection.execute(insert(records.postings), posting)
    found = store.rows("postings", batch_id).filter(posting_id="p")["atoms"]
    assert found.dtype == pl.Int128
    assert found.item() == atoms


@pytest.mark.parametrize("atoms", [1.0, 0.1, "1", True, WORST + 1, -WORST - 1])
def test_what_is_no_integer_of_38_digits_is_no_amount(store: Store, atoms: Any) -> None:
    proposal, _ = proposed(value_atoms=atoms)
    with pytest.raises((StatementError, BrokenInvariant)):
        store.propose(proposal)
    assert not any(rows_of(store).values())


def test_the_exact_functions_of_both_engines_agree(store: Store) -> None:
    batch_id = settle(store)
    with store.engine.begin() as connection:
        for number, atoms in enumerate((WORST, WORST, -1)):
            connection.execute(
                insert(records.postings),
                {"posting_id": f"x{number}", "batch_id": batch_id, "kind": "x", "account": "a", "participant": "A",
                 "instrument": "XAU", "atoms": atoms},
            )  # fmt: skip
        found = connection.execute(text(
            "SELECT atoms_sum(atoms), atoms_sign(atoms_minus(atoms_sum(atoms), MAX(atoms))), atoms_sign(MIN(atoms)),"
            " atoms_sum(CASE WHEN kind = 'none' THEN atoms END) FROM postings WHERE instrument = 'XAU'"
        )).one()  # fmt: skip
    assert tuple(map(int, found)) == (2 * WORST - 1, 1, -1, 0)


# One commit


def test_holds_are_the_debits_in_excess_and_are_all_consumed(store: Store) -> None:
    batch_id = settle(store)
    held = store.rows("holds", batch_id).select("account", "held_atoms", "state").rows()
    assert held == [
        ("A/BTC", amount("10", "BTC"), "CONSUMED"), ("B/USD", amount("957_500", "USD"), "CONSUMED"),
        ("PX/USD", amount("42_500", "USD"), "CONSUMED"),
    ]  # fmt: skip
    moved = store.rows("instructions", batch_id).filter(pl.col("kind") != "PAY_OUT")
    assert sorted(moved["quantity_atoms"]) == sorted(atoms for _, atoms, _ in held)


def test_the_postings_of_each_instrument_sum_to_zero_and_make_the_closing_balances(worked: Deployment) -> None:
    [batch] = worked.store.committed()
    postings = worked.store.rows("postings", batch["batch_id"])
    sums: dict[str, int] = {}
    moved: dict[str, int] = {}
    for row in postings.iter_rows(named=True):
        sums[row["instrument"]] = sums.get(row["instrument"], 0) + row["atoms"]
        moved[row["account"]] = moved.get(row["account"], 0) + row["atoms"]
    assert sums == {"BTC": 0, "ETH": 0, "USD": 0}
    for row in worked.store.rows("positions", batch["batch_id"]).iter_rows(named=True):
        assert row["available_atoms"] + moved.get(row["account"], 0) == row["closing_atoms"]


def at_once(count: int, act: Callable[[], Any]) -> list[Any]:
    """Return what `count` threads that act together get, errors as values."""
    barrier = Barrier(count)

    def one(_: int) -> Any:
        barrier.wait()
        try:
            return act()
        except Exception as error:  # noqa: BLE001  What came is what the test asks.
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_of_many_who_commit_one_batch_one_does_and_the_others_hear_that_it_is_final(store: Store) -> None:
    proposal, planned = proposed()
    batch_id = store.propose(proposal)
    store.record_verdicts(batch_id, verdicts(*RULES))
    answers = at_once(8, lambda: Store(store.url).commit(batch_id, planned.postings, RULES))
    assert sorted(answers, key=repr) == [False] * 7 + [True]
    assert store.rows("postings", batch_id).height == planned.postings.height
    assert [batch["batch_id"] for batch in store.committed()] == [batch_id]


def test_of_many_attempts_at_one_cycle_one_stays_proposed(store: Store) -> None:
    proposal, _ = proposed()
    answers = at_once(6, lambda: Store(store.url).propose(proposal))
    assert sorted(answers) == [f"{CYCLE}#{attempt}" for attempt in range(1, 7)]
    states = [store.batch(batch_id)["state"] for batch_id in sorted(answers)]
    assert states == ["ABORTED"] * 5 + ["PROPOSED"]


def test_a_committed_cycle_proposed_again_is_found_and_with_another_plan_is_a_fault(store: Store) -> None:
    batch_id = settle(store)
    before = rows_of(store)
    assert store.propose(proposed()[0]) == batch_id
    with pytest.raises(BrokenInvariant, match="the same inputs now make another plan"):
        store.propose(proposed(plan_digest="2" * 64)[0])
    assert rows_of(store) == before


def test_what_is_committed_cannot_be_aborted(store: Store) -> None:
    batch_id = settle(store)
    with pytest.raises(BrokenInvariant, match="no longer PROPOSED"):
        store.abort(batch_id, "too late")
    assert store.batch(batch_id)["state"] == "COMMITTED"


def test_a_batch_made_before_another_cycle_was_committed_is_not_committed_after_it(store: Store) -> None:
    early, planned = proposed(CYCLE)
    batch_id = store.propose(early)
    store.record_verdicts(batch_id, verdicts(*RULES))
    settle(store, NEXT)
    with pytest.raises(CycleOutOfOrder, match=f"before {NEXT} was committed"):
        store.commit(batch_id, planned.postings, RULES)
    assert [batch["cycle_id"] for batch in store.committed()] == [NEXT]


def test_a_strict_default_of_the_server_does_not_let_two_cycles_follow_the_same_one(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, faster = Store(postgres_url).prepare(), Store(postgres_url)
    batch_id, planned = store.propose(proposed(CYCLE)[0]), proposed(CYCLE)[1]
    store.record_verdicts(batch_id, verdicts(*RULES))
    other_id, other = store.propose(proposed(NEXT)[0]), proposed(NEXT)[1]
    store.record_verdicts(other_id, verdicts(*RULES))
    watch = create_engine(postgres_url, isolation_level="AUTOCOMMIT").connect()  # Without Trine's lock.
    strict = "SET default_transaction_isolation = 'repeatable read'"
    watch.exec_driver_sql(f"ALTER DATABASE {store.engine.url.database} {strict}")
    require_last, waiting = faster._require_last, ThreadPoolExecutor(1)

    def while_the_other_waits(*given: Any) -> None:
        answers.append(waiting.submit(store.commit, batch_id, planned.postings, RULES))
        while not (answers[0].done() or watch.exec_driver_sql("SELECT 1 FROM pg_locks WHERE NOT granted").first()):
            time.sleep(0.01)
        require_last(*given)

    answers: list[Any] = []
    monkeypatch.setattr(faster, "_require_last", while_the_other_waits)
    assert faster.commit(other_id, other.postings, RULES)
    with pytest.raises(CycleOutOfOrder):
        answers[0].result()
    assert [batch["cycle_id"] for batch in store.committed()] == [NEXT]


def test_an_account_left_out_of_a_cycle_keeps_the_book_that_it_had(store: Store) -> None:
    first = settle(store)
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE positions SET closing_atoms = '7' WHERE participant = 'A'"))
    second = settle(store, NEXT, previous_batch_id=first)
    everyone = store.rows("positions", second)
    with store.engine.begin() as connection:
        connection.execute(text(f"DELETE FROM positions WHERE participant = 'A' AND batch_id = '{second}'"))

    def closing(who: pl.DataFrame, before: str = "2026-11-03") -> set[tuple[str, str]]:
        return set(store.book(who, before).select("participant", "batch_id").rows())

    assert closing(everyone) == {("A", first), ("B", second), ("PX", second), ("PY", second)}
    assert set(store.book(everyone, "2026-11-03").filter(participant="A")["closing_atoms"]) == {7}
    assert closing(everyone, "2026-11-02T09") == {("A", first), ("B", first), ("PX", first), ("PY", first)}
    assert closing(everyone.with_columns(account=pl.lit("another"))) == set()


def test_a_hold_larger_than_what_is_there_is_never_placed(store: Store) -> None:
    proposal, planned = proposed()
    batch_id = store.propose(proposal)
    store.record_verdicts(batch_id, verdicts(*RULES))
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE positions SET available_atoms = '1' WHERE participant = 'A'"))
    before = rows_of(store)
    with pytest.raises(BrokenInvariant, match="a hold is larger than what is there"):
        store.commit(batch_id, planned.postings, RULES)
    assert rows_of(store) == before
    assert store.committed() == []


def test_only_the_postings_that_were_judged_are_posted(store: Store) -> None:
    proposal, planned = proposed()
    batch_id = store.propose(proposal)
    store.record_verdicts(batch_id, verdicts(*RULES))
    other = planned.postings.with_columns(atoms=pl.col("atoms") + pl.col("atoms"))
    with pytest.raises(BrokenInvariant, match="are not those that were judged"):
        store.commit(batch_id, other, RULES)
    assert store.committed() == []


# The gate


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([], "not judged: everyone_is_content, nothing_is_lost"),
        (verdicts(RULES[0]), "not judged: everyone_is_content"),
        ([*verdicts(RULES[0]), *verdicts(RULES[1], success=0)], "failed: everyone_is_content"),
        ([*verdicts(*RULES), *verdicts("one_more", success=0)], "failed: one_more"),
    ],
)
def test_without_every_verdict_and_all_of_them_good_nothing_is_committed(
    store: Store, said: list[dict[str, Any]], why: str
) -> None:
    proposal, planned = proposed()
    batch_id = store.propose(proposal)
    store.record_verdicts(batch_id, said)
    before = rows_of(store)
    with pytest.raises(BlockedByQuality, match=why):
        store.commit(batch_id, planned.postings, RULES)
    assert rows_of(store) == before
    assert store.batch(batch_id)["state"] == "PROPOSED"


def test_a_warning_does_not_block(store: Store) -> None:
    proposal, planned = proposed()
    batch_id = store.propose(proposal)
    store.record_verdicts(batch_id, [*verdicts(RULES[0]), *verdicts(RULES[1], severity="WARN", success=0)])
    assert store.commit(batch_id, planned.postings, RULES)


def test_an_attempt_is_judged_once(store: Store) -> None:
    batch_id = store.propose(proposed()[0])
    store.record_verdicts(batch_id, verdicts(RULES[0], success=0))
    with pytest.raises(IntegrityError):
        store.record_verdicts(batch_id, verdicts(RULES[0]))


# Whose turn it is


def test_a_cycle_follows_the_last_committed_one_and_knows_itself(store: Store) -> None:
    opens = "2026-11-02T{}:00:00+00:00".format
    turn = store.require_turn(CYCLE, opens("08"), lambda previous: f"{previous}")
    assert (turn.previous, turn.committed, turn.inputs_digest) == (None, None, "None")
    first = settle(store)
    turn = store.require_turn(NEXT, opens("12"), lambda previous: str(previous and previous["batch_id"]))
    assert turn.previous is not None
    assert (turn.previous["batch_id"], turn.committed, turn.inputs_digest) == (first, None, first)
    same = store.require_turn(CYCLE, opens("08"), lambda _: "1" * 64)
    assert same.committed is not None
    assert same.committed["batch_id"] == first
    with pytest.raises(CommittedCycleChanged, match="never edited"):
        store.require_turn(CYCLE, opens("08"), lambda _: "2" * 64)
    with pytest.raises(CycleOutOfOrder, match="a cycle starts from the closing balances of the one before"):
        store.require_turn("C4H-20261102-0400", opens("04"), lambda _: "1" * 64)
