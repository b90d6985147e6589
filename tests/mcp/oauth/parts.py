"""The pieces of one worker, without a proxy around them: its store, its clients and its tokens."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from routeiq_plugin.host.auth import Caller
from routeiq_plugin.host.requests import Author
from routeiq_plugin.host.sealing import SaltKeySealer
from routeiq_plugin.mcp.credentials import Credential
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.oauth.credentials import OAuthCredentials
from routeiq_plugin.mcp.oauth.discovery import Discovery
from routeiq_plugin.mcp.oauth.exchanges import Exchanges
from routeiq_plugin.mcp.oauth.grants import Granted, Grants
from routeiq_plugin.mcp.oauth.leases import Leases
from routeiq_plugin.mcp.oauth.machines import MachineTokens
from routeiq_plugin.mcp.oauth.owners import owner_of
from routeiq_plugin.mcp.oauth.registration import Registrations
from routeiq_plugin.mcp.oauth.tokens import UserTokens
from routeiq_plugin.outbound import Clients, Guard
from routeiq_plugin.settings import OutboundSettings
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.oauth_flows import FlowStore
from routeiq_plugin.store.oauth_tokens import TokenStore
from tests.support.oauth_server import MACHINE_ID, MACHINE_SECRET, SCOPE, Upstream

BASE: Final = "https://gateway.example"
CALLBACK: Final = f"{BASE}/routeiq/oauth/callback"
AUTHOR: Final = Author("alice", "request-1")
ALICE: Final = Caller(
    identity=None, user_id="alice", team_id=None, role="internal_user", is_admin=False, has_admin_view=False
)
OWNER: Final = owner_of(ALICE)


@dataclass(frozen=True)
class Worker:
    """What one worker has."""

    database: Database
    flows: FlowStore
    store: TokenStore
    discovery: Discovery
    registrations: Registrations
    grants: Grants
    users: UserTokens
    machines: MachineTokens

    def credentials(self, headers: Mapping[str, str] | None = None) -> OAuthCredentials:
        """Build the credentials of calls, over others that send these headers."""
        return OAuthCredentials(Static(dict(headers or {})), self.users, self.machines, lambda: BASE)

    async def logged_in(
        self, server: Server, upstream: Upstream, *, seconds: int = 3600, owner: str = OWNER
    ) -> Granted:
        """Let the user be logged in with a token that the authorization server really issued."""
        provider = await self.discovery.of(server)
        client = await self.registrations.of(server, provider, CALLBACK)
        granted = await grant(self, server, upstream, client, seconds)
        await self.users.keep(server, owner, granted, AUTHOR, provider=provider)
        return granted


async def grant(worker: Worker, server: Server, upstream: Upstream, client: Any, seconds: int) -> Granted:
    """Walk through the authorization server as a browser would."""
    import httpx
    from mcp.client.auth import PKCEParameters

    pkce = PKCEParameters.generate()
    provider = await worker.discovery.of(server)
    upstream.turn(access_seconds=seconds)
    query = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": CALLBACK,
        "code_challenge": pkce.code_challenge,
        "code_challenge_method": "S256",
        "resource": provider.resource,
        "state": "s",
    }
    async with httpx.AsyncClient(trust_env=False) as browser:
        answer = await browser.get(str(provider.metadata.authorization_endpoint), params=query)
    code = httpx.URL(answer.headers["location"]).params["code"]
    granted = await worker.grants.for_code(provider, client, code, pkce.code_verifier, CALLBACK)
    upstream.turn()
    return granted


@dataclass(frozen=True)
class Static:
    """Other credentials: always the same headers."""

    headers: Mapping[str, str]

    async def of(self, server: Server, caller: Caller, incoming: Mapping[str, str]) -> Credential:
        """Return them."""
        return Credential("static", self.headers)


def server_at(upstream: Upstream, **fields: Any) -> Server:
    """Describe the protected server, as registered."""
    known = {
        "server_id": "one",
        "alias": "one",
        "url": upstream.url,
        "transport": "http",
        "auth_type": "oauth2",
        "oauth2_flow": "authorization_code",
    }
    return Server({**known, **fields}, version=1)


def machine_at(upstream: Upstream, **fields: Any) -> Server:
    """Describe it as one at which the gateway logs in by itself."""
    credentials = {"client_id": MACHINE_ID, "client_secret": MACHINE_SECRET, "scopes": [SCOPE]}
    return server_at(upstream, oauth2_flow="client_credentials", credentials=credentials, **fields)


@asynccontextmanager
async def worker(database_url: str) -> AsyncIterator[Worker]:
    """Build a worker on a database; several may share one."""
    database = Database(database_url)
    sealer = SaltKeySealer(lambda: "sk-a-key-that-seals")
    guard = Guard(["127.0.0.1"])
    clients = Clients(OutboundSettings(), guard)
    flows, store = FlowStore(database, sealer), TokenStore(database, sealer)
    exchanges = Exchanges(clients)
    discovery = Discovery(exchanges, guard, time.monotonic)
    registrations, grants = Registrations(store, exchanges), Grants(exchanges)
    await database.open()
    users = UserTokens(store, Leases(flows), discovery, registrations, grants)
    machines = MachineTokens(discovery, registrations, grants)
    try:
        yield Worker(database, flows, store, discovery, registrations, grants, users, machines)
    finally:
        await users.aclose()
        await clients.aclose()
        await database.close()
