"""What a replay needs of the records: the batches that a cycle stands on, copied, and a batch compared with another."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import polars as pl

from assets.home import Home
from assets.ledger.database import Database, keep, keep_frame
from schemas.errors import BrokenInvariant
from schemas.records import FACTS

# When, by whom and at which attempt: a replay has its own. Frames are compared by name and digest.
NOT_COMPARED = {"batches", "transitions", "approvals", "confirmations", "frames"}
MOMENTS = {"recorded_at", "expires_at"}


class Difference(NamedTuple):
    """Something recorded that did not come out again. `rows`: how many, of a table or a frame; None: not countable."""

    what: str  # 'table positions', 'frame fills', 'inputs_digest', ...
    rows: int | None


def copy_batches(source: Database, target: Database, batch_ids: Iterable[str]) -> None:
    """Copy all that is recorded of batches, oldest first, into an empty database, whose log gives them leaves anew."""
    tables = [table for table in FACTS if "batch_id" in table.c]
    for batch_id in batch_ids:
        rows = {table.name: source.rows(table.name, batch_id).to_dicts() for table in tables}
        logged = source.rows("log_frames", batch_id)
        with target.engine.begin() as connection:
            for table in tables:
                keep(connection, table, rows[table.name])
            for name, digest, height in logged.select("name", "digest", "rows").rows():
                keep_frame(connection, batch_id, name, digest, height)


def compare(then: Home, batch_id: str, now: Home, replayed_id: str) -> list[Difference]:
    """Return where a replayed batch differs from the recorded one, frame by frame and row by row; nothing when it does not.

    What is about time, people and attempts is left out (NOT_COMPARED, MOMENTS), ids are compared without the attempt.
    """
    found = []
    digests, replayed = then.store().frame_digests(batch_id), now.store().frame_digests(replayed_id)
    for name in sorted(digests.keys() | replayed.keys()):
        if digests.get(name) != replayed.get(name):
            found.append(Difference(f"frame {name}", _frame_rows(then, digests.get(name), now, replayed.get(name))))
    for table in FACTS:
        if "batch_id" in table.c and table.name not in NOT_COMPARED:
            names = [
                column.name for column in table.columns
                if column.name != "batch_id" and column.name not in MOMENTS and not column.info.get("derived")
            ]  # fmt: skip
            one, other = (
                Counter(_without_attempt(row, id_) for row in home.store().rows(table.name, id_).select(names).rows())
                for home, id_ in ((then, batch_id), (now, replayed_id))
            )
            if one != other:
                found.append(Difference(f"table {table.name}", max((one - other).total(), (other - one).total())))
    return found


def _without_attempt(row: tuple[object, ...], batch_id: str) -> tuple[object, ...]:
    return tuple(value.removeprefix(f"{batch_id}/") if isinstance(value, str) else value for value in row)


def _frame_rows(then: Home, digest: str | None, now: Home, replayed: str | None) -> int | None:
    """Return how many rows of two frames differ; None when one is not there any more, or has other columns."""
    if digest is None or replayed is None:
        return None
    try:
        one, other = then.frames().read(digest), now.frames().read(replayed)
    except BrokenInvariant:
        return None
    if one.schema != other.schema:
        return None
    sides = pl.concat([one.with_columns(side=pl.lit(1)), other.with_columns(side=pl.lit(-1))])
    apart = sides.group_by(one.columns).agg(pl.col("side").sum())["side"]
    return int(max(apart.filter(apart > 0).sum(), 0 - apart.filter(apart < 0).sum()))
