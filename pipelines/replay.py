"""A past cycle settled again, apart from the records: with what was known then, or with what is known now.

A replay has a home folder, a database and a Dagster history of its own. Of the records it only reads.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from rich.console import Console

from assets.custody.late import late_statements
from assets.fills.late import late_reports
from assets.home import Home, inputs_digest, lock_digest, manifest_of, trine_version
from assets.intake import SourceFile
from assets.ledger.replay import Difference, compare, copy_batches
from assets.obligations.settled import with_amounts
from assets.reference import read_reference
from pipelines.resources import home_resource
from pipelines.run import Done, run_cycle
from schemas.cycle import Policy
from schemas.errors import AwaitsApproval, RefusedInput, Tampered
from schemas.fill import Fill
from schemas.printing import printable

Batch = dict[str, Any]


@contextmanager
def set_apart(out: Path | None, records_out: str) -> Iterator[Home]:
    """Give a new, empty home: in the folder `out`, else in one that is removed afterwards. RefusedInput if it is not empty."""
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RefusedInput(f"{out} is not an empty folder. Nothing was written. Give --out a new one.")
    with TemporaryDirectory(prefix="trine-replay-") as folder:
        place = (out or Path(folder)).absolute()
        # Always named, so that no environment variable leads to the records themselves.
        apart = home_resource(str(place), records_url=records_out or f"sqlite:///{place / 'records.sqlite'}")
        if apart.store().settled():
            raise RefusedInput(
                "--records-out names a database that holds settled batches. Nothing was written. Give an empty one."
            )
        yield apart


def replay_then(home: Home, cycle_id: str, apart: Home, from_the_first: bool, console: Console) -> dict[str, Any]:
    """Settle a recorded cycle again from its frozen inputs and its recorded policy, and compare all that was recorded.

    It stands on the recorded batches before it, copied; or `from_the_first` on nothing but inputs: then every cycle is
    settled again and compared, from the first one on. Raises RefusedInput when the inputs were not kept, and Tampered
    when they were changed.
    """
    earlier, batch = _found(home, cycle_id)
    if not from_the_first:
        _copy(home, apart, earlier)
    compared = []
    for recorded in [*earlier, batch] if from_the_first else [batch]:
        done = _settle_again(home, recorded, apart, console)
        found = _differences(home, recorded, apart, done.batch_id)
        compared.append(
            {"cycle_id": recorded["cycle_id"], "batch_id": recorded["batch_id"], "same": not found,
             "plan_digest": recorded["plan_digest"], "differences": [one._asdict() for one in found]}
        )  # fmt: skip
    return {
        "cycle_id": cycle_id, "known": "then", "same": all(one["same"] for one in compared), "cycles": compared,
        **_versions(batch),
    }  # fmt: skip


def replay_now(home: Home, cycle_id: str, apart: Home, console: Console) -> dict[str, Any]:
    """Settle a recorded cycle as if all had been known that later cycles' inputs say about it, and tell the difference.

    That is: trades done by its cut, busts and corrections of its fills (assets.fills.late), and corrected statements of
    its custodians (assets.custody.late). Reference data, prices, credit and terms are as they were: no later file of
    theirs corrects an earlier one, it replaces it from then on.
    """
    earlier, batch = _found(home, cycle_id)
    later = [one for one in home.store().settled() if one["opens_at"] > batch["opens_at"]]
    _copy(home, apart, earlier)
    known = home.frame(batch["batch_id"], "fills")
    reports = [home.frame(one["batch_id"], "fills").filter(pl.col("age") == 0) for one in later]
    own = _inputs(home, batch)
    reference = read_reference(
        home.frozen(batch["manifest_digest"]), Policy.from_json(batch["policy"]).reference_instrument
    )
    late = late_reports(known, pl.concat([Fill.empty(), *reports]), reference, datetime.fromisoformat(batch["cut_at"]))
    digest = apart.frames().write(late) if late.height else ""
    others = [file for one in later if one["manifest_digest"] for file in _custody(_inputs(home, one))]
    statements = late_statements(_custody(own), others, reference, *_custody_rules(batch, earlier))
    done = _settle_again(home, batch, apart, console, statements, digest)
    pair = (home, batch["batch_id"]), (apart, done.batch_id)
    plans = [place.store().batch(batch_id)["plan_digest"] for place, batch_id in pair]
    return {
        "cycle_id": cycle_id, "known": "now", "same": plans[0] == plans[1],
        "plan_digest": dict(zip(("then", "now"), plans, strict=True)),
        "late_fills": late.select("fill_id", "exec_type", "exec_ref_id").to_dicts(),
        "late_statements": statements.select(
            "statement_id", "statement_seq", "account", "instrument", "as_of"
        ).to_dicts(),
        "chains": _apart_rows(*(_chains(*one) for one in pair)),
        "positions": _apart_rows(*(_positions(*one) for one in pair)),
        **_versions(batch),
        "decimals": dict(home.frame(batch["batch_id"], "instruments").select("instrument", "decimals").rows()),
    }  # fmt: skip


def _versions(batch: Batch) -> dict[str, Any]:
    return {
        "trine": {"version": batch["trine_version"], "lock_digest": batch["lock_digest"]},
        "replayed_by": {"version": trine_version(), "lock_digest": lock_digest()},
    }


def _found(home: Home, cycle_id: str) -> tuple[list[Batch], Batch]:
    """Return the settled batches before that of a cycle, and that one."""
    settled = home.store().settled()
    batch = next((one for one in settled if one["cycle_id"] == cycle_id), None)
    if batch is None:
        raise RefusedInput(f"cycle {cycle_id[:80]} has not settled, so there is nothing to replay.")
    return [one for one in settled if one["opens_at"] < batch["opens_at"]], batch


def _copy(home: Home, apart: Home, batches: list[Batch]) -> None:
    """Copy batches, and bring their frames, which are named by their content and so need no copy of their own."""
    copy_batches(home.store(), apart.store(), [batch["batch_id"] for batch in batches])
    for batch in batches:
        for digest in home.store().frame_digests(batch["batch_id"]).values():
            source, target = home.frames().path(digest), apart.frames().path(digest)
            if source.exists() and not target.exists():  # What is gone is told where it is read.
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(source, target)
                except OSError:  # Another disk.
                    target.write_bytes(source.read_bytes())


def _inputs(home: Home, batch: Batch) -> list[SourceFile]:
    """Return the frozen inputs of a batch, held to the digest that it recorded."""
    folder = home.frozen(batch["manifest_digest"])
    if not batch["manifest_digest"] or not folder.is_dir():
        why = "are not kept any more" if batch["manifest_digest"] else "were not recorded by the Trine that settled it"
        raise RefusedInput(
            f"the inputs of {batch['batch_id']} {why}, so it cannot be replayed. Expected them in {folder.parent}: put them "
            "back from a copy."
        )
    files, digest = manifest_of(folder)
    if digest != batch["manifest_digest"]:
        there = {file.name: file.sha256 for file in files}
        recorded = home.store().rows("input_files", batch["batch_id"]).select("file", "file_sha256").rows()
        changed = [printable(name) for name, sha256 in recorded if there.get(name) != sha256]
        raise Tampered(
            f"the frozen inputs of {batch['batch_id']} are no longer those that were settled: {len(changed)} of its files are "
            f"changed or missing{f' (first: {changed[0]})' if changed else ', or one was added'}. Put {folder} back from a copy."
        )
    return files


def _settle_again(
    home: Home, batch: Batch, apart: Home, console: Console, statements: pl.DataFrame | None = None, late: str = ""
) -> Done:
    """Settle the inputs of a recorded batch in the home that is set apart, approved by those who approved it then."""
    with TemporaryDirectory(prefix="trine-inputs-") as folder:
        given = Path(folder)
        for file in _inputs(home, batch):
            (given / file.name).parent.mkdir(parents=True, exist_ok=True)
            (given / file.name).symlink_to(file.path.absolute())
        if statements is not None and statements.height:
            (given / "custody" / "late").mkdir(parents=True)
            statements.write_csv(given / "custody" / "late" / "statements.csv")
        policy = json.loads(batch["policy"])
        lines = [f"{name} = {json.dumps(value)}" for name, value in policy.items()]
        (given / "cycle.toml").write_text("\n".join(["[policy]", *lines, ""]), encoding="utf-8")

        def settle() -> Done:
            return run_cycle(
                batch["cycle_id"], given, home=Path(apart.folder), records_url=apart.records_url, console=console,
                replayed=True, late_fills=late,
            )  # fmt: skip

        try:
            return settle()
        except AwaitsApproval:
            for person in home.store().rows("approvals", batch["batch_id"])["person"]:
                apart.store().record_approval(f"{batch['cycle_id']}#1", person)
            return settle()


def _differences(home: Home, batch: Batch, apart: Home, replayed_id: str) -> list[Difference]:
    replayed = apart.store().batch(replayed_id)
    before = replayed["previous_batch_id"]
    # With the id that the batch before had then: replayed from the first, it may have been another attempt.
    previous = {"batch_id": batch["previous_batch_id"]} | (
        {"plan_digest": apart.store().batch(before)["plan_digest"]} if before else {}
    )
    digest = inputs_digest(
        batch["cycle_id"], replayed["manifest_digest"], batch["policy"], previous if before else None
    )
    found = [Difference("inputs_digest", None)] if digest != batch["inputs_digest"] else []
    return found + compare(home, batch["batch_id"], apart, replayed_id)


def _custody_rules(batch: Batch, earlier: list[Batch]) -> tuple[datetime, int, datetime | None]:
    """Return cut_at, stale_hours and executed_by, as `read_balances` was given them in the cycle."""
    policy, executed_by = Policy.from_json(batch["policy"]), None
    if earlier:
        executed_by = datetime.fromisoformat(earlier[-1]["cut_at"]) + timedelta(minutes=policy.execution_minutes)
    return datetime.fromisoformat(batch["cut_at"]), policy.stale_statement_hours, executed_by


def _custody(files: Iterable[SourceFile]) -> list[SourceFile]:
    return [file for file in files if file.stage == "custody"]


Rows = dict[tuple[str, ...], dict[str, Any]]


def _chains(home: Home, batch_id: str) -> Rows:
    trades = home.frame(batch_id, "trades")
    decisions = with_amounts(home.frame(batch_id, "decisions"), trades)
    rows = decisions.select(
        "chain_id", "settles", "reason", settled_base_atoms="base_atoms", settled_quote_atoms="quote_atoms"
    ).join(trades.select("chain_id", "base", "quote", "base_atoms", "quote_atoms"), on="chain_id")
    return {(row.pop("chain_id"),): row for row in _as_text(rows.sort("chain_id"))}


def _positions(home: Home, batch_id: str) -> Rows:
    rows = home.store().rows("positions", batch_id)
    rows = rows.select("participant", "instrument", "available_atoms", "net_atoms", "drawn_atoms", "closing_atoms")
    return {(row.pop("participant"), row.pop("instrument")): row for row in _as_text(rows)}


def _as_text(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return [
        {name: str(value) if name.endswith("_atoms") else value for name, value in row.items()}
        for row in frame.to_dicts()
    ]


def _apart_rows(then: Rows, now: Rows) -> list[dict[str, Any]]:
    """Return the rows that are only in one of the two, or not the same in both."""
    return [
        {"key": list(key), "then": then.get(key), "now": now.get(key)}
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key)
    ]
