"""What every command shares: where it speaks, how its errors end, and the options that say where records are."""

import re
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
from rich.console import Console

from schemas.errors import RefusedInput, TrineError, Unusable
from schemas.printing import printable_lines

PASSWORD = r"(?<=:)[^:@/]*(?=@)"  # Of a database URL. It is nobody's business in a message.
P = ParamSpec("P")
R = TypeVar("R")
out = Console(highlight=False, soft_wrap=True)
progress = Console(stderr=True, highlight=False, soft_wrap=True)


def answering(command: Callable[P, R]) -> Callable[P, R]:
    """Turn Trine's own errors into a message and their exit code."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except TrineError as error:
            found: TrineError = error
        except Exception as error:  # noqa: BLE001  What is no fault of disk or database is raised again.
            found = _fault_of_the_machine(error)
        progress.print(f"{type(found).__name__}: {printable_lines(str(found))}", style="red", markup=False)
        sys.exit(found.exit_code)

    return run


def _fault_of_the_machine(error: BaseException) -> TrineError:
    """Return what is wrong with disk or database behind `error`, or raise it again: then it is our fault."""
    from assets.ledger.store import DatabaseError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TrineError):
            return cause
        if isinstance(cause, (OSError, DatabaseError)):
            what = f"{type(cause).__name__}: {str(cause).splitlines()[0]}"
            return Unusable(f"{what}. What was committed is safe. Mend the disk or the database, then run it again.")
        cause = cause.__cause__ or cause.__context__
    raise error


def kept(command: Callable[P, R]) -> Callable[P, R]:
    """Add the options that say where records are."""
    command = click.option(
        "--records",
        "records_url",
        default="",
        envvar="TRINE_RECORDS",
        help="Database URL. Default: SQLite in the home.",
    )(command)
    return click.option(
        "--home", type=click.Path(file_okay=False, path_type=Path), envvar="TRINE_HOME",
        help="Folder of Trine's records. Default: var in the checkout.",
    )(command)  # fmt: skip


as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object; amounts as strings of atoms.")


def home_at(home: Path | None, records_url: str) -> Any:
    """Return the home of a deployment."""
    from pipelines.resources import home_resource

    return home_resource(str(home) if home else None, records_url=records_url)


def settled_batch(place: Any, cycle_id: str | None) -> dict[str, Any]:
    """Return the settled batch of a cycle, or the last one. RefusedInput when there is none."""
    batches: list[dict[str, Any]] = place.store().settled(cycle_id) if _has_records(place) else []
    if not batches:
        raise RefusedInput(
            f"no committed {'cycle ' + cycle_id[:80] if cycle_id else 'cycle'} in {re.sub(PASSWORD, '', place.url())}. "
            "Settle one first (trine settle), or name another home with --home."
        )
    return batches[-1]


def attempts_in(place: Any, cycle: str, states: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the batches of a cycle, or the one batch of that id, that are in one of `states`; oldest first."""
    found = place.store().attempts(states, cycle.partition("#")[0]) if _has_records(place) else []
    return [one for one in found if "#" not in cycle or one["batch_id"] == cycle]


def _has_records(place: Any) -> bool:
    """Say whether there are records: looking for some must not make them."""
    return not place.url().startswith("sqlite:///") or Path(place.url().removeprefix("sqlite:///")).exists()
