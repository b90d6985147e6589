"""Generations of the proxy's configuration, the source that they come from, and what each worker serves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the three tables."""
    op.create_table(
        "routeiq_config_generation",
        sa.Column("generation", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("document_digest", sa.String()),
        sa.Column("content", sa.Text()),
        sa.Column("sealed_with", sa.String()),
        sa.Column("diff", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("source", sa.String()),
        sa.Column("actor", sa.String()),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "routeiq_config_source",
        sa.Column("source", sa.String(), primary_key=True),
        sa.Column("etag", sa.String()),
        sa.Column("hash", sa.String()),
        sa.Column("rejected_etag", sa.String()),
        sa.Column("rejected_hash", sa.String()),
        sa.Column("rejected_reason", sa.Text()),
        sa.Column("last_attempt", sa.DateTime(timezone=True)),
        sa.Column("last_success", sa.DateTime(timezone=True)),
        sa.Column("last_error", sa.Text()),
        sa.Column("last_error_at", sa.DateTime(timezone=True)),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("next_poll", sa.DateTime(timezone=True)),
        sa.Column("poller", sa.String()),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "routeiq_config_worker",
        sa.Column("worker", sa.String(), primary_key=True),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String()),
        sa.Column("applied_at", sa.DateTime(timezone=True)),
        sa.Column("error", sa.Text()),
    )


def downgrade() -> None:
    """Remove them, rows included."""
    for table in ("routeiq_config_worker", "routeiq_config_source", "routeiq_config_generation"):
        op.drop_table(table)
