"""HTTP clients for registered URLs: cheap to make, one per task, all on the process's two guarded pools."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Final

import httpx

from routeiq_plugin.errors import Unavailable
from routeiq_plugin.outbound.backend import CONNECT_SECONDS
from routeiq_plugin.outbound.bodies import Limits
from routeiq_plugin.outbound.guard import Guard
from routeiq_plugin.outbound.tls import TlsSource, shared_context
from routeiq_plugin.outbound.transports import Client, GuardedTransport
from routeiq_plugin.outbound.watched import Watch, WatchedTransport
from routeiq_plugin.settings import OutboundSettings

if TYPE_CHECKING:
    import httpx2

    from routeiq_plugin.outbound import transports2
    from routeiq_plugin.outbound.answering2 import Broken

USER_AGENT: Final = "routeiq-plugin"
ANSWERED: Final = "routeiq.answered"
"""An extension of requests; see `Clients.relaying_client`."""


class Clients:
    """Hands out clients that call vetted addresses only, follow no redirect, keep no cookie, read no proxy variable.

    A client may be closed or just dropped: its connections belong to the shared pools, which `aclose` ends.
    """

    def __init__(self, settings: OutboundSettings, guard: Guard, tls: TlsSource = shared_context) -> None:
        self.guard = guard
        self._tls = tls
        self._limits = Limits.of(settings)
        self._timeout = settings.timeout_seconds
        self._connect = min(CONNECT_SECONDS, settings.timeout_seconds)
        self._transport = GuardedTransport(guard, self._limits, tls)
        self._transport2: transports2.GuardedTransport | None = None
        self._closed = False

    def httpx_client(self, headers: Mapping[str, str] | None = None, watch: Watch | None = None) -> httpx.AsyncClient:
        """Make a client of httpx (a2a-sdk); `headers` are sent with each request, `watch` hears how each went."""
        return Client(
            transport=self._transport if watch is None else WatchedTransport(self._transport, watch),
            headers={"User-Agent": USER_AGENT, **(headers or {})},
            cookies=_no_cookies(),
            timeout=httpx.Timeout(self._timeout, connect=self._connect, pool=self._connect),
            follow_redirects=False,
            trust_env=False,
        )

    def httpx2_client(
        self, headers: Mapping[str, str] | None = None, auth: httpx2.Auth | None = None
    ) -> httpx2.AsyncClient:
        """Make a client of httpx2 (mcp SDK); the stack is imported when first asked for."""
        return self._client2(self._guarded2(), headers, self._timeout, auth)

    def session_client(
        self, headers: Mapping[str, str], *, seconds: float | None = None, broken: Broken | None = None
    ) -> httpx2.AsyncClient:
        """Make a client of httpx2 for an MCP session, whose requests fail one by one; see `answering2`.

        `seconds` is the longest silence of the backend, where it is not the settings'.
        """
        from routeiq_plugin.outbound import answering2

        transport = answering2.AnsweringTransport(self._guarded2(), broken)
        return self._client2(transport, headers, self._timeout if seconds is None else seconds, None)

    def relaying_client(self) -> httpx2.AsyncClient:
        """Make a client of httpx2 for single MCP messages; see `draining2`.

        A request's extension `ANSWERED` may hold an `asyncio.Event`: what is closed after that is set is read to its
        end, so that its connection serves again.
        """
        from routeiq_plugin.outbound import draining2

        return self._client2(draining2.DrainingTransport(self._guarded2()), None, self._timeout, None)

    def _client2(
        self,
        transport: httpx2.AsyncBaseTransport,
        headers: Mapping[str, str] | None,
        seconds: float,
        auth: httpx2.Auth | None,
    ) -> httpx2.AsyncClient:
        import httpx2

        from routeiq_plugin.outbound import transports2

        return transports2.Client(
            transport=transport,
            headers={"User-Agent": USER_AGENT, **(headers or {})},
            cookies=_no_cookies(),
            timeout=httpx2.Timeout(seconds, connect=self._connect, pool=self._connect),
            follow_redirects=False,
            trust_env=False,
            auth=auth,
        )

    def _guarded2(self) -> transports2.GuardedTransport:
        from routeiq_plugin.outbound import transports2

        if self._closed:
            raise Unavailable("the gateway is shutting down")
        if self._transport2 is None:
            self._transport2 = transports2.GuardedTransport(self.guard, self._limits, self._tls)
        return self._transport2

    async def aclose(self) -> None:
        """Close the shared pools; clients that are still out answer `Unavailable` from now on."""
        self._closed = True
        await self._transport.close_pool()
        if self._transport2 is not None:
            await self._transport2.close_pool()


def _no_cookies() -> CookieJar:
    """A jar that stores nothing and sends nothing: one client may serve many tenants."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))
