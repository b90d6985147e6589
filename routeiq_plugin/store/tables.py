"""The tables, all named `routeiq_*` because the database may be shared with other software.

The schema itself is made by `store/migrations`; a test proves that the two agree.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC, also on SQLite, which stores it without its zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive value: whose noon it means is unknown."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without its zone cannot be stored")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Give the zone back, whatever zone the session of the server is in."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


SERIAL = BigInteger().with_variant(Integer(), "sqlite")
"""A growing 64-bit key; on SQLite only the exact type INTEGER grows by itself."""


class Table(SQLModel, registry=registry()):
    """Base of our tables, with a registry of its own: a user's SQLModel tables in this process stay apart."""


class RegisteredRow(Table):
    """Columns of every kind of registered object."""

    sealed_with: str | None = Field(default=None, sa_type=String)
    is_public: bool = Field(sa_type=Boolean)
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)
    created_by: str | None = Field(default=None, sa_type=String)
    updated_by: str | None = Field(default=None, sa_type=String)
    version: int = Field(sa_type=BigInteger)


class AgentRow(RegisteredRow, table=True):
    """One registered agent; the three sealed columns hold sealed JSON, or nothing when there is nothing to seal."""

    __tablename__ = "routeiq_agent"
    __table_args__ = (UniqueConstraint("agent_name", name="routeiq_agent_name_key"),)

    agent_id: str = Field(sa_column=Column(String, primary_key=True))
    agent_name: str = Field(sa_column=Column(String, nullable=False))
    card: dict[str, Any] = Field(sa_column=Column(JSON(none_as_null=True), nullable=False))
    litellm_params: str | None = Field(default=None, sa_column=Column(Text))
    static_headers: str | None = Field(default=None, sa_column=Column(Text))
    kill_switch: str | None = Field(default=None, sa_column=Column(Text))
    extra_headers: list[str] = Field(sa_column=Column(JSON(none_as_null=True), nullable=False))
    access_group_ids: list[str] = Field(sa_column=Column(JSON(none_as_null=True), nullable=False))
    object_permission: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    tpm_limit: int | None = Field(default=None, sa_column=Column(BigInteger))
    rpm_limit: int | None = Field(default=None, sa_column=Column(BigInteger))
    session_tpm_limit: int | None = Field(default=None, sa_column=Column(BigInteger))
    session_rpm_limit: int | None = Field(default=None, sa_column=Column(BigInteger))
    enabled: bool = Field(sa_column=Column(Boolean, nullable=False))
    execution_mode: str = Field(sa_column=Column(String, nullable=False))


class RevisionRow(Table, table=True):
    """The single row that every write locks first, so that commits and revisions have the same order."""

    __tablename__ = "routeiq_revision"

    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    floor: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Changes of revisions up to this one have been pruned."""


class ChangeRow(Table, table=True):
    """What one revision changed; old rows are pruned."""

    __tablename__ = "routeiq_change"

    revision: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    position: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    kind: str = Field(sa_column=Column(String, nullable=False))
    object_id: str = Field(sa_column=Column(String, nullable=False))
    op: str = Field(sa_column=Column(String, nullable=False))


class AuditRow(Table, table=True):
    """Who did what to which object; triggers of both databases refuse to edit or remove a row."""

    __tablename__ = "routeiq_audit"
    __table_args__ = {"sqlite_autoincrement": True}

    id: int | None = Field(default=None, sa_column=Column(SERIAL, primary_key=True, autoincrement=True))
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    actor: str | None = Field(default=None, sa_column=Column(String))
    action: str = Field(sa_column=Column(String, nullable=False))
    object_kind: str = Field(sa_column=Column(String, nullable=False))
    object_id: str = Field(sa_column=Column(String, nullable=False, index=True))
    request_id: str | None = Field(default=None, sa_column=Column(String))
    details: dict[str, Any] = Field(sa_column=Column(JSON(none_as_null=True), nullable=False))


class MetaRow(Table, table=True):
    """Facts about the database itself, such as `store_id`, which tells two databases apart."""

    __tablename__ = "routeiq_meta"

    key: str = Field(sa_column=Column(String, primary_key=True))
    value: str = Field(sa_column=Column(Text, nullable=False))


class AgentDailyRow(Table, table=True):
    """What one caller did with one agent on one day, by method; the first six columns are the key, '' where unknown."""

    __tablename__ = "routeiq_agent_daily"

    day: date = Field(sa_column=Column(Date, primary_key=True))
    """Of the call's start, in UTC."""
    agent_id: str = Field(sa_column=Column(String, primary_key=True))
    api_key: str = Field(sa_column=Column(String, primary_key=True))
    """Hash of the key, as LiteLLM logs it."""
    user_id: str = Field(sa_column=Column(String, primary_key=True))
    team_id: str = Field(sa_column=Column(String, primary_key=True))
    method: str = Field(sa_column=Column(String, primary_key=True))
    agent_name: str = Field(sa_column=Column(String, nullable=False))
    """As last seen, so that a deleted agent still has one."""
    key_alias: str | None = Field(default=None, sa_column=Column(String))
    successful_requests: int = Field(sa_column=Column(BigInteger, nullable=False))
    failed_requests: int = Field(sa_column=Column(BigInteger, nullable=False))
    timed_requests: int = Field(sa_column=Column(BigInteger, nullable=False))
    response_seconds: float = Field(sa_column=Column(Double, nullable=False))
    """Of the timed requests together."""
    prompt_tokens: int = Field(sa_column=Column(BigInteger, nullable=False))
    completion_tokens: int = Field(sa_column=Column(BigInteger, nullable=False))
    spend: float = Field(sa_column=Column(Double, nullable=False))


class UsageWriterRow(Table, table=True):
    """The last batch of usage that one worker wrote: a batch sent again after a lost answer is not counted twice."""

    __tablename__ = "routeiq_usage_writer"

    writer: str = Field(sa_column=Column(String, primary_key=True))
    batch: int = Field(sa_column=Column(BigInteger, nullable=False))
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))


class TaskRow(Table, table=True):
    """Whose a task, or a conversation (context), of an agent is: who named it first."""

    __tablename__ = "routeiq_task"

    agent_id: str = Field(sa_column=Column(String, primary_key=True))
    kind: str = Field(sa_column=Column(String, primary_key=True))
    object_id: str = Field(sa_column=Column(String, primary_key=True))
    owner: str = Field(sa_column=Column(String, nullable=False))
    seen_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False, index=True))


class PushConfigRow(Table, table=True):
    """Where a client wants to hear of a task; its address, token and credentials are sealed JSON."""

    __tablename__ = "routeiq_push_config"
    __table_args__ = (Index("ix_routeiq_push_config_task", "agent_id", "task_id"),)

    push_id: str = Field(sa_column=Column(String, primary_key=True))
    """SHA-256 of the token in the callback's path; the token itself is not stored."""
    agent_id: str = Field(sa_column=Column(String, nullable=False))
    task_id: str | None = Field(default=None, sa_column=Column(String))
    config_id: str = Field(sa_column=Column(String, nullable=False))
    wire: str = Field(sa_column=Column(String, nullable=False))
    webhook: str = Field(sa_column=Column(Text, nullable=False))
    sealed_with: str | None = Field(default=None, sa_column=Column(String))
    created_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False, index=True))


class PushDeliveryRow(Table, table=True):
    """A notification that was acknowledged to the agent and not yet delivered to the client."""

    __tablename__ = "routeiq_push_delivery"
    __table_args__ = {"sqlite_autoincrement": True}

    id: int | None = Field(default=None, sa_column=Column(SERIAL, primary_key=True, autoincrement=True))
    push_id: str = Field(
        sa_column=Column(
            String, ForeignKey("routeiq_push_config.push_id", ondelete="CASCADE"), nullable=False, index=True
        )
    )
    payload: str = Field(sa_column=Column(Text, nullable=False))
    attempts: int = Field(sa_column=Column(Integer, nullable=False))
    due_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    claimed_until: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    created_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))


class McpServerRow(RegisteredRow, table=True):
    """One registered MCP server; `secrets` holds sealed JSON, or nothing when there is nothing to seal."""

    __tablename__ = "routeiq_mcp_server"
    __table_args__ = (UniqueConstraint("name_key", name="routeiq_mcp_server_name_key"),)

    server_id: str = Field(sa_column=Column(String, primary_key=True))
    name_key: str = Field(sa_column=Column(String, nullable=False))
    """The name under which it is called, case-folded: names differ in more than case."""
    config: dict[str, Any] = Field(sa_column=Column(JSON(none_as_null=True), nullable=False))
    """Fields of LiteLLM's server object that hold no secret, as registered."""
    secrets: str | None = Field(default=None, sa_column=Column(Text))
    """Credentials, headers, environment: whatever LiteLLM redacts."""


class McpHealthRow(Table, table=True):
    """How a server was when it was last asked; not part of its version, and followed by nobody."""

    __tablename__ = "routeiq_mcp_health"

    server_id: str = Field(
        sa_column=Column(String, ForeignKey("routeiq_mcp_server.server_id", ondelete="CASCADE"), primary_key=True)
    )
    status: str = Field(sa_column=Column(String, nullable=False))
    checked_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    latency_ms: float | None = Field(default=None, sa_column=Column(Double))
    error: str | None = Field(default=None, sa_column=Column(Text))


class McpToolRow(Table, table=True):
    """A tool's definition as an admin approved it, so that a later change is noticed."""

    __tablename__ = "routeiq_mcp_tool"

    server_id: str = Field(
        sa_column=Column(String, ForeignKey("routeiq_mcp_server.server_id", ondelete="CASCADE"), primary_key=True)
    )
    tool_name: str = Field(sa_column=Column(String, primary_key=True))
    definition_hash: str = Field(sa_column=Column(String, nullable=False))
    """SHA-256 of the canonical JSON of what a model sees of the tool."""
    approved_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    approved_by: str | None = Field(default=None, sa_column=Column(String))


class McpRelayRow(Table, table=True):
    """What workers tell each other of a client on an MCP endpoint: its session, or a letter to a request of it."""

    __tablename__ = "routeiq_mcp_relay"
    __table_args__ = (Index("ix_routeiq_mcp_relay_owner", "owner", "used_at"),)

    entry_id: str = Field(sa_column=Column(String, primary_key=True))
    """SHA-256 of the secret that names it."""
    kind: str = Field(sa_column=Column(String, nullable=False))
    payload: str = Field(sa_column=Column(Text, nullable=False))
    """Sealed JSON."""
    sealed_with: str | None = Field(default=None, sa_column=Column(String))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    expires_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False, index=True))
    owner: str | None = Field(default=None, sa_column=Column(String))
    """Whose session it is; a letter is nobody's."""
    used_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    """When a session was used last, to ten minutes."""


class OAuthFlowRow(Table, table=True):
    """A login at a server's authorization server on its way, or a server that was only staged for one."""

    __tablename__ = "routeiq_oauth_flow"

    flow_id: str = Field(sa_column=Column(String, primary_key=True))
    """SHA-256 of what the browser carries (the state), or the id of the staged server."""
    kind: str = Field(sa_column=Column(String, nullable=False))
    server_id: str = Field(sa_column=Column(String, nullable=False, index=True))
    owner: str = Field(sa_column=Column(String, nullable=False))
    """Who began it; nobody else may finish it."""
    payload: str = Field(sa_column=Column(Text, nullable=False))
    """Sealed JSON: verifier, redirect, staged server and the like."""
    sealed_with: str | None = Field(default=None, sa_column=Column(String))
    expires_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False, index=True))


class OAuthTokenRow(Table, table=True):
    """What one user, or the gateway itself (`owner` is empty), holds for a server; sealed JSON."""

    __tablename__ = "routeiq_oauth_token"

    server_id: str = Field(sa_column=Column(String, primary_key=True))
    owner: str = Field(sa_column=Column(String, primary_key=True))
    kind: str = Field(sa_column=Column(String, primary_key=True))
    """Which of them: the user's token, or the gateway's registration as a client."""
    payload: str = Field(sa_column=Column(Text, nullable=False))
    sealed_with: str | None = Field(default=None, sa_column=Column(String))
    expires_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    updated_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))


class ConfigGenerationRow(Table, table=True):
    """One configuration that every worker runs or ran."""

    __tablename__ = "routeiq_config_generation"

    generation: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    origin: str = Field(sa_column=Column(String, nullable=False))
    """What asked for it: boot, api, watch, sync or rollback."""
    hash: str = Field(sa_column=Column(String, nullable=False))
    """SHA-256 of the content."""
    document_digest: str | None = Field(default=None, sa_column=Column(String))
    """SHA-256 of the bytes that it was read from: tells a boot file again without parsing it."""
    content: str | None = Field(default=None, sa_column=Column(Text))
    """Sealed JSON."""
    sealed_with: str | None = Field(default=None, sa_column=Column(String))
    diff: dict[str, Any] = Field(sa_column=Column(JSON(none_as_null=True), nullable=False))
    source: str | None = Field(default=None, sa_column=Column(String))
    actor: str | None = Field(default=None, sa_column=Column(String))
    worker: str = Field(sa_column=Column(String, nullable=False))
    applied_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))


class ConfigSourceRow(Table, table=True):
    """What is known of a source that is polled; `poller` asks it until `lease_until`, for every worker."""

    __tablename__ = "routeiq_config_source"

    source: str = Field(sa_column=Column(String, primary_key=True))
    etag: str | None = Field(default=None, sa_column=Column(String))
    hash: str | None = Field(default=None, sa_column=Column(String))
    """Of what the source held last and was applied."""
    rejected_etag: str | None = Field(default=None, sa_column=Column(String))
    rejected_hash: str | None = Field(default=None, sa_column=Column(String))
    rejected_reason: str | None = Field(default=None, sa_column=Column(Text))
    last_attempt: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    last_success: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    last_error: str | None = Field(default=None, sa_column=Column(Text))
    last_error_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    failures: int = Field(sa_column=Column(Integer, nullable=False))
    next_poll: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    poller: str | None = Field(default=None, sa_column=Column(String))
    lease_until: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))


class ConfigWorkerRow(Table, table=True):
    """A worker and the generation that it serves."""

    __tablename__ = "routeiq_config_worker"

    worker: str = Field(sa_column=Column(String, primary_key=True))
    host: str = Field(sa_column=Column(String, nullable=False))
    pid: int = Field(sa_column=Column(Integer, nullable=False))
    started_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    seen_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    generation: int = Field(sa_column=Column(BigInteger, nullable=False))
    hash: str | None = Field(default=None, sa_column=Column(String))
    applied_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime))
    error: str | None = Field(default=None, sa_column=Column(Text))
