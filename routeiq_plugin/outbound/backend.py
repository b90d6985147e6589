"""Connecting to an address that was vetted a moment ago, the part that both HTTP stacks share.

The pools above hand down the URL's host and keep it for the `Host` header and for SNI and certificate checks; only the
socket goes to the vetted address, so a name that changes between check and use changes nothing (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import anyio

from routeiq_plugin.outbound.guard import Guard, Unresolvable

MAX_CONNECTIONS: Final = 1000
"""Of one worker to all backends together, streams included; low, and one slow backend would starve the others."""
MAX_IDLE: Final = 100
IDLE_SECONDS: Final = 30.0
"""How long an unused connection is kept; also how long a changed DNS record may go unnoticed on a quiet one."""
CONNECT_SECONDS: Final = 10.0
"""Longest wait for name, TCP and TLS, and for a place in the pool; less when the timeout is."""
MOST_HELD: Final = 64 * 1024
"""Bytes of a request that wait for the rest of it."""
STAGGER_SECONDS: Final = 0.25
"""Head start of an address over the next one (RFC 8305 section 5, Connection Attempt Delay)."""


class Closable(Protocol):
    """An open stream of either stack."""

    async def aclose(self) -> None:
        """Close."""
        ...


class Stream(Closable, Protocol):
    """A connection as the pools of either stack use it."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Read some bytes."""
        ...

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Write all of them."""
        ...

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Stream:
        """Return the connection under TLS."""
        ...

    def get_extra_info(self, info: str) -> Any:
        """Tell about the socket."""
        ...


class Gathering:
    """A connection that sends a request in one piece, which the pools write as head, body and end.

    Each piece costs two turns of the event loop here, and the second one its server a turn of its own.
    """

    def __init__(self, stream: Stream, write_failed: type[Exception]) -> None:
        """`write_failed` is what the stack raises where a connection takes nothing any more."""
        self._stream = stream
        self._write_failed = write_failed
        self._held = bytearray()
        self._seconds: float | None = None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Hold back until there is much, or the answer is waited for."""
        self._seconds = timeout
        if not self._held and len(buffer) >= MOST_HELD:
            await self._stream.write(buffer, timeout)
            return
        self._held += buffer
        if len(self._held) >= MOST_HELD:
            await self._send()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Send what is held, then read; a server may answer a request that it does not take to its end."""
        with suppress(self._write_failed):
            await self._send()
        return await self._stream.read(max_bytes, timeout)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Gathering:
        """Go on under TLS."""
        return Gathering(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._write_failed)

    async def aclose(self) -> None:
        """Close; what was held is dropped."""
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        """Tell about the socket; a pool drops a connection that is readable before anything was asked.

        What is still held then was answered unsent: by what a server had sent too much of, and with it each answer to
        come would be to the request before.
        """
        return True if info == "is_readable" and self._held else self._stream.get_extra_info(info)

    async def _send(self) -> None:
        if self._held:
            held = bytes(self._held)
            self._held.clear()
            await self._stream.write(held, self._seconds)


StreamT = TypeVar("StreamT", bound=Closable)


@dataclass(frozen=True, slots=True)
class Failures:
    """How a stack calls a connection that failed; the pools and the SDKs above know these types."""

    unreachable: type[Exception]
    timed_out: type[Exception]

    @property
    def of_one_attempt(self) -> tuple[type[Exception], ...]:
        """What dialling a single address may raise."""
        return (self.unreachable, self.timed_out)


async def connect(
    guard: Guard,
    host: str,
    port: int,
    dial: Callable[[str], Awaitable[StreamT]],
    failures: Failures,
    *,
    seconds: float | None,
) -> StreamT:
    """Resolve, vet and connect within `seconds` in all; raises `AddressRefused` or one of `failures`."""
    try:
        async with asyncio.timeout(seconds):
            addresses = await guard.addresses(host, port)
            return await first_connected(addresses, dial, failures)
    except Unresolvable:
        raise failures.unreachable("the backend's name does not resolve") from None
    except TimeoutError:
        raise failures.timed_out("connecting to the backend took too long") from None


async def first_connected(
    addresses: Sequence[str],
    dial: Callable[[str], Awaitable[StreamT]],
    failures: Failures,
    stagger: float = STAGGER_SECONDS,
) -> StreamT:
    """Dial the addresses in order, each `stagger` seconds after the last or as soon as it fails; the first one wins."""
    if len(addresses) == 1:
        return await dial(addresses[0])
    winners: list[StreamT] = []
    lost: list[Exception] = []

    async def attempt(address: str, settled: anyio.Event) -> None:
        try:
            stream = await dial(address)
        except failures.of_one_attempt as failure:
            lost.append(failure)
            settled.set()
            return
        if winners:
            await stream.aclose()
            return
        winners.append(stream)
        attempts.cancel_scope.cancel()

    async with anyio.create_task_group() as attempts:
        for address in addresses:
            settled = anyio.Event()
            attempts.start_soon(attempt, address, settled)
            with anyio.move_on_after(stagger):
                await settled.wait()
    if winners:
        return winners[0]
    raise failures.unreachable("no address of the backend answers") from lost[-1]
