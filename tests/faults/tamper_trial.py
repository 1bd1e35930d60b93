"""Edits of the records, tried on one connection and taken back, and whether the checker saw each of them."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

from sqlalchemy import Connection, create_engine, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from assets.ledger import audit as checker
from schemas.records import FACTS, LOG
from tests.faults.tamper_home import World

Rows = dict[str, list[dict[str, Any]]]


class Edit(NamedTuple):
    """Statements that tamper, and what the checker must say: each of these rows, and the column."""

    kind: str
    statements: tuple[tuple[str, tuple[Any, ...]], ...]
    rows: tuple[tuple[str, str | None], ...]  # Table and key; None: any row of it; '': of any.
    word: str  # That stands in what is said of one of them; '' where the rows say enough.
    apart: str  # Edits of one name may be made at once, as long as their `place` differs.
    place: tuple[str, str]


@dataclass
class Tally:
    """How many edits were made of each kind, and those that the checker did not see."""

    made: Counter[str] = field(default_factory=Counter)
    unseen: list[str] = field(default_factory=list)

    def judge(self, kind: str, what: str, seen: bool) -> None:
        self.made[kind] += 1
        if not seen:
            self.unseen.append(f"{kind}: {what}")

    def text(self) -> str:
        """Return the table of counts."""
        lines = [f"{count:>12,}  {kind}" for kind, count in sorted(self.made.items())]
        return "\n".join([*lines, f"{self.made.total():>12,}  edits, {len(self.unseen):,} not seen", *self.unseen[:40]])


class Records:
    """The records of a world, on one connection on which everything is tried and taken back."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.engine = create_engine(world.url, poolclass=NullPool)
        self.connection: Connection = self.engine.connect()
        self.sqlite = self.engine.dialect.name == "sqlite"
        if self.sqlite:
            driver: Any = self.connection.connection.driver_connection
            driver.isolation_level = None
        with self.without_guards():
            self.rows: Rows = {
                table.name: [dict(row) for row in self.connection.execute(select(table)).mappings()]
                for table in (*FACTS, *LOG)
            }

    @contextmanager
    def without_guards(self) -> Iterator[None]:
        """What the insider does who has the file, or is the server's administrator; taken back at the end."""
        if self.sqlite:
            self.connection.exec_driver_sql("PRAGMA foreign_keys = 0")
            self.connection.exec_driver_sql("PRAGMA ignore_check_constraints = 1")
            self.connection.exec_driver_sql("SAVEPOINT intact")
        else:
            self.connection.execute(text("SET LOCAL session_replication_role = replica"))
            found = "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0"
            for table, name in self.connection.execute(text(found)).all():
                self.connection.execute(text(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"'))
        self.connection.exec_driver_sql("DROP INDEX uq_batches_settled_cycle")
        try:
            yield
        finally:
            if self.sqlite:
                self.connection.exec_driver_sql("ROLLBACK TO intact")
                self.connection.exec_driver_sql("RELEASE intact")
            self.connection.rollback()

    def close(self) -> None:
        self.connection.close()
        self.engine.dispose()

    def check(self, **given: Any) -> list[checker.Difference]:
        """Return what the checker finds in what this connection sees."""
        return self.world.check(
            SimpleNamespace(engine=SimpleNamespace(connect=lambda: nullcontext(self.connection))), **given
        )

    def run(self, edits: Sequence[Edit], tally: Tally) -> None:
        """Make edits, in as few rounds as keep them independent, and judge what the checker says of each."""
        rounds: list[list[Edit]] = []
        turns: Counter[tuple[str, str, str]] = Counter()
        starts: dict[str, dict[int, list[Edit]]] = defaultdict(dict)
        for edit in edits:
            turn = turns[(edit.apart, *edit.place)]
            turns[(edit.apart, *edit.place)] += 1
            starts[edit.apart].setdefault(turn, []).append(edit)
        for numbered in starts.values():
            rounds += numbered.values()
        for edits_at_once in rounds:
            with self.without_guards():
                made = [edit for edit in edits_at_once if self._make(edit)]
                said = said_of(self.check())
                for edit in made:
                    words = [said.get(row, set()) for row in edit.rows]
                    seen = all(words) and (not edit.word or any(edit.word in one for one in words))
                    tally.judge(edit.kind, f"{edit.rows} {edit.word}", seen)

    def _make(self, edit: Edit) -> bool:
        """Make an edit, and say whether the database took all of it."""
        try:
            with nullcontext() if self.sqlite and len(edit.statements) == 1 else self.connection.begin_nested():
                for statement, values in edit.statements:
                    sql = statement if self.sqlite else statement.replace("?", "%s")
                    if self.connection.exec_driver_sql(sql, values).rowcount != 1:
                        raise LookupError
        except (SQLAlchemyError, LookupError):
            return False
        return True


def said_of(differences: Sequence[checker.Difference]) -> dict[tuple[str, str | None], set[str]]:
    said: dict[tuple[str, str | None], set[str]] = defaultdict(set)
    for one in differences:
        words = set(re.findall(r"\w+", one.what))
        said[one.table, one.row] |= words
        said[one.table, None] |= words
        said["", None] |= words
    return said
