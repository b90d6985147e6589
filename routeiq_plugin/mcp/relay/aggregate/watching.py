"""Tells a client which lists have changed for it: what it may see is compared with what it could see before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from routeiq_plugin.errors import RouteIQError
from routeiq_plugin.mcp.catalog import Offer
from routeiq_plugin.mcp.plane import DataPlane
from routeiq_plugin.mcp.relay.aggregate.bells import Bell
from routeiq_plugin.mcp.relay.aggregate.lists import Lists
from routeiq_plugin.mcp.relay.aggregate.namespaces import Namespaces
from routeiq_plugin.mcp.relay.aggregate.scope import in_scope
from routeiq_plugin.mcp.relay.aggregate.visits import Visit

LOOK_SECONDS: Final = 60.0
"""How often one looks for changes that nobody told of: kept lists grow old, grants are given and taken."""
SETTLE_SECONDS: Final = 0.5
"""Before one looks: other workers, one of which may be asked for the list next, hear of a change as soon as this."""
KINDS: Final[Mapping[str, Sequence[Offer]]] = {
    "tools": (Offer.TOOLS,),
    "prompts": (Offer.PROMPTS,),
    "resources": (Offer.RESOURCES, Offer.TEMPLATES),
}
"""What a client is told has changed, and the lists that this is about."""

logger = logging.getLogger(__name__)

Seen = Mapping[tuple[Offer, str], Sequence[Any]]
"""What each server offers, by server id, after its prefix."""


class Watching:
    """Looks at lists as one caller sees them."""

    def __init__(self, plane: DataPlane, lists: Lists, bell: Bell) -> None:
        self._plane = plane
        self._lists = lists
        self._bell = bell

    async def changes(self, visit: Visit, kinds: Sequence[str]) -> AsyncGenerator[str, None]:
        """Yield the kind of each list that has changed, without end."""
        with self._bell.listening() as rung:
            seen = await self._look(visit, kinds, {})
            while True:
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await rung.wait()
                except TimeoutError:
                    pass
                await asyncio.sleep(SETTLE_SECONDS)
                rung.clear()
                before, seen = seen, await self._look(visit, kinds, seen)
                for kind in kinds:
                    if any(_of(before, offer) != _of(seen, offer) for offer in KINDS[kind]):
                        yield kind

    async def _look(self, visit: Visit, kinds: Sequence[str], before: Seen) -> Seen:
        """Look at the lists; what cannot be known now is as it was."""
        try:
            servers = await in_scope(self._plane.offers.gateway, visit.asked)
        except RouteIQError as error:
            logger.debug("routeiq: changes of MCP servers are looked for later (%s)", error)
            return before
        now = replace(visit, names=Namespaces(servers))
        offers = [offer for kind in kinds for offer in KINDS[kind]]
        found = await asyncio.gather(*(self._lists.offered(now, offer) for offer in offers))
        seen: dict[tuple[Offer, str], Sequence[Any]] = {}
        for offer, of_servers in zip(offers, found, strict=True):
            for each in of_servers:
                place = (offer, each.server.server_id)
                items = [now.names.prefixed(each.server, ""), *each.items] if each.items else []
                seen[place] = items if each.error is None else before.get(place, [])
        return seen


def _of(seen: Seen, offer: Offer) -> Mapping[str, Sequence[Any]]:
    return {server_id: items for (kind, server_id), items in seen.items() if kind is offer and items}
