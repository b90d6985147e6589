"""The credential of a call to a server that wants OAuth: the user's own token, or the gateway's."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial

from routeiq_plugin.host.auth import Caller
from routeiq_plugin.mcp.credentials import Credential, Credentials
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.oauth.machines import MachineTokens
from routeiq_plugin.mcp.oauth.owners import owner_of
from routeiq_plugin.mcp.oauth.providers import is_machine, wants_login
from routeiq_plugin.mcp.oauth.tokens import UserTokens, login_required

_AUTHORIZATION = "authorization"


class OAuthCredentials:
    """Adds the token to what the other credentials say; implements `Credentials`."""

    def __init__(
        self, other: Credentials, users: UserTokens, machines: MachineTokens, base_url: Callable[[], str | None]
    ) -> None:
        self._other = other
        self._users = users
        self._machines = machines
        self._base_url = base_url

    async def of(self, server: Server, caller: Caller, incoming: Mapping[str, str]) -> Credential:
        """Return what to send; a token that the caller sends for this server itself goes before a stored one.

        Raises `LoginRequired` when the user has to log in, and `BackendError` when the authorization server fails us.
        """
        found = await self._other.of(server, caller, incoming)
        if any(name.lower() == _AUTHORIZATION for name in found.headers):
            return found
        if is_machine(server):
            granted = await self._machines.of(server)
            return _with(found, "gateway", granted.access_token, partial(self._machines.distrust, server))
        if not wants_login(server):
            return found
        owner = owner_of(caller)
        token = await self._users.of(server, owner)
        if token is None:
            raise login_required(server, self._base_url() or f"http://{incoming.get('host', 'localhost')}")
        distrust = partial(self._users.distrust, server, owner, token.access_token)
        return _with(found, owner, token.access_token, distrust)


def _with(found: Credential, owner: str, token: str, distrust: Callable[[], Awaitable[None]]) -> Credential:
    """Add the token; who shares it shares sessions, and a new token gets new ones."""
    told = hashlib.sha256(f"{owner} {token}".encode()).hexdigest()
    return replace(
        found,
        identity=f"{found.identity} oauth:{told}",
        headers={**found.headers, "Authorization": f"Bearer {token}"},
        on_refusal=distrust,
    )
