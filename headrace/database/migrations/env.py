"""What Alembic runs: all steps on the connection, and in the transaction, it is given.

To write a step, add ``versions/NNNN_what.py`` by hand; a test compares what the steps
make with what the tables say.
"""

from __future__ import annotations

from alembic import context

from headrace.database.schema import SCHEMA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SCHEMA,
    # SQLite's too, since we begin its transactions ourselves.
    transactional_ddl=True,
)
context.run_migrations()
