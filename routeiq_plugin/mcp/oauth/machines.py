"""Tokens of the gateway itself (client credentials): in memory until they end, fetched once for everybody."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from typing import Final

from routeiq_plugin.errors import BackendError
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.oauth.discovery import Discovery
from routeiq_plugin.mcp.oauth.grants import Granted, Grants
from routeiq_plugin.mcp.oauth.providers import binding, configured_scopes
from routeiq_plugin.mcp.oauth.refusals import OAuthRefused
from routeiq_plugin.mcp.oauth.registration import Registrations

UNSAID_SECONDS: Final = 300.0
"""How long a token is used whose end was not said."""
_KEPT: Final = 256


class MachineTokens:
    """Logs the gateway in at servers of `oauth2_flow: client_credentials`."""

    def __init__(self, discovery: Discovery, registrations: Registrations, grants: Grants) -> None:
        self._discovery = discovery
        self._registrations = registrations
        self._grants = grants
        self._known: OrderedDict[str, Granted] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Granted]] = {}

    async def of(self, server: Server) -> Granted:
        """Return a token that can be used now; raises `BackendError`."""
        key = _key(server)
        known = self._known.get(key)
        if known is not None and known.renew_at is not None and known.renew_at > time.time():
            return known
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(server, key), name=f"routeiq token {server.name}")
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(task)

    async def distrust(self, server: Server) -> None:
        """Forget a token that the server refused."""
        self._known.pop(_key(server), None)

    async def _ask(self, server: Server, key: str) -> Granted:
        provider = await self._discovery.of(server)
        client = await self._registrations.known(server, provider)
        if client is None or client.client_secret is None:
            raise BackendError("the server's credentials lack client_id or client_secret")
        try:
            granted = await self._grants.for_itself(provider, client)
        except OAuthRefused as refused:
            raise BackendError(f"the authorization server refused the gateway: {refused.code}") from refused
        if granted.renew_at is None:
            granted = Granted(access_token=granted.access_token, renew_at=time.time() + UNSAID_SECONDS)
        self._known[key] = granted
        self._known.move_to_end(key)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return granted


def _key(server: Server) -> str:
    """Name the token by all that it depends on, the secret only as a digest."""
    secret = str(server.credentials.get("client_secret") or "")
    told = f"{server.server_id} {binding(server)} {configured_scopes(server)} {secret}"
    return hashlib.sha256(told.encode()).hexdigest()
