"""The log, and the life of a batch"""

from typing import Any

import sqlalchemy as sa
from alembic import op

import schemas.records

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATES = (
    "('CUT', 'PROPOSED', 'VALIDATED', 'RESERVED', 'APPROVED', 'COMMITTED', 'EXECUTING', 'EXECUTION_UNKNOWN', 'FINAL', "
    "'ABORTED', 'COMPENSATED')"
)
SETTLED = "state IN ('COMMITTED', 'EXECUTING', 'EXECUTION_UNKNOWN', 'FINAL') AND compensates IS NULL"
KEPT = "batch_id, cycle_id, attempt, state, reason, opens_at, cut_at, previous_batch_id, policy, inputs_digest, trine_version"
MOVED = (
    "plan_digest", "degraded", "reference_instrument", "fills_new", "fills_carried", "chains", "chains_settled",
    "value_atoms", "value_open_atoms", "weight_atoms", "bound_atoms", "solver", "path",
)  # fmt: skip


def upgrade() -> None:
    _create_plans()
    op.execute(f"INSERT INTO plans (batch_id, {', '.join(MOVED)}) SELECT batch_id, {', '.join(MOVED)} FROM batches")
    if op.get_bind().dialect.name == "sqlite":
        _batches_on_sqlite()
    else:
        _batches_on_postgresql()
    op.create_index(
        "uq_batches_settled_cycle",
        "batches",
        ["cycle_id"],
        unique=True,
        sqlite_where=sa.text(SETTLED),
        postgresql_where=sa.text(SETTLED),
    )
    op.add_column(
        "holds",
        sa.Column(
            "expires_at", sa.Text(), nullable=False, server_default="", comment="Later than the instructions are due."
        ),
    )
    _create_transitions()
    _create_log()


def _create_plans() -> None:
    op.create_table(
        "plans",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("plan_digest", sa.Text(), nullable=False, comment="Of what is settled, free of where it was read."),
        sa.Column("degraded", sa.Integer(), nullable=False, comment="Something was quarantined."),
        sa.Column("reference_instrument", sa.Text(), nullable=False),
        sa.Column("fills_new", sa.Integer(), nullable=False),
        sa.Column("fills_carried", sa.Integer(), nullable=False),
        sa.Column("chains", sa.Integer(), nullable=False),
        sa.Column("chains_settled", sa.Integer(), nullable=False),
        sa.Column("value_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("value_open_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("weight_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("bound_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("solver", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False, comment="Which way the selection was found."),
        sa.CheckConstraint("chains_settled BETWEEN 0 AND chains", name=op.f("ck_plans_chains_settled")),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_plans_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_plans")),
        sqlite_strict=True,
    )


def _batches_on_sqlite() -> None:
    """A check cannot be changed here: the table is made anew. The caller has foreign keys off, and checks them after."""
    op.create_table(
        "new_batches",
        sa.Column("batch_id", sa.Text(), nullable=False, comment="'<cycle_id>#<attempt>'"),
        sa.Column("cycle_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("compensates", sa.Text(), nullable=True, comment="The batch that this one reverses."),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("opens_at", sa.Text(), nullable=False, comment="RFC 3339, UTC."),
        sa.Column("cut_at", sa.Text(), nullable=False),
        sa.Column("previous_batch_id", sa.Text(), nullable=True),
        sa.Column("policy", sa.Text(), nullable=False, comment="JSON, keys sorted."),
        sa.Column("manifest_digest", sa.Text(), nullable=False),
        sa.Column("inputs_digest", sa.Text(), nullable=False),
        sa.Column("trine_version", sa.Text(), nullable=False),
        sa.Column("lock_digest", sa.Text(), nullable=False),
        sa.CheckConstraint(f"state IN {STATES}", name=op.f("ck_batches_state")),
        sa.ForeignKeyConstraint(
            ["previous_batch_id"], ["new_batches.batch_id"], name=op.f("fk_batches_previous_batch_id")
        ),
        sa.ForeignKeyConstraint(["compensates"], ["new_batches.batch_id"], name=op.f("fk_batches_compensates")),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_batches")),
        sqlite_strict=True,
    )
    op.execute(
        f"INSERT INTO new_batches ({KEPT}, fence, manifest_digest, lock_digest) SELECT {KEPT}, 1, '', '' FROM batches"
    )
    op.drop_index("uq_batches_committed_cycle", "batches")
    op.drop_table("batches")
    op.rename_table("new_batches", "batches")


def _batches_on_postgresql() -> None:
    op.drop_index("uq_batches_committed_cycle", "batches")
    op.drop_constraint(op.f("ck_batches_state"), "batches", type_="check")
    op.drop_constraint(op.f("ck_batches_chains_settled"), "batches", type_="check")
    for name in MOVED:
        op.drop_column("batches", name)
    op.add_column(
        "batches", sa.Column("compensates", sa.Text(), nullable=True, comment="The batch that this one reverses.")
    )
    added: dict[str, tuple[Any, str, str]] = {
        "fence": (sa.Integer(), "1", "Goes up when a process takes the batch over; all writes name it."),
        "manifest_digest": (sa.Text(), "", "Of the frozen input files; names their folder."),
        "lock_digest": (sa.Text(), "", "SHA-256 of requirements.lock; '' when it is not there."),
    }
    for name, (kind, before, comment) in added.items():
        op.add_column("batches", sa.Column(name, kind, nullable=False, server_default=before, comment=comment))
        op.alter_column("batches", name, server_default=None)
    for name, comment in (
        ("reason", "Why an attempt was aborted or compensated, or its execution is not known."),
        ("inputs_digest", "Of all that decides the cycle."),
    ):
        op.alter_column("batches", name, comment=comment)
    op.create_check_constraint(op.f("ck_batches_state"), "batches", f"state IN {STATES}")
    op.create_foreign_key(op.f("fk_batches_compensates"), "batches", "batches", ["compensates"], ["batch_id"])


def _create_transitions() -> None:
    op.create_table(
        "transitions",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="1, 2, 3, ... of the batch."),
        sa.Column("state_before", sa.Text(), nullable=True, comment="Null for the first."),
        sa.Column("state_after", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False, comment="'trine', or the person who decided."),
        sa.Column("recorded_at", sa.Text(), nullable=False, comment="RFC 3339, UTC."),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_transitions_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "number", name=op.f("pk_transitions")),
        sqlite_strict=True,
    )
    op.create_table(
        "approvals",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_approvals_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "person", name=op.f("pk_approvals")),
        sqlite_strict=True,
    )
    op.create_table(
        "confirmations",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("instruction_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="Of what was said of the instruction: 1, 2, ..."),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column(
            "source", sa.Text(), nullable=False, comment="The batch whose inputs said so, or the person who asked."
        ),
        sa.Column("recorded_at", sa.Text(), nullable=False),
        sa.CheckConstraint("outcome IN ('DONE', 'REJECTED', 'UNKNOWN')", name=op.f("ck_confirmations_outcome")),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_confirmations_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "instruction_id", "number", name=op.f("pk_confirmations")),
        sqlite_strict=True,
    )


def _create_log() -> None:
    position = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "keys",
        sa.Column("key_id", sa.Text(), nullable=False, comment="'<name>+<hash>', as in a signed note's verifier key."),
        sa.Column("verifier_key", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_keys")),
        sqlite_strict=True,
    )
    op.create_table(
        "log_entries",
        sa.Column("position", position, autoincrement=False, nullable=False, comment="Index of the leaf, from 0."),
        sa.Column("source", sa.Text(), nullable=False, comment="The table of the row."),
        sa.Column("row_key", sa.Text(), nullable=False, comment="The row's primary key, a JSON list."),
        sa.Column(
            "leaf_hash", sa.Text(), nullable=False, comment="SHA-256 in hex over a zero byte and the body: RFC 6962."
        ),
        sa.Column("body", sa.Text(), nullable=False, comment="The row in canonical form."),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_log_entries")),
        sqlite_strict=True,
    )
    op.create_index("ix_log_entries_row_key", "log_entries", ["row_key"])
    op.create_table(
        "log_frames",
        sa.Column("position", position, autoincrement=False, nullable=False, comment="Index of the first leaf."),
        sa.Column("rows", sa.Integer(), nullable=False, comment="Each row of the frame is a leaf."),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False, comment="Of the frame."),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_log_frames_batch_id")),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_log_frames")),
        sqlite_strict=True,
    )
    op.create_table(
        "checkpoints",
        sa.Column("size", position, autoincrement=False, nullable=False, comment="Leaves of the log."),
        sa.Column("root", sa.Text(), nullable=False, comment="The tree's root hash in hex."),
        sa.Column("note", sa.Text(), nullable=False, comment="Both, signed: a C2SP checkpoint."),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_checkpoints")),
        sqlite_strict=True,
    )
