"""The first schema: agents, revision, changes, audit, meta."""

from __future__ import annotations

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SQLITE_GUARDS = (
    """CREATE TRIGGER routeiq_audit_no_update BEFORE UPDATE ON routeiq_audit
       BEGIN SELECT RAISE(ABORT, 'routeiq_audit is append-only'); END""",
    """CREATE TRIGGER routeiq_audit_no_delete BEFORE DELETE ON routeiq_audit
       BEGIN SELECT RAISE(ABORT, 'routeiq_audit is append-only'); END""",
    # INSERT OR REPLACE removes the old row without firing a delete trigger.
    """CREATE TRIGGER routeiq_audit_no_replace BEFORE INSERT ON routeiq_audit
       WHEN EXISTS (SELECT 1 FROM routeiq_audit WHERE id = NEW.id)
       BEGIN SELECT RAISE(ABORT, 'routeiq_audit is append-only'); END""",
)
_POSTGRESQL_GUARDS = (
    """CREATE FUNCTION routeiq_audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN RAISE EXCEPTION 'routeiq_audit is append-only' USING ERRCODE = 'integrity_constraint_violation'; END $$""",
    """CREATE TRIGGER routeiq_audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON routeiq_audit
       FOR EACH STATEMENT EXECUTE FUNCTION routeiq_audit_append_only()""",
)


def upgrade() -> None:
    """Create everything."""
    _create_agent()
    _create_feed()
    _create_audit()
    meta = op.create_table(
        "routeiq_meta",
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
    )
    op.bulk_insert(meta, [{"key": "store_id", "value": str(uuid4())}])


def downgrade() -> None:
    """Remove everything, rows included."""
    for table in ("routeiq_meta", "routeiq_audit", "routeiq_change", "routeiq_revision", "routeiq_agent"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION routeiq_audit_append_only()")


def _create_agent() -> None:
    op.create_table(
        "routeiq_agent",
        sa.Column("agent_id", sa.String(), primary_key=True),
        sa.Column("agent_name", sa.String(), nullable=False),
        sa.Column("card", sa.JSON(), nullable=False),
        sa.Column("litellm_params", sa.Text()),
        sa.Column("static_headers", sa.Text()),
        sa.Column("kill_switch", sa.Text()),
        sa.Column("sealed_with", sa.String()),
        sa.Column("extra_headers", sa.JSON(), nullable=False),
        sa.Column("access_group_ids", sa.JSON(), nullable=False),
        sa.Column("object_permission", sa.JSON()),
        sa.Column("tpm_limit", sa.BigInteger()),
        sa.Column("rpm_limit", sa.BigInteger()),
        sa.Column("session_tpm_limit", sa.BigInteger()),
        sa.Column("session_rpm_limit", sa.BigInteger()),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("execution_mode", sa.String(), nullable=False),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String()),
        sa.Column("updated_by", sa.String()),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("agent_name", name="routeiq_agent_name_key"),
    )


def _create_feed() -> None:
    revision_table = op.create_table(
        "routeiq_revision",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("floor", sa.BigInteger(), nullable=False),
    )
    op.bulk_insert(revision_table, [{"id": 1, "revision": 0, "floor": 0}])
    op.create_table(
        "routeiq_change",
        sa.Column("revision", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("object_id", sa.String(), nullable=False),
        sa.Column("op", sa.String(), nullable=False),
    )


def _create_audit() -> None:
    op.create_table(
        "routeiq_audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String()),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("object_kind", sa.String(), nullable=False),
        sa.Column("object_id", sa.String(), nullable=False),
        sa.Column("request_id", sa.String()),
        sa.Column("details", sa.JSON(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_routeiq_audit_object_id", "routeiq_audit", ["object_id"])
    guards = _POSTGRESQL_GUARDS if op.get_bind().dialect.name == "postgresql" else _SQLITE_GUARDS
    for guard in guards:
        op.execute(guard)
