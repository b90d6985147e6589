"""Whose the sessions of clients on the MCP endpoints are, so that nobody keeps more than their share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; sessions that are there belong to nobody, and end when they expire."""
    op.add_column("routeiq_mcp_relay", sa.Column("owner", sa.String()))
    op.add_column("routeiq_mcp_relay", sa.Column("used_at", sa.DateTime(timezone=True)))
    op.create_index("ix_routeiq_mcp_relay_owner", "routeiq_mcp_relay", ["owner", "used_at"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_routeiq_mcp_relay_owner", "routeiq_mcp_relay")
    with op.batch_alter_table("routeiq_mcp_relay") as table:
        table.drop_column("used_at")
        table.drop_column("owner")
