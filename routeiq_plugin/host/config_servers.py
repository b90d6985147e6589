"""The MCP servers of LiteLLM's configuration, built by LiteLLM's own loader and exchanged as a whole."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from routeiq_plugin.appliers import Stale
from routeiq_plugin.host.environment import resolved

_MODULE: Final = "litellm.proxy._experimental.mcp_server.mcp_server_manager"


class ServerRefused(Exception):
    """LiteLLM cannot take an MCP server."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.server = name
        self.reason = reason


class StagedServers:
    """The next set of the configuration's servers on its way: `build`, then `commit`."""

    name: Final = "mcp_servers"

    def __init__(self, manager: Any, blank: Any) -> None:
        self._live = manager
        self._blank = blank
        self._before: Mapping[str, Any] = manager.config_mcp_servers
        self._after: Mapping[str, Any] = self._before
        self._touched: Sequence[str] = ()

    @classmethod
    async def begin(cls) -> StagedServers:
        """Import LiteLLM's manager when nobody has, beside the event loop."""
        if _MODULE not in sys.modules:
            await asyncio.to_thread(importlib.import_module, _MODULE)
        module = sys.modules[_MODULE]
        return cls(module.global_mcp_server_manager, module.MCPServerManager())

    async def build(
        self, removed: Sequence[str], news: Mapping[str, Mapping[str, Any]], breathe: Callable[[], Awaitable[None]]
    ) -> None:
        """Let LiteLLM's loader build what is new or changed, from raw entries; raises `ServerRefused`.

        A blank manager does the work: the loader asks no network for servers without OAuth discovery, and what it
        found wrong never reaches the manager that serves.
        """
        names = {*removed, *news}
        kept = {key: server for key, server in self._before.items() if server.server_name not in names}
        built: dict[str, Any] = {}
        await breathe()
        for name, entry in news.items():
            self._blank.config_mcp_servers = {}
            try:
                await self._load(name, resolved(entry))
            except Exception as error:  # whatever LiteLLM finds wrong with it
                raise ServerRefused(name, (str(error).splitlines() or [type(error).__name__])[0][:500]) from error
            for key, server in self._blank.config_mcp_servers.items():
                if key in kept or key in built:
                    raise ServerRefused(name, f"has the id {key} of another server")
                built[key] = server
            await breathe()
        self._after = {**kept, **built}
        gone = [key for key, server in self._before.items() if server.server_name in names]
        self._touched = [*gone, *built]

    async def _load(self, name: str, entry: Mapping[str, Any]) -> None:
        blank = self._blank
        for hook in ("hydrate_config_servers_dcr_clients", "prime_oauth_metadata_discovery_for_servers"):
            setattr(blank, hook, _nothing_async if hook.startswith("hydrate") else _nothing)
        blank.initialize_tool_name_to_mcp_server_name_mapping = _nothing
        await blank.load_servers_from_config({name: dict(entry)})

    def commit(self) -> None:
        """Exchange the mapping, and drop what LiteLLM remembers of changed servers."""
        if self._live.config_mcp_servers is not self._before:
            raise Stale(self.name)
        self._put(self._after)

    def rollback(self) -> None:
        """Put the former servers back."""
        self._put(self._before)

    def _put(self, servers: Mapping[str, Any]) -> None:
        self._live.config_mcp_servers = servers
        for server_id in self._touched:
            self._live.invalidate_server_definition_caches(server_id)
            slot = self._blank.oauth_discovery_slot(server_id)
            self._live._set_oauth_discovery_deferred(server_id, slot is not None and server_id in servers)


def _nothing(*_: Any, **__: Any) -> None:
    """What the blank manager does where the serving one would start tasks."""


async def _nothing_async(*_: Any, **__: Any) -> None:
    """The same, awaited."""
