"""Owners of tasks, and push notifications on their way."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the three tables."""
    op.create_table(
        "routeiq_task",
        sa.Column("agent_id", sa.String(), primary_key=True),
        sa.Column("kind", sa.String(), primary_key=True),
        sa.Column("object_id", sa.String(), primary_key=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_routeiq_task_seen_at", "routeiq_task", ["seen_at"])
    op.create_table(
        "routeiq_push_config",
        sa.Column("push_id", sa.String(), primary_key=True),
        sa.Column("agent_id", sa.String(), nullable=False),
        sa.Column("task_id", sa.String()),
        sa.Column("config_id", sa.String(), nullable=False),
        sa.Column("wire", sa.String(), nullable=False),
        sa.Column("webhook", sa.Text(), nullable=False),
        sa.Column("sealed_with", sa.String()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_routeiq_push_config_task", "routeiq_push_config", ["agent_id", "task_id"])
    op.create_index("ix_routeiq_push_config_created_at", "routeiq_push_config", ["created_at"])
    op.create_table(
        "routeiq_push_delivery",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column(
            "push_id", sa.String(), sa.ForeignKey("routeiq_push_config.push_id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_routeiq_push_delivery_push_id", "routeiq_push_delivery", ["push_id"])


def downgrade() -> None:
    """Remove them, rows included."""
    for table in ("routeiq_push_delivery", "routeiq_push_config", "routeiq_task"):
        op.drop_table(table)
