"""trine: the command line.

Exit codes: 0 settled (or was settled before); 1 Trine itself is wrong; 2 the input or the call is refused and nothing
was written; 3 settled, but degraded: something was quarantined; 4 blocked by the quality verdict; 5 the cycle is
committed with other inputs, a later one is, or another process took it over; 6 the disk or the database fails; 7 people
must approve it; 8 records, log and signatures, or a replay, do not agree.
"""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import click

from pipelines import decisions, proofs
from pipelines.console import answering, as_json, attempts_in, home_at, kept, out, progress, settled_batch
from schemas.errors import RefusedInput, Tampered

DEGRADED = 3
FLAWS = ("duplicates", "busts", "corrections", "one_sided", "bad_numbers", "unknown_parties", "broken_file")
folder = click.Path(file_okay=False, path_type=Path)
table = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Coordinated multiparty settlement: only what is fully funded on all sides."""


for command in (
    proofs.verify, proofs.prove, proofs.sign, proofs.key, decisions.approve, decisions.confirm, decisions.compensate
):  # fmt: skip
    main.add_command(command)


@main.command()
@click.option("--input", "source", type=folder, required=True, help="Folder of one cycle: docs/reference/inputs.md.")
@click.option("--cycle", "cycle_id", default=None, help="Like C4H-20261102-0800. Default: cycle.toml in the folder.")
@click.option(
    "--take-over", is_flag=True, help="Do not wait for another process that settles here: go on with its batch."
)
@kept
@as_json
@answering
def settle(
    source: Path, cycle_id: str | None, take_over: bool, home: Path | None, records_url: str, as_json: bool
) -> None:
    """Settle one cycle. Safe to run again: a committed cycle changes nothing, and says so."""
    if not source.is_dir():
        raise RefusedInput(f"there is no folder {source}. Expected the input folder of one cycle. Nothing was written.")
    summary, again = _settle(cycle_id or _named_in(source), source, home, records_url, take_over)
    if as_json:
        click.echo(json.dumps({**summary, "committed_before": again}, indent=1))
    else:
        _say(summary, again)
    sys.exit(DEGRADED if summary["degraded"] else 0)


@main.command()
@kept
@answering
def migrate(home: Path | None, records_url: str) -> None:
    """Make the records' tables, or bring them up to date. On PostgreSQL with a login that may: docs/how-to."""
    from assets.ledger.database import roles_missing

    store = home_at(home, records_url).store()
    with store.engine.connect() as connection:
        missing = roles_missing(connection)
    out.print("The tables of the records are up to date.")
    if missing:
        out.print(
            f"Without roles: {', '.join(missing)}. Whoever may write these tables may change what is recorded. "
            "docs/how-to/run-on-postgresql.md says how a database gets them."
        )


@main.command()
@click.option("--cycle", "cycle_id", default=None, help="Default: the last committed cycle.")
@click.option("--quarantine", is_flag=True, help="List what was kept out, and why.")
@click.option("--waiting", is_flag=True, help="List the chains and fills that wait, and why.")
@click.option("--positions", is_flag=True, help="List what each participant settled, and breaks.")
@kept
@as_json
@answering
def report(
    cycle_id: str | None, quarantine: bool, waiting: bool, positions: bool,
    home: Path | None, records_url: str, as_json: bool,
) -> None:  # fmt: skip
    """What a committed cycle did and how far it is; with --cycle also what one that waits for approval will do."""
    from pipelines.summary import print_life, print_rows, print_summary

    place = home_at(home, records_url)
    reserved = attempts_in(place, cycle_id, ("RESERVED",)) if cycle_id else []
    batch = reserved[-1] if reserved else settled_batch(place, cycle_id)
    summary = _summary(place, batch["batch_id"])
    lists: dict[str, list[dict[str, Any]]] = {}
    if quarantine:
        frame = place.frame(batch["batch_id"], "quarantined").drop("raw", "file_sha256")
        lists["quarantine"] = frame.to_dicts()
    if waiting:
        frame = place.frame(batch["batch_id"], "decisions").filter(settles=False)
        frame = frame.drop("settles", "base_atoms", "quote_atoms", strict=False)
        lists["waiting_chains"] = [
            {
                name: str(atoms) if name.endswith("_atoms") and atoms is not None else atoms
                for name, atoms in row.items()
            }
            for row in frame.to_dicts()
        ]
        outcomes = place.frame(batch["batch_id"], "outcomes").select("fill_id", "state", "reason", "age")
        lists["other_open_fills"] = [
            row for row in outcomes.to_dicts() if row["state"] in ("UNMATCHED", "REJECTED", "EXPIRED")
        ]
    if positions:
        frame = place.store().rows("positions", batch["batch_id"]).drop("batch_id")
        lists["positions"] = [
            {name: str(value) if name.endswith("_atoms") else value for name, value in row.items()}
            for row in frame.to_dicts()
            if any(row[name] for name in ("debit_atoms", "credit_atoms", "lent_atoms", "break_atoms"))
        ]
    if as_json:
        click.echo(json.dumps({**summary, **lists}, indent=1))
        return
    print_summary(summary, out)
    print_life(summary, out)
    for name, rows in lists.items():
        print_rows(name, rows, summary, out)


@main.command()
@click.argument("what", nargs=-1, required=True)
@click.option("--cycle", "cycle_id", default=None, help="Of a settled amount. Default: the last committed cycle.")
@kept
@as_json
@answering
def trace(what: tuple[str, ...], cycle_id: str | None, home: Path | None, records_url: str, as_json: bool) -> None:
    """Lineage both ways.

    trine trace PARTICIPANT INSTRUMENT: a settled amount, to every fill behind it.
    trine trace FILL_ID: a fill, to what became of it.
    """
    from assets.ledger.trace import trace_amount, trace_fill
    from pipelines.summary import print_fill_trace, print_trace

    place = home_at(home, records_url)
    if len(what) > 2:
        raise RefusedInput("expected PARTICIPANT INSTRUMENT, or one FILL_ID.")
    decimals = {}
    if len(what) == 2:
        batch = settled_batch(place, cycle_id)
        decimals = dict(place.frame(batch["batch_id"], "instruments").select("instrument", "decimals").rows())
        found = trace_amount(_frames(place, batch), place.store().rows("positions", batch["batch_id"]), *what)
    else:
        last = settled_batch(place, cycle_id)
        batches = place.store().settled(cycle_id)
        found = trace_fill([_frames(place, batch) for batch in batches], what[0])
        decimals = dict(place.frame(last["batch_id"], "instruments").select("instrument", "decimals").rows())
    if as_json:
        click.echo(json.dumps(found, indent=1))
    elif len(what) == 2:
        print_trace(found, decimals, out)
    else:
        print_fill_trace(found, decimals, out)


@main.command()
@click.argument("cycle_id", metavar="CYCLE")
@click.option(
    "--known",
    type=click.Choice(("then", "now")),
    default="then",
    show_default=True,
    help="then: the same must come out. now: with what later cycles' inputs say about it.",
)
@click.option("--from-the-first", is_flag=True, help="Settle all cycles before it again too, each from its inputs.")
@click.option("--out", "target", type=folder, help="Keep the replay in this new folder.")
@click.option("--records-out", default="", help="An empty database for the replay. Default: SQLite in its folder.")
@kept
@as_json
@answering
def replay(
    cycle_id: str, known: str, from_the_first: bool, target: Path | None, records_out: str, home: Path | None,
    records_url: str, as_json: bool,
) -> None:  # fmt: skip
    """Settle a committed cycle again, apart from the records, from the inputs as they were kept. Nothing is changed."""
    if known == "now" and from_the_first:
        raise click.UsageError("--from-the-first replays what was known then; leave out --known now.")
    from pipelines.replay import replay_now, replay_then, set_apart
    from pipelines.replay_report import print_now, print_then

    place = home_at(home, records_url)
    settled_batch(place, cycle_id)
    with set_apart(target, records_out) as apart, progress.status(f"replaying {cycle_id}"):
        if known == "now":
            found, tell = replay_now(place, cycle_id, apart, progress), print_now
        else:
            found, tell = replay_then(place, cycle_id, apart, from_the_first, progress), print_then
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        tell(found, out)
    sys.exit(0 if known == "now" or found["same"] else Tampered.exit_code)


@main.command()
@click.option("--chains", type=table, required=True, help="What could settle, a row per leg: docs/reference/select.md.")
@click.option("--balances", type=table, required=True, help="What each account has.")
@click.option("--limits", type=table, help="What must stay, how far below zero, and how much to whom.")
@click.option("--prices", type=table, help="What instruments are worth.")
@click.option("--links", type=table, help="Chains that settle together, or one before another.")
@click.option(
    "--reference", help="The instrument that values are in. Default: the first of --prices that is worth itself."
)
@click.option("--effort", type=click.Choice(("full", "quick")), default="full", show_default=True)
@click.option("--out", "target", type=folder, help="Write tables, certificate and result into this new folder.")
@as_json
@answering
def select(
    chains: Path, balances: Path, limits: Path | None, prices: Path | None, links: Path | None, reference: str | None,
    effort: str, target: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """What would settle? The most valuable set of chains that is funded on all sides. Nothing is settled or kept."""
    from pipelines.selection_report import print_result, require_free, select_case, write_folder

    if target:
        require_free(target)
    with progress.status("selecting"):
        from assets.funding.whatif.case import read_case

        case = read_case(chains, balances, limits, prices, links, reference)
        answer, result = select_case(case, effort)
        if target:
            write_folder(target, case, answer, result)
    if as_json:
        click.echo(json.dumps(result, indent=1))
    else:
        print_result(case, result, out)


@main.command()
@click.argument("target", type=folder)
@click.option("--cycle", "cycle_id", default="C4H-20261102-0800", show_default=True)
@click.option("--trades", default=600, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=7, show_default=True)
@click.option(
    "--flaw", "flaws", multiple=True, type=click.Choice((*FLAWS, "all")), help="Spoil some of it; repeatable."
)
@click.option(
    "--tape",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Public trades of Kraken, as its API sends them.",
)
@answering
def market(target: Path, cycle_id: str, trades: int, seed: int, flaws: tuple[str, ...], tape: Path | None) -> None:
    """Write a synthetic market as the files that the outside world would send, ready for `trine settle --input`."""
    from assets.partitions import cycle_of
    from pipelines.market import MarketPlan, write_market

    cycle = cycle_of(cycle_id)
    chosen = FLAWS if "all" in flaws else tuple(dict.fromkeys(flaws))
    plan = MarketPlan(cycle_id, cycle.opens_at, cycle.cut_at, trades=trades, seed=seed, flaws=chosen, tape=tape)
    written = write_market(plan, target)
    spoilt = ", ".join(f"{count} {name}" for name, count in written.flaws.items()) or "none"
    out.print(
        f"{target}: {written.trades:,} trades as {written.reports:,} reports in {written.files} files, "
        f"{written.bytes:,} bytes; flaws: {spoilt}" + (f"; {written.skipped} prints skipped" if written.skipped else "")
    )


@main.command()
@click.option("--trades", default=600, show_default=True, type=click.IntRange(1))
@click.option("--tape", type=click.Path(dir_okay=False, path_type=Path), help="Settle these real prints instead.")
@click.option("--home", type=folder, help="Emptied first. Default: var/demo in the checkout.")
@answering
def demo(trades: int, tape: Path | None, home: Path | None) -> None:
    """Write a market, settle two cycles in a row through Dagster, and show what settled and what waits."""
    from pipelines.demo import run_demo

    run_demo(trades, tape, home, out, progress)


def _settle(
    cycle_id: str, source: Path, home: Path | None, records_url: str, take_over: bool
) -> tuple[dict[str, Any], bool]:
    with progress.status(f"settling {cycle_id}"):
        from pipelines.run import run_cycle

        done = run_cycle(cycle_id, source, home=home, records_url=records_url, console=progress, take_over=take_over)
    return _summary(home_at(home, records_url), done.batch_id), done.again


def _say(summary: dict[str, Any], again: bool) -> None:
    from pipelines.summary import print_summary

    if again:
        out.print(f"{summary['cycle_id']} was committed before, from the same inputs. Nothing was changed.")
    print_summary(summary, out)


def _summary(place: Any, batch_id: str) -> dict[str, Any]:
    from assets.ledger.report import summarise

    return summarise(place.store(), batch_id, place.frame(batch_id, "decisions"), place.frame(batch_id, "instruments"))


def _frames(place: Any, batch: dict[str, Any]) -> Any:
    from assets.ledger.trace import Batch

    names = ("fills", "outcomes", "trades", "obligations", "decisions")
    return Batch(batch, *(place.frame(batch["batch_id"], name) for name in names))


def _named_in(source: Path) -> str:
    try:
        return str(tomllib.loads((source / "cycle.toml").read_text(encoding="utf-8"))["cycle"])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RefusedInput(f"cycle.toml is not TOML in UTF-8: {error}. Nothing was written.") from None
    except (FileNotFoundError, KeyError):
        raise RefusedInput(
            f'{source} has no cycle.toml that names its cycle. Add one with the line cycle = "C4H-20261102-0800", or '
            "give --cycle. Nothing was written."
        ) from None
