"""The records: settings that durability rests on, one commit whoever tries, and a gate that cannot be passed by."""

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
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

from assets.ledger import database
from assets.ledger.store import Claim, Store
from schemas import records
from schemas.cycle import Policy
from schemas.errors import (
    AwaitsApproval,
    BlockedByQuality,
    BrokenInvariant,
    CommittedCycleChanged,
    CycleOutOfOrder,
    RefusedInput,
    TakenOver,
)
from tests.batches import CYCLE, NEXT, NOON, RULES, STEPS, at_noon, life_of, live, settle, verdicts
from tests.deployment import Deployment
from tests.market_days import amount

WORST = 10**38 - 1


def rows_of(store: Store) -> dict[str, int]:
    with store.engine.connect() as connection:
        return {name: len(connection.execute(select(table)).all()) for name, table in records.metadata.tables.items()}


@pytest.fixture
def store(records_url: str) -> Store:
    return Store(records_url, at_noon).prepare()


# The database itself


def test_the_migrations_make_exactly_the_tables_that_the_code_knows(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "render_as_batch": True})
        assert compare_metadata(context, records.metadata) == []


def test_records_of_the_first_tables_are_migrated_keep_their_rows_and_get_leaves(records_url: str) -> None:
    store, config = Store(records_url), Config()
    config.set_main_option("script_location", str(database.MIGRATIONS))
    with store.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        for number, state in enumerate(("ABORTED", "COMMITTED"), start=1):
            connection.execute(text(
                "INSERT INTO batches VALUES (:id, 'C', :n, :state, NULL, 'a', 'b', NULL, '{}', 'i', 'p', '0', 0, 'USD',"
                " 2, 0, 1, 1, '5', '6', '7', '8', 's', 'p')".replace("'5', '6', '7', '8'", "5, 6, 7, 8")
                if store.engine.dialect.name == "postgresql" else
                "INSERT INTO batches VALUES (:id, 'C', :n, :state, NULL, 'a', 'b', NULL, '{}', 'i', 'p', '0', 0, 'USD',"
                " 2, 0, 1, 1, '5', '6', '7', '8', 's', 'p')"
            ), {"id": f"C#{number}", "n": number, "state": state})  # fmt: skip
        connection.execute(text("INSERT INTO holds VALUES ('C#2', 'A/BTC', 'BTC', '3', 'CONSUMED')"
                                if store.engine.dialect.name == "sqlite"
                                else "INSERT INTO holds VALUES ('C#2', 'A/BTC', 'BTC', 3, 'CONSUMED')"))  # fmt: skip
    store.prepare()
    [batch] = store.settled()
    assert (batch["batch_id"], batch["state"], batch["value_atoms"], batch["bound_atoms"]) == ("C#2", "COMMITTED", 5, 8)
    assert store.rows("holds", "C#2")["held_atoms"].to_list() == [3]
    counts = rows_of(store)
    assert counts["transitions"] == 2
    assert counts["log_entries"] == sum(counts[table.name] for table in records.FACTS) == 7
    store.prepare()
    assert rows_of(store) == counts


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
    monkeypatch.setitem(database.SQLITE_SETTINGS, "synchronous", "NORMAL")
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
    life = life_of(value_atoms=atoms)
    claim = life.begin(store)
    before = rows_of(store)
    with pytest.raises((StatementError, BrokenInvariant)):
        store.propose(claim, life.proposed_as(claim))
    assert rows_of(store) == before


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
    [batch] = worked.store.settled()
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
    life = life_of()
    claim = live(store, life, until="approve")
    answers = at_once(8, lambda: STEPS["commit"](Store(store.url, at_noon), claim, life))
    assert sorted(answers, key=repr) == [False] * 7 + [True]
    assert store.rows("postings", claim.batch_id).height == life.planned.postings.height
    assert [batch["batch_id"] for batch in store.settled()] == [claim.batch_id]


def test_of_many_who_begin_one_cycle_the_last_has_its_batch_and_the_others_may_write_nothing(store: Store) -> None:
    life = life_of()
    claims = sorted(at_once(6, lambda: life.begin(Store(store.url, at_noon))))
    assert claims == [Claim(f"{CYCLE}#1", fence) for fence in range(1, 7)]
    before = rows_of(store)
    for claim in claims[:-1]:
        for step in list(STEPS.values())[:-1]:
            with pytest.raises(TakenOver, match="fence 6, ours was"):
                step(store, claim, life)
    assert rows_of(store) == before
    live(store, life)


@pytest.mark.parametrize("until", STEPS)
def test_a_batch_left_behind_at_any_step_is_taken_over_and_ends_with_the_same_records(
    store: Store, until: str, tmp_path: Any
) -> None:
    life = life_of()
    left = live(store, life, until)
    claim = live(store, life, "confirm")
    assert claim.batch_id == left.batch_id
    alone = Store(f"sqlite:///{tmp_path / 'alone.sqlite'}", at_noon).prepare()
    live(alone, life, "confirm")
    apart = {"transitions", "log_entries", "log_frames"}
    for table in records.metadata.sorted_tables:
        if table.name not in apart and "batch_id" in table.c:
            mine, theirs = (one.rows(table.name, claim.batch_id).drop("fence", strict=False) for one in (store, alone))
            assert mine.equals(theirs), table.name
    states = store.rows("transitions", claim.batch_id)["state_after"].to_list()
    assert list(dict.fromkeys(states)) == [state for state in records.LIFE if state != "EXECUTION_UNKNOWN"]


def test_an_attempt_from_other_inputs_aborts_the_one_before_it_and_frees_its_funds(store: Store) -> None:
    left = live(store, life_of(), until="reserve")
    claim = life_of(inputs_digest="2" * 64).begin(store)
    assert claim == Claim(f"{CYCLE}#2", 1)
    assert (store.batch(left.batch_id)["state"], store.batch(claim.batch_id)["state"]) == ("ABORTED", "CUT")
    assert set(store.rows("holds", left.batch_id)["state"]) == {"RELEASED"}


def test_a_committed_cycle_proposed_again_is_found_and_with_another_plan_is_a_fault(store: Store) -> None:
    batch_id = settle(store)
    before = rows_of(store)
    assert settle(store) == batch_id
    other = life_of(plan_digest="2" * 64)
    with pytest.raises(BrokenInvariant, match="the same inputs now make another plan"):
        STEPS["propose"](store, other.begin(store), other)
    assert rows_of(store) == before


def test_what_is_committed_cannot_be_aborted(store: Store) -> None:
    claim = live(store, life_of())
    with pytest.raises(BrokenInvariant, match="can no longer be aborted"):
        store.abort(claim, "too late")
    assert store.batch(claim.batch_id)["state"] == "EXECUTING"


def test_a_batch_given_up_frees_its_holds_once_and_keeps_its_first_reason(store: Store) -> None:
    claim = live(store, life_of(), until="approve")
    store.abort(claim, "the custodian is closed")
    store.abort(claim, "again")
    assert store.batch(claim.batch_id)["reason"] == "the custodian is closed"
    assert set(store.rows("holds", claim.batch_id)["state"]) == {"RELEASED"}
    with pytest.raises(BrokenInvariant, match="is ABORTED and cannot be committed"):
        STEPS["commit"](store, claim, life_of())


def test_a_batch_made_before_another_cycle_was_committed_is_not_committed_after_it(store: Store) -> None:
    early = life_of(CYCLE)
    claim = live(store, early, until="approve")
    settle(store, NEXT)
    with pytest.raises(CycleOutOfOrder, match=f"before {NEXT} was committed"):
        STEPS["commit"](store, claim, early)
    assert [batch["cycle_id"] for batch in store.settled()] == [NEXT]


def test_a_strict_default_of_the_server_does_not_let_two_cycles_follow_the_same_one(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, faster = Store(postgres_url).prepare(), Store(postgres_url)
    early, late = life_of(CYCLE), life_of(NEXT)
    claim, other = live(store, early, "approve"), live(store, late, "approve")
    watch = create_engine(postgres_url, isolation_level="AUTOCOMMIT").connect()  # Without Trine's lock.
    strict = "SET default_transaction_isolation = 'repeatable read'"
    watch.exec_driver_sql(f"ALTER DATABASE {store.engine.url.database} {strict}")
    require_last, waiting = faster._require_last, ThreadPoolExecutor(1)

    def while_the_other_waits(*given: Any) -> None:
        answers.append(waiting.submit(STEPS["commit"], store, claim, early))
        while not (answers[0].done() or watch.exec_driver_sql("SELECT 1 FROM pg_locks WHERE NOT granted").first()):
            time.sleep(0.01)
        require_last(*given)

    answers: list[Any] = []
    monkeypatch.setattr(faster, "_require_last", while_the_other_waits)
    assert STEPS["commit"](faster, other, late)
    with pytest.raises(CycleOutOfOrder):
        answers[0].result()
    assert [batch["cycle_id"] for batch in store.settled()] == [NEXT]


def test_an_account_left_out_of_a_cycle_keeps_the_book_that_it_had(store: Store) -> None:
    first = settle(store)
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE positions SET closing_atoms = '7' WHERE participant = 'A'"))
    second = settle(store, NEXT)
    everyone = store.rows("positions", second)
    with store.engine.begin() as connection:
        connection.execute(text(f"DELETE FROM positions WHERE participant = 'A' AND batch_id = '{second}'"))

    def closing(who: pl.DataFrame, before: str = "2026-11-03") -> set[tuple[str, str]]:
        return set(store.book(who, before).select("participant", "batch_id").rows())

    assert closing(everyone) == {("A", first), ("B", second), ("PX", second), ("PY", second)}
    assert set(store.book(everyone, "2026-11-03").filter(participant="A")["closing_atoms"]) == {7}
    assert closing(everyone, "2026-11-02T09") == {("A", first), ("B", first), ("PX", first), ("PY", first)}
    assert closing(everyone.with_columns(account=pl.lit("another"))) == set()


# Holds, approvals


def test_a_hold_larger_than_what_is_there_is_never_placed(store: Store) -> None:
    life = life_of()
    claim = live(store, life, until="judge")
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE positions SET available_atoms = '1' WHERE participant = 'A'"))
    before = rows_of(store)
    with pytest.raises(BrokenInvariant, match="a hold is larger than what is there"):
        STEPS["reserve"](store, claim, life)
    assert rows_of(store) == before


def test_holds_stand_until_they_are_consumed_and_expire_after_the_instructions_are_due(store: Store) -> None:
    claim = live(store, life_of(), until="approve")
    held = store.rows("holds", claim.batch_id)
    assert set(held["state"]) == {"HELD"}
    assert set(held["expires_at"]) == {(NOON + timedelta(minutes=Policy().hold_minutes)).isoformat()}
    assert Policy().hold_minutes > Policy().execution_minutes


def test_a_batch_whose_holds_have_expired_is_aborted_and_the_cycle_can_be_run_again(records_url: str) -> None:
    now = [NOON]
    store, life = Store(records_url, lambda: now[0]).prepare(), life_of()
    claim = live(store, life, until="approve")
    now[0] += timedelta(minutes=Policy().hold_minutes)
    with pytest.raises(CycleOutOfOrder, match="expired before it was committed"):
        STEPS["commit"](store, claim, life)
    assert store.batch(claim.batch_id)["state"] == "ABORTED"
    assert set(store.rows("holds", claim.batch_id)["state"]) == {"RELEASED"}
    assert store.rows("postings", claim.batch_id).is_empty()
    assert settle(store) == f"{CYCLE}#2"


def test_a_policy_whose_holds_would_end_before_execution_is_refused() -> None:
    with pytest.raises(RefusedInput, match="must be more than execution_minutes"):
        Policy.of({"execution_minutes": 240})


def test_a_batch_waits_for_as_many_people_as_its_policy_asks_for(store: Store) -> None:
    life = life_of(policy=Policy(approvals=2))
    claim = life.begin(store)
    for name in ("propose", "judge", "reserve"):
        STEPS[name](store, claim, life)
    with pytest.raises(AwaitsApproval, match="0 of 2 people"):
        store.approve(claim)
    assert store.record_approval(claim.batch_id, "ann") == 1
    with pytest.raises(AwaitsApproval, match="1 of 2 people"):
        store.approve(claim)
    with pytest.raises(RefusedInput, match="ann has approved it before"):
        store.record_approval(claim.batch_id, "ann")
    assert store.record_approval(claim.batch_id, "bob") == 2
    live(store, life)
    decided = store.rows("transitions", claim.batch_id).filter(state_after="APPROVED")
    assert decided["decided_by"].to_list() == ["ann, bob"]
    with pytest.raises(RefusedInput, match="it is EXECUTING"):
        store.record_approval(claim.batch_id, "eve")


def test_only_the_postings_that_were_judged_are_posted(store: Store) -> None:
    life = life_of()
    claim = live(store, life, until="approve")
    other = life.planned.postings.with_columns(atoms=pl.col("atoms") + pl.col("atoms"))
    with pytest.raises(BrokenInvariant, match="are not those that were judged"):
        store.commit(claim, other, life.settlements)
    with pytest.raises(BrokenInvariant, match="the settlements of"):
        store.commit(claim, life.planned.postings, life.settlements.clear())
    assert store.settled() == []


# After the commit


def test_a_batch_is_final_once_every_instruction_is_done(store: Store) -> None:
    life = life_of()
    claim = live(store, life)
    first, *others = life.instructions_of(claim)
    assert store.confirm(claim.batch_id, {first: "DONE"}, "custodian") == "EXECUTING"
    assert store.confirm(claim.batch_id, {others[0]: "UNKNOWN"}, "custodian") == "EXECUTION_UNKNOWN"
    assert store.batch(claim.batch_id)["reason"] == "1 instructions unknown, 0 rejected"
    before = rows_of(store)
    assert store.confirm(claim.batch_id, {others[0]: "UNKNOWN"}, "custodian") == "EXECUTION_UNKNOWN"
    assert rows_of(store) == before
    assert store.confirm(claim.batch_id, dict.fromkeys(others, "DONE"), "asked") == "FINAL"
    said = store.rows("confirmations", claim.batch_id).filter(instruction_id=others[0])
    assert said.select("number", "outcome", "source").rows() == [(1, "UNKNOWN", "custodian"), (2, "DONE", "asked")]
    assert store.confirm(claim.batch_id, {first: "REJECTED"}, "late") == "FINAL"


@pytest.mark.parametrize("said", [{"none of ours": "DONE"}, {None: "PAID"}])
def test_what_is_no_instruction_or_no_outcome_is_refused(store: Store, said: dict[Any, str]) -> None:
    life = life_of()
    claim = live(store, life)
    first = next(iter(life.instructions_of(claim)))
    with pytest.raises(RefusedInput, match="is no instruction"):
        store.confirm(claim.batch_id, {name or first: outcome for name, outcome in said.items()}, "custodian")


def test_a_batch_that_was_not_executed_is_reversed_by_another_and_its_cycle_is_open_again(store: Store) -> None:
    life = life_of()
    claim = live(store, life)
    store.confirm(claim.batch_id, dict.fromkeys(life.instructions_of(claim), "REJECTED"), "custodian")
    reversal = store.compensate(claim.batch_id, "the custodian refused all of it", "ann")
    assert store.batch(claim.batch_id)["state"] == "COMPENSATED"
    assert store.batch(reversal)["compensates"] == claim.batch_id
    with store.engine.connect() as connection:
        sums = connection.execute(text("SELECT atoms_sum(atoms) FROM postings GROUP BY account")).scalars().all()
    assert set(map(int, sums)) == {0}
    assert store.settled() == []
    again = live(store, life_of(inputs_digest="2" * 64))
    assert again.batch_id == f"{CYCLE}#3"
    assert [batch["batch_id"] for batch in store.settled()] == [again.batch_id]


def test_what_is_final_or_not_the_last_is_not_compensated(store: Store) -> None:
    claim = live(store, life_of(), until="confirm")
    with pytest.raises(RefusedInput, match="is FINAL and cannot be compensated"):
        store.compensate(claim.batch_id, "regret", "ann")
    second = live(store, life_of(NEXT))
    live(store, life_of("C4H-20261102-1600"))
    with pytest.raises(RefusedInput, match="is EXECUTING and cannot be compensated"):
        store.compensate(second.batch_id, "regret", "ann")


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
def test_without_every_verdict_and_all_of_them_good_nothing_is_reserved(
    store: Store, said: list[dict[str, Any]], why: str
) -> None:
    life = life_of()
    claim = live(store, life, until="propose")
    store.judge(claim, said)
    before = rows_of(store)
    with pytest.raises(BlockedByQuality, match=why):
        STEPS["reserve"](store, claim, life)
    assert rows_of(store) == before
    assert store.batch(claim.batch_id)["state"] == ("ABORTED" if "failed" in why else "VALIDATED")


def test_a_warning_does_not_block(store: Store) -> None:
    claim = live(store, life_of(), until="propose")
    store.judge(claim, [*verdicts(RULES[0]), *verdicts(RULES[1], severity="WARN", success=0)])
    assert live(store, life_of()).batch_id == claim.batch_id


def test_an_attempt_is_judged_once(store: Store) -> None:
    claim = live(store, life_of(), until="judge")
    before = rows_of(store)
    store.judge(claim, verdicts(*RULES, success=0))
    assert rows_of(store) == before


# Whose turn it is


def test_a_cycle_follows_the_last_settled_one_and_knows_itself(store: Store) -> None:
    turn = store.begin(life_of().cycle, lambda previous: f"{previous}")
    assert (turn.previous_batch_id, turn.settled, turn.inputs_digest) == (None, False, "None")
    first = settle(store)
    turn = store.begin(life_of(NEXT).cycle, lambda previous: str(previous and previous["batch_id"]))
    assert (turn.previous_batch_id, turn.settled, turn.inputs_digest) == (first, False, first)
    same = store.begin(life_of().cycle, lambda _: "1" * 64)
    assert same.settled
    assert same.claim.batch_id == first
    with pytest.raises(CommittedCycleChanged, match="never edited"):
        store.begin(life_of().cycle, lambda _: "2" * 64)
    with pytest.raises(CycleOutOfOrder, match="a cycle starts from the closing balances of the one before"):
        store.begin(life_of("C4H-20261102-0400").cycle, lambda _: "1" * 64)
