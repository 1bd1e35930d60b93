"""Any operation on any batch in any order, against a model in plain Python, on SQLite: what may be done, and what then is.

The model knows a batch as a few values. After each step the states must be the model's and the records must be lawful;
what the store refuses must have changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any, ClassVar, NamedTuple

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from assets.ledger.store import OUTCOMES, Claim, Store
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
from tests.batches import CYCLE, NEXT, NOON, RULES, STEPS, Life, life_of, verdicts
from tests.faults.campaign import Databases, Say, main, sqlite_databases
from tests.faults.inspection import SETTLED, broken_rules, content_of, moment_of

APPROVALS = {CYCLE: 0, NEXT: 1, "C4H-20261102-1600": 2}
PEOPLE = ("ann", "bob", "eve")
NOT_SETTLED = {"CUT", "PROPOSED", "VALIDATED", "RESERVED", "APPROVED"}
VERDICTS = {
    "good": verdicts(*RULES),
    "failing": verdicts(*RULES, success=0),
    "incomplete": verdicts(RULES[0]),
    "warning": [*verdicts(RULES[0]), *verdicts(RULES[1], severity="WARN", success=0)],
}
STEPS_PER_EXAMPLE, EXAMPLES_PER_ROUND = 50, 40


@cache
def life_in(cycle_id: str) -> Life:
    return life_of(cycle_id, Policy(approvals=APPROVALS[cycle_id]))


class Walk(NamedTuple):
    """How many steps were taken, and which states were met."""

    steps: int
    states: frozenset[str]


class Refused(Exception):
    """The model says that the store must refuse, with one of these errors."""

    def __init__(self, *errors: type[Exception]) -> None:
        super().__init__(*errors)
        self.errors = errors


@dataclass
class Batch:
    """What the model knows of a batch."""

    batch_id: str
    cycle_id: str
    digest: str
    previous: str | None
    state: str = "CUT"
    fence: int = 1
    reverses: bool = False
    judged: str = ""
    expires_at: Any = None
    people: set[str] = field(default_factory=set)
    said: dict[str, str | None] = field(default_factory=dict)


class Machine(RuleBasedStateMachine):
    """The store beside its model."""

    databases: ClassVar[Databases]
    walked: ClassVar[Walk]
    claims = Bundle("claims")

    @initialize()
    def open(self) -> None:
        self.stack = ExitStack()
        self.url = self.stack.enter_context(self.databases.fresh())
        self.now = NOON
        self.store = Store(self.url, lambda: self.now)
        self.batches: dict[str, Batch] = {}

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    # What the model says

    def settled(self) -> list[Batch]:
        """Return the batches that have settled, in the order of their cycles."""
        done = [one for one in self.batches.values() if one.state in SETTLED and not one.reverses]
        return sorted(done, key=lambda one: one.cycle_id)

    def held(self, claim: Claim) -> Batch:
        batch = self.batches[claim.batch_id]
        if batch.fence != claim.fence:
            raise Refused(TakenOver)
        return batch

    def same(self, expected: Callable[[], Any], found: Callable[[], Any]) -> Any:
        """Do it in the model and in the store: both give the same answer, or both refuse and nothing has changed."""
        try:
            answer = expected()
        except Refused as refused:
            before = content_of(moment_of(self.url))
            try:
                found()
            except refused.errors:
                assert content_of(moment_of(self.url)) == before, "what was refused was written"
                return None
            raise AssertionError(f"expected one of {refused.errors}") from None
        assert found() == answer
        return answer

    # What can be done

    @rule(target=claims, cycle_id=st.sampled_from(list(APPROVALS)), inputs=st.sampled_from("112"))
    def begin(self, cycle_id: str, inputs: str) -> Any:
        def model() -> Claim:
            done = self.settled()
            earlier = [one.batch_id for one in done if one.cycle_id < cycle_id]
            previous = earlier[-1] if earlier else None
            digest = f"{inputs} after {previous}"
            attempts = [one for one in self.batches.values() if one.cycle_id == cycle_id]
            for one in done:
                if one.cycle_id == cycle_id:
                    if one.digest != digest:
                        raise Refused(CommittedCycleChanged)
                    return Claim(one.batch_id, one.fence)
            if any(one.cycle_id > cycle_id for one in done):
                raise Refused(CycleOutOfOrder)
            for one in attempts:
                if one.state in NOT_SETTLED:
                    if one.digest == digest:
                        one.fence += 1
                        return Claim(one.batch_id, one.fence)
                    one.state, one.fence = "ABORTED", one.fence + 1
            new = Batch(f"{cycle_id}#{len(attempts) + 1}", cycle_id, digest, previous)
            self.batches[new.batch_id] = new
            return Claim(new.batch_id, 1)

        claim = self.same(model, lambda: self.store.begin(life_in(cycle_id).cycle, lambda previous: (
            f"{inputs} after {previous and previous['batch_id']}")).claim)  # fmt: skip
        return multiple() if claim is None else claim

    @rule(claim=claims)
    def propose(self, claim: Claim) -> None:
        def model() -> None:
            batch = self.held(claim)
            if batch.state == "CUT":
                batch.state = "PROPOSED"
                batch.said = dict.fromkeys(life_in(batch.cycle_id).instructions_of(claim))
            elif batch.reverses or not batch.said:
                raise Refused(CycleOutOfOrder)  # It has no plan of its own.

        self.step("propose", claim, model)

    @rule(claim=claims, kind=st.sampled_from(["good", "good", "good", *VERDICTS]))
    def judge(self, claim: Claim, kind: str) -> None:
        def model() -> None:
            batch = self.held(claim)
            if batch.state == "PROPOSED":
                batch.judged = kind
                batch.state = "ABORTED" if kind == "failing" else "VALIDATED"

        self.same(model, lambda: self.store.judge(claim, VERDICTS[kind]))

    @rule(claim=claims)
    def reserve(self, claim: Claim) -> None:
        def model() -> None:
            batch = self.held(claim)
            if batch.state in ("PROPOSED", "VALIDATED", "ABORTED") and batch.judged not in ("good", "warning"):
                raise Refused(BlockedByQuality)
            if batch.state == "VALIDATED":
                batch.state, batch.expires_at = "RESERVED", self.now + timedelta(minutes=Policy().hold_minutes)

        self.step("reserve", claim, model)

    @rule(claim=claims, person=st.sampled_from(PEOPLE))
    def record_approval(self, claim: Claim, person: str) -> None:
        def model() -> int:
            batch = self.batches[claim.batch_id]
            if batch.state != "RESERVED" or person in batch.people:
                raise Refused(RefusedInput)
            batch.people.add(person)
            return len(batch.people)

        self.same(model, lambda: self.store.record_approval(claim.batch_id, person))

    @rule(claim=claims)
    def approve(self, claim: Claim) -> None:
        def model() -> None:
            batch = self.held(claim)
            if batch.state == "RESERVED":
                if len(batch.people) < APPROVALS[batch.cycle_id]:
                    raise Refused(AwaitsApproval)
                batch.state = "APPROVED"

        self.step("approve", claim, model)

    @rule(claim=claims)
    def commit(self, claim: Claim) -> None:
        def model() -> bool:
            batch = self.held(claim)
            if batch.state in SETTLED:
                return False
            last = [one.batch_id for one in self.settled()][-1:]
            if last != [batch.previous] and (last or batch.previous):
                raise Refused(CycleOutOfOrder)
            if batch.state in ("RESERVED", "APPROVED") and batch.expires_at <= self.now:
                batch.state = "ABORTED"
                raise Expired
            if batch.state != "APPROVED":
                raise Refused(BrokenInvariant)
            batch.state = "COMMITTED"
            return True

        try:
            self.step("commit", claim, model)
        except Expired:
            try:
                STEPS["commit"](self.store, claim, life_in(self.batches[claim.batch_id].cycle_id))
            except CycleOutOfOrder:
                return
            raise AssertionError("its holds have expired, and it was committed") from None

    @rule(claim=claims)
    def execute(self, claim: Claim) -> None:
        def model() -> None:
            batch = self.held(claim)
            if batch.state == "COMMITTED":
                batch.state = "EXECUTING"

        self.step("execute", claim, model)

    @rule(claim=claims, outcomes=st.lists(st.sampled_from([*OUTCOMES, "DONE", "DONE", None]), min_size=8, max_size=8))
    def confirm(self, claim: Claim, outcomes: list[str | None]) -> None:
        batch = self.batches[claim.batch_id]
        given = {name: outcome for name, outcome in zip(batch.said, outcomes, strict=False) if outcome}
        self.said(batch, given)

    @rule(claim=claims)
    def confirm_all(self, claim: Claim) -> None:
        batch = self.batches[claim.batch_id]
        self.said(batch, dict.fromkeys(batch.said, "DONE"))

    @rule(claim=claims)
    def confirm_but_one(self, claim: Claim) -> None:
        batch = self.batches[claim.batch_id]
        self.said(batch, {name: "DONE" if place else "REJECTED" for place, name in enumerate(batch.said)})

    @rule(target=claims, claim=claims)
    def compensate(self, claim: Claim) -> Any:
        batch = self.batches[claim.batch_id]

        def model() -> str:
            last = self.settled()[-1:]
            known = all(outcome in ("DONE", "REJECTED") for outcome in batch.said.values())
            if batch.state not in SETTLED - {"FINAL"} or last != [batch] or not known:
                raise Refused(RefusedInput)
            attempts = sum(one.cycle_id == batch.cycle_id for one in self.batches.values())
            name = f"{batch.cycle_id}#{attempts + 1}"
            done = [one for one, outcome in batch.said.items() if outcome == "DONE"]
            said = dict.fromkeys(one.replace(batch.batch_id, name) for one in done)
            new = Batch(name, batch.cycle_id, batch.digest, batch.previous, "COMMITTED", reverses=True, said=said)
            self.batches[name] = new
            batch.state = "COMPENSATED"
            return name

        name = self.same(model, lambda: self.store.compensate(claim.batch_id, "regret", "ann"))
        return multiple() if name is None else Claim(name, 1)

    @rule(claim=claims)
    def abort(self, claim: Claim) -> None:
        def model() -> None:
            batch = self.held(claim)
            if batch.state not in NOT_SETTLED | {"ABORTED"}:
                raise Refused(BrokenInvariant)
            batch.state = "ABORTED"

        self.same(model, lambda: self.store.abort(claim, "given up"))

    @rule(claim=claims, times=st.integers(1, len(STEPS)))
    def go_on(self, claim: Claim, times: int) -> None:
        """Do what is due, so that a walk comes far."""
        for _ in range(times):
            batch = self.batches[claim.batch_id]
            if batch.state == "RESERVED":
                for person in PEOPLE[len(batch.people) : APPROVALS[batch.cycle_id]]:
                    self.record_approval(claim, person)
            due = {
                "CUT": self.propose, "VALIDATED": self.reserve, "RESERVED": self.approve, "APPROVED": self.commit,
                "COMMITTED": self.execute, "EXECUTING": self.confirm_all,
            }  # fmt: skip
            if batch.state == "PROPOSED":
                self.judge(claim, "good")
            elif batch.state in due:
                due[batch.state](claim)

    @rule(minutes=st.sampled_from([1, 30, Policy().hold_minutes]))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    # What is always true

    @invariant()
    def the_records_are_lawful_and_say_what_the_model_says(self) -> None:
        if not hasattr(self, "url"):
            return
        moment = moment_of(self.url)
        assert broken_rules(moment) == []
        found = {row["batch_id"]: (row["state"], row["fence"]) for row in moment.tables["batches"]}
        Machine.walked = Walk(self.walked.steps + 1, self.walked.states | {one.state for one in self.batches.values()})
        assert found == {one.batch_id: (one.state, one.fence) for one in self.batches.values()}

    # What the rules are made of

    def step(self, name: str, claim: Claim, model: Callable[[], Any]) -> None:
        life = life_in(self.batches[claim.batch_id].cycle_id)
        self.same(model, lambda: STEPS[name](self.store, claim, life))
        Machine.walked = self.walked._replace(states=self.walked.states | {self.batches[claim.batch_id].state})

    def said(self, batch: Batch, given: dict[str, str]) -> None:
        def model() -> str:
            if batch.state in ("EXECUTING", "EXECUTION_UNKNOWN"):
                batch.said |= given
                outcomes = set(batch.said.values())
                if outcomes == {"DONE"}:
                    batch.state = "FINAL"
                elif outcomes & {"UNKNOWN", "REJECTED"}:
                    batch.state = "EXECUTION_UNKNOWN"
            return batch.state

        self.same(model, lambda: self.store.confirm(batch.batch_id, given, "custodian"))


class Expired(Exception):
    """The model says that the holds have expired: the batch is aborted and the caller hears of it."""


def walk(databases: Databases, steps: int, seed_: int = 1, *, shrink: bool = True) -> Walk:
    """Take at least so many steps, and return them. Raises AssertionError, with the steps that lead there."""
    Machine.databases, Machine.walked = databases, Walk(0, frozenset())
    given = settings(
        max_examples=min(EXAMPLES_PER_ROUND, 1 + steps // STEPS_PER_EXAMPLE), stateful_step_count=STEPS_PER_EXAMPLE,
        phases=[phase for phase in Phase if shrink or phase is not Phase.shrink], deadline=None, database=None,
        print_blob=False, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    round_ = 0
    while Machine.walked.steps < steps:
        seed(1000 * seed_ + round_)(Machine)
        run_state_machine_as_test(Machine, settings=given)
        round_ += 1
    return Machine.walked


def run(times: int, seed_: int, say: Say) -> list[str]:
    """Take at least `times` steps."""
    done = 0
    with sqlite_databases() as databases:
        for number in count():
            try:
                done += walk(databases, min(5_000, times - done), 1000 * seed_ + number).steps
            except Exception as error:  # noqa: BLE001  Whatever it is, the walk has found it.
                return [f"walk {number}: {error!r} " + "; ".join(getattr(error, "__notes__", []))]
            say(f"{done} steps")
            if done >= times:
                return []
    raise AssertionError


if __name__ == "__main__":
    main(run, 500_000)
