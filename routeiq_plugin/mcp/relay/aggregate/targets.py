"""Which server a request is for, and what it says to that server in the server's own names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from routeiq_plugin.errors import InvalidRequest, LoginRequired, NotFound
from routeiq_plugin.mcp.catalog import FRESH_SECONDS, TTL_SECONDS, Offer
from routeiq_plugin.mcp.failures import worded
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.offers import Offers, ServerOffer
from routeiq_plugin.mcp.relay.aggregate.namespaces import SCHEME, display_names
from routeiq_plugin.mcp.relay.aggregate.visits import Visit
from routeiq_plugin.mcp.resources import LONGEST_URI, matches, skeleton

SUBSCRIBE: Final = "resources/subscribe"
UNSUBSCRIBE: Final = "resources/unsubscribe"
TOOL_CALL: Final = "tools/call"
_NAMED: Final = {TOOL_CALL: Offer.TOOLS, "prompts/get": Offer.PROMPTS}
_LOCATED: Final = frozenset({"resources/read", SUBSCRIBE, UNSUBSCRIBE})
COMPLETE: Final = "completion/complete"
METHODS: Final = frozenset({*_NAMED, *_LOCATED, COMPLETE})
"""Requests to one server."""
_WORDS: Final = {Offer.TOOLS: "Tool", Offer.PROMPTS: "Prompt"}

Json = dict[str, Any]
Found = tuple[Server, str]
"""A server, and its own name for something."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes."""

    server: Server
    message: Json
    """In the server's own names."""
    uri: tuple[str, str] | None = None
    """Of a resource: as the client has it, and as the server does."""


def named_in(message: Json) -> str:
    """Return the name or URI that a request to one server has; '' for none."""
    params = message.get("params")
    fields: Json = params if isinstance(params, dict) else {}
    ref = fields.get("ref")
    fields = ref if isinstance(ref, dict) else fields
    return str(fields.get("name") or fields.get("uri") or "")


class Targets:
    """Finds servers by the names of what they offer."""

    def __init__(self, offers: Offers) -> None:
        self._offers = offers

    async def of(self, visit: Visit, message: Json) -> Target:
        """Find where a request goes.

        Raises:
            NotFound: no server of this visit has what it names.
            InvalidRequest: it names nothing, or what several have; says the names to choose from.
            BackendError: the one server that might have it failed.
        """
        method, params = message["method"], message.get("params")
        fields: Json = params if isinstance(params, dict) else {}
        if method in _NAMED:
            server, name = await self.named(visit, _NAMED[method], _text(fields, "name"))
            return Target(server, {**message, "params": {**fields, "name": name}})
        if method in _LOCATED:
            given = _text(fields, "uri")
            server, uri = await self.located(visit, given)
            return Target(server, {**message, "params": {**fields, "uri": uri}}, (given, uri))
        server, ref = await self._referred(visit, fields.get("ref"))
        return Target(server, {**message, "params": {**fields, "ref": ref}})

    async def _referred(self, visit: Visit, ref: Any) -> tuple[Server, Json]:
        if not isinstance(ref, dict):
            raise InvalidRequest("params.ref is required: a prompt, or a resource template")
        if ref.get("type") == "ref/prompt":
            server, name = await self.named(visit, Offer.PROMPTS, _text(ref, "name"))
            return server, {**ref, "name": name}
        if ref.get("type") == "ref/resource":
            server, uri = await self._template(visit, _text(ref, "uri"))
            return server, {**ref, "uri": uri}
        raise InvalidRequest("params.ref.type must be 'ref/prompt' or 'ref/resource'")

    # Tools and prompts

    async def named(self, visit: Visit, offer: Offer, name: str) -> Found:
        """Find a tool or prompt by the name it is listed with, its prefixed name, or its own where that is unique."""
        for server, rest in visit.names.named(name):
            if await self._offers_it(visit, (server,), offer, rest):
                return server, rest
        given = _by_display_name(visit.names.servers, name) if offer is Offer.TOOLS else []
        if len(given) == 1:
            return given[0]
        found = await self._offers_it(visit, visit.names.servers, offer, name)
        if not found:
            raise NotFound(f"{_WORDS[offer]} '{name}' not found")
        return _only([(server, name) for server in found], visit.names.prefixed, f"{_WORDS[offer]} '{name}'")

    async def _offers_it(self, visit: Visit, servers: Sequence[Server], offer: Offer, name: str) -> Sequence[Server]:
        """Return those that have it; raises what is wrong with the only one that might."""

        def has(item: Any) -> bool:
            return bool(item.name == name)

        return await self._having(visit, servers, offer, has)

    # Resources

    async def located(self, visit: Visit, uri: str) -> Found:
        """Find a resource: by the server that its URI names, else by who lists it, or has a template for it."""
        if uri.startswith(SCHEME):
            return _opened(visit, uri)
        for offer, fits in ((Offer.RESOURCES, _lists(uri)), (Offer.TEMPLATES, _makes(uri))):
            found = await self._having(visit, visit.names.servers, offer, fits)
            if found:
                return _only([(server, uri) for server in found], visit.names.located, f"Resource '{uri}'")
        if len(visit.names.servers) == 1:
            return visit.names.servers[0], uri  # it may have more than it lists
        raise NotFound(f"No MCP server of yours has the resource '{uri}'")

    async def _template(self, visit: Visit, template: str) -> Found:
        if template.startswith(SCHEME):
            return _opened(visit, template)

        def same(item: Any) -> bool:
            return skeleton(str(item.uri_template)) == skeleton(template)

        found = await self._having(visit, visit.names.servers, Offer.TEMPLATES, same)
        if not found:
            return await self.located(visit, template)
        return _only([(server, template) for server in found], visit.names.located, f"Resource template '{template}'")

    async def _having(
        self, visit: Visit, servers: Sequence[Server], offer: Offer, fits: Callable[[Any], bool]
    ) -> Sequence[Server]:
        """Look into the kept lists, and into fresh ones where it is in none."""
        offers: Sequence[ServerOffer] = ()
        for max_age in (TTL_SECONDS, FRESH_SECONDS):
            offers = await self._offers.gather(visit.asked, servers, offer, max_age=max_age)
            found = [each.server for each in offers if any(fits(item) for item in each.items)]
            if found:
                return found
        if len(offers) == 1 and (error := offers[0].error) is not None:
            name = offers[0].server.name
            raise told(error, name) if isinstance(error, LoginRequired) else worded(error, name)
        return ()


def told(login: LoginRequired, server_name: str) -> LoginRequired:
    """Say in words where to log in: an answer about one of many servers cannot be a 401."""
    detail = {
        "error": "login_required",
        "message": f"MCP server '{server_name}' wants a login of your own: see {login.resource_metadata}",
        "resource_metadata": login.resource_metadata,
    }
    return LoginRequired(detail, login.resource_metadata)


def _opened(visit: Visit, uri: str) -> Found:
    found = visit.names.opened(uri)
    if found is None:
        raise NotFound(f"'{uri}' names no MCP server of yours")
    return found


def _by_display_name(servers: Sequence[Server], name: str) -> list[Found]:
    given: list[tuple[Server, Mapping[str, Any]]] = [(server, display_names(server)) for server in servers]
    return [(server, own) for server, names in given for own, shown in names.items() if shown == name]


def _only(found: Sequence[Found], whole: Callable[[Server, str], str], what: str) -> Found:
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"'{whole(server, name)}'" for server, name in found)
    raise InvalidRequest(f"{what} is offered by several MCP servers; use one of {names}")


def _lists(uri: str) -> Callable[[Any], bool]:
    return lambda item: str(item.uri) == uri


def _makes(uri: str) -> Callable[[Any], bool]:
    return lambda item: matches(str(item.uri_template), uri)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value or len(value) > LONGEST_URI:
        raise InvalidRequest(f"params.{name} must be text of at most {LONGEST_URI} characters")
    return value
