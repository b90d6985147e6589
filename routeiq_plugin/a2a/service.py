"""The agent gateway as its routes see it: one place that finds an agent for a caller, or says why not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from routeiq_plugin.a2a.access import Action, DefaultAccess, decide, refusal
from routeiq_plugin.a2a.backends import Backends
from routeiq_plugin.a2a.breaker import Breaker
from routeiq_plugin.a2a.directory import AgentDirectory
from routeiq_plugin.a2a.discovery import Discovery
from routeiq_plugin.a2a.health import Health
from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.a2a.records import CallRecorder
from routeiq_plugin.errors import Forbidden, NotFound
from routeiq_plugin.host.auth import Caller


@dataclass(slots=True)
class AgentGateway:
    """What the routes need; built once per worker by the composition root."""

    directory: AgentDirectory
    backends: Backends
    discovery: Discovery
    health: Health
    breaker: Breaker
    recorder: CallRecorder
    default_access: DefaultAccess
    """A reload may replace it: read it at each decision."""
    public_url: str | None
    ready: Callable[[], Awaitable[None]]
    """Returns when the registry is loaded; raises `Unavailable` when that takes too long."""

    async def visible(self, caller: Caller) -> Sequence[Agent]:
        """List the agents that the caller may see."""
        grants = await caller.agent_grants()
        return [
            agent for agent in self.directory.all() if decide(caller, grants, agent, Action.LIST, self.default_access)
        ]

    async def may_see(self, caller: Caller, reference: str) -> bool:
        """Tell whether a listing may name an agent to the caller; what nobody knows is LiteLLM's to show."""
        await self.ready()
        agent = await self.directory.find(reference)
        if agent is None:
            return True
        return decide(caller, await caller.agent_grants(), agent, Action.LIST, self.default_access)

    async def require_model(self, caller: Caller, reference: str) -> bool:
        """Check a caller of the chat model `a2a/<reference>`; False for an agent on which LiteLLM has to decide.

        Raises `Forbidden` for one that the caller may not invoke, or that is disabled.
        """
        await self.ready()
        agent = await self.directory.find(reference)
        if agent is None:
            return False  # LiteLLM says that there is no such model
        if not decide(caller, await caller.agent_grants(), agent, Action.INVOKE, self.default_access):
            raise refusal(reference)
        if not agent.fields.get("enabled", True):
            raise Forbidden(f"Agent '{reference}' is disabled")
        return not agent.fields.get("identity_managed")

    async def get(self, caller: Caller, reference: str, action: Action) -> Agent:
        """Find an agent by id or name for a caller.

        Raises:
            Forbidden: not theirs. Who may not see every agent hears the same of one that does not exist.
            NotFound: there is none.
        """
        agent = await self.directory.find(reference)
        grants = await caller.agent_grants()
        if agent is None:
            knows_all = caller.has_admin_view or (self.default_access == "litellm" and grants.unrestricted)
            raise NotFound(f"Agent with ID {reference} not found") if knows_all else refusal(reference)
        if not decide(caller, grants, agent, action, self.default_access):
            raise refusal(reference)
        return agent
