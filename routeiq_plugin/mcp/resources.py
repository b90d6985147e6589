"""Resources of all servers of a caller: listed, and read from the one that owns them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from routeiq_plugin.errors import BackendError, InvalidRequest, NotFound, RouteIQError
from routeiq_plugin.mcp.catalog import FRESH_SECONDS, TTL_SECONDS, Offer
from routeiq_plugin.mcp.failures import INVALID_PARAMS, RESOURCE_NOT_FOUND, ServerRefused, worded
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.offers import Asked, Offers, ServerOffer, server_named

LONGEST_URI: Final = 8192

_VARIABLE: Final = re.compile(r"\{([+#./;?&]?)[^{}]*\}")
_RESERVED: Final = frozenset("+#")
"""Operators of RFC 6570 whose values may hold slashes."""


@dataclass(frozen=True, slots=True)
class ResourceRead:
    """A read as its caller wrote it."""

    uri: str
    server: str | None

    @classmethod
    def parse(cls, body: Any) -> ResourceRead:
        """Read a request's body; raises `InvalidRequest`."""
        fields: Mapping[str, Any] = body if isinstance(body, dict) else {}
        uri = fields.get("uri")
        if not isinstance(uri, str) or not uri or len(uri) > LONGEST_URI:
            raise InvalidRequest(
                {"error": "missing_parameter", "message": "uri is required in request body", "field": "uri"}
            )
        return cls(uri, server_named(fields))


class Resources:
    """Lists and reads resources."""

    def __init__(self, offers: Offers) -> None:
        self._offers = offers

    async def listed(
        self, asked: Asked, servers: Sequence[Server]
    ) -> tuple[Sequence[ServerOffer], Sequence[ServerOffer]]:
        """List resources and resource templates of each server."""
        resources, templates = await asyncio.gather(
            self._offers.gather(asked, servers, Offer.RESOURCES),
            self._offers.gather(asked, servers, Offer.TEMPLATES),
        )
        return resources, templates

    async def read(self, asked: Asked, wanted: ResourceRead) -> Any:
        """Read a resource from its owner; returns the SDK's `ReadResourceResult`.

        The owner is the server that is named, else the one that lists the URI, else the one with a template for it.

        Raises:
            NotFound: no server of the caller's has it.
            InvalidRequest: several have it.
            BackendError: the owner failed.
        """
        server = await self._owner(asked, wanted)
        from routeiq_plugin.mcp.requests import read_resource

        credential = await self._offers.credential(asked, server)
        try:
            return await self._offers.sessions.call(server, credential, read_resource(wanted.uri))
        except BackendError as error:
            if isinstance(error, ServerRefused) and error.code in (INVALID_PARAMS, RESOURCE_NOT_FOUND):
                raise _unknown(wanted.uri) from error
            raise worded(error, server.name) from error

    async def _owner(self, asked: Asked, wanted: ResourceRead) -> Server:
        servers = await self._offers.servers(asked, wanted.server)
        if wanted.server is not None:
            return servers[0]
        errors: list[RouteIQError] = []
        for offer, fits in ((Offer.RESOURCES, _is_it), (Offer.TEMPLATES, _has_template_for)):
            for max_age in (TTL_SECONDS, FRESH_SECONDS):
                found = await self._offers.gather(asked, servers, offer, max_age=max_age)
                owners = [each.server for each in found if any(fits(item, wanted.uri) for item in each.items)]
                if len(owners) == 1:
                    return owners[0]
                if owners:
                    raise _ambiguous(wanted.uri, owners)
                errors = [each.error for each in found if each.error is not None]
        if errors and len(servers) == 1:
            raise worded(errors[0], servers[0].name)
        raise _unknown(wanted.uri)


def _is_it(resource: Any, uri: str) -> bool:
    return str(resource.uri) == uri


def _has_template_for(template: Any, uri: str) -> bool:
    return matches(str(template.uri_template), uri)


def skeleton(template: str) -> str:
    """Return a template without the names of its variables: the same URIs come of templates with the same one."""
    return _VARIABLE.sub(r"{\1}", template)


def matches(template: str, uri: str) -> bool:
    """Tell whether a URI can come of a template (RFC 6570); a variable without operator holds no slash."""
    if len(template) > LONGEST_URI:
        return False
    literals: list[str] = []
    holds_slashes: list[bool] = []
    end = 0
    for variable in _VARIABLE.finditer(template):
        literals.append(template[end : variable.start()])
        holds_slashes.append(bool(variable[1]))
        end = variable.end()
    return _fits(uri, literals, holds_slashes, template[end:])


def _fits(uri: str, literals: Sequence[str], holds_slashes: Sequence[bool], tail: str) -> bool:
    """Match without a regular expression, whose cost a server could choose: each variable takes as little as it can."""
    position = 0
    for index, literal in enumerate(literals):
        found = uri.find(literal, position) if index else (0 if uri.startswith(literal) else -1)
        if found < 0 or (index and not _may_hold(uri[position:found], holds_slashes[index - 1])):
            return False
        position = found + len(literal)
    if not literals:
        return uri == tail
    return (
        uri.endswith(tail)
        and len(uri) - len(tail) >= position
        and _may_hold(uri[position : len(uri) - len(tail)], holds_slashes[-1])
    )


def _may_hold(value: str, slashes: bool) -> bool:
    return slashes or "/" not in value


def _unknown(uri: str) -> NotFound:
    return NotFound({"error": "resource_not_found", "message": f"No MCP server of yours has the resource '{uri}'"})


def _ambiguous(uri: str, owners: Sequence[Server]) -> InvalidRequest:
    names = ", ".join(f"'{server.name}'" for server in owners)
    message = f"Resource '{uri}' is offered by several MCP servers; send server_id, one of {names}"
    return InvalidRequest({"error": "ambiguous_resource", "message": message, "field": "uri"})
