"""Alembic's entry point: run the migrations on the connection that ``upgrade`` gives."""

from __future__ import annotations

from alembic import context

from mixopt.study.storage.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
