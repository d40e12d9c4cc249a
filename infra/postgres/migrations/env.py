"""Runs the migrations on the connection that `infra.postgres.migrate` hands over."""

from alembic import context

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("run `portfolio migrate`: it waits for the database and takes the lock")

context.configure(connection=connection)
with context.begin_transaction():
    context.run_migrations()
