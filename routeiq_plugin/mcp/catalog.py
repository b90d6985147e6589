"""What servers offer: lists of tools, resources, templates and prompts, kept per server and credential."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType
from typing import Any, Final

from routeiq_plugin.mcp.credentials import Credential
from routeiq_plugin.mcp.failures import METHOD_NOT_FOUND, ServerRefused
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.sessions import Key, Sessions

logger = logging.getLogger(__name__)

TTL_SECONDS: Final = 300.0
"""How long a list is believed; servers that tell of changes are heard at once."""
FRESH_SECONDS: Final = 2.0
"""A list this young is not asked for again because of a name that is not in it."""
MAX_PAGES: Final = 50
MAX_ITEMS: Final = 5_000
"""Of one list: what goes beyond is left out, and logged."""
MAX_LISTS: Final = 2_000
"""Kept by one worker; the least recently used goes first."""


class Offer(StrEnum):
    """The kinds of lists."""

    TOOLS = "tools"
    RESOURCES = "resources"
    TEMPLATES = "templates"
    PROMPTS = "prompts"


@dataclass(frozen=True, slots=True)
class _Listing:
    items: asyncio.Task[Sequence[Any]]
    at: float


class Catalog:
    """Lists each thing once for all who ask at the same time, and again when it is old or was said to have changed."""

    def __init__(self, sessions: Sessions, clock: Callable[[], float] = time.monotonic) -> None:
        self._sessions = sessions
        self._clock = clock
        self._lists: OrderedDict[tuple[Key, Offer], _Listing] = OrderedDict()

    async def list(
        self, server: Server, credential: Credential, offer: Offer, *, max_age: float = TTL_SECONDS
    ) -> Sequence[Any]:
        """Return a server's whole list, as the SDK's types; one that the server does not have is empty.

        Raises what `Sessions.call` raises.
        """
        key = (Key.of(server, credential), offer)
        known = self._lists.get(key)
        if known is None or self._clock() - known.at > max_age or _has_failed(known.items):
            task = asyncio.get_running_loop().create_task(self._fetched(server, credential, offer))
            task.add_done_callback(_retrieved)
            known = self._lists[key] = _Listing(task, self._clock())
        self._lists.move_to_end(key)
        while len(self._lists) > MAX_LISTS:
            self._lists.popitem(last=False)
        return await asyncio.shield(known.items)

    def changed(self, server_id: str, identity: str, kind: str) -> None:
        """Drop lists of a kind (`tools`, `resources` or `prompts`) that a session's server says have changed."""
        stale = {Offer(kind), Offer.TEMPLATES} if kind == Offer.RESOURCES.value else {Offer(kind)}
        for key, offer in list(self._lists):
            if key.server_id == server_id and key.identity == identity and offer in stale:
                del self._lists[key, offer]

    def forget(self, server_id: str) -> None:
        """Drop every list of a server."""
        for key, offer in list(self._lists):
            if key.server_id == server_id:
                del self._lists[key, offer]

    async def _fetched(self, server: Server, credential: Credential, offer: Offer) -> Sequence[Any]:
        requests = await _requests()
        pages = {
            Offer.TOOLS: requests.list_tools,
            Offer.RESOURCES: requests.list_resources,
            Offer.TEMPLATES: requests.list_templates,
            Offer.PROMPTS: requests.list_prompts,
        }[offer]
        found: list[Any] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            try:
                items, following = await self._sessions.call(server, credential, pages(cursor))
            except ServerRefused as refused:
                if refused.code == METHOD_NOT_FOUND and cursor is None:
                    return ()
                raise
            found += items
            if following is None or following == cursor:
                return tuple(found[:MAX_ITEMS])
            if len(found) >= MAX_ITEMS:
                break
            cursor = following
        logger.warning("routeiq: MCP server %s lists more %s than are read", server.name, offer.value)
        return tuple(found[:MAX_ITEMS])


def _has_failed(task: asyncio.Task[Sequence[Any]]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _retrieved(task: asyncio.Task[Sequence[Any]]) -> None:
    """Nobody may be waiting any more: an exception is not for the loop's log."""
    if not task.cancelled():
        task.exception()


async def _requests() -> ModuleType:
    name = "routeiq_plugin.mcp.requests"
    loaded: ModuleType | None = sys.modules.get(name)
    return loaded if loaded is not None else await asyncio.to_thread(importlib.import_module, name)
