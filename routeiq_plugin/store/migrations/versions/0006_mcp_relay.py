"""Sessions of clients on the MCP endpoints, and letters between workers about them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "routeiq_mcp_relay",
        sa.Column("entry_id", sa.String(), primary_key=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("sealed_with", sa.String()),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_routeiq_mcp_relay_expires_at", "routeiq_mcp_relay", ["expires_at"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("routeiq_mcp_relay")
