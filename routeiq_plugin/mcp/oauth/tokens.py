"""Users' tokens: kept sealed, refreshed by one worker at a time, bound to what they were obtained for."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from routeiq_plugin.errors import BackendError, InvalidFields, LoginRequired
from routeiq_plugin.host.mcp_logins import GivenToken
from routeiq_plugin.host.requests import Author
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.mcp.oauth.discovery import Discovery
from routeiq_plugin.mcp.oauth.grants import EARLY_SECONDS, SENDABLE, Granted, Grants, UnknownClient, bounded
from routeiq_plugin.mcp.oauth.leases import Leases
from routeiq_plugin.mcp.oauth.memory import Memory
from routeiq_plugin.mcp.oauth.owners import digest
from routeiq_plugin.mcp.oauth.providers import Provider, binding
from routeiq_plugin.mcp.oauth.refusals import CodeRefused, OAuthRefused
from routeiq_plugin.mcp.oauth.registration import Registrations
from routeiq_plugin.store.audit import AuditEntry
from routeiq_plugin.store.oauth_tokens import Held, TokenKind

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserToken:
    """What a user holds for one server, in clear: keep it in memory only."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: float | None = None
    """Unix time; None when the authorization server did not say."""
    renew_at: float | None = None
    scope: str | None = None
    issuer: str | None = None
    """Who issued it; None for one that the user brought along."""
    resource: str | None = None
    binding: str = ""
    """Fingerprint of the server's address and authorization server at that time."""
    grant: str | None = None
    """Digest of the code it came by."""
    handle: str | None = field(default=None, repr=False)
    """Digest of what the client has in place of the refresh token."""
    connected_at: float = 0.0

    def usable(self, now: float) -> bool:
        """Tell whether it has not ended."""
        return self.expires_at is None or self.expires_at > now

    def due(self, now: float) -> bool:
        """Tell whether it should be refreshed."""
        return self.renew_at is not None and self.renew_at <= now


class TokensAtRest(Protocol):
    """Tokens at rest; `store.oauth_tokens.TokenStore` is one."""

    async def get(self, server_id: str, owner: str, kind: TokenKind) -> Held | None:
        """Return what is held; raises `Unavailable`."""
        ...

    async def of_owner(self, owner: str) -> tuple[Held, ...]:
        """Return all that a user holds."""
        ...

    async def put(self, held: Held, audit: AuditEntry, *, code_id: str | None = None) -> bool:
        """Store; False when the code that it came by was replayed."""
        ...

    async def replace(self, held: Held) -> bool:
        """Store the next version; False when someone else wrote."""
        ...

    async def remove(
        self, server_id: str, owner: str, kind: TokenKind, audit: AuditEntry, *, version: int | None = None
    ) -> bool:
        """Forget; returns whether there was any."""
        ...

    async def replayed(self, code_id: str, audit: AuditEntry) -> bool:
        """Note that a code came again, and forget what it was exchanged for."""
        ...


class UserTokens:
    """Keeps them and hands them out."""

    def __init__(
        self, store: TokensAtRest, leases: Leases, discovery: Discovery, registrations: Registrations, grants: Grants
    ) -> None:
        self._store = store
        self._leases = leases
        self._discovery = discovery
        self._registrations = registrations
        self._grants = grants
        self.memory: Final = Memory(time.monotonic)
        self._refreshing: dict[tuple[str, str], asyncio.Task[Held | None]] = {}

    async def of(self, server: Server, owner: str) -> UserToken | None:
        """Return a token that can be used now, refreshed if need be; None when the user has to log in.

        Raises `BackendError` when it has ended and the authorization server does not answer.
        """
        remembered = self.memory.get(server.server_id, owner)
        if remembered is not None and remembered.payload.get("binding") == binding(server):
            token = _read(remembered)
            if not token.due(time.time()):
                return token
        generation = self.memory.generation
        held = await self._usable(server, owner)
        if held is not None:
            self.memory.put(held, generation)
        return None if held is None else _read(held)

    async def _usable(self, server: Server, owner: str) -> Held | None:
        held = await self._held(server, owner)
        if held is None:
            return None
        if held.expires_at is not None:
            await self._store.replace(replace(held, expires_at=None))  # the server was staged, and is registered now
            return await self._usable(server, owner)
        token = _read(held)
        if not token.due(time.time()):
            return held
        if token.refresh_token is None:
            return held if token.usable(time.time()) else None
        try:
            return await self._renewed(server, held)
        except BackendError:
            if token.usable(time.time()):
                return held
            raise

    async def known(self, server: Server, owner: str) -> UserToken | None:
        """Return what a user holds for a server, of use or not; asks nobody."""
        held = await self._held(server, owner)
        return None if held is None else _read(held)

    async def all_of(self, owner: str) -> Mapping[str, UserToken]:
        """Return all that a user holds, by server id."""
        return {held.server_id: _read(held) for held in await self._store.of_owner(owner)}

    async def keep(
        self,
        server: Server,
        owner: str,
        granted: Granted,
        author: Author,
        *,
        provider: Provider | None,
        code_id: str | None = None,
        kept_until: datetime | None = None,
    ) -> str | None:
        """Store a login in place of an earlier one, and return the client's handle for refreshing it.

        Raises `CodeRefused` when the code was presented a second time meanwhile; then nothing is kept.
        """
        handle = _new_handle() if granted.refresh_token else None
        token = UserToken(
            access_token=granted.access_token,
            refresh_token=granted.refresh_token,
            expires_at=granted.expires_at,
            renew_at=granted.renew_at,
            scope=granted.scope,
            issuer=None if provider is None else provider.issuer,
            resource=None if provider is None else provider.resource,
            binding=binding(server),
            grant=code_id,
            handle=None if handle is None else digest(handle),
            connected_at=time.time(),
        )
        held = Held(
            server_id=server.server_id,
            owner=owner,
            kind=TokenKind.USER,
            payload=asdict(token),
            expires_at=kept_until,
        )
        entry = _audit("mcp.login.store", server.server_id, author, owner)
        if not await self._store.put(held, entry, code_id=code_id):
            raise CodeRefused
        self.memory.forget(server.server_id, owner)
        return handle

    async def bring(self, server: Server, owner: str, given: GivenToken, author: Author) -> None:
        """Store a token that the user obtained elsewhere.

        One that came from our token endpoint has our handle in place of its refresh token: that login is moved here
        when it was made for the same place. Raises `InvalidFields` for what cannot be used.
        """
        if not SENDABLE.fullmatch(given.access_token):
            raise InvalidFields.of("access_token", "Send the token alone, in printable ASCII")
        expires_at = None if given.expires_in is None else time.time() + bounded(given.expires_in)
        granted = Granted(
            access_token=given.access_token,
            refresh_token=given.refresh_token,
            expires_at=expires_at,
            renew_at=None if expires_at is None else expires_at - EARLY_SECONDS,
            scope=" ".join(given.scopes) or None,
        )
        earlier = await self._by_handle(owner, given.refresh_token) if given.refresh_token else None
        if earlier is None:
            await self.keep(server, owner, granted, author, provider=None)
            return
        server_id, token = earlier
        if token.binding != binding(server):
            raise InvalidFields.of("refresh_token", "This login was made for another address; log in at this server")
        held = Held(server_id=server.server_id, owner=owner, kind=TokenKind.USER, payload=asdict(token))
        await self._store.put(held, _audit("mcp.login.store", server.server_id, author, owner))
        self.memory.forget(server.server_id, owner)
        if server_id != server.server_id:
            await self.drop(server_id, owner, author)

    async def _by_handle(self, owner: str, handle: str) -> tuple[str, UserToken] | None:
        held = await self.all_of(owner)
        return next(((where, token) for where, token in held.items() if _is_handle_of(handle, token)), None)

    async def refreshed(self, server: Server, owner: str, handle: str) -> tuple[UserToken, str]:
        """Refresh for a client that shows its handle; returns the token and the next handle. Raises `CodeRefused`."""
        held = await self._held(server, owner)
        if held is None or not _is_handle_of(handle, _read(held)):
            raise CodeRefused("the refresh token is unknown, used, or was issued to someone else")
        renewed = await self._renewed(server, held)
        while renewed is not None and _is_handle_of(handle, _read(renewed)):
            next_handle = _new_handle()
            token = replace(_read(renewed), handle=digest(next_handle))
            if await self._store.replace(replace(renewed, payload=asdict(token))):
                return token, next_handle
            renewed = await self._held(server, owner)
        raise CodeRefused("the login has ended; log in again")

    async def drop(self, server_id: str, owner: str, author: Author, server: Server | None = None) -> bool:
        """Forget a login, and let the authorization server forget it too; returns whether there was one."""
        held = None if server is None else await self._held(server, owner)
        entry = _audit("mcp.login.drop", server_id, author, owner)
        dropped = await self._store.remove(server_id, owner, TokenKind.USER, entry)
        self.memory.forget(server_id, owner)
        if dropped and held is not None and server is not None:
            await self._revoke(server, _read(held))
        return dropped

    async def replayed(self, server: Server, owner: str, code_id: str, author: Author) -> None:
        """Forget the login that a replayed code was exchanged for (RFC 6749 section 4.1.2)."""
        entry = _audit("mcp.login.replay", server.server_id, author, owner)
        if await self._store.replayed(code_id, entry):
            self.memory.forget(server.server_id)
            logger.warning("routeiq: an authorization code for MCP server %s came twice", server.name)

    async def distrust(self, server: Server, owner: str, access_token: str) -> None:
        """Note that the server refused a token before its end, so that it is refreshed at its next use."""
        self.memory.forget(server.server_id, owner)
        held = await self._held(server, owner)
        if held is None:
            return
        token = _read(held)
        if secrets.compare_digest(token.access_token.encode(), access_token.encode()):
            await self._store.replace(replace(held, payload=asdict(replace(token, expires_at=0.0, renew_at=0.0))))

    async def aclose(self) -> None:
        """Let refreshes that are under way end: what they got would be lost."""
        await asyncio.gather(*self._refreshing.values(), return_exceptions=True)

    async def _held(self, server: Server, owner: str) -> Held | None:
        """Read a login; one that was obtained for another address or authorization server is forgotten."""
        held = await self._store.get(server.server_id, owner, TokenKind.USER)
        if held is None or held.payload.get("binding") == binding(server):
            return held
        await self._end(held, "the server's address or authorization server changed")
        return None

    async def _renewed(self, server: Server, held: Held) -> Held | None:
        """Refresh once for everybody who asks meanwhile; no caller's hanging up loses the token."""
        key = (held.server_id, held.owner)
        task = self._refreshing.get(key)
        if task is None:
            task = asyncio.create_task(self._renew(server, held), name=f"routeiq refresh {server.name}")
            self._refreshing[key] = task
            task.add_done_callback(lambda _: self._refreshing.pop(key, None))
        return await asyncio.shield(task)

    async def _renew(self, server: Server, held: Held) -> Held | None:
        async def settled() -> bool:
            current = await self._held(server, held.owner)
            return current is None or current.version != held.version

        async with self._leases.held(held.server_id, held.owner, settled):
            current = await self._held(server, held.owner)
            if current is None or current.version != held.version:
                return current
            return await self._ask(server, held)

    async def _ask(self, server: Server, held: Held) -> Held | None:
        token = _read(held)
        provider = await self._discovery.of(server)
        if token.refresh_token is None or token.issuer not in (None, provider.issuer):
            return await self._end(held, "the authorization server changed")
        client = await self._registrations.known(server, provider)
        if client is None:
            return await self._end(held, "the gateway's registration is gone")
        try:
            granted = await self._grants.for_refresh(provider, client, token.refresh_token)
        except OAuthRefused as refused:
            return await self._end(held, refused.code)
        except UnknownClient:
            if server.credentials.get("client_id"):
                raise
            await self._registrations.forget(server)
            return await self._end(held, "the authorization server no longer knows the gateway")
        renewed = replace(
            token,
            access_token=granted.access_token,
            refresh_token=granted.refresh_token or token.refresh_token,
            expires_at=granted.expires_at,
            renew_at=granted.renew_at,
            scope=granted.scope or token.scope,
        )
        following = replace(held, payload=asdict(renewed), updated_at=datetime.now(UTC))
        if await self._store.replace(following):
            return replace(following, version=held.version + 1)
        return await self._held(server, held.owner)

    async def _revoke(self, server: Server, token: UserToken) -> None:
        """Tell the issuer; that it does not answer keeps nobody logged in here."""
        try:
            provider = await self._discovery.of(server)
            client = await self._registrations.known(server, provider)
            if client is not None and token.issuer == provider.issuer:
                await self._grants.revoke(provider, client, token.refresh_token or token.access_token)
        except BackendError as failure:
            logger.info("routeiq: the login at MCP server %s was dropped here only: %s", server.name, failure)

    async def _end(self, held: Held, why: str) -> Held | None:
        """Forget a login that is of no use, unless it was renewed meanwhile; returns what is held then."""
        entry = AuditEntry(
            actor=None,
            action="mcp.login.end",
            object_kind="mcp_server",
            object_id=held.server_id,
            details={"owner": held.owner, "why": why},
        )
        self.memory.forget(held.server_id, held.owner)
        if await self._store.remove(held.server_id, held.owner, TokenKind.USER, entry, version=held.version):
            return None
        return await self._store.get(held.server_id, held.owner, TokenKind.USER)


def login_required(server: Server, base_url: str) -> LoginRequired:
    """Say that the caller has to log in, and where the way there is described."""
    return LoginRequired(
        {"error": "login_required", "message": f"Log in at MCP server {server.name} first, or again"},
        metadata_url(base_url, server.name),
    )


def metadata_url(base_url: str, name: str) -> str:
    """Return where a server's resource metadata is (RFC 9728 section 3.1), for `{base}/mcp/{name}`."""
    from urllib.parse import quote, urlsplit

    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc}/.well-known/oauth-protected-resource{parts.path}/mcp/{quote(name)}"


def _read(held: Held) -> UserToken:
    return UserToken(**held.payload)


def _new_handle() -> str:
    return f"rt_{secrets.token_urlsafe(32)}"


def _is_handle_of(handle: str, token: UserToken) -> bool:
    return token.handle is not None and secrets.compare_digest(digest(handle), token.handle)


def _audit(action: str, server_id: str, author: Author, owner: str) -> AuditEntry:
    details: dict[str, Any] = {"owner": owner}
    return AuditEntry(
        actor=author.actor,
        action=action,
        object_kind="mcp_server",
        object_id=server_id,
        request_id=author.request_id,
        details=details,
    )
