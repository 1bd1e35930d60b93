"""One deployment of Trine, driven as a user drives it: by the command line."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from sqlalchemy import select

from assets.home import Home
from assets.ledger.store import Store
from assets.ledger.trace import Batch
from pipelines.cli import main
from pipelines.resources import home_resource
from schemas import records


@dataclass(frozen=True)
class Answer:
    """What a command gave back."""

    exit_code: int
    out: str
    err: str

    @property
    def record(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        return dict(json.loads(self.out))


@dataclass(frozen=True)
class Deployment:
    """A home folder and a database."""

    folder: Path
    records_url: str = ""

    def trine(self, *arguments: object) -> Answer:
        """Run a command. Its own errors are an exit code; any other is a fault and comes through."""
        given = [*map(str, arguments), "--home", str(self.folder), "--records", self.records_url]
        result = CliRunner().invoke(main, given, catch_exceptions=False)
        return Answer(result.exit_code, result.stdout, " ".join(result.stderr.split()))

    def settle(self, folder: Path, exit_code: int = 0) -> dict[str, Any]:
        """Settle an input folder and return the summary."""
        answer = self.trine("settle", "--input", folder, "--json")
        assert answer.exit_code == exit_code, answer.err
        return answer.record

    @property
    def home(self) -> Home:
        return home_resource(str(self.folder), records_url=self.records_url)

    @property
    def store(self) -> Store:
        return self.home.store()

    def atoms(self, column: str, batch_id: str) -> dict[tuple[str, str], int]:
        """Return a column of the positions by participant and instrument, without zeros."""
        rows = self.store.rows("positions", batch_id).select("participant", "instrument", column).rows()
        return {(participant, instrument): atoms for participant, instrument, atoms in rows if atoms}

    def states(self, batch_id: str) -> dict[str, tuple[str, str | None, int]]:
        """Return state, reason and age of each fill in a batch, by exec id."""
        outcomes = self.home.frame(batch_id, "outcomes")
        return {
            fill_id.split(":")[-1]: (state, reason, age)
            for fill_id, state, reason, age in outcomes.select("fill_id", "state", "reason", "age").rows()
        }

    def batch(self, batch_id: str) -> Batch:
        """Return the frames that lineage needs."""
        names = ("fills", "outcomes", "trades", "obligations", "decisions")
        return Batch(self.store.batch(batch_id), *(self.home.frame(batch_id, name) for name in names))

    def dump(self) -> dict[str, list[dict[str, Any]]]:
        """Return every row of every table, in an order of their own."""
        with self.store.engine.connect() as connection:
            return {
                name: sorted(map(dict, connection.execute(select(table)).mappings()), key=repr)
                for name, table in records.metadata.tables.items()
            }
