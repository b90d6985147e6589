"""Connecting to an address that was vetted a moment ago, the part that both HTTP stacks share.

The pools above hand down the URL's host and keep it for the `Host` header and for SNI and certificate checks; only the
socket goes to the vetted address, so a name that changes between check and use changes nothing (DNS rebinding).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import anyio

from routeiq_plugin.outbound.guard import Guard, Unresolvable

MAX_CONNECTIONS: Final = 1000
"""Of one worker to all backends together, streams included; low, and one slow backend would starve the others."""
MAX_IDLE: Final = 100
IDLE_SECONDS: Final = 30.0
"""How long an unused connection is kept; also how long a changed DNS record may go unnoticed on a quiet one."""
CONNECT_SECONDS: Final = 10.0
"""Longest wait for name, TCP and TLS, and for a place in the pool; less when the timeout is."""
STAGGER_SECONDS: Final = 0.25
"""Head start of an address over the next one (RFC 8305 section 5, Connection Attempt Delay)."""


class Closable(Protocol):
    """An open stream of either stack."""

    async def aclose(self) -> None:
        """Close."""
        ...


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
