"""The agents of LiteLLM's configuration, exchanged as a whole in its registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from litellm.proxy.agent_endpoints.agent_registry import global_agent_registry
from litellm.types.agents import AgentResponse
from pydantic import ValidationError

from routeiq_plugin.appliers import Stale


class AgentRefused(Exception):
    """LiteLLM cannot take an agent; `place` is the field."""

    def __init__(self, name: str, place: str, reason: str) -> None:
        super().__init__(f"{name}: {place}: {reason}")
        self.agent = name
        self.place = place
        self.reason = reason


def build(entry: Mapping[str, Any]) -> Any:
    """Build an agent as LiteLLM does from its configuration; raises `AgentRefused`."""
    name = str(entry["agent_name"])
    if not entry.get("agent_card_params"):
        raise AgentRefused(name, "agent_card_params", "is required")
    try:
        return AgentResponse(agent_id=global_agent_registry._create_agent_id(entry), **entry)
    except (ValidationError, TypeError) as error:
        if isinstance(error, ValidationError):
            first = error.errors(include_input=False, include_url=False)[0]
            raise AgentRefused(name, ".".join(map(str, first["loc"])), first["msg"]) from None
        raise AgentRefused(name, "", str(error)) from None


class StagedAgents:
    """The next set of the configuration's agents on its way: run `steps`, then `commit`."""

    name: Final = "agents"

    def __init__(self) -> None:
        self._before = (
            global_agent_registry.agent_list,
            global_agent_registry.config_agents,
            global_agent_registry.config_agent_legacy_ids,
        )
        self._after: tuple[Any, Any, Any] = self._before
        self._held = tuple(map(id, global_agent_registry.agent_list))

    def steps(self, entries: Iterable[Mapping[str, Any] | None], names: Sequence[str]) -> Iterator[None]:
        """Work in small steps; an entry that is None did not change, and its agent stays the object that it is.

        Raises `AgentRefused`; the registry is as before then.
        """
        agents, configured, legacy = self._before
        known = {str(agent["agent_name"]): agent for agent in configured or ()}
        ids: dict[str, str] = {}
        for name, agent in known.items():
            ids[name] = global_agent_registry._create_agent_id(agent)
            yield
        former = set(ids.values())
        serving = {agent.agent_id: agent for agent in agents}
        others = [agent for agent in agents if agent.agent_id not in former]
        taken = {agent.agent_name for agent in others}
        declared = []
        made = []
        legacy_ids = {old: new for old, new in legacy.items() if new in former}
        for entry, name in zip(entries, names, strict=True):
            if entry is not None:
                agent = build(entry)
                legacy_ids[global_agent_registry._create_legacy_agent_id(entry)] = agent.agent_id
                declared.append(dict(entry))
            else:
                declared.append(known[name])
                agent = serving.get(ids[name])
            if agent is not None and name not in taken:  # an agent of the database or of ours has the name already
                made.append(agent)
            yield
        alive = {agent.agent_id for agent in made}
        self._after = (
            [*others, *made],
            tuple(declared),
            MappingProxyType({old: new for old, new in legacy_ids.items() if new in alive}),
        )

    def commit(self) -> None:
        """Exchange the list."""
        if tuple(map(id, global_agent_registry.agent_list)) != self._held:
            raise Stale(self.name)
        self._put(self._after)

    def rollback(self) -> None:
        """Put the former list back."""
        self._put(self._before)

    def _put(self, state: tuple[Any, Any, Any]) -> None:
        registry = global_agent_registry
        registry.agent_list, registry.config_agents, registry.config_agent_legacy_ids = state
