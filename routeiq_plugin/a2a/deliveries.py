"""Notifications on their way: kept before the agent hears that we have them, delivered until the client has them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from routeiq_plugin.a2a.notifications import translated
from routeiq_plugin.a2a.push import KEPT, AddressCheck, push_id
from routeiq_plugin.a2a.tasks import NotTheirs, TaskCaller, TaskOwnership, a_task
from routeiq_plugin.errors import (
    AddressRefused,
    BodyTooLarge,
    CannotOpen,
    Conflict,
    NotFound,
    RouteIQError,
    Unavailable,
)
from routeiq_plugin.store.push import Delivery, PushConfig, PushStore

logger = logging.getLogger(__name__)

MAX_BYTES: Final = 4 * 1024 * 1024
"""Largest notification."""
ATTEMPTS: Final = 10
"""Tries of one notification; with the delays below the last is made some ten minutes after the first."""
FIRST_DELAY: Final = timedelta(seconds=1)
LONGEST_DELAY: Final = timedelta(minutes=5)
SECONDS: Final = 20.0
"""How long one webhook may take."""
LEASE: Final = timedelta(seconds=30)
"""How long a worker holds what it delivers; what a dead one held is taken by another afterwards."""
AT_ONCE: Final = 32
"""Deliveries of one worker at a time."""
IDLE: Final = timedelta(seconds=5)
"""How soon a worker notices what another left behind."""
BUSY: Final = timedelta(seconds=0.5)
"""How soon it looks again while something is due that others hold."""
LAST_WORD: Final = frozenset(range(300, 500)) - {408, 425, 429}
"""Statuses that another try would not change."""

_TOKEN_HEADER: Final = "X-A2A-Notification-Token"  # noqa: S105  a header's name
_UNKNOWN: Final = "Not Found"
_GONE: Final = "the webhook was deleted or replaced"
"""Tried again all the same: what was deleted leaves nothing to try, what was replaced has its notifications."""


class ClientFactory(Protocol):
    """Makes guarded HTTP clients; `outbound.Clients` does."""

    def httpx_client(self, headers: Mapping[str, str] | None = None) -> Any:
        """Make a client; dropping it leaves the shared pool open."""
        ...


class PushDeliveries:
    """Receives from agents, and delivers to clients in order, at least once; one per worker."""

    def __init__(
        self,
        store: PushStore,
        ownership: TaskOwnership,
        clients: ClientFactory,
        guard: AddressCheck,
        *,
        now: Callable[[], datetime],
        on_fault: Callable[[str, BaseException], None],
    ) -> None:
        self._store = store
        self._ownership = ownership
        self._clients = clients
        self._guard = guard
        self._now = now
        self._on_fault = on_fault
        self._news = asyncio.Event()
        self._running = 0
        self.delivered = 0
        self.dropped = 0

    async def receive(self, token: str, body: bytes) -> None:
        """Keep a notification; when this returns, it will be delivered.

        Raises `NotFound` for a token that nobody gave out, `BodyTooLarge`, `InvalidRequest`, and `Unavailable` when
        it could not be kept.
        """
        config = await self._store.get(push_id(token))
        if config is None:
            raise NotFound(_UNKNOWN)
        if len(body) > MAX_BYTES:
            raise BodyTooLarge(f"A push notification may have {MAX_BYTES // 1024**2} MiB")
        # The first one loads the SDK, which takes too long for the loop.
        notification = await asyncio.to_thread(translated, body, config.wire)
        if config.task_id and notification.task_id and notification.task_id != config.task_id:
            raise NotFound(_UNKNOWN)
        if config.task_id is None and notification.task_id:
            await self._begin(config, notification.task_id)
        try:
            await self._store.enqueue(config.push_id, notification.payload, self._now())
        except Conflict:
            raise NotFound(_UNKNOWN) from None  # deleted or replaced since it was read
        self._news.set()

    async def _begin(self, config: PushConfig, task_id: str) -> None:
        """Take the agent's word for which task a message began: its sender may have left before the answer."""
        if config.owner:
            sender = TaskCaller(config.owner, sees_all=False)
            try:
                await self._ownership.claim(config.agent_id, sender, [a_task(task_id)])
            except NotTheirs:
                raise NotFound(_UNKNOWN) from None
            await self._store.settle(config.push_id, task_id, config.config_id or task_id, self._now())

    async def run(self) -> None:
        """Deliver until cancelled; what is being delivered then is taken up again after its lease."""
        async with asyncio.TaskGroup() as deliveries:
            while True:
                try:
                    pause = await self._start(deliveries)
                except RouteIQError as away:
                    logger.info("routeiq: push notifications wait: %s", away)
                    pause = IDLE
                except Exception as unexpected:  # noqa: BLE001  counted, shown, and tried again
                    self._on_fault("push notifications", unexpected)
                    pause = IDLE
                await self._rest(pause)

    async def prune(self) -> int:
        """Forget configurations of tasks long gone; raises `Unavailable`."""
        return await self._store.prune(self._now() - KEPT)

    async def _rest(self, pause: timedelta) -> None:
        try:
            async with asyncio.timeout(pause.total_seconds()):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    async def _start(self, deliveries: asyncio.TaskGroup) -> timedelta:
        """Take what is due, begin to deliver it, and tell when to look again."""
        if self._running >= AT_ONCE:
            return IDLE  # the first that ends wakes us
        now = self._now()
        taken = await self._store.claim(now, LEASE, AT_ONCE - self._running)
        for delivery in taken:
            self._running += 1
            deliveries.create_task(self._deliver(delivery), name=f"routeiq push {delivery.id}")
        if taken:
            return timedelta(0)
        due = await self._store.next_due()
        return IDLE if due is None else min(IDLE, max(BUSY, due - now))

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            await self._settle(delivery, await self._attempt(delivery))
        except Unavailable as away:
            logger.info("routeiq: a push notification is tried again after its lease: %s", away)
        except Exception as unexpected:  # noqa: BLE001  counted, shown, and tried again after its lease
            self._on_fault("a push notification", unexpected)
        finally:
            self._running -= 1
            self._news.set()

    async def _settle(self, delivery: Delivery, failure: str | None) -> None:
        """Forget what arrived or never will; give back the rest."""
        attempts = delivery.attempts + 1
        if failure is None:
            self.delivered += 1
            await self._store.done(delivery)
        elif failure.startswith("!") or attempts >= ATTEMPTS:
            self.dropped += 1
            logger.warning("routeiq: a push notification was given up after %d tries: %s", attempts, failure)
            await self._store.drop(delivery)
        else:
            delay = min(FIRST_DELAY * 2**delivery.attempts, LONGEST_DELAY)
            await self._store.postpone(delivery, attempts, self._now() + delay)

    async def _attempt(self, delivery: Delivery) -> str | None:
        """Call the webhook once; returns None when it took it, else why not, with `!` where that will not change."""
        try:
            config = await self._store.get(delivery.push_id)
        except CannotOpen:
            return "the webhook was sealed with another key"
        if config is None:
            return _GONE
        try:
            async with asyncio.timeout(SECONDS):
                await self._guard.check(config.url)
                status = await self._post(config, delivery.payload)
        except AddressRefused as refused:
            return f"{refused.detail}"
        except Exception as failure:  # noqa: BLE001  whatever it was, it is tried again
            return type(failure).__name__
        if 200 <= status < 300:
            return None
        return f"!HTTP {status}" if status in LAST_WORD else f"HTTP {status}"

    async def _post(self, config: PushConfig, payload: str) -> int:
        """Return the status; the body is left unread, since one too large or too slow would undo a good answer."""
        client = self._clients.httpx_client()
        async with client.stream("POST", config.url, content=payload.encode(), headers=_headers(config)) as response:
            return int(response.status_code)


def _headers(config: PushConfig) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if config.token:
        headers[_TOKEN_HEADER] = config.token
    if config.scheme and config.credentials:
        headers["Authorization"] = f"{config.scheme} {config.credentials}"
    return headers
