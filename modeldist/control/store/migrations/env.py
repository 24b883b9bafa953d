"""What alembic executes: migrate over the connection that `schema.py` hands in."""

from __future__ import annotations

from alembic import context

from modeldist.control.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter most things in place
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
