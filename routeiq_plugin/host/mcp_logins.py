"""LiteLLM's classes of what a user holds at MCP servers: its request and its answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from litellm.proxy._types import (
    MCPOAuthUserCredentialRequest,
    MCPOAuthUserCredentialStatus,
    MCPUserCredentialListItem,
)
from pydantic import ValidationError

from routeiq_plugin.errors import InvalidFields

__all__ = ["MCPOAuthUserCredentialRequest", "MCPOAuthUserCredentialStatus", "MCPUserCredentialListItem"]


@dataclass(frozen=True, slots=True)
class GivenToken:
    """A token that a user brought along."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_in: int | None
    scopes: tuple[str, ...]


def parse_token(body: Any) -> GivenToken:
    """Validate the body of POST `.../oauth-user-credential`; raises `InvalidFields`, which never repeats the token."""
    try:
        given = MCPOAuthUserCredentialRequest.model_validate(body)
    except ValidationError as wrong:
        raise InvalidFields(
            [
                {"type": error["type"], "loc": ["body", *error["loc"]], "msg": error["msg"]}
                for error in wrong.errors(include_input=False, include_url=False, include_context=False)
            ]
        ) from None
    return GivenToken(given.access_token, given.refresh_token or None, given.expires_in, tuple(given.scopes or ()))
