"""Runs migrations on the connection that `pipeline.store.schema` hands over, inside its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], version_table="findable_version")
context.run_migrations()
