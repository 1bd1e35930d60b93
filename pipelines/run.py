"""One cycle through Dagster, from a folder, in this process."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any, NamedTuple

import dagster as dg
from rich.console import Console

from assets.durable import make_folder
from assets.partitions import CALENDAR, cycle_of, cycles
from pipelines.definitions import build_definitions
from pipelines.resources import CHECKOUT, home_folder
from schemas.errors import RefusedInput
from schemas.printing import printable

ONLY_STEPS: dict[str, Any] = {"loggers": {"console": {"config": {}}}}  # Without it Dagster prints its own log as well.

PATIENCE_SECONDS = 3  # Before it is said that another process is being waited for.


class Done(NamedTuple):
    """A cycle that ran: its batch, and whether it had been committed before."""

    batch_id: str
    again: bool


def run_cycle(
    cycle_id: str, folder: Path, *, home: Path | None, records_url: str, console: Console, take_over: bool = False,
    replayed: bool = False, late_fills: str = "",
) -> Done:  # fmt: skip
    """Settle one cycle from an input folder with the job `settle_cycle`, and say on `console` how far it is.

    With `take_over` it does not wait for another process that settles here: it takes its batch over, and the fence in
    the records refuses whatever the other still wants to write. What is `replayed` is not signed and leaves no trace in
    this deployment's Dagster, and it alone can have `late_fills`. Raises what the assets raise: see schemas.errors.
    """
    cycle = cycle_of(cycle_id)
    if not cycles.has_partition_key(cycle_id):
        raise RefusedInput(
            f"cycle {cycle_id} cannot be settled now: its cut is at {cycle.cut_at.isoformat()}, and cycles are settled "
            f"after their cut, from {CALENDAR.start} on. Nothing was written."
        )
    place = home or home_folder()
    os.environ.setdefault("DAGSTER_HOME", str(CHECKOUT / "dagster_home"))
    definitions = build_definitions(
        str(place), input_folder=str(folder), records_url=records_url, late_fills=late_fills,
        signs=not replayed,
        loggers={"console": _steps_to(console)},
    )  # fmt: skip
    job = definitions.resolve_job_def("settle_cycle")
    history = dg.DagsterInstance.ephemeral if replayed else dg.DagsterInstance.get
    with nullcontext() if take_over else _alone(place, console), history() as instance:
        result = job.execute_in_process(partition_key=cycle_id, instance=instance, run_config=ONLY_STEPS)
    said: dict[str, Any] = result.output_for_node("cycle_inputs")
    return Done(result.output_for_node("journal")["batch_id"], said["settled_before"])


@contextmanager
def _alone(place: Path, console: Console) -> Iterator[None]:
    """Wait until no other process settles in this home: the second of two then finds the cycle committed."""
    make_folder(place)
    with (place / "settling.lock").open("w") as handle:
        patient_until = time.monotonic() + PATIENCE_SECONDS
        while not _locked(handle):
            if time.monotonic() > patient_until:
                console.print(
                    f"Another process is settling in {printable(str(place))}; waiting until it ends. If it hangs, run this "
                    "again with --take-over, which goes on without it.",
                    markup=False,
                )
                fcntl.flock(handle, fcntl.LOCK_EX)
                break
            time.sleep(0.1)
        yield


def _locked(handle: IO[str]) -> bool:
    """Say whether the lock could be had at once."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _steps_to(console: Console) -> dg.LoggerDefinition:
    """Return a Dagster logger that shows each finished asset with its row counts, and nothing else."""

    class Steps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            event = getattr(record, "dagster_meta", {}).get("dagster_event")
            if event is not None and event.event_type_value == "ASSET_MATERIALIZATION":
                done = event.event_specific_data.materialization
                counts = [
                    f"{entry.value:,} {name.removesuffix(' rows')}"
                    for name, entry in done.metadata.items()
                    if name.endswith(" rows")
                ]
                console.print(f"  [green]done[/] {done.asset_key.path[-1]:<16} [dim]{', '.join(counts)}[/]")

    def make(_: Any) -> logging.Logger:
        logger = logging.Logger("trine.steps", logging.DEBUG)
        logger.addHandler(Steps())
        return logger

    return dg.LoggerDefinition(make)
