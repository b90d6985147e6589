"""What watches over calls in one worker: breakers, probes, the recorder of usage and the series on `/metrics`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from routeiq_plugin.a2a.backends import ClientFactory
from routeiq_plugin.a2a.breaker import Breaker, State
from routeiq_plugin.a2a.directory import AgentDirectory
from routeiq_plugin.a2a.probes import Probes
from routeiq_plugin.a2a.usage import UsageRecorder, UsageSink
from routeiq_plugin.host.metrics import AgentMetrics
from routeiq_plugin.settings import BreakerSettings

OnFault = Callable[[str, BaseException], None]


class Oversight:
    """Builds them and lets them hear of each other."""

    def __init__(
        self,
        rule: BreakerSettings,
        clients: ClientFactory,
        directory: AgentDirectory,
        sink: UsageSink,
        on_fault: OnFault,
    ) -> None:
        self._directory = directory
        self._metrics = AgentMetrics(directory.exists)
        self.breaker: Final = Breaker(rule.failures, rule.cooldown_seconds, time.monotonic, self._breaker_changed)
        self.recorder: Final = UsageRecorder(sink, self._metrics, on_fault)
        self._probes = Probes(self.breaker, clients, directory.known)

    async def run(self) -> None:
        """Work in the background until cancelled."""
        async with asyncio.TaskGroup() as working:
            working.create_task(self.recorder.run())
            working.create_task(self._probes.run())

    async def aclose(self) -> None:
        """Write what was recorded; call it before the database is closed."""
        await self.recorder.aclose()

    def agents_changed(self, agent_ids: Sequence[str] | None) -> None:
        """Drop the series of agents that were deleted; None when any may have been."""
        if agent_ids is None:
            self._metrics.refresh_all()
        else:
            self._metrics.refresh(agent_ids)

    def facts(self) -> Mapping[str, Any]:
        """Tell what any key may know, of this worker."""
        usage = self.recorder.facts()
        return {"usage": {"pending": usage.pending, "dropped": usage.dropped}, "metrics": self._metrics.available}

    def admin_facts(self) -> Mapping[str, Any]:
        """Tell which agents this worker leaves alone, by id."""
        return {
            "breakers": {
                agent_id: {
                    "agent_name": self._name(agent_id),
                    "state": condition.state.value,
                    "failures": condition.failures,
                    "retry_in_seconds": round(self.breaker.retry_in(agent_id), 1),
                }
                for agent_id, condition in self.breaker.troubled().items()
            }
        }

    def _breaker_changed(self, agent_id: str, state: State) -> None:
        self._metrics.breaker(agent_id, self._name(agent_id), state.value)
        self._probes.wake()

    def _name(self, agent_id: str) -> str:
        agent = self._directory.known(agent_id)
        return agent_id if agent is None else agent.name
