"""What all servers of a caller offer together, each thing under a name that leads back to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from routeiq_plugin.mcp.catalog import Offer
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.offers import ServerOffer
from routeiq_plugin.mcp.plane import DataPlane
from routeiq_plugin.mcp.relay.aggregate.namespaces import SCHEME, Namespaces, display_names
from routeiq_plugin.mcp.relay.aggregate.pages import page
from routeiq_plugin.mcp.relay.aggregate.visits import Visit
from routeiq_plugin.mcp.resources import skeleton

KINDS: Final[Mapping[str, tuple[Offer, str]]] = {
    "tools/list": (Offer.TOOLS, "tools"),
    "prompts/list": (Offer.PROMPTS, "prompts"),
    "resources/list": (Offer.RESOURCES, "resources"),
    "resources/templates/list": (Offer.TEMPLATES, "resourceTemplates"),
}
"""By method: what is listed, and the result's field."""
_AT_ONCE: Final = 200
"""Items that are rendered before other requests get their turn."""

Json = dict[str, Any]
Named = tuple[Server, Any, str]
"""A server, an item of its as the SDK has it, and the name that the client gets."""


class Lists:
    """Lists over the plane: cached, filtered by permission, and without the part of a server that fails."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def result(self, visit: Visit, method: str, params: Mapping[str, Any]) -> Json:
        """Return a page as the result of `method`; raises `InvalidRequest` for a cursor that is not ours."""
        offer, field = KINDS[method]
        offers = await self.offered(visit, offer)
        chosen, following = page(_NAMED[offer](visit.names, offers), field, params.get("cursor"))
        listed = []
        for index, (server, item, name) in enumerate(chosen):
            if index % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            listed.append(_rendered(offer, server, item, name))
        return {field: listed} | ({"nextCursor": following} if following else {})

    async def offered(self, visit: Visit, offer: Offer) -> Sequence[ServerOffer]:
        """Return what each server offers to this caller."""
        if offer is Offer.TOOLS:
            return await self._plane.tools.listed(visit.asked, visit.names.servers)
        return await self._plane.offers.gather(visit.asked, visit.names.servers, offer)


def _tools(names: Namespaces, offers: Sequence[ServerOffer]) -> Sequence[Named]:
    """Name tools as the operator did, where that is nothing else's name, or by their server."""
    plain = [(each.server, tool, names.prefixed(each.server, tool.name)) for each in offers for tool in each.items]
    given = [display_names(server).get(tool.name) for server, tool, _ in plain]
    taken = Counter([*given, *(name for _, _, name in plain)])
    return [
        (server, tool, own if own and taken[own] == 1 else name)
        for (server, tool, name), own in zip(plain, given, strict=True)
    ]


def _prompts(names: Namespaces, offers: Sequence[ServerOffer]) -> Sequence[Named]:
    return [(each.server, item, names.prefixed(each.server, item.name)) for each in offers for item in each.items]


def _uris(field: str, alike: Callable[[str], str]) -> Callable[[Namespaces, Sequence[ServerOffer]], Sequence[Named]]:
    """Leave a URI as it is where one server alone has it."""

    def named(names: Namespaces, offers: Sequence[ServerOffer]) -> Sequence[Named]:
        found = [(each.server, item, str(getattr(item, field))) for each in offers for item in each.items]
        owners = {(alike(uri), server.server_id) for server, _, uri in found}
        count = Counter(uri for uri, _ in owners)
        return [
            (server, item, names.located(server, uri) if count[alike(uri)] > 1 or uri.startswith(SCHEME) else uri)
            for server, item, uri in found
        ]

    return named


_NAMED: Final[Mapping[Offer, Callable[[Namespaces, Sequence[ServerOffer]], Sequence[Named]]]] = {
    Offer.TOOLS: _tools,
    Offer.PROMPTS: _prompts,
    Offer.RESOURCES: _uris("uri", str),
    Offer.TEMPLATES: _uris("uri_template", skeleton),
}
_NAMED_BY: Final = {
    Offer.TOOLS: "name",
    Offer.PROMPTS: "name",
    Offer.RESOURCES: "uri",
    Offer.TEMPLATES: "uriTemplate",
}


def _rendered(offer: Offer, server: Server, item: Any, name: str) -> Json:
    dumped: Json = item.model_dump(by_alias=True, mode="json", exclude_none=True)
    dumped[_NAMED_BY[offer]] = name
    told = (server.fields.get("tool_name_to_description") or {}).get(item.name) if offer is Offer.TOOLS else None
    return dumped | ({"description": told} if told else {})
