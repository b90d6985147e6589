"""Usage of agents by day, and which batch of it each worker wrote last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables; what is there stays as it is."""
    op.create_table(
        "routeiq_agent_daily",
        sa.Column("day", sa.Date(), primary_key=True),
        sa.Column("agent_id", sa.String(), primary_key=True),
        sa.Column("api_key", sa.String(), primary_key=True),
        sa.Column("user_id", sa.String(), primary_key=True),
        sa.Column("team_id", sa.String(), primary_key=True),
        sa.Column("method", sa.String(), primary_key=True),
        sa.Column("agent_name", sa.String(), nullable=False),
        sa.Column("key_alias", sa.String()),
        sa.Column("successful_requests", sa.BigInteger(), nullable=False),
        sa.Column("failed_requests", sa.BigInteger(), nullable=False),
        sa.Column("timed_requests", sa.BigInteger(), nullable=False),
        sa.Column("response_seconds", sa.Double(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("spend", sa.Double(), nullable=False),
    )
    op.create_table(
        "routeiq_usage_writer",
        sa.Column("writer", sa.String(), primary_key=True),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Remove both, rows included."""
    for table in ("routeiq_usage_writer", "routeiq_agent_daily"):
        op.drop_table(table)
