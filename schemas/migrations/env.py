"""Alembic's entry: it is always given a connection, by `assets.ledger.store` or by a test."""

from alembic import context

from schemas.records import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
