"""One worker at a time: a lease in the store, for what two workers at once would break, such as rotating a token."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from routeiq_plugin.errors import Unavailable
from routeiq_plugin.mcp.oauth.owners import digest
from routeiq_plugin.store.oauth_flows import Flow, Stage

LEASE_SECONDS: Final = 45.0
"""Longer than any refresh: a lease outlives its holder only when that one died."""
_POLL_SECONDS: Final = 0.1


class LeaseStore(Protocol):
    """Leases at rest; `store.oauth_flows.FlowStore` is one."""

    async def lease(self, lease: Flow, now: datetime) -> bool:
        """Take a lease; returns whether it is ours now."""
        ...

    async def release(self, lease: Flow) -> None:
        """Give it back."""
        ...


class Leases:
    """Hands them out."""

    def __init__(self, store: LeaseStore) -> None:
        self._store = store

    @asynccontextmanager
    async def held(self, server_id: str, owner: str, settled: Callable[[], Awaitable[bool]]) -> AsyncIterator[bool]:
        """Enter with True when the lease is ours, with False when `settled` came true while another worker had it.

        Raises `Unavailable` when neither happens in time.
        """
        lease = Flow(
            flow_id=f"lease:{digest(f'{server_id} {owner}')}",
            stage=Stage.LEASE,
            server_id=server_id,
            owner=secrets.token_hex(16),
            expires_at=datetime.now(UTC),
        )
        mine = await self._taken(lease, settled)
        try:
            yield mine is not None
        finally:
            if mine is not None:
                await self._store.release(mine)

    async def _taken(self, lease: Flow, settled: Callable[[], Awaitable[bool]]) -> Flow | None:
        give_up = datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS)
        while (now := datetime.now(UTC)) < give_up:
            mine = Flow(
                flow_id=lease.flow_id,
                stage=lease.stage,
                server_id=lease.server_id,
                owner=lease.owner,
                expires_at=now + timedelta(seconds=LEASE_SECONDS),
            )
            if await self._store.lease(mine, now):
                return mine
            await asyncio.sleep(_POLL_SECONDS)  # the other worker cannot tell us; both databases must do
            if await settled():
                return None
        raise Unavailable("another worker is refreshing this login and does not finish")
