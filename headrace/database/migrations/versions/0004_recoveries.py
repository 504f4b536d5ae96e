"""What reconciliation was asked to do now, and what its last look found.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "recoveries",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("asked", sa.BigInteger, nullable=False),
        sa.Column("asked_by", sa.Text),
        sa.Column("asked_ms", sa.BigInteger),
        sa.Column("answered", sa.BigInteger, nullable=False),
        sa.Column("began_ms", sa.BigInteger),
        sa.Column("ended_ms", sa.BigInteger),
        sa.Column("outcome", sa.String(16)),
        sa.Column("problem", sa.Text),
        sa.Column("requeued", sa.BigInteger),
        sa.Column("failed", sa.BigInteger),
        sa.Column("worker", sa.Text),
        sa.PrimaryKeyConstraint("name", name="pk_recoveries"),
    )
