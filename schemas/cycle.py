"""A cycle, the rules it is settled by, and its name.

A cycle is named by its calendar and the start of its window, in the calendar's zone: 'C4H-20261120-0800'. The
window's end is the cut. (A name that looks like a date would be read as one by tools further on.)
"""

import json
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from schemas.errors import RefusedInput
from schemas.limits import POLICY_NUMBER_MAX


@dataclass(frozen=True, slots=True)
class Calendar:
    """When cycles are cut: a cron in a time zone."""

    name: str
    cron: str
    timezone: str
    start: str

    @property
    def fmt(self) -> str:
        """How Dagster's partition keys are written."""
        return f"{self.name}-%Y%m%d-%H%M"


CALENDARS = {
    "C4H": Calendar("C4H", "0 */4 * * *", "UTC", "C4H-20260101-0000"),
    "NY17": Calendar("NY17", "0 17 * * *", "America/New_York", "NY17-20260101-1700"),
}


@dataclass(frozen=True, slots=True)
class Cycle:
    """A window of trading that settles as one."""

    cycle_id: str
    opens_at: datetime
    cut_at: datetime


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of a cycle that a user may set, in [policy] of cycle.toml. They are part of its inputs digest."""

    reference_instrument: str = "USD"
    stale_statement_hours: int = 24
    execution_minutes: int = 165  # After a cut, until the custodians have executed its instructions
    top_up_minutes: int = 95  # After a cut, by which funds must come to count before its instructions are due
    hold_minutes: int = 240  # How long what is reserved stays so; longer than it takes to execute
    approvals: int = 0  # Distinct people who must approve a batch before it is committed; 0 leaves it to the rules
    waiting_cycles_max: int = 360
    unmatched_cycles_max: int = 120

    @classmethod
    def of(cls, given: dict[str, Any]) -> "Policy":
        """Return the policy with `given` over the defaults. RefusedInput for what is unknown or of another type."""
        known = {field.name: field.type for field in fields(cls)}
        for name, value in given.items():
            wanted = type(getattr(cls(), name)) if name in known else None
            if wanted is None or type(value) is not wanted or (wanted is int and not 0 <= value <= POLICY_NUMBER_MAX):
                raise RefusedInput(
                    f"cycle.toml, [policy]: '{name}' is unknown, not of the right type, or not from 0 to "
                    f"{POLICY_NUMBER_MAX:,}. Known: {', '.join(known)}. Nothing was written."
                )
        policy = cls(**given)
        if policy.hold_minutes <= policy.execution_minutes:
            raise RefusedInput(
                f"cycle.toml, [policy]: hold_minutes is {policy.hold_minutes} and must be more than execution_minutes, "
                f"{policy.execution_minutes}: what is reserved must stay so until it is executed. Nothing was written."
            )
        return policy

    def as_json(self) -> str:
        """Return the policy as canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Policy":
        """Return the policy that `as_json` wrote."""
        return cls(**json.loads(text))
