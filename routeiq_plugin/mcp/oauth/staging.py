"""Servers that are only staged: an admin may log in at one before it is registered (LiteLLM's OAuth session)."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from routeiq_plugin.errors import InvalidFields
from routeiq_plugin.host import mcp_servers as host_servers
from routeiq_plugin.host.requests import Author
from routeiq_plugin.mcp import configuration
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.oauth.providers import binding
from routeiq_plugin.outbound import Guard
from routeiq_plugin.store.oauth_flows import Flow, Stage

STAGED: Final = timedelta(seconds=300)
"""LiteLLM's `TEMPORARY_MCP_SERVER_TTL_SECONDS`."""

Find = Callable[[str], Awaitable[Server | None]]


class Staging(Protocol):
    """Staged servers at rest; `store.oauth_flows.FlowStore` is one."""

    async def put(self, flow: Flow) -> None:
        """Store in place of another of the same id."""
        ...

    async def get(self, flow_id: str, stage: Stage, now: datetime) -> Flow | None:
        """Return what has not expired."""
        ...


@dataclass(frozen=True, slots=True)
class StagedServers:
    """Stages them in the store, so that any worker finds them."""

    store: Staging
    find_registered: Find
    guard: Guard

    async def stage(self, body: Any, owner: str, author: Author) -> Server:
        """Keep a server for a few minutes, for whoever staged it; returns it under the id that it got.

        A registered server keeps its id, and its credentials where none are given, as long as it leads to the same
        place: another place under a known id would get what was meant for the first. Raises as registering does.
        """
        given = host_servers.parse_new(body)
        wanted = Server(_complete(given, author), version=None)
        registered = await self.find_registered(wanted.server_id)
        if registered is not None and not wanted.credentials and registered.url == wanted.url:
            wanted = replace(wanted, fields={**wanted.fields, "credentials": dict(registered.credentials)})
        if not await self._may_have_its_id(wanted, registered, owner):
            wanted = replace(wanted, fields={**wanted.fields, "server_id": str(uuid.uuid4())})
        await self._require_acceptable(wanted)
        await self.store.put(
            Flow(
                flow_id=wanted.server_id,
                stage=Stage.SERVER,
                server_id=wanted.server_id,
                owner=owner,
                expires_at=datetime.now(UTC) + STAGED,
                payload=dict(wanted.fields),
            )
        )
        return wanted

    async def find(self, server_id: str, owner: str) -> Server | None:
        """Return a staged server of this owner's."""
        flow = await self.store.get(server_id, Stage.SERVER, datetime.now(UTC))
        return Server(fields=flow.payload, version=None) if flow is not None and flow.owner == owner else None

    async def _require_acceptable(self, server: Server) -> None:
        """Check what would be checked when it is registered; a server without an address has nowhere to log in."""
        if server.url is None:
            raise InvalidFields.of("url", "Name the server's address: what is staged is logged in at")
        configuration.require_valid(server.server_id, server.fields, stdio=False)
        for field, url in configuration.addresses(server.fields):
            await self.guard.check(url, field)

    async def _may_have_its_id(self, wanted: Server, registered: Server | None, owner: str) -> bool:
        if registered is not None:
            return registered.server_id == wanted.server_id and binding(registered) == binding(wanted)
        staged = await self.store.get(wanted.server_id, Stage.SERVER, datetime.now(UTC))
        return staged is None or staged.owner == owner


def _complete(given: Mapping[str, Any], author: Author) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    server_id = str(given.get("server_id") or uuid.uuid4())
    return {
        **given,
        "server_id": server_id,
        "server_name": given.get("server_name") or given.get("alias") or server_id,
        "created_at": now,
        "updated_at": now,
        "created_by": author.actor,
        "updated_by": author.actor,
    }
