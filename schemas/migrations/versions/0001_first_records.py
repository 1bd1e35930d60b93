"""First records"""

import sqlalchemy as sa
from alembic import op

import schemas.records

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        # The three functions that schemas.records gives to SQLite, so that a rule is written once for both.
        op.execute(
            "CREATE FUNCTION atoms_sign(x numeric) RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT sign(x)::integer'"
        )
        op.execute(
            "CREATE FUNCTION atoms_minus(a numeric, b numeric) RETURNS numeric IMMUTABLE LANGUAGE sql AS 'SELECT a - b'"
        )
        op.execute("CREATE AGGREGATE atoms_sum(numeric) (SFUNC = numeric_add, STYPE = numeric, INITCOND = '0')")
    op.create_table(
        "batches",
        sa.Column("batch_id", sa.Text(), nullable=False, comment="'<cycle_id>#<attempt>'"),
        sa.Column("cycle_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True, comment="Why an attempt was aborted."),
        sa.Column("opens_at", sa.Text(), nullable=False, comment="RFC 3339, UTC."),
        sa.Column("cut_at", sa.Text(), nullable=False),
        sa.Column("previous_batch_id", sa.Text(), nullable=True),
        sa.Column("policy", sa.Text(), nullable=False, comment="JSON, keys sorted."),
        sa.Column("inputs_digest", sa.Text(), nullable=False),
        sa.Column("plan_digest", sa.Text(), nullable=False, comment="Of what is settled, free of where it was read."),
        sa.Column("trine_version", sa.Text(), nullable=False),
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
        sa.CheckConstraint("state IN ('PROPOSED', 'COMMITTED', 'ABORTED')", name=op.f("ck_batches_state")),
        sa.CheckConstraint("chains_settled BETWEEN 0 AND chains", name=op.f("ck_batches_chains_settled")),
        sa.ForeignKeyConstraint(["previous_batch_id"], ["batches.batch_id"], name=op.f("fk_batches_previous_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_batches")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("batches", schema=None) as batch_op:
        batch_op.create_index(
            "uq_batches_committed_cycle",
            ["cycle_id"],
            unique=True,
            sqlite_where=sa.text("state = 'COMMITTED'"),
            postgresql_where=sa.text("state = 'COMMITTED'"),
        )

    op.create_table(
        "control_totals",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("quote", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("stated_reports", sa.Integer(), nullable=False),
        sa.Column("counted_reports", sa.Integer(), nullable=False),
        sa.Column("stated_base_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("counted_base_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("stated_quote_atoms", schemas.records.AtomsType(), nullable=True),
        sa.Column("counted_quote_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column(
            "quarantined", sa.Integer(), nullable=False, comment="Rows and files of the venue that were kept out."
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_control_totals_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "venue", "base", "quote", "side", name=op.f("pk_control_totals")),
        sqlite_strict=True,
    )
    op.create_table(
        "credit_draws",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("line_id", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("prime_broker", sa.Text(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("drawn_atoms", schemas.records.AtomsType(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_credit_draws_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "line_id", "instrument", name=op.f("pk_credit_draws")),
        sqlite_strict=True,
    )
    op.create_table(
        "fill_states",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, comment="'' when there is none."),
        sa.Column("fills", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_fill_states_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "state", "reason", name=op.f("pk_fill_states")),
        sqlite_strict=True,
    )
    op.create_table(
        "flaws",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("flaw", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_flaws_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "file", "flaw", name=op.f("pk_flaws")),
        sqlite_strict=True,
    )
    op.create_table(
        "frames",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "digest", sa.Text(), nullable=False, comment="SHA-256 of the logical records, and the frame's file name."
        ),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_frames_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "name", name=op.f("pk_frames")),
        sqlite_strict=True,
    )
    op.create_table(
        "holds",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("held_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "held_atoms >= 0 AND held_atoms <> 'NaN'", name=op.f("ck_holds_held_atoms_not_negative")
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint("held_atoms NOT LIKE '-%'", name=op.f("ck_holds_held_atoms_not_negative")).ddl_if(
            dialect="sqlite"
        ),
        sa.CheckConstraint("state IN ('HELD', 'CONSUMED', 'RELEASED')", name=op.f("ck_holds_state")),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_holds_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "account", "instrument", name=op.f("pk_holds")),
        sqlite_strict=True,
    )
    op.create_table(
        "input_files",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("file_sha256", sa.Text(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("accepted", sa.Integer(), nullable=False),
        sa.Column("quarantined", sa.Integer(), nullable=False),
        sa.Column("duplicates", sa.Integer(), nullable=False),
        sa.Column("flaw", sa.Text(), nullable=True, comment="Why the file was quarantined whole."),
        sa.CheckConstraint(
            "records = accepted + quarantined + duplicates", name=op.f("ck_input_files_nothing_is_lost")
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_input_files_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "file", name=op.f("pk_input_files")),
        sqlite_strict=True,
    )
    op.create_table(
        "instructions",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("instruction_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("participant", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("custodian", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("quantity_atoms", schemas.records.AtomsType(), nullable=False),
        sa.CheckConstraint(
            "quantity_atoms >= 0 AND quantity_atoms <> 'NaN'", name=op.f("ck_instructions_quantity_atoms_not_negative")
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint(
            "quantity_atoms NOT LIKE '-%'", name=op.f("ck_instructions_quantity_atoms_not_negative")
        ).ddl_if(dialect="sqlite"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_instructions_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "instruction_id", name=op.f("pk_instructions")),
        sqlite_strict=True,
    )
    op.create_table(
        "netting_effects",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("decimals", sa.Integer(), nullable=False),
        sa.Column("prefunded_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("gross_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("bilateral_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("bilateral_payments", sa.Integer(), nullable=False),
        sa.Column("multilateral_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("prefunded_value_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("gross_value_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("bilateral_value_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("multilateral_value_atoms", schemas.records.AtomsType(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_netting_effects_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "instrument", name=op.f("pk_netting_effects")),
        sqlite_strict=True,
    )
    op.create_table(
        "positions",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("participant", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("custodian", sa.Text(), nullable=False),
        sa.Column("available_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("debit_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("credit_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("net_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("drawn_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("lent_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("closing_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("total_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("break_atoms", schemas.records.AtomsType(), nullable=False),
        sa.CheckConstraint(
            "available_atoms >= 0 AND available_atoms <> 'NaN'", name=op.f("ck_positions_available_atoms_not_negative")
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint(
            "available_atoms NOT LIKE '-%'", name=op.f("ck_positions_available_atoms_not_negative")
        ).ddl_if(dialect="sqlite"),
        sa.CheckConstraint(
            "closing_atoms >= 0 AND closing_atoms <> 'NaN'", name=op.f("ck_positions_closing_atoms_not_negative")
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint("closing_atoms NOT LIKE '-%'", name=op.f("ck_positions_closing_atoms_not_negative")).ddl_if(
            dialect="sqlite"
        ),
        sa.CheckConstraint(
            "credit_atoms >= 0 AND credit_atoms <> 'NaN'", name=op.f("ck_positions_credit_atoms_not_negative")
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint("credit_atoms NOT LIKE '-%'", name=op.f("ck_positions_credit_atoms_not_negative")).ddl_if(
            dialect="sqlite"
        ),
        sa.CheckConstraint(
            "debit_atoms >= 0 AND debit_atoms <> 'NaN'", name=op.f("ck_positions_debit_atoms_not_negative")
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint("debit_atoms NOT LIKE '-%'", name=op.f("ck_positions_debit_atoms_not_negative")).ddl_if(
            dialect="sqlite"
        ),
        sa.CheckConstraint(
            "drawn_atoms >= 0 AND drawn_atoms <> 'NaN'", name=op.f("ck_positions_drawn_atoms_not_negative")
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint("drawn_atoms NOT LIKE '-%'", name=op.f("ck_positions_drawn_atoms_not_negative")).ddl_if(
            dialect="sqlite"
        ),
        sa.CheckConstraint(
            "lent_atoms >= 0 AND lent_atoms <> 'NaN'", name=op.f("ck_positions_lent_atoms_not_negative")
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint("lent_atoms NOT LIKE '-%'", name=op.f("ck_positions_lent_atoms_not_negative")).ddl_if(
            dialect="sqlite"
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_positions_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "participant", "instrument", name=op.f("pk_positions")),
        sqlite_strict=True,
    )
    op.create_table(
        "postings",
        sa.Column("posting_id", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("participant", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("atoms", schemas.records.AtomsType(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_postings_batch_id")),
        sa.PrimaryKeyConstraint("posting_id", name=op.f("pk_postings")),
        sqlite_strict=True,
    )
    op.create_table(
        "verdicts",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("statement", sa.Text(), nullable=False, comment="The sentence that an auditor reads."),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("success", sa.Integer(), nullable=False),
        sa.Column("found", sa.Text(), nullable=False, comment="How many rows break it; never the rows."),
        sa.CheckConstraint("severity IN ('BLOCK', 'WARN')", name=op.f("ck_verdicts_severity")),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_verdicts_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "rule", name=op.f("pk_verdicts")),
        sqlite_strict=True,
    )
