"""One partition per settlement cycle: a window from a cron and a time zone."""

import os
from datetime import UTC

import dagster as dg

from schemas.cycle import CALENDARS, Cycle
from schemas.errors import RefusedInput

CALENDAR = CALENDARS[os.environ.get("TRINE_CALENDAR", "C4H")]

cycles = dg.TimeWindowPartitionsDefinition(
    cron_schedule=CALENDAR.cron, timezone=CALENDAR.timezone, start=CALENDAR.start, fmt=CALENDAR.fmt
)


def cycle_of(cycle_id: str) -> Cycle:
    """Return the cycle of that name. RefusedInput if the calendar has no such window."""
    try:
        window = cycles.time_window_for_partition_key(cycle_id)
        known = cycle_id == window.start.strftime(CALENDAR.fmt)
    except (ValueError, OverflowError, dg.DagsterError):
        known = False
    if not known:
        raise RefusedInput(
            f"'{cycle_id[:80]}' is not a cycle of the calendar {CALENDAR.name} ({CALENDAR.cron} in {CALENDAR.timezone}). "
            f"Expected a name like {CALENDAR.start}: the calendar and the start of a window. Nothing was written. "
            "TRINE_CALENDAR chooses another calendar."
        )
    return Cycle(cycle_id, window.start.astimezone(UTC), window.end.astimezone(UTC))
