"""The agents of this proxy: our durable rows beside LiteLLM's own, one name space, and every change to ours."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

from routeiq_plugin.a2a import cards
from routeiq_plugin.a2a.model import LIMITS, Agent
from routeiq_plugin.errors import Conflict, InvalidFields, InvalidRequest, NotFound, PreconditionFailed
from routeiq_plugin.host import agents as host_agents
from routeiq_plugin.host import headers, kill_switches
from routeiq_plugin.host.agents import Fields, Registry
from routeiq_plugin.host.app import LeaveToStock
from routeiq_plugin.host.headers import MARKER, restore_headers
from routeiq_plugin.host.names import RESERVED_NAMES
from routeiq_plugin.host.public_lists import PublicNames
from routeiq_plugin.host.requests import Author, Precondition
from routeiq_plugin.store.agents import AgentRecord, AgentStore
from routeiq_plugin.store.audit import AuditEntry
from routeiq_plugin.store.public import PublicList, PublicObjects
from routeiq_plugin.store.registered import StaleVersion

KIND: Final = "agent"
"""What our rows are called in the change feed and the audit trail."""

MAX_NAME: Final = 256
DELETED_KEPT: Final = 10_000
"""Deleted ids that are remembered, so that a read which began before cannot bring one back."""
_ATTEMPTS: Final = 8
"""How often a merge is computed anew when other writers keep getting in first."""


class AddressCheck(Protocol):
    """The outbound guard, as registration needs it."""

    async def check(self, url: str, field: str = "url") -> None:
        """Raise `AddressRefused` for a URL that may not be called."""
        ...


class AgentDirectory:
    """Answers from a snapshot in memory, reads through to the store on a miss, and commits before it says so."""

    def __init__(
        self,
        store: AgentStore,
        registry: Registry,
        guard: AddressCheck,
        public: PublicObjects,
        groups: PublicNames,
    ) -> None:
        self._store = store
        self._registry = registry
        self._guard = guard
        self._public = public
        self._groups = groups
        self._listed = PublicList()
        self._rows: dict[str, Agent] = {}
        self._deleted: dict[str, None] = {}
        self._changing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # Following the store

    async def load(self) -> None:
        """Replace the snapshot by what the store holds, and mirror it into LiteLLM."""
        current = {record.agent_id: Agent.of(record) for record in await self._store.all()}
        for gone in self._rows.keys() - current.keys():
            self._forget(gone)
        self._deleted.clear()  # what is read now is the truth, a restored backup included
        for agent in current.values():
            self._remember(agent)
        await self.refresh_public()

    async def refresh_public(self) -> None:
        """Take over which of LiteLLM's agents are public, and tell LiteLLM which of all are."""
        self._listed = await self._public.listed()
        self._groups.put(self.public_ids())

    async def refresh(self, agent_ids: Sequence[str]) -> Sequence[str]:
        """Take over the rows that another worker changed; returns those that were news to this one."""
        news = []
        for agent_id in dict.fromkeys(agent_ids):
            known = self._rows.get(agent_id)
            record = await self._store.get(agent_id)
            if record is None:
                self._forget(agent_id)
            else:
                self._remember(Agent.of(record))
            if self._rows.get(agent_id) != known or known is None:
                news.append(agent_id)
        self._groups.put(self.public_ids())
        return news

    def restore_mirror(self) -> int:
        """Put back what LiteLLM dropped when it reloaded its own database; returns how many."""
        if not self._groups.holds:
            self._groups.put(self.public_ids())
        lost = [agent for agent in self._rows.values() if not self._registry.holds(agent.agent_id)]
        for agent in lost:
            self._registry.put(agent.fields)
        return len(lost)

    def _remember(self, agent: Agent) -> None:
        if agent.agent_id in self._deleted:
            return  # it was read just before it was deleted; ids are never used again
        known = self._rows.get(agent.agent_id)
        if known is not None and known.version is not None and agent.version is not None:
            if known.version > agent.version:
                return  # the feed may tell of a row after we have written it again
            if known == agent and self._registry.holds(agent.agent_id):
                return
        self._rows[agent.agent_id] = agent
        self._registry.put(agent.fields)

    def _forget(self, agent_id: str) -> None:
        self._deleted[agent_id] = None
        while len(self._deleted) > DELETED_KEPT:
            del self._deleted[next(iter(self._deleted))]
        if self._rows.pop(agent_id, None) is not None:
            self._registry.drop(agent_id)

    # Reading

    def all(self) -> Sequence[Agent]:
        """List our agents by age, then LiteLLM's own."""
        ours = self._ours()
        return [*ours, *(self._stock(fields) for fields in self._registry.stock(self._rows))]

    def public_ids(self) -> tuple[str, ...]:
        """List what is public: ours by age, then what LiteLLM declares, then those of LiteLLM's that were added."""
        ours = [agent.agent_id for agent in self._ours() if agent.is_public]
        return tuple(dict.fromkeys((*ours, *self._public_foreign())))

    def _public_foreign(self) -> Sequence[str]:
        declared = () if self._listed.replaces else self._groups.declared()
        return [each for each in (*declared, *self._listed.ids) if each not in self._rows]

    def _stock(self, fields: Fields) -> Agent:
        return Agent(fields, version=None, is_public=str(fields["agent_id"]) in self._public_foreign())

    def _ours(self) -> Sequence[Agent]:
        return sorted(self._rows.values(), key=lambda agent: (agent.fields["created_at"], agent.agent_id))

    async def find(self, reference: str) -> Agent | None:
        """Find an agent by id or name; a miss asks the store, so that no worker is ever behind on a new one."""
        agent = self._in_memory(reference)
        if agent is not None:
            return agent
        record = await self._store.get(reference) or await self._store.by_name(reference)
        if record is None:
            return None
        found = Agent.of(record)
        self._remember(found)
        return found

    def known(self, reference: str) -> Agent | None:
        """Find an agent by id or name in this worker's memory alone."""
        return self._in_memory(reference)

    def exists(self, agent_id: str) -> bool:
        """Tell whether this worker knows an agent of that id; cheap enough for every call."""
        return agent_id in self._rows or self._registry.holds(agent_id)

    def _in_memory(self, reference: str) -> Agent | None:
        agent = self._rows.get(reference)
        if agent is not None:
            return agent
        for row in self._rows.values():
            if row.name == reference:
                return row
        stock = self._registry.find_stock(reference, self._rows)
        return None if stock is None else self._stock(stock)

    @property
    def count(self) -> int:
        """How many agents are ours."""
        return len(self._rows)

    @property
    def unreadable(self) -> Sequence[str]:
        """Names of the agents whose secrets were sealed with another key."""
        return sorted(agent.name for agent in self._rows.values() if agent.unreadable)

    # Changing

    async def create(self, config: Fields, author: Author) -> Agent:
        """Register an agent; raises `InvalidRequest`, `AddressRefused` or, for a name in use, LiteLLM's 400."""
        name = _valid_name(config["agent_name"])
        if await self.find(name) is not None:
            raise InvalidRequest(f"Agent with name {name} already exists")
        now = datetime.now(UTC)
        blank = AgentRecord(
            agent_id=str(uuid.uuid4()),
            agent_name=name,
            card={},
            created_at=now,
            updated_at=now,
            created_by=author.actor,
            updated_by=author.actor,
        )
        record = replace(_replaced(blank, config), created_at=now, updated_at=now)
        await self._check_addresses(record)
        try:
            stored = await self._store.create(record, _audit("agent.create", record, author, config))
        except Conflict as lost_race:
            raise InvalidRequest(f"Agent with name {name} already exists") from lost_race
        agent = Agent.of(stored)
        self._remember(agent)
        return agent

    async def put(self, reference: str, config: Fields, author: Author, precondition: Precondition) -> Agent:
        """Replace an agent; a body without a card is a merge, as on stock."""
        change = _replaced if "agent_card_params" in config else _merged
        return await self._change(reference, config, author, precondition, change=change, action="agent.update")

    async def patch(self, reference: str, config: Fields, author: Author, precondition: Precondition) -> Agent:
        """Merge into an agent: what the body does not name stays."""
        return await self._change(reference, config, author, precondition, change=_merged, action="agent.patch")

    async def delete(self, reference: str, author: Author, precondition: Precondition) -> Agent:
        """Delete an agent; raises `NotFound`."""
        record = await self._stored(reference, f"Agent with ID {reference} not found in DB.")
        precondition.check(record.version, record.updated_at, KIND)
        audit = _audit("agent.delete", record, author, {})
        try:
            await self._store.delete(record.agent_id, precondition.version, audit)
        except StaleVersion as stale:
            raise PreconditionFailed(str(stale)) from stale
        self._forget(record.agent_id)
        return Agent.of(record)

    async def publish(self, reference: str, author: Author) -> Sequence[str]:
        """Make an agent public, ours or LiteLLM's; returns all public ids.

        Raises `NotFound`, and LiteLLM's 400 for one that is public already.
        """
        agent = await self._known(reference)
        public = self.public_ids()
        audit = _published("agent.make_public", author, [agent])
        publish = self._public.publish if agent.is_ours else self._public.publish_foreign
        if agent.agent_id in public or not await publish(agent.agent_id, audit):
            raise InvalidRequest(f"Agent with name {agent.name} already in public agent groups")
        await self._republished([agent.agent_id] if agent.is_ours else [])
        return [*public, agent.agent_id]

    async def publish_only(self, references: Sequence[str], author: Author) -> Sequence[str]:
        """Make exactly these agents public, at once or not at all; returns their ids. Raises `NotFound`."""
        agents = [await self._known(reference) for reference in references]
        ours = {agent.agent_id for agent in agents if agent.is_ours}
        ids = list(dict.fromkeys(agent.agent_id for agent in agents))
        audit = _published("agent.make_only_public", author, agents)
        changed = await self._public.replace(ours, [each for each in ids if each not in ours], audit)
        await self._republished(changed)
        return ids

    async def _known(self, reference: str) -> Agent:
        agent = await self.find(reference)
        if agent is None:
            raise NotFound(f"Agent with ID {reference} not found")
        return agent

    async def _republished(self, changed: Sequence[str]) -> None:
        await self.refresh(changed)
        await self.refresh_public()

    async def _change(
        self,
        reference: str,
        config: Fields,
        author: Author,
        precondition: Precondition,
        *,
        change: Callable[[AgentRecord, Fields], AgentRecord],
        action: str,
    ) -> Agent:
        # This worker's writers queue, so that only other workers' can get in between.
        async with self._changing.setdefault(reference, asyncio.Lock()):
            return await self._attempt(reference, config, author, precondition, change=change, action=action)

    async def _attempt(
        self,
        reference: str,
        config: Fields,
        author: Author,
        precondition: Precondition,
        *,
        change: Callable[[AgentRecord, Fields], AgentRecord],
        action: str,
    ) -> Agent:
        for _ in range(_ATTEMPTS):
            current = await self._stored(reference, f"Agent with ID {reference} not found")
            precondition.check(current.version, current.updated_at, KIND)
            updated = replace(
                _resealed(change(current, config), config) if current.unreadable else change(current, config),
                updated_at=max(datetime.now(UTC), current.updated_at),
                updated_by=author.actor,
            )
            if updated.agent_name != current.agent_name:
                _valid_name(updated.agent_name)
                taken = await self.find(updated.agent_name)
                if taken is not None and taken.agent_id != current.agent_id:
                    raise InvalidRequest(f"Agent with name {updated.agent_name} already exists")
            await self._check_addresses(updated)
            try:
                stored = await self._store.replace(updated, current.version, _audit(action, updated, author, config))
            except StaleVersion:
                continue  # another writer was first: merge into what they wrote
            agent = Agent.of(stored)
            self._remember(agent)
            return agent
        raise Conflict(f"Agent '{reference}' is being changed by too many writers at once; try again")

    async def _stored(self, reference: str, not_found: str) -> AgentRecord:
        record = await self._store.get(reference) or await self._store.by_name(reference)
        if record is not None:
            return record
        stock = self._registry.find_stock(reference, self._rows)
        if stock is not None:
            raise LeaveToStock(f"/v1/agents/{stock['agent_id']}")
        raise NotFound(not_found)

    async def _check_addresses(self, record: AgentRecord) -> None:
        found = [*cards.addresses(record.card)]
        for name in ("api_base", "base_url"):
            if record.litellm_params.get(name):
                found.append((f"litellm_params.{name}", str(record.litellm_params[name])))
        if record.kill_switch:
            found.append(("kill_switch.url", str(record.kill_switch["url"])))
        await asyncio.gather(*(self._guard.check(url, field) for field, url in found))


def _valid_name(name: str) -> str:
    if not name.strip() or len(name) > MAX_NAME or "/" in name or not name.isprintable() or name in (".", ".."):
        raise InvalidRequest(f"agent_name: use 1 to {MAX_NAME} printable characters without '/'")
    if name.lower() in RESERVED_NAMES:
        raise InvalidRequest(f"agent_name: '{name}' is a path word of the gateway; choose another name")
    return name


def _replaced(current: AgentRecord, config: Fields) -> AgentRecord:
    """Apply a whole new configuration; only identity, creation and stored secrets outlive it."""
    _refuse_identity(config)
    return replace(
        current,
        agent_name=config["agent_name"],
        card=_card(current, config.get("agent_card_params")),
        litellm_params=_params(current, config.get("litellm_params") or {}),
        static_headers=_headers(current, config.get("static_headers") or {}),
        kill_switch=kill_switches.restore(config.get("kill_switch"), current.kill_switch),
        extra_headers=tuple(config.get("extra_headers") or ()),
        access_group_ids=tuple(dict.fromkeys(config.get("access_group_ids") or ())),
        object_permission=config.get("object_permission"),
        enabled=config.get("enabled", True),
        execution_mode=config.get("execution_mode", "autonomous"),
        tpm_limit=config.get("tpm_limit"),
        rpm_limit=config.get("rpm_limit"),
        session_tpm_limit=config.get("session_tpm_limit"),
        session_rpm_limit=config.get("session_rpm_limit"),
    )


def _merged(current: AgentRecord, config: Fields) -> AgentRecord:
    """Apply only what the body names; null clears where LiteLLM lets it."""
    stored: Fields = {
        "agent_name": current.agent_name,
        "agent_card_params": current.card,
        "litellm_params": current.litellm_params,
        "static_headers": current.static_headers,
        "kill_switch": current.kill_switch,
        "extra_headers": current.extra_headers,
        "access_group_ids": current.access_group_ids,
        "object_permission": current.object_permission,
        "enabled": current.enabled,
        "execution_mode": current.execution_mode,
        **{limit: getattr(current, limit) for limit in LIMITS},
    }
    return _replaced(current, {**stored, **config})


def _resealed(record: AgentRecord, config: Fields) -> AgentRecord:
    """Let an agent whose secrets cannot be opened be given new ones; all of them, since none can be kept."""
    sealed = {name: config[name] for name in ("litellm_params", "static_headers", "kill_switch") if name in config}
    if not sealed and "agent_card_params" not in config:
        return record
    if MARKER in json.dumps(sealed):
        raise Conflict(
            f"Agent '{record.agent_name}' was sealed with another key, so '{MARKER}' stands for nothing: "
            "send its secrets again, or run `routeiq secrets rotate`"
        )
    return replace(record, unreadable=False)


def _card(current: AgentRecord, card: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if not card:
        return {}
    cards.validate(card)
    return cards.as_registered(card, current.agent_id, current.card)


def _params(current: AgentRecord, incoming: Mapping[str, Any]) -> Mapping[str, Any]:
    """Restore secrets, and drop what our own answers compute."""
    given = {name: value for name, value in incoming.items() if name != "is_public"}
    restored = host_agents.restore_params(given, current.litellm_params)
    key = restored.get("api_key")
    if isinstance(key, str) and not headers.is_value(key):
        raise InvalidFields.of("litellm_params.api_key", headers.VALUES)
    return restored


def _headers(current: AgentRecord, incoming: Mapping[str, str]) -> Mapping[str, str]:
    """Restore secrets, and refuse what could not be sent: each call of the agent would fail."""
    restored = restore_headers(incoming, current.static_headers)
    for name, value in restored.items():
        if not headers.is_name(name) or not headers.is_value(value):
            raise InvalidFields.of(f"static_headers.{name}", headers.VALUES)
    return restored


def _refuse_identity(config: Fields) -> None:
    if config.get("identity") is not None:
        raise InvalidRequest(
            "identity: Entra managed identities live in LiteLLM's own database; leave identity out, "
            "or register this agent with LiteLLM's database enabled and the plugin's a2a feature off"
        )


def _published(action: str, author: Author, agents: Sequence[Agent]) -> AuditEntry:
    ids = [agent.agent_id for agent in agents]
    return AuditEntry(
        actor=author.actor,
        action=action,
        object_kind=KIND,
        object_id=ids[0] if action == "agent.make_public" else "*",
        request_id=author.request_id,
        details={"agent_ids": ids},
    )


def _audit(action: str, record: AgentRecord, author: Author, config: Mapping[str, Any]) -> AuditEntry:
    return AuditEntry(
        actor=author.actor,
        action=action,
        object_kind=KIND,
        object_id=record.agent_id,
        request_id=author.request_id,
        details={"agent_name": record.agent_name, "fields": sorted(config)},
    )
