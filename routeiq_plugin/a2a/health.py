"""Whether agents' backends answer at all: LiteLLM's `?health_check=true`, through the outbound guard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from routeiq_plugin.a2a.backends import ClientFactory
from routeiq_plugin.a2a.breaker import Breaker, State
from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.outbound import backend_error

SECONDS: Final = 5.0
"""How long one backend may take."""
AT_ONCE: Final = 16
"""How many are asked at the same time."""


class Health:
    """Asks backends for a sign of life."""

    def __init__(self, clients: ClientFactory, breaker: Breaker) -> None:
        self._clients = clients
        self._breaker = breaker

    async def answering(self, agents: Sequence[Agent]) -> Sequence[Agent]:
        """Keep the agents whose backend answers below 500, and those that have no backend of their own.

        One whose breaker is not closed is known not to: it is left out, and not asked.
        """
        slots = asyncio.Semaphore(AT_ONCE)

        async def answers(agent: Agent) -> bool:
            if agent.backend_url is None:
                return True
            if self._breaker.state(agent.agent_id) is not State.CLOSED:
                return False
            async with slots:
                return await self._answers(agent.backend_url)

        verdicts = await asyncio.gather(*(answers(agent) for agent in agents))
        return [agent for agent, alive in zip(agents, verdicts, strict=True) if alive]

    async def _answers(self, url: str) -> bool:
        try:
            async with asyncio.timeout(SECONDS), self._clients.httpx_client().stream("GET", url) as response:
                return int(response.status_code) < 500
        except Exception as failure:  # noqa: BLE001  whatever went wrong, it does not answer
            backend_error(failure)
            return False
