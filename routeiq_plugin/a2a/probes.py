"""Finds out in the background whether agents whose breaker is open are back; healthy agents are left in peace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from routeiq_plugin.a2a.backends import ClientFactory
from routeiq_plugin.a2a.breaker import BackendUnavailable, Breaker
from routeiq_plugin.a2a.headers import outbound
from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.outbound import backend_error

logger = logging.getLogger(__name__)

SECONDS: Final = 5.0
"""How long one backend may take."""
CARD: Final = "/.well-known/agent-card.json"

Lookup = Callable[[str], Agent | None]


class Probes:
    """Asks each open backend for its card when its cooldown is over; the breaker's backoff spaces the questions."""

    def __init__(self, breaker: Breaker, clients: ClientFactory, lookup: Lookup) -> None:
        self._breaker = breaker
        self._clients = clients
        self._lookup = lookup
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Look at the breaker again: something opened or closed."""
        self._changed.set()

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            with suppress(TimeoutError):  # which says that a cooldown is over
                async with asyncio.timeout(self._breaker.seconds_until_due()):
                    await self._changed.wait()
            self._changed.clear()
            await asyncio.gather(*(self._probe(agent_id) for agent_id in self._breaker.due()))

    async def _probe(self, agent_id: str) -> None:
        agent = self._lookup(agent_id)
        if agent is None or agent.backend_url is None:
            self._breaker.forget(agent_id)
            return
        try:
            trial = self._breaker.admit(agent_id)
        except BackendUnavailable:
            return  # a call was quicker, and tells the breaker as well
        try:
            if await self._is_back(agent, agent.backend_url):
                trial.answered()
            else:
                trial.failed()
        finally:
            trial.abandoned()  # says nothing after a verdict; without one, the place is given back

    async def _is_back(self, agent: Agent, url: str) -> bool:
        try:
            client = self._clients.httpx_client(outbound(agent, {}, user_id=None, team_id=None))
            async with asyncio.timeout(SECONDS), client.stream("GET", url.rstrip("/") + CARD) as response:
                return int(response.status_code) < 500
        except Exception as failure:  # noqa: BLE001  whatever kept it from answering, it is not back
            logger.debug("routeiq: agent %s is not back: %s", agent.agent_id, backend_error(failure))
            return False
