"""An MCP server as the gateway sees it: one of ours, or one that LiteLLM's config or database declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from routeiq_plugin.store.mcp_servers import McpServerRecord

SECRET_FIELDS: Final = ("credentials", "static_headers", "env", "env_vars")
"""Fields of LiteLLM's server object that are sealed at rest and redacted in answers."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server; `fields` are those of LiteLLM's `LiteLLM_MCPServerTable`, secrets in the clear."""

    fields: Mapping[str, Any] = field(repr=False)
    version: int | None
    """Ours: counts writes, and is the `ETag`. LiteLLM's own servers have none."""
    is_public: bool = False
    unreadable: bool = False
    """Its secrets were sealed with another key, so it cannot be called until they are set again."""

    @classmethod
    def of(cls, record: McpServerRecord) -> Self:
        """View a stored row."""
        fields = {
            **record.config,
            **record.secrets,
            "server_id": record.server_id,
            "created_at": record.created_at,
            "created_by": record.created_by,
            "updated_at": record.updated_at,
            "updated_by": record.updated_by,
        }
        return cls(fields, version=record.version, is_public=record.is_public, unreadable=record.unreadable)

    @property
    def server_id(self) -> str:
        """Identity; never changes."""
        return str(self.fields["server_id"])

    @property
    def name(self) -> str:
        """Alias, else name, else id (LiteLLM's order): what callers call it, and the prefix of its tools."""
        return str(self.fields.get("alias") or self.fields.get("server_name") or self.server_id)

    @property
    def names(self) -> frozenset[str]:
        """Every spelling that reaches it."""
        known = (self.server_id, self.fields.get("alias"), self.fields.get("server_name"))
        return frozenset(str(each) for each in known if each)

    @property
    def is_ours(self) -> bool:
        """Tell whether our store holds it, so that our routes may change it."""
        return self.version is not None

    @property
    def transport(self) -> str:
        """Either http (streamable), sse or stdio."""
        return str(self.fields.get("transport") or "sse")

    @property
    def url(self) -> str | None:
        """Where it lives: for admins and the outbound side only; None for stdio."""
        url = self.fields.get("url")
        return str(url) if url else None

    @property
    def auth_type(self) -> str:
        """LiteLLM's word for how the gateway proves itself to it."""
        kind = self.fields.get("auth_type") or "none"
        return str(getattr(kind, "value", kind))  # LiteLLM's own servers have its enum here

    @property
    def credentials(self) -> Mapping[str, Any]:
        """What the gateway proves itself with, in the clear."""
        return self.fields.get("credentials") or {}

    @property
    def access_groups(self) -> frozenset[str]:
        """Access groups that it is a member of: who holds one of them may use it."""
        return frozenset(self.fields.get("mcp_access_groups") or ())

    @property
    def allowed_tools(self) -> frozenset[str] | None:
        """Tools that anyone may use, unprefixed; None where every tool may be used."""
        allowed = self.fields.get("allowed_tools")
        return frozenset(allowed) if allowed else None

    @property
    def allows_all_keys(self) -> bool:
        """Tell whether every key may use it that did not opt out of all servers."""
        return bool(self.fields.get("allow_all_keys"))

    @property
    def is_openapi(self) -> bool:
        """Tell whether LiteLLM makes its tools of an OpenAPI document: then LiteLLM calls it, not we."""
        return bool(self.fields.get("spec_path"))

    @property
    def etag(self) -> str | None:
        """Entity tag of this version (RFC 9110 8.8.3)."""
        return None if self.version is None else f'"{self.version}"'
