"""The records of settlement batches: the only SQL that writes. Every change of a batch is one transaction.

A batch goes through the states of `schemas.records.LIFE`, each once. A cycle may be attempted many times and settles
once. What an attempt will do is stored before it is judged, and commit posts exactly that: it computes nothing, so a
process that was left behind and the one that took its batch over would write the same rows. They cannot both: whoever
begins or takes over a batch is given a fence, a number that goes up, and no write with an older one is accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import polars as pl
from sqlalchemy import Connection, Table, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from assets.ledger.database import Database, frame_schema, keep, keep_frame
from schemas import records
from schemas.cycle import Policy
from schemas.digest import digest_of
from schemas.errors import (
    AwaitsApproval,
    BlockedByQuality,
    BrokenInvariant,
    CommittedCycleChanged,
    CycleOutOfOrder,
    RefusedInput,
    TakenOver,
)
from schemas.participant import Account
from schemas.records import LIFE, SETTLED_STATES, batches, plans

DatabaseError = SQLAlchemyError  # For those who must not know SQL.
Clock = Callable[[], datetime]
EXECUTING = ("EXECUTING", "EXECUTION_UNKNOWN")
OUTCOMES = ("DONE", "REJECTED", "UNKNOWN")
REVERSED = {"PAY_IN": "PAY_OUT", "PAY_OUT": "PAY_IN", "CREDIT_PAY_IN": "CREDIT_PAY_OUT"}


class Claim(NamedTuple):
    """The right to go on with a batch. Whoever takes it over next has a higher fence, and this one is worth nothing."""

    batch_id: str
    fence: int


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a cycle stands: its batch, the batch before it, the digest of its inputs, and whether it has settled."""

    claim: Claim
    previous_batch_id: str | None
    inputs_digest: str
    settled: bool


@dataclass(frozen=True, slots=True)
class Proposal:
    """All that an attempt stores before it is judged: the columns of `plans`, and rows by table."""

    plan: dict[str, Any]
    rows: dict[str, pl.DataFrame]


def _now() -> datetime:
    return datetime.now(UTC)


class Store(Database):
    """The records at one database URL. `clock` says when something is recorded."""

    def __init__(self, url: str, clock: Clock = _now) -> None:
        super().__init__(url)
        self.clock = clock

    def prepare(self) -> Store:
        """Make or migrate the tables, and return the store."""
        self.migrate()
        return self

    # Questions

    def now(self) -> str:
        """Return the time that is recorded: RFC 3339, UTC, to the second."""
        return self.clock().astimezone(UTC).isoformat(timespec="seconds")

    def batch(self, batch_id: str) -> dict[str, Any]:
        """Return the row of a batch, with that of its plan once there is one."""
        with self.engine.connect() as connection:
            return dict(connection.execute(_WITH_PLANS.where(batches.c.batch_id == batch_id)).mappings().one())

    def settled(self, cycle_id: str | None = None) -> list[dict[str, Any]]:
        """Return the batches that have settled and were not reversed, oldest first; of one cycle (none or one), or all."""
        with self.engine.connect() as connection:
            return _settled(connection, cycle_id)

    def book(self, accounts: pl.DataFrame, before: str) -> pl.DataFrame:
        """Return the last position of each of `accounts` (Account) in a settled cycle that opens earlier than `before`.

        One that was left out of a cycle, by a row in quarantine for example, keeps the book that it had. Only for
        accounts without any position all cycles are looked through.
        """
        wanted = accounts.select(Account.names())
        found = [pl.DataFrame(schema=frame_schema(records.positions))]
        for batch in reversed(self.settled()):
            if batch["opens_at"] < before and wanted.height:
                found.append(self.rows("positions", batch["batch_id"]).join(wanted, on=Account.names(), how="semi"))
                wanted = wanted.join(found[-1], on=Account.names(), how="anti")
        return pl.concat(found)

    def attempts(
        self, states: Sequence[str], cycle_id: str | None = None, before: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the batches that are in one of `states`, oldest first; reversals are among them.

        Of one cycle, of those that open earlier than `before`, or of all.
        """
        query = _WITH_PLANS.where(batches.c.state.in_(states))
        if cycle_id is not None:
            query = query.where(batches.c.cycle_id == cycle_id)
        if before is not None:
            query = query.where(batches.c.opens_at < before)
        with self.engine.connect() as connection:
            found = connection.execute(query.order_by(batches.c.opens_at, batches.c.attempt))
            return [dict(row) for row in found.mappings()]

    def pending(self, batch_id: str) -> pl.DataFrame:
        """Return the instructions that the inputs of a batch may speak of: those of earlier cycles that are not final.

        Beside the columns of `instructions`: `opens_at` of their cycle, `outcome` (what was said of them last, or null)
        and `heard`: this batch or one of a later cycle has spoken of it, so that a batch that is run again says nothing
        twice. What this batch made final is there too: run again, it reads its inputs as it did then.
        """
        about = frame_schema(records.instructions) | {"opens_at": pl.String, "outcome": pl.String, "heard": pl.Boolean}
        rows: list[dict[str, Any]] = []
        with self.engine.connect() as connection:
            known = {one["batch_id"]: one for one in connection.execute(select(batches)).mappings()}
            before = known[batch_id]["opens_at"]
            told = select(records.confirmations.c.batch_id).where(records.confirmations.c.source == batch_id)
            ours = set(connection.execute(told).scalars())
            for name, row in sorted(known.items()):
                if row["opens_at"] >= before or (row["state"] not in EXECUTING and name not in ours):
                    continue
                said = sorted(_of(connection, records.confirmations, name), key=lambda one: int(one["number"]))
                last = {one["instruction_id"]: one["outcome"] for one in said}
                heard = {
                    one["instruction_id"] for one in said
                    if one["source"] in known and known[one["source"]]["opens_at"] >= before
                }  # fmt: skip
                rows += [
                    {**one, "opens_at": row["opens_at"], "outcome": last.get(one["instruction_id"]),
                     "heard": one["instruction_id"] in heard}
                    for one in _of(connection, records.instructions, name)
                ]  # fmt: skip
        return pl.DataFrame(rows, schema=about)

    def breaks(self, since: str, before: str) -> pl.DataFrame:
        """Return the accounts (Account and `opens_at`) whose statement was not their book in a settled cycle.

        Of cycles that open from `since` on and earlier than `before`.
        """
        found = [pl.DataFrame(schema={**frame_schema(records.positions), "opens_at": pl.String})]
        for batch in self.settled():
            if since <= batch["opens_at"] < before:
                rows = self.rows("positions", batch["batch_id"]).filter(pl.col("break_atoms") != 0)
                found.append(rows.with_columns(opens_at=pl.lit(batch["opens_at"])))
        return pl.concat(found).select(*Account.names(), "opens_at")

    def frame_digests(self, batch_id: str) -> dict[str, str]:
        """Return the digest of each frame of a batch, by name."""
        return dict(self.rows("frames", batch_id).select("name", "digest").rows())

    # The life of a batch

    def begin(self, cycle: dict[str, Any], inputs_digest: Callable[[dict[str, Any] | None], str]) -> Turn:
        """Begin a batch for a cycle (state CUT), take over the one that was left behind, or find the one that settled.

        `cycle` are the columns of `batches` that no other batch decides; `inputs_digest` is given the batch before,
        because that is one of the inputs. An attempt from other inputs is aborted. Raises CommittedCycleChanged when
        the cycle has settled with other inputs, and CycleOutOfOrder when a later one has settled.
        """
        cycle_id = cycle["cycle_id"]
        with self.engine.begin() as connection:
            done = _settled(connection)
            earlier = [batch for batch in done if batch["opens_at"] < cycle["opens_at"]]
            previous = earlier[-1] if earlier else None
            digest = inputs_digest(previous)
            query = select(batches).where(batches.c.cycle_id == cycle_id).order_by(batches.c.attempt)
            attempts = list(connection.execute(query).mappings())
            for row in attempts:
                if row["state"] in SETTLED_STATES and row["compensates"] is None:
                    if row["inputs_digest"] != digest:
                        raise CommittedCycleChanged(
                            f"cycle {cycle_id} is committed as {row['batch_id']}, and its inputs are no longer the same "
                            f"(digest {digest[:12]}, then {row['inputs_digest'][:12]}). What is final is never edited: "
                            "give the changed files to a later cycle, as corrections or busts."
                        )
                    return Turn(Claim(row["batch_id"], row["fence"]), row["previous_batch_id"], digest, True)
            later = [batch["cycle_id"] for batch in done if batch["opens_at"] > cycle["opens_at"]]
            if later:
                raise CycleOutOfOrder(
                    f"cycle {cycle_id} was not run before {later[-1]} was committed. Its fills must be settled with a "
                    "later cycle: a cycle starts from the closing balances of the one before."
                )
            previous_id = previous["batch_id"] if previous else None
            for row in attempts:
                if row["state"] in LIFE and row["compensates"] is None:
                    if row["inputs_digest"] == digest:
                        claim = Claim(row["batch_id"], row["fence"] + 1)
                        self._move(connection, row, row["state"], claim.fence, "taken over")
                        return Turn(claim, previous_id, digest, False)
                    self._abort(connection, row, "superseded by other inputs", row["fence"] + 1)
            new = {
                **cycle, "batch_id": f"{cycle_id}#{len(attempts) + 1}", "attempt": len(attempts) + 1, "state": "CUT",
                "fence": 1, "previous_batch_id": previous_id, "inputs_digest": digest,
            }  # fmt: skip
            self._start(connection, new)
        return Turn(Claim(new["batch_id"], 1), previous_id, digest, False)

    def propose(self, claim: Claim, proposal: Proposal) -> None:
        """CUT -> PROPOSED: store what the batch will do. Of one that is further on already the same must come out."""
        with self.engine.begin() as connection:
            row = self._held(connection, claim)
            if row["state"] != "CUT":
                frozen = connection.execute(select(plans).where(plans.c.batch_id == claim.batch_id)).mappings().first()
                if frozen is None:
                    raise CycleOutOfOrder(
                        f"batch {claim.batch_id} is {row['state']} and has no plan ({row['reason']}). Nothing was written. Run "
                        "the cycle again."
                    )
                if frozen["plan_digest"] != proposal.plan["plan_digest"]:
                    raise BrokenInvariant(
                        f"batch {claim.batch_id} is {row['state']}, and the same inputs now make another plan (Trine "
                        f"{row['trine_version']} then). Nothing was changed. Please report it."
                    )
                return
            keep(connection, plans, [{**proposal.plan, "batch_id": claim.batch_id}])
            for table, frame in proposal.rows.items():
                rows = [{**one, "batch_id": claim.batch_id} for one in frame.iter_rows(named=True)]
                keep(connection, records.metadata.tables[table], rows)
            self._move(connection, row, "PROPOSED")

    def judge(self, claim: Claim, verdicts: Sequence[dict[str, Any]]) -> None:
        """PROPOSED -> VALIDATED, or ABORTED when a rule of severity BLOCK failed: store what the quality suite said."""
        with self.engine.begin() as connection:
            row = self._held(connection, claim)
            if row["state"] == "PROPOSED":
                keep(connection, records.verdicts, [{**one, "batch_id": claim.batch_id} for one in verdicts])
                if any(one["severity"] == "BLOCK" and not one["success"] for one in verdicts):
                    self._abort(connection, row, "blocked by its quality verdict")
                else:
                    self._move(connection, row, "VALIDATED")

    def reserve(self, claim: Claim, rules: Iterable[str]) -> None:
        """VALIDATED -> RESERVED: place a hold on every debit.

        The gate is asked again here: every one of `rules` must have a verdict, and none of severity BLOCK may have failed.
        """
        with self.engine.begin() as connection:
            row = self._held(connection, claim)
            if row["state"] in ("PROPOSED", "VALIDATED", "ABORTED"):
                self._require_passed(connection, claim.batch_id, set(rules))
            if row["state"] == "VALIDATED":
                keep(connection, records.holds, self._holds(connection, row))
                self._move(connection, row, "RESERVED")

    def approve(self, claim: Claim) -> None:
        """RESERVED -> APPROVED, once as many people as the policy asks for have said so."""
        with self.engine.begin() as connection:
            row = self._held(connection, claim)
            if row["state"] == "RESERVED":
                wanted = Policy.from_json(row["policy"]).approvals
                people = sorted(one["person"] for one in _of(connection, records.approvals, claim.batch_id))
                if len(people) < wanted:
                    raise AwaitsApproval(
                        f"batch {claim.batch_id} is ready and its funds are reserved. {len(people)} of {wanted} people have "
                        "approved it. Approve it with `trine approve`, then run the cycle again."
                    )
                self._move(connection, row, "APPROVED", decided_by=", ".join(people) or "trine")

    def commit(self, claim: Claim, postings: pl.DataFrame, settlements: pl.DataFrame) -> bool:
        """APPROVED -> COMMITTED: consume every hold and post the plan. False: that was done before.

        From here on the batch is completed or compensated, never aborted. Holds that have expired abort it instead.
        """
        with self.engine.begin() as connection:
            row = self._held(connection, claim)
            if row["state"] in SETTLED_STATES:
                return False
            self._require_last(connection, row)
            if row["state"] not in ("RESERVED", "APPROVED"):
                raise BrokenInvariant(
                    f"batch {claim.batch_id} is {row['state']} and cannot be committed. Nothing was written."
                )
            frozen = {one["name"]: one for one in _of(connection, records.frames, claim.batch_id)}
            for name, frame in (("postings", postings), ("settlements", settlements)):
                if frozen[name]["digest"] != digest_of(frame):
                    raise BrokenInvariant(
                        f"the {name} of {claim.batch_id} are not those that were judged. Nothing was written."
                    )
            expired = self._expired(connection, claim.batch_id)
            if expired:
                self._abort(connection, row, "its holds expired")
            else:
                self._end_holds(connection, claim.batch_id, "CONSUMED")
                rows = [
                    {**one, "batch_id": claim.batch_id, "posting_id": f"{claim.batch_id}/{one['leg']}"}
                    for one in postings.iter_rows(named=True)
                ]
                keep(connection, records.postings, rows)
                keep_frame(
                    connection, claim.batch_id, "settlements", frozen["settlements"]["digest"], settlements.height
                )
                self._move(connection, row, "COMMITTED")
        if expired:
            raise CycleOutOfOrder(
                f"the holds of batch {claim.batch_id} expired before it was committed. It is aborted and its funds are "
                "free; nothing was settled. Run the cycle again."
            )
        return True

    def execute(self, claim: Claim) -> None:
        """COMMITTED -> EXECUTING: its instructions have been handed to the custodians."""
        with self.engine.begin() as connection:
            row = self._held(connection, claim)
            if row["state"] == "COMMITTED":
                self._move(connection, row, "EXECUTING")

    def confirm(self, batch_id: str, said: dict[str, str], source: str) -> str:
        """Record what became of instructions ({id: DONE, REJECTED or UNKNOWN}) and return the state of the batch.

        All DONE: FINAL. Some not: EXECUTION_UNKNOWN, until the custodian is asked and says so. Never sent again under
        another id. What was said before is not repeated; RefusedInput for what is no instruction of the batch.
        """
        with self.engine.begin() as connection:
            row = _row(connection, batch_id)
            last: dict[str, str | None] = {
                one["instruction_id"]: None for one in _of(connection, records.instructions, batch_id)
            }
            number = dict.fromkeys(last, 0)
            strange = sorted(set(said) - set(last)) or sorted(set(said.values()) - set(OUTCOMES))
            if strange:
                raise RefusedInput(
                    f"'{strange[0][:120]}' is no instruction of {batch_id}, or no outcome ({', '.join(OUTCOMES)}). "
                    "Nothing was written."
                )
            for one in sorted(_of(connection, records.confirmations, batch_id), key=lambda one: int(one["number"])):
                last[one["instruction_id"]], number[one["instruction_id"]] = one["outcome"], one["number"]
            if row["state"] not in EXECUTING:
                return str(row["state"])
            new = {name: outcome for name, outcome in sorted(said.items()) if last[name] != outcome}
            keep(
                connection, records.confirmations,
                [{"batch_id": batch_id, "instruction_id": name, "number": number[name] + 1, "outcome": outcome,
                  "source": source, "recorded_at": self.now()} for name, outcome in new.items()],
            )  # fmt: skip
            last |= new
            open_ = {outcome: sum(one == outcome for one in last.values()) for outcome in ("REJECTED", "UNKNOWN")}
            if all(outcome == "DONE" for outcome in last.values()):
                state, reason = "FINAL", None
            elif any(open_.values()):
                state = "EXECUTION_UNKNOWN"
                reason = f"{open_['UNKNOWN']} instructions unknown, {open_['REJECTED']} rejected"
            else:
                state, reason = row["state"], row["reason"]
            if (state, reason) != (row["state"], row["reason"]):
                self._move(connection, row, state, reason=reason)
        return state

    def compensate(self, batch_id: str, reason: str, person: str) -> str:
        """Reverse a committed batch that its custodians did not execute: a new batch that points at it. Return its id.

        Only the last settled batch can be reversed, and none that is FINAL: its fills must be busted instead. Every
        instruction must be known to be DONE or REJECTED: one that may still be executed cannot be reversed yet, and
        one that never was has nothing to reverse. The cycle is open again afterwards. Nothing is edited.
        """
        with self.engine.begin() as connection:
            row = _row(connection, batch_id)
            last = _settled(connection)[-1:]
            if row["state"] not in SETTLED_STATES[:-1] or not last or last[0]["batch_id"] != batch_id:
                raise RefusedInput(
                    f"batch {batch_id} is {row['state']} and cannot be compensated: expected the last batch that settled, "
                    "not yet FINAL. Nothing was written. Reverse single fills of earlier batches by busting them."
                )
            said = sorted(_of(connection, records.confirmations, batch_id), key=lambda one: int(one["number"]))
            last_said = {one["instruction_id"]: one["outcome"] for one in said}
            sent = _of(connection, records.instructions, batch_id)
            unclear = sum(last_said.get(one["instruction_id"]) not in ("DONE", "REJECTED") for one in sent)
            if unclear:
                raise RefusedInput(
                    f"batch {batch_id} cannot be compensated yet: of {unclear} of its {len(sent)} instructions it is not known "
                    "whether they were executed. Ask the custodians and say so with `trine confirm`. Nothing was written."
                )
            query = select(func.count()).where(batches.c.cycle_id == row["cycle_id"])
            attempt = connection.execute(query).scalar_one() + 1
            new = {
                **row, "batch_id": f"{row['cycle_id']}#{attempt}", "attempt": attempt, "compensates": batch_id,
                "state": "COMMITTED", "fence": 1, "reason": reason,
            }  # fmt: skip
            self._start(connection, new, reason, person)
            postings = [
                {
                    **one,
                    "batch_id": new["batch_id"],
                    "atoms": -one["atoms"],
                    "posting_id": _moved(one["posting_id"], new),
                }
                for one in _of(connection, records.postings, batch_id)
            ]
            instructions = [
                {**one, "batch_id": new["batch_id"], "kind": REVERSED[one["kind"]],
                 "instruction_id": _moved(one["instruction_id"], new)}
                for one in sent if last_said[one["instruction_id"]] == "DONE"
            ]  # fmt: skip
            keep(connection, records.postings, postings)
            keep(connection, records.instructions, instructions)
            self._move(connection, row, "COMPENSATED", reason=reason, decided_by=person)
        return str(new["batch_id"])

    def record_approval(self, batch_id: str, person: str) -> int:
        """Record that a person approves a batch that is reserved. Return how many have."""
        with self.engine.begin() as connection:
            row = _row(connection, batch_id)
            people = {one["person"] for one in _of(connection, records.approvals, batch_id)}
            if row["state"] != "RESERVED" or person in people:
                what = f"{person} has approved it before" if person in people else f"it is {row['state']}"
                raise RefusedInput(
                    f"batch {batch_id} cannot be approved: {what}. Expected a batch that is RESERVED, and a person who has "
                    "not approved it. Nothing was written."
                )
            keep(connection, records.approvals, [{"batch_id": batch_id, "person": person, "recorded_at": self.now()}])
        return len(people) + 1

    def abort(self, claim: Claim, reason: str) -> None:
        """Give up an attempt before it is committed, and free what it holds. One that was given up already stays so."""
        with self.engine.begin() as connection:
            row = self._held(connection, claim)
            if row["state"] != "ABORTED":
                self._abort(connection, row, reason)

    # What the above is made of

    def _held(self, connection: Connection, claim: Claim) -> Any:
        """Return the row of a batch whose fence is that of the claim."""
        row = _row(connection, claim.batch_id)
        if row["fence"] != claim.fence:
            raise TakenOver(
                f"batch {claim.batch_id} was taken over by another process (fence {row['fence']}, ours was {claim.fence}). It "
                "goes on there; nothing was written here."
            )
        return row

    def _start(
        self, connection: Connection, row: dict[str, Any], reason: str | None = None, person: str = "trine"
    ) -> None:
        keep(connection, batches, [row])
        self._tell(connection, row["batch_id"], None, row["state"], row["fence"], reason, person)

    def _move(
        self, connection: Connection, row: Any, state: str, fence: int | None = None, reason: str | None = None,
        decided_by: str = "trine",
    ) -> None:  # fmt: skip
        """Take a batch from the state that was read to another, in the database as in the log."""
        where = (
            batches.c.batch_id == row["batch_id"],
            batches.c.state == row["state"],
            batches.c.fence == row["fence"],
        )
        known = row["reason"] if fence and state == row["state"] else reason  # A take-over says nothing new of it.
        moved = connection.execute(
            update(batches).where(*where).values(state=state, fence=fence or row["fence"], reason=known)
        )
        if moved.rowcount != 1 or not _may_follow(row["state"], state):
            raise BrokenInvariant(
                f"batch {row['batch_id']} cannot go from {row['state']} to {state}. Nothing was written."
            )
        self._tell(connection, row["batch_id"], row["state"], state, fence or row["fence"], reason, decided_by)

    def _tell(
        self, connection: Connection, batch_id: str, before: str | None, after: str, fence: int, reason: str | None,
        person: str,
    ) -> None:  # fmt: skip
        number = len(_of(connection, records.transitions, batch_id)) + 1
        transition = {
            "batch_id": batch_id, "number": number, "state_before": before, "state_after": after, "reason": reason,
            "fence": fence, "decided_by": person, "recorded_at": self.now(),
        }  # fmt: skip
        keep(connection, records.transitions, [transition])

    def _abort(self, connection: Connection, row: Any, reason: str, fence: int | None = None) -> None:
        if row["state"] in SETTLED_STATES:
            raise BrokenInvariant(
                f"batch {row['batch_id']} is {row['state']} and can no longer be aborted, only completed or compensated. "
                "Nothing was written."
            )
        self._end_holds(connection, row["batch_id"], "RELEASED")
        self._move(connection, row, "ABORTED", fence, reason)

    def _holds(self, connection: Connection, row: Any) -> list[dict[str, Any]]:
        """Return a hold for all that each account pays out of its own funds, and lends."""
        until = self.clock().astimezone(UTC) + timedelta(minutes=Policy.from_json(row["policy"]).hold_minutes)
        held = []
        for one in _of(connection, records.positions, row["batch_id"]):
            debit = max(0, -(one["net_atoms"] + one["drawn_atoms"])) + one["lent_atoms"]
            if debit > one["available_atoms"] + max(0, one["net_atoms"]):
                raise BrokenInvariant("a hold is larger than what is there. Nothing was written. Please report it.")
            if debit:
                held.append(
                    {"batch_id": row["batch_id"], "account": one["account"], "instrument": one["instrument"],
                     "held_atoms": debit, "expires_at": until.isoformat(timespec="seconds"), "state": "HELD"}
                )  # fmt: skip
        return held

    def _expired(self, connection: Connection, batch_id: str) -> bool:
        now = self.clock()
        return any(datetime.fromisoformat(one["expires_at"]) <= now for one in _of(connection, records.holds, batch_id))

    def _end_holds(self, connection: Connection, batch_id: str, state: str) -> None:
        """Consume or release all holds of a batch, each exactly once."""
        holds = _of(connection, records.holds, batch_id)
        ended = connection.execute(
            update(records.holds)
            .where(records.holds.c.batch_id == batch_id, records.holds.c.state == "HELD")
            .values(state=state)
        )
        if ended.rowcount != len(holds):
            raise BrokenInvariant(f"a hold of {batch_id} was consumed or released before. Nothing was written.")

    def _require_last(self, connection: Connection, batch: Any) -> None:
        """What the batch follows must still be the last that settled: another cycle may have been faster."""
        last = next(reversed(_settled(connection)), None)
        if (last["batch_id"] if last else None) != batch["previous_batch_id"]:
            raise CycleOutOfOrder(
                f"batch {batch['batch_id']} was made before {last['cycle_id'] if last else 'its predecessor'} was committed. "
                "Nothing was settled. Run the cycle again."
            )

    def _require_passed(self, connection: Connection, batch_id: str, rules: set[str]) -> None:
        verdicts = _of(connection, records.verdicts, batch_id)
        missing = rules - {row["rule"] for row in verdicts}
        failed = sorted(row["rule"] for row in verdicts if row["severity"] == "BLOCK" and not row["success"])
        if missing or failed:
            found = f"failed: {', '.join(failed)}" if failed else f"not judged: {', '.join(sorted(missing))}"
            raise BlockedByQuality(
                f"batch {batch_id} does not pass its quality rules ({found}). Nothing was settled. Read the quality "
                "report, mend the input, and run the cycle again."
            )


_WITH_PLANS = select(batches, *(column for column in plans.c if column.name != "batch_id")).outerjoin(plans)


def _may_follow(before: str, after: str) -> bool:
    """Say whether a batch may go from one state to the other. The same state again is a take-over, or news of it."""
    if before == "EXECUTING" and after == "FINAL":
        return True
    if after == "ABORTED":
        return before in LIFE and before not in SETTLED_STATES
    if after == "COMPENSATED":
        return before in SETTLED_STATES[:-1]
    return before in LIFE and LIFE.index(after) - LIFE.index(before) in (0, 1)


def _settled(connection: Connection, cycle_id: str | None = None) -> list[dict[str, Any]]:
    query = _WITH_PLANS.where(batches.c.state.in_(SETTLED_STATES), batches.c.compensates.is_(None))
    if cycle_id is not None:
        query = query.where(batches.c.cycle_id == cycle_id)
    found = connection.execute(query.order_by(batches.c.opens_at, batches.c.batch_id))
    return [dict(row) for row in found.mappings()]


def _row(connection: Connection, batch_id: str) -> Any:
    row = connection.execute(select(batches).where(batches.c.batch_id == batch_id)).mappings().one_or_none()
    if row is None:
        raise RefusedInput(
            f"there is no batch {batch_id[:120]}. `trine report` names the last one. Nothing was written."
        )
    return row


def _of(connection: Connection, table: Table, batch_id: str) -> list[Any]:
    query = select(table).where(table.c.batch_id == batch_id).order_by(*table.primary_key.columns)
    return list(connection.execute(query).mappings())


def _moved(name: str, batch: dict[str, Any]) -> str:
    """Return the id of a posting or instruction as one of another batch."""
    return name.replace(str(batch["compensates"]), str(batch["batch_id"]), 1)
