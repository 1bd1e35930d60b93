"""What a selection proves, and what would release the chains that wait"""

import sqlalchemy as sa
from alembic import op

import schemas.records

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pay_ins",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("participant", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("pays_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("has_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("draws_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("must_bring_atoms", schemas.records.AtomsType(), nullable=False),
        sa.CheckConstraint(
            "pays_atoms >= 0 AND pays_atoms <> 'NaN'", name=op.f("ck_pay_ins_pays_atoms_not_negative")
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint("pays_atoms NOT LIKE '-%'", name=op.f("ck_pay_ins_pays_atoms_not_negative")).ddl_if(
            dialect="sqlite"
        ),
        sa.CheckConstraint(
            "has_atoms >= 0 AND has_atoms <> 'NaN'", name=op.f("ck_pay_ins_has_atoms_not_negative")
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint("has_atoms NOT LIKE '-%'", name=op.f("ck_pay_ins_has_atoms_not_negative")).ddl_if(
            dialect="sqlite"
        ),
        sa.CheckConstraint(
            "draws_atoms >= 0 AND draws_atoms <> 'NaN'", name=op.f("ck_pay_ins_draws_atoms_not_negative")
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint("draws_atoms NOT LIKE '-%'", name=op.f("ck_pay_ins_draws_atoms_not_negative")).ddl_if(
            dialect="sqlite"
        ),
        sa.CheckConstraint(
            "must_bring_atoms >= 0 AND must_bring_atoms <> 'NaN'", name=op.f("ck_pay_ins_must_bring_atoms_not_negative")
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint(
            "must_bring_atoms NOT LIKE '-%'", name=op.f("ck_pay_ins_must_bring_atoms_not_negative")
        ).ddl_if(dialect="sqlite"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_pay_ins_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "participant", "instrument", name=op.f("pk_pay_ins")),
        sqlite_strict=True,
    )
    op.create_table(
        "prices",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "party", sa.Text(), nullable=False, comment="Or the name of the limit, or the number of the earlier class."
        ),
        sa.Column("instrument", sa.Text(), nullable=False, comment="'' when there is none."),
        sa.Column(
            "divisor",
            sa.Text(),
            nullable=False,
            comment="Of a CUT: the atoms by which its row is rounded. Else ''.",
        ),
        sa.Column("price", sa.Text(), nullable=False, comment="A whole number of any length, longer than an amount."),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_prices_batch_id")),
        sa.PrimaryKeyConstraint(
            "batch_id", "priority", "kind", "party", "instrument", "divisor", name=op.f("pk_prices")
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "selections",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False, comment="The class; the lower settles first."),
        sa.Column("weight_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column("bound_atoms", schemas.records.AtomsType(), nullable=False),
        sa.Column(
            "scale_bits", sa.Integer(), nullable=False, comment="Prices are integers of 2^-scale_bits weight units."
        ),
        sa.Column("proof", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "weight_atoms >= 0 AND weight_atoms <> 'NaN'", name=op.f("ck_selections_weight_atoms_not_negative")
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint("weight_atoms NOT LIKE '-%'", name=op.f("ck_selections_weight_atoms_not_negative")).ddl_if(
            dialect="sqlite"
        ),
        sa.CheckConstraint(
            "bound_atoms >= 0 AND bound_atoms <> 'NaN'", name=op.f("ck_selections_bound_atoms_not_negative")
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint("bound_atoms NOT LIKE '-%'", name=op.f("ck_selections_bound_atoms_not_negative")).ddl_if(
            dialect="sqlite"
        ),
        sa.CheckConstraint("proof IN ('PRICES', 'ENUMERATION')", name=op.f("ck_selections_proof")),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_selections_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "priority", name=op.f("pk_selections")),
        sqlite_strict=True,
    )
    op.create_table(
        "top_ups",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("chain_id", sa.Text(), nullable=False),
        sa.Column("participant", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("quantity_atoms", schemas.records.AtomsType(), nullable=False),
        sa.CheckConstraint(
            "quantity_atoms >= 0 AND quantity_atoms <> 'NaN'", name=op.f("ck_top_ups_quantity_atoms_not_negative")
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint("quantity_atoms NOT LIKE '-%'", name=op.f("ck_top_ups_quantity_atoms_not_negative")).ddl_if(
            dialect="sqlite"
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.batch_id"], name=op.f("fk_top_ups_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "chain_id", "participant", "instrument", name=op.f("pk_top_ups")),
        sqlite_strict=True,
    )
