"""The commands of people who decide: approve a batch, say what a custodian said, reverse what was not executed."""

import re
from pathlib import Path
from typing import Any

import click

from pipelines.console import answering, attempts_in, home_at, kept, out, settled_batch
from schemas.errors import RefusedInput


def _person(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    """Return a name in its one form: one person who writes it in two ways must not be two."""
    known = name.strip().casefold()
    if not re.fullmatch(r"[a-z0-9][a-z0-9._@-]{0,63}", known):
        raise click.BadParameter("expected letters, digits and . _ @ -, at most 64, like ann or ann@example.com.")
    return known


def _reason(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > 500:
        raise click.BadParameter("expected a line of text, at most 500 characters.")
    return text.strip()


by = click.option("--by", "person", required=True, callback=_person, metavar="NAME", help="Who decides, like ann.")


@click.command()
@click.argument("cycle")
@by
@kept
@answering
def approve(cycle: str, person: str, home: Path | None, records_url: str) -> None:
    """Approve the batch of CYCLE that is reserved. See first what it will do: trine report --cycle CYCLE."""
    from schemas.cycle import Policy

    place = home_at(home, records_url)
    batch = _batch(place, cycle, ("RESERVED",))
    people = place.store().record_approval(batch["batch_id"], person)
    place.publish()
    wanted = Policy.from_json(batch["policy"]).approvals
    what = "It waits for the others." if people < wanted else "Run the cycle again, and it goes on."
    out.print(f"{batch['batch_id']}: {people} of {wanted} people have approved it. {what}")


@click.command()
@click.argument("cycle")
@click.option("--instruction", "named", multiple=True, metavar="ID", help="Repeatable. Default: all without an answer.")
@click.option("--outcome", type=click.Choice(("DONE", "REJECTED", "UNKNOWN")), required=True)
@by
@kept
@answering
def confirm(cycle: str, named: tuple[str, ...], outcome: str, person: str, home: Path | None, records_url: str) -> None:
    """Record what a custodian says, when asked, of instructions of CYCLE (or of one batch of it, like CYCLE#2)."""
    from assets.ledger.report import open_instructions
    from assets.ledger.store import EXECUTING

    place = home_at(home, records_url)
    store, batch = place.store(), _batch(place, cycle, EXECUTING)
    unanswered = [row for row in open_instructions(store, batch) if row["outcome"] != "REJECTED"]
    names = named or [row["instruction_id"] for row in unanswered]
    state = store.confirm(batch["batch_id"], dict.fromkeys(names, outcome), person)
    place.publish()
    left = len(open_instructions(store, store.batch(batch["batch_id"])))
    out.print(f"{batch['batch_id']}: {len(names):,} instructions {outcome}, {left:,} open. It is {state}.")


@click.command()
@click.argument("cycle")
@click.option("--reason", required=True, callback=_reason, help="A line of text; it stays in the records.")
@by
@kept
@answering
def compensate(cycle: str, reason: str, person: str, home: Path | None, records_url: str) -> None:
    """Reverse the batch of CYCLE, the last one, that its custodians did not execute. Then the cycle is open again."""
    from assets.ledger.store import Claim
    from assets.settlement.outbox import hand_out

    place = home_at(home, records_url)
    store = place.store()
    # One that was decided and not handed out, because the machine failed in between, goes on.
    left = [one["batch_id"] for one in attempts_in(place, cycle, ("COMMITTED",)) if one["compensates"]]
    reversal = left[-1] if left else store.compensate(settled_batch(place, cycle)["batch_id"], reason, person)
    reversed_id = store.batch(reversal)["compensates"]
    hand_out(store, Claim(reversal, 1), place.frame(reversed_id, "instruments"), place.outbox())
    state = store.confirm(reversal, {}, person)  # Where nothing was executed, nothing is to be paid back.
    place.publish()
    back = store.rows("instructions", reversal).height
    out.print(
        f"{reversed_id} is reversed by {reversal}, which is {state}: {back:,} instructions pay back what was executed. "
        f"{cycle} can be settled again."
    )


def _batch(place: Any, cycle: str, states: tuple[str, ...]) -> dict[str, Any]:
    """Return the one batch of a cycle that is in one of `states`."""
    found = attempts_in(place, cycle, states)
    if len(found) != 1:
        names = f"{len(found)}; name one of them: {', '.join(one['batch_id'] for one in found)}" if found else "none"
        raise RefusedInput(
            f"{cycle[:80]}: expected one batch that is {' or '.join(states)}, found {names}. Nothing was written. "
            "`trine report --cycle` says how far a cycle is."
        )
    return found[0]
