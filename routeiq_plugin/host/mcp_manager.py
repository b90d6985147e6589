"""LiteLLM's `global_mcp_server_manager`: ours are fed in, LiteLLM's own servers and its rules are read out.

What stands in it is what `/mcp`, `/mcp-rest`, `type: mcp` tools of chat and LiteLLM's guardrails see.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from litellm.proxy._types import LiteLLM_MCPServerTable

from routeiq_plugin.host.mcp_servers import Fields
from routeiq_plugin.host.process import has_own_database

_MODULE: Final = "litellm.proxy._experimental.mcp_server.mcp_server_manager"
_CREDENTIALS: Final = "litellm.proxy._experimental.mcp_server.db"
_SALT: Final = "litellm.proxy.common_utils.encrypt_decrypt_utils"


def manager() -> Any:
    """Return LiteLLM's manager."""
    return importlib.import_module(_MODULE).global_mcp_server_manager


class Manager:
    """Feeds and reads it."""

    def __init__(self) -> None:
        self._kept: set[str] = set()
        """Ids that stand among LiteLLM's config servers."""

    async def feed(self, fields: Mapping[str, Any]) -> None:
        """Make LiteLLM see a server as it is now; raises what LiteLLM raises where it cannot take it."""
        table = LiteLLM_MCPServerTable.model_validate({**fields, "credentials": _as_stored(fields.get("credentials"))})
        litellm_manager = manager()
        self._bring_back(table.server_id)
        if table.server_id in litellm_manager.registry:
            await litellm_manager.update_server(table)
        else:
            await litellm_manager.add_server(table)
        if has_own_database():
            await self._keep_through_reloads(table.server_id)

    async def _keep_through_reloads(self, server_id: str) -> None:
        """Let the server outlive LiteLLM's reloads of its own database, which replace `registry` and nothing else.

        Requests there work on a snapshot that only a reload makes anew, so one is asked for, as LiteLLM's own
        routes do after each write.
        """
        litellm_manager = manager()
        self._kept.add(server_id)
        litellm_manager.config_mcp_servers[server_id] = litellm_manager.registry.pop(server_id)
        await litellm_manager.reload_servers_from_database()

    def _bring_back(self, server_id: str) -> None:
        if server_id not in self._kept:
            return
        self._kept.discard(server_id)
        kept = manager().config_mcp_servers.pop(server_id, None)
        if kept is not None:
            manager().registry[server_id] = kept

    async def drop(self, fields: Mapping[str, Any]) -> None:
        """Make LiteLLM forget a server."""
        litellm_manager = manager()
        self._bring_back(fields["server_id"])
        if fields["server_id"] in litellm_manager.registry:
            litellm_manager.remove_server(LiteLLM_MCPServerTable.model_validate({**fields, "credentials": None}))
        if has_own_database():
            await litellm_manager.reload_servers_from_database()

    def holds(self, server_id: str, updated_at: datetime) -> bool:
        """Tell whether LiteLLM still has the server as of that change; cheap enough for every listing."""
        litellm_manager = manager()
        known = litellm_manager.registry.get(server_id) or litellm_manager.config_mcp_servers.get(server_id)
        return known is not None and known.updated_at == updated_at

    def stock(self, ours: Collection[str]) -> Sequence[Fields]:
        """List the servers of LiteLLM's config and database, as the fields of `LiteLLM_MCPServerTable`."""
        litellm_manager = manager()
        return [
            _table(litellm_manager, server)
            for server_id, server in litellm_manager.get_registry().items()
            if server_id not in ours
        ]

    def find_stock(self, reference: str, ours: Collection[str]) -> Fields | None:
        """Find one of LiteLLM's own servers by id, alias or name."""
        litellm_manager = manager()
        found = litellm_manager.get_mcp_server_by_id(reference) or litellm_manager.get_mcp_server_by_name(reference)
        return None if found is None or found.server_id in ours else _table(litellm_manager, found)

    def stock_names(self, ours: Collection[str]) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """List ids and names of LiteLLM's own servers, which nothing of ours may take."""
        return [
            (server_id, {"alias": server.alias, "server_name": server.server_name})
            for server_id, server in manager().get_registry().items()
            if server_id not in ours
        ]

    async def health(self, server_id: str) -> tuple[str, str | None]:
        """Let LiteLLM ask a server; returns its status and what was wrong."""
        checked = await manager().health_check_server(server_id)
        return str(checked.status or "unknown"), checked.health_check_error


def _table(litellm_manager: Any, server: Any) -> Fields:
    fields: Fields = litellm_manager.build_mcp_server_table(server).model_dump()
    for name in ("created_at", "updated_at"):
        if isinstance(fields[name], datetime) and fields[name].tzinfo is None:
            fields[name] = fields[name].replace(tzinfo=UTC)
    return fields


def _as_stored(credentials: Mapping[str, Any] | None) -> Any:
    """Encrypt what LiteLLM will decrypt: a plain value that happens to look encrypted would come out as another."""
    if not credentials:
        return None
    salt = importlib.import_module(_SALT)
    lookup = getattr(salt, "get_salt_key", None) or salt._get_salt_key
    encrypt = importlib.import_module(_CREDENTIALS).encrypt_credentials
    return encrypt(credentials=dict(credentials), encryption_key=lookup())
