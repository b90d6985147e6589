"""MCP servers, their health and approved tools, and what OAuth needs for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the five tables."""
    op.create_table(
        "routeiq_mcp_server",
        sa.Column("server_id", sa.String(), primary_key=True),
        sa.Column("name_key", sa.String(), nullable=False),
        sa.Column("config", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("secrets", sa.Text()),
        sa.Column("sealed_with", sa.String()),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String()),
        sa.Column("updated_by", sa.String()),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("name_key", name="routeiq_mcp_server_name_key"),
    )
    op.create_table(
        "routeiq_mcp_health",
        _server(),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("latency_ms", sa.Double()),
        sa.Column("error", sa.Text()),
    )
    op.create_table(
        "routeiq_mcp_tool",
        _server(),
        sa.Column("tool_name", sa.String(), primary_key=True),
        sa.Column("definition_hash", sa.String(), nullable=False),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("approved_by", sa.String()),
    )
    op.create_table(
        "routeiq_oauth_flow",
        sa.Column("flow_id", sa.String(), primary_key=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("server_id", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("sealed_with", sa.String()),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_routeiq_oauth_flow_server_id", "routeiq_oauth_flow", ["server_id"])
    op.create_index("ix_routeiq_oauth_flow_expires_at", "routeiq_oauth_flow", ["expires_at"])
    op.create_table(
        "routeiq_oauth_token",
        sa.Column("server_id", sa.String(), primary_key=True),
        sa.Column("owner", sa.String(), primary_key=True),
        sa.Column("kind", sa.String(), primary_key=True),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("sealed_with", sa.String()),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Remove them, rows included."""
    for table in (
        "routeiq_oauth_token",
        "routeiq_oauth_flow",
        "routeiq_mcp_tool",
        "routeiq_mcp_health",
        "routeiq_mcp_server",
    ):
        op.drop_table(table)


def _server() -> sa.Column[str]:
    """Build the key that a deleted server takes along."""
    return sa.Column(
        "server_id", sa.String(), sa.ForeignKey("routeiq_mcp_server.server_id", ondelete="CASCADE"), primary_key=True
    )
