"""Prompts of all servers of a caller: listed, found by name, and got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from routeiq_plugin.errors import BackendError, InvalidRequest, NotFound
from routeiq_plugin.mcp.catalog import FRESH_SECONDS, TTL_SECONDS, Offer
from routeiq_plugin.mcp.failures import worded
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.offers import Asked, Offers, ServerOffer, prefix_of, server_named, without_prefix


@dataclass(frozen=True, slots=True)
class PromptGet:
    """A request as its caller wrote it."""

    name: str
    arguments: Mapping[str, str]
    server: str | None

    @classmethod
    def parse(cls, body: Any) -> PromptGet:
        """Read a request's body; raises `InvalidRequest`."""
        fields: Mapping[str, Any] = body if isinstance(body, dict) else {}
        name, arguments = fields.get("name"), fields.get("arguments") or {}
        if not isinstance(name, str) or not name:
            raise InvalidRequest(
                {"error": "missing_parameter", "message": "name is required in request body", "field": "name"}
            )
        if not isinstance(arguments, dict) or not all(isinstance(value, str) for value in arguments.values()):
            message = "arguments must be a JSON object of texts"
            raise InvalidRequest({"error": "invalid_arguments", "message": message, "field": "arguments"})
        return cls(name, arguments, server_named(fields))


class Prompts:
    """Lists and gets prompts."""

    def __init__(self, offers: Offers) -> None:
        self._offers = offers

    async def listed(self, asked: Asked, servers: Sequence[Server]) -> Sequence[ServerOffer]:
        """List the prompts of each server."""
        return await self._offers.gather(asked, servers, Offer.PROMPTS)

    async def get(self, asked: Asked, wanted: PromptGet) -> Any:
        """Get a prompt, by its server's prefix or as the only one of that name; returns the SDK's `GetPromptResult`.

        Raises `NotFound`, `InvalidRequest` for a name of several prompts or for arguments that the server refuses,
        and `BackendError`.
        """
        server, prompt = await self._target(asked, wanted)
        missing = [each.name for each in prompt.arguments or () if each.required and each.name not in wanted.arguments]
        if missing:
            message = f"Prompt {prompt.name}: arguments: '{missing[0]}' is a required property"
            raise InvalidRequest({"error": "missing_parameter", "message": message, "field": f"arguments.{missing[0]}"})
        from routeiq_plugin.mcp.requests import get_prompt

        credential = await self._offers.credential(asked, server)
        try:
            return await self._offers.sessions.call(server, credential, get_prompt(prompt.name, wanted.arguments))
        except BackendError as error:
            raise worded(error, server.name) from error

    async def _target(self, asked: Asked, wanted: PromptGet) -> tuple[Server, Any]:
        servers = await self._offers.servers(asked, wanted.server)
        for max_age in (TTL_SECONDS, FRESH_SECONDS):
            offers = await self._offers.gather(asked, servers, Offer.PROMPTS, max_age=max_age)
            found = [(offer.server, prompt) for offer in offers if (prompt := _named(offer, wanted.name)) is not None]
            if len(found) == 1:
                return found[0]
            if found:
                names = ", ".join(f"'{prefix_of(server)}{prompt.name}'" for server, prompt in found)
                message = f"Prompt '{wanted.name}' is offered by several MCP servers; send server_id, or one of {names}"
                raise InvalidRequest({"error": "ambiguous_prompt", "message": message, "field": "name"})
            if len(offers) == 1 and offers[0].error is not None:
                raise worded(offers[0].error, offers[0].server.name)
        raise NotFound({"error": "prompt_not_found", "message": f"Prompt '{wanted.name}' not found"})


def _named(offer: ServerOffer, name: str) -> Any | None:
    bare = without_prefix(offer.server, name)
    return offer.named(name) or (None if bare is None else offer.named(bare))
