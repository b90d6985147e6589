"""When tools are approved: with their server's registration, and when an admin says so."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from routeiq_plugin.errors import RouteIQError
from routeiq_plugin.host.requests import Author
from routeiq_plugin.mcp.catalog import Catalog, Offer
from routeiq_plugin.mcp.integrity import Flags, Integrity
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.offers import is_delegated
from routeiq_plugin.mcp.static_credentials import StaticCredentials
from routeiq_plugin.store.audit import AuditEntry

logger = logging.getLogger(__name__)

_WHERE: Final = ("url", "transport", "command", "args")
"""What says which server it is: where that changes, an admin vouches for another one."""


class Approvals:
    """Approves in the background what an admin registers; a server that cannot be asked then waits to be approved."""

    def __init__(self, integrity: Integrity, catalog: Catalog, credentials: StaticCredentials) -> None:
        self._integrity = integrity
        self._catalog = catalog
        self._credentials = credentials
        self._vouched: dict[str, Mapping[str, Any]] = {}
        self._running: set[asyncio.Task[None]] = set()

    def written(self, server: Server, author: Author) -> None:
        """Approve the tools of a server that is new, or now is another one."""
        where = {name: server.fields.get(name) for name in _WHERE}
        known = self._vouched.get(server.server_id)
        if known == where or (known is None and self._integrity.has_approvals(server)):
            return
        self._vouched[server.server_id] = where
        if is_delegated(server) or server.unreadable:
            return
        task = asyncio.get_running_loop().create_task(self._approve_soon(server, author))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def approve(self, server: Server, tools: Sequence[Any], author: Author) -> Flags:
        """Approve a server's tools as they are listed here."""
        audit = AuditEntry(
            actor=author.actor,
            action="mcp_server.approve_tools",
            object_kind="mcp_server",
            object_id=server.server_id,
            request_id=author.request_id,
            details={"tools": len(tools)},
        )
        return await self._integrity.approve(server, tools, audit)

    async def aclose(self) -> None:
        """Stop asking servers."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _approve_soon(self, server: Server, author: Author) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            try:
                credential = await self._credentials.own(server)
                tools = await self._catalog.list(server, credential, Offer.TOOLS)
                await self.approve(server, tools, author)
            except RouteIQError as error:
                logger.info("routeiq: tools of MCP server %s wait to be approved: %s", server.name, error.detail)
