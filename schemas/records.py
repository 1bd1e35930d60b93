"""The tables of the final records, and how amounts live in SQL.

Few, small rows are kept here; many, large rows (fills, obligations, outcomes) are Parquet frames whose digests the
table `frames` carries. Rows are only ever added, except that a batch and its holds change their state.

Every row is also a leaf of the log (`log_entries`), with all its columns but those marked as derived: they follow from
the leaves of `transitions`. So nothing stored here can change without a trace: see `assets.ledger.audit`.
"""

from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    event,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from schemas.atoms import require_carried

NOT_NEGATIVE = {"sqlite": "{0} NOT LIKE '-%'", "postgresql": "{0} >= 0 AND {0} <> 'NaN'"}
# The life of a batch, in order. Before COMMITTED it may be ABORTED; from then on it is completed or compensated.
LIFE = ("CUT", "PROPOSED", "VALIDATED", "RESERVED", "APPROVED", "COMMITTED", "EXECUTING", "EXECUTION_UNKNOWN", "FINAL")
SETTLED_STATES = LIFE[LIFE.index("COMMITTED") :]
BATCH_STATES = (*LIFE, "ABORTED", "COMPENSATED")


class AtomsType(TypeDecorator[int]):
    """A Python integer as TEXT on SQLite and NUMERIC(78, 0) on PostgreSQL; never through a float."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.NUMERIC(78, 0))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None:
            return None
        if type(value) is not int:
            raise TypeError(f"an amount is an int of atoms, not {type(value).__name__}")
        require_carried([value], "an amount")
        return Decimal(value) if dialect.name == "postgresql" else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        return None if value is None else int(value)


class _AtomsSum:
    """SQLite's own SUM over TEXT is a float; this one is exact."""

    def __init__(self) -> None:
        self.total = 0

    def step(self, value: str | None) -> None:
        self.total += int(value or 0)

    def finalize(self) -> str:
        return str(self.total)


@event.listens_for(Engine, "connect")
def _teach_sqlite(connection: Any, _: Any) -> None:
    """Give every SQLite connection of this process three functions, exact at any size.

    `atoms_sum(x)` is an aggregate, `atoms_minus(a, b)` the difference, `atoms_sign(x)` -1, 0 or 1. The migration gives
    PostgreSQL the same three, so a rule is written once for both.
    """
    if type(connection).__module__.startswith("sqlite3"):
        connection.create_aggregate("atoms_sum", 1, _AtomsSum)
        connection.create_function(
            "atoms_sign", 1, lambda value: (int(value) > 0) - (int(value) < 0) if value is not None else None,
            deterministic=True,
        )  # fmt: skip
        connection.create_function(
            "atoms_minus", 2, lambda a, b: str(int(a) - int(b)) if a is not None and b is not None else None,
            deterministic=True,
        )  # fmt: skip


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _table(name: str, *columns: Any) -> Table:
    return Table(name, metadata, *columns, sqlite_strict=True)


def _derived(name: str, kind: Any = Text, **given: Any) -> Column[Any]:
    """A column that changes: no leaf holds it, because it follows from the batch's transitions."""
    return Column(name, kind, info={"derived": True}, **given)


def _batch(*, key: bool = True) -> Column[str]:
    return Column("batch_id", Text, ForeignKey("batches.batch_id"), primary_key=key, nullable=False)


def _atoms(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, AtomsType, nullable=nullable)


def _never_negative(*columns: str) -> list[CheckConstraint]:
    """The database itself refuses a negative amount. (On PostgreSQL a NaN would pass `>= 0`.)"""
    return [
        CheckConstraint(rule.format(column), name=f"{column}_not_negative").ddl_if(dialect=dialect)
        for column in columns
        for dialect, rule in NOT_NEGATIVE.items()
    ]


batches = _table(
    "batches",
    Column("batch_id", Text, primary_key=True, comment="'<cycle_id>#<attempt>'"),
    Column("cycle_id", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("compensates", Text, ForeignKey("batches.batch_id"), comment="The batch that this one reverses."),
    _derived("state", nullable=False),
    _derived("reason", comment="Why an attempt was aborted or compensated, or its execution is not known."),
    _derived(
        "fence", Integer, nullable=False, comment="Goes up when a process takes the batch over; all writes name it."
    ),
    Column("opens_at", Text, nullable=False, comment="RFC 3339, UTC."),
    Column("cut_at", Text, nullable=False),
    Column("previous_batch_id", Text, ForeignKey("batches.batch_id")),
    Column("policy", Text, nullable=False, comment="JSON, keys sorted."),
    Column("manifest_digest", Text, nullable=False, comment="Of the frozen input files; names their folder."),
    Column("inputs_digest", Text, nullable=False, comment="Of all that decides the cycle."),
    Column("trine_version", Text, nullable=False),
    Column("lock_digest", Text, nullable=False, comment="SHA-256 of requirements.lock; '' when it is not there."),
    CheckConstraint(f"state IN {BATCH_STATES}", name="state"),
)
Index(
    "uq_batches_settled_cycle", batches.c.cycle_id, unique=True,
    sqlite_where=text(f"state IN {SETTLED_STATES} AND compensates IS NULL"),
    postgresql_where=text(f"state IN {SETTLED_STATES} AND compensates IS NULL"),
)  # fmt: skip

plans = _table(
    "plans",
    _batch(),
    Column("plan_digest", Text, nullable=False, comment="Of what is settled, free of where it was read."),
    Column("degraded", Integer, nullable=False, comment="Something was quarantined."),
    Column("reference_instrument", Text, nullable=False),
    Column("fills_new", Integer, nullable=False),
    Column("fills_carried", Integer, nullable=False),
    Column("chains", Integer, nullable=False),
    Column("chains_settled", Integer, nullable=False),
    _atoms("value_atoms"),
    _atoms("value_open_atoms"),
    _atoms("weight_atoms"),
    _atoms("bound_atoms"),
    Column("solver", Text, nullable=False),
    Column("path", Text, nullable=False, comment="Which way the selection was found."),
    CheckConstraint("chains_settled BETWEEN 0 AND chains", name="chains_settled"),
)

transitions = _table(
    "transitions",
    _batch(),
    Column("number", Integer, primary_key=True, comment="1, 2, 3, ... of the batch."),
    Column("state_before", Text, comment="Null for the first."),
    Column("state_after", Text, nullable=False),
    Column("reason", Text),
    Column("fence", Integer, nullable=False),
    Column("decided_by", Text, nullable=False, comment="'trine', or the person who decided."),
    Column("recorded_at", Text, nullable=False, comment="RFC 3339, UTC."),
)

approvals = _table(
    "approvals",
    _batch(),
    Column("person", Text, primary_key=True),
    Column("recorded_at", Text, nullable=False),
)

input_files = _table(
    "input_files",
    _batch(),
    Column("file", Text, primary_key=True),
    Column("stage", Text, nullable=False),
    Column("file_sha256", Text, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("records", Integer, nullable=False),
    Column("accepted", Integer, nullable=False),
    Column("quarantined", Integer, nullable=False),
    Column("duplicates", Integer, nullable=False),
    Column("flaw", Text, comment="Why the file was quarantined whole."),
    CheckConstraint("records = accepted + quarantined + duplicates", name="nothing_is_lost"),
)

control_totals = _table(
    "control_totals",
    _batch(),
    Column("venue", Text, primary_key=True),
    Column("base", Text, primary_key=True),
    Column("quote", Text, primary_key=True),
    Column("side", Text, primary_key=True),
    Column("stated_reports", Integer, nullable=False),
    Column("counted_reports", Integer, nullable=False),
    _atoms("stated_base_atoms"),
    _atoms("counted_base_atoms"),
    _atoms("stated_quote_atoms", nullable=True),
    _atoms("counted_quote_atoms"),
    Column("quarantined", Integer, nullable=False, comment="Rows and files of the venue that were kept out."),
)

flaws = _table(
    "flaws",
    _batch(),
    Column("file", Text, primary_key=True),
    Column("flaw", Text, primary_key=True),
    Column("rows", Integer, nullable=False),
)

frames = _table(
    "frames",
    _batch(),
    Column("name", Text, primary_key=True),
    Column("digest", Text, nullable=False, comment="SHA-256 of the logical records, and the frame's file name."),
    Column("rows", Integer, nullable=False),
)

fill_states = _table(
    "fill_states",
    _batch(),
    Column("state", Text, primary_key=True),
    Column("reason", Text, primary_key=True, comment="'' when there is none."),
    Column("fills", Integer, nullable=False),
)

positions = _table(
    "positions",
    _batch(),
    Column("participant", Text, primary_key=True),
    Column("instrument", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("custodian", Text, nullable=False),
    _atoms("available_atoms"),
    _atoms("debit_atoms"),
    _atoms("credit_atoms"),
    _atoms("net_atoms"),
    _atoms("drawn_atoms"),
    _atoms("lent_atoms"),
    _atoms("closing_atoms"),
    _atoms("total_atoms"),
    _atoms("break_atoms"),
    *_never_negative("available_atoms", "debit_atoms", "credit_atoms", "drawn_atoms", "lent_atoms", "closing_atoms"),
)

netting_effects = _table(
    "netting_effects",
    _batch(),
    Column("instrument", Text, primary_key=True),
    Column("decimals", Integer, nullable=False),
    _atoms("prefunded_atoms"),
    _atoms("gross_atoms"),
    _atoms("bilateral_atoms"),
    Column("bilateral_payments", Integer, nullable=False),
    _atoms("multilateral_atoms"),
    _atoms("prefunded_value_atoms"),
    _atoms("gross_value_atoms"),
    _atoms("bilateral_value_atoms"),
    _atoms("multilateral_value_atoms"),
)

credit_draws = _table(
    "credit_draws",
    _batch(),
    Column("line_id", Text, primary_key=True),
    Column("instrument", Text, primary_key=True),
    Column("prime_broker", Text, nullable=False),
    Column("client", Text, nullable=False),
    _atoms("drawn_atoms"),
)

selections = _table(
    "selections",
    _batch(),
    Column("priority", Integer, primary_key=True, comment="The class; the lower settles first."),
    _atoms("weight_atoms"),
    _atoms("bound_atoms"),
    Column("scale_bits", Integer, nullable=False, comment="Prices are integers of 2^-scale_bits weight units."),
    Column("proof", Text, nullable=False),
    *_never_negative("weight_atoms", "bound_atoms"),
    CheckConstraint("proof IN ('PRICES', 'ENUMERATION')", name="proof"),
)

prices = _table(
    "prices",
    _batch(),
    Column("priority", Integer, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("party", Text, primary_key=True, comment="Or the name of the limit, or the number of the earlier class."),
    Column("instrument", Text, primary_key=True, comment="'' when there is none."),
    Column("divisor", Text, primary_key=True, comment="Of a CUT: the atoms by which its row is rounded. Else ''."),
    Column("price", Text, nullable=False, comment="A whole number of any length, longer than an amount."),
    Column("idle", Text, comment="What it adds to the gap, a whole number like the price. NULL: before this was told."),
)

top_ups = _table(
    "top_ups",
    _batch(),
    Column("chain_id", Text, primary_key=True),
    Column("participant", Text, primary_key=True),
    Column("instrument", Text, primary_key=True),
    _atoms("quantity_atoms"),
    *_never_negative("quantity_atoms"),
)

pay_ins = _table(
    "pay_ins",
    _batch(),
    Column("participant", Text, primary_key=True),
    Column("instrument", Text, primary_key=True),
    _atoms("pays_atoms"),
    _atoms("has_atoms"),
    _atoms("draws_atoms"),
    _atoms("must_bring_atoms"),
    *_never_negative("pays_atoms", "has_atoms", "draws_atoms", "must_bring_atoms"),
)

holds = _table(
    "holds",
    _batch(),
    Column("account", Text, primary_key=True),
    Column("instrument", Text, primary_key=True),
    _atoms("held_atoms"),
    *_never_negative("held_atoms"),
    Column("expires_at", Text, nullable=False, comment="Later than the instructions are due."),
    _derived("state", nullable=False),
    CheckConstraint("state IN ('HELD', 'CONSUMED', 'RELEASED')", name="state"),
)

instructions = _table(
    "instructions",
    _batch(),
    Column("instruction_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("participant", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("custodian", Text, nullable=False),
    Column("instrument", Text, nullable=False),
    _atoms("quantity_atoms"),
    *_never_negative("quantity_atoms"),
)

postings = _table(
    "postings",
    Column("posting_id", Text, primary_key=True),
    _batch(key=False),
    Column("kind", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("participant", Text, nullable=False),
    Column("instrument", Text, nullable=False),
    _atoms("atoms"),
)

verdicts = _table(
    "verdicts",
    _batch(),
    Column("rule", Text, primary_key=True),
    Column("statement", Text, nullable=False, comment="The sentence that an auditor reads."),
    Column("severity", Text, nullable=False),
    Column("success", Integer, nullable=False),
    Column("found", Text, nullable=False, comment="How many rows break it; never the rows."),
    CheckConstraint("severity IN ('BLOCK', 'WARN')", name="severity"),
)

confirmations = _table(
    "confirmations",
    _batch(),
    Column("instruction_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True, comment="Of what was said of the instruction: 1, 2, ..."),
    Column("outcome", Text, nullable=False),
    Column("source", Text, nullable=False, comment="The batch whose inputs said so, or the person who asked."),
    Column("recorded_at", Text, nullable=False),
    CheckConstraint("outcome IN ('DONE', 'REJECTED', 'UNKNOWN')", name="outcome"),
)

keys = _table(
    "keys",
    Column("key_id", Text, primary_key=True, comment="'<name>+<hash>', as in a signed note's verifier key."),
    Column("verifier_key", Text, nullable=False),
    Column("recorded_at", Text, nullable=False),
)

# The log. Its rows are no leaves: they hold the leaves, or are checked against them.

_position = BigInteger().with_variant(Integer, "sqlite")

log_entries = _table(
    "log_entries",
    Column("position", _position, primary_key=True, autoincrement=False, comment="Index of the leaf, from 0."),
    Column("source", Text, nullable=False, comment="The table of the row."),
    Column("row_key", Text, nullable=False, comment="The row's primary key, a JSON list."),
    Column("leaf_hash", Text, nullable=False, comment="SHA-256 in hex over a zero byte and the body: RFC 6962."),
    Column("body", Text, nullable=False, comment="The row in canonical form."),
    Index("ix_log_entries_row_key", "row_key"),
)

log_frames = _table(
    "log_frames",
    Column("position", _position, primary_key=True, autoincrement=False, comment="Index of the first leaf."),
    Column("rows", Integer, nullable=False, comment="Each row of the frame is a leaf."),
    _batch(key=False),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False, comment="Of the frame."),
)

checkpoints = _table(
    "checkpoints",
    Column("size", _position, primary_key=True, autoincrement=False, comment="Leaves of the log."),
    Column("root", Text, nullable=False, comment="The tree's root hash in hex."),
    Column("note", Text, nullable=False, comment="Both, signed: a C2SP checkpoint."),
)

LOG = (log_entries, log_frames, checkpoints)
FACTS = tuple(table for table in metadata.sorted_tables if table not in LOG)
