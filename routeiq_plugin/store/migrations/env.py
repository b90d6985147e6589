"""Runs migrations on the connection, and inside the transaction, that `store.schema` hands over."""

from __future__ import annotations

from alembic import context

from routeiq_plugin.store.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # true of SQLite too, once the driver leaves transactions to us
)
with context.begin_transaction():
    context.run_migrations()
