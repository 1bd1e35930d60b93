"""Roles: who may read, add and change which rows. On PostgreSQL only; SQLite has the permissions of its file.

The tables belong to trine_owner, which migrates and nothing else. Where this login may not make roles, or may not act as
trine_owner, there are none: everything then stays with whoever migrated, and `assets.ledger.database.roles_missing` says
so.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ROLES = ("trine_owner", "trine_app", "trine_auditor", "trine_compliance", "trine_witness")
TABLES = (
    "approvals", "batches", "checkpoints", "confirmations", "control_totals", "credit_draws", "fill_states", "flaws",
    "frames", "holds", "input_files", "instructions", "keys", "log_entries", "log_frames", "netting_effects", "pay_ins",
    "plans", "positions", "postings", "prices", "selections", "top_ups", "transitions", "verdicts",
)  # fmt: skip
FUNCTIONS = ("atoms_sign(numeric)", "atoms_minus(numeric, numeric)", "atoms_sum(numeric)")
# An approval is a leaf of the log, so whoever gives one must know where the log ends.
COMPLIANCE_READS = {
    "approvals": "", "batches": "", "control_totals": "", "fill_states": "", "flaws": "", "frames": "",
    "input_files": "", "log_entries": "(position)", "log_frames": "(position, rows)", "plans": "", "verdicts": "",
}  # fmt: skip
COMPLIANCE_ADDS = {"approvals": "true", "log_entries": "source = 'approvals'"}
WITNESS_READS = {"checkpoints": "", "keys": "", "log_entries": "(position, leaf_hash)", "log_frames": ""}
# What the app may change, and in which rows, before and after: a batch that has not ended, and a hold once.
APP_CHANGES = {
    "batches": ("state, reason, fence", "state NOT IN ('FINAL', 'ABORTED', 'COMPENSATED')", "true"),
    "holds": ("state", "state = 'HELD'", "state <> 'HELD'"),
}

# Roles are of the whole server, and several of its databases may be migrated at once: whoever comes second waits for the
# first and finds the role there. Without the right to make them all, none is made.
MAKE_ROLES = """
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY string_to_array('{roles}', ' ') LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
                IF wanted = 'trine_auditor' THEN
                    ALTER ROLE trine_auditor SET default_transaction_read_only = on;
                END IF;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
    END LOOP;
    IF NOT pg_has_role('trine_owner', 'USAGE') THEN
        GRANT trine_owner TO CURRENT_USER;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    NULL;
END $$
"""
MADE = "SELECT count(*) FROM pg_roles WHERE rolname IN {0} AND (rolname <> 'trine_owner' OR pg_has_role(oid, 'USAGE'))"


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    op.execute(MAKE_ROLES.format(roles=" ".join(ROLES)))
    if connection.exec_driver_sql(MADE.format(ROLES)).scalar() != len(ROLES):
        return
    schema = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar()
    op.execute(f"GRANT USAGE ON SCHEMA {schema} TO {', '.join(ROLES)}")
    op.execute(f"GRANT CREATE ON SCHEMA {schema} TO trine_owner")
    op.execute(f"GRANT SELECT ON alembic_version TO {', '.join(ROLES[1:])}")
    for table in TABLES:
        _protect(table)
    for function in FUNCTIONS:
        op.execute(f"ALTER ROUTINE {function} OWNER TO trine_owner")
    op.execute("ALTER TABLE alembic_version OWNER TO trine_owner")
    op.execute("SET LOCAL ROLE trine_owner")  # What later migrations of this transaction make is the owner's as well.


def _protect(table: str) -> None:
    """Give each role its rights in a table, and each right the rows that it is for."""
    reads = {"trine_app": "", "trine_auditor": ""}
    adds = {"trine_app": "true"}
    for role, columns in (("trine_compliance", COMPLIANCE_READS), ("trine_witness", WITNESS_READS)):
        if table in columns:
            reads[role] = columns[table]
    if table in COMPLIANCE_ADDS:
        adds["trine_compliance"] = COMPLIANCE_ADDS[table]
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY owner_migrates ON {table} TO trine_owner USING (true)")
    for role, columns_read in reads.items():
        op.execute(f"GRANT SELECT {columns_read} ON {table} TO {role}")
        op.execute(f"CREATE POLICY {role[6:]}_reads ON {table} FOR SELECT TO {role} USING (true)")
    for role, rows in adds.items():
        op.execute(f"GRANT INSERT ON {table} TO {role}")
        op.execute(f"CREATE POLICY {role[6:]}_adds ON {table} FOR INSERT TO {role} WITH CHECK ({rows})")
    if table in APP_CHANGES:
        changed, before, after = APP_CHANGES[table]
        op.execute(f"GRANT UPDATE ({changed}) ON {table} TO trine_app")
        op.execute(
            f"CREATE POLICY app_changes ON {table} FOR UPDATE TO trine_app USING ({before}) WITH CHECK ({after})"
        )
    op.execute(f"ALTER TABLE {table} OWNER TO trine_owner")
