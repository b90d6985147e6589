"""A configuration applied to this worker: compared with what runs, staged, and switched in one step."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from routeiq_plugin.appliers import Prepared, Reloads, Stale
from routeiq_plugin.errors import Conflict, InvalidConfig, RouteIQError, SettingsError
from routeiq_plugin.host.environment import resolved
from routeiq_plugin.host.running_config import Deployments, RunningConfig
from routeiq_plugin.reload.content import Changes, Content, Entry, Key, compare, model_name_of
from routeiq_plugin.reload.journal import Journal, OnFault
from routeiq_plugin.reload.pace import breathe
from routeiq_plugin.reload.rules import Kind, kind_of
from routeiq_plugin.settings import SECTION, parse

ATTEMPTS: Final = 5
"""How often a change is staged again when LiteLLM changed the same tables meanwhile."""
SLICE: Final = 50
"""Pieces that are looked at before requests have their turn."""


@dataclass(frozen=True, slots=True)
class Diff:
    """What a configuration changes, in words: dotted paths, deployments by their model group."""

    added: Sequence[str] = ()
    removed: Sequence[str] = ()
    changed: Sequence[str] = ()
    restart_required: Sequence[str] = ()
    ignored: Sequence[str] = ()

    def rendered(self) -> dict[str, list[str]]:
        """Render as the routes answer it."""
        return {
            "added": list(self.added),
            "removed": list(self.removed),
            "changed": list(self.changed),
            "restart_required": list(self.restart_required),
            "ignored": list(self.ignored),
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to be done to run a configuration, and what will run then."""

    hot: Changes
    running: Mapping[Key, str]
    """Every piece as it will run: cold ones stay what the proxy booted with."""
    diff: Diff


class Application:
    """What this worker runs, piece by piece, and the way to run something else."""

    def __init__(self, host: RunningConfig, reloads: Reloads, on_fault: OnFault) -> None:
        self._host = host
        self._reloads = reloads
        self._on_fault = on_fault
        self._running: Mapping[Key, str] = {}
        self._overlaid = False

    @property
    def sections(self) -> Sequence[str]:
        """The sections of `routeiq:` that some feature can change while it runs."""
        return tuple(self._reloads.sections)

    @property
    def running(self) -> Mapping[Key, str]:
        """Every piece that runs, by its id."""
        return self._running

    async def begin(self, boot: Content) -> None:
        """Learn what the proxy booted with."""
        entries = {}
        for position, entry in enumerate(boot.section("model_list")):
            entries[entry.key] = entry.value
            if position % 50 == 49:
                await breathe()
        await self._host.know({key: value for key, value in entries.items() if _hot_model(key, value, self.sections)})
        self._running = dict(boot.lines)

    async def plan(self, new: Content, *, ignored: Sequence[str] = (), restart_required: Sequence[str] = ()) -> Plan:
        """Compare with what runs; what only a restart can change is left as it is and told."""
        lines = new.lines
        changes = await compare(self._running, lines)
        await breathe()
        cold: list[str] = list(restart_required)
        news: dict[bool, list[Entry]] = {True: [], False: []}
        running = dict(lines)
        for is_new, entries in ((True, changes.added), (False, changes.changed)):
            for position, entry in enumerate(entries):
                if position % SLICE == 0:
                    await breathe()
                if self._is_hot(entry) and self._is_hot(self._served(entry) or entry):
                    news[is_new].append(entry)
                    continue
                cold.append(_name(entry))
                if is_new:
                    del running[entry.id]
                else:
                    running[entry.id] = self._running[entry.id]
        removed = []
        for position, key in enumerate(changes.removed):
            if position % SLICE == 0:
                await breathe()
            if self._is_hot(Entry(key[0], key[1], self._running[key])):
                removed.append(key)
            else:
                cold.append(_name(Entry(key[0], key[1], "")))
                running[key] = self._running[key]
        hot = Changes(tuple(news[True]), tuple(news[False]), tuple(removed))
        await breathe()
        return Plan(hot, running, _diff(hot, cold, ignored))

    async def apply(self, plan: Plan) -> Journal:
        """Switch to what was planned and return the way back.

        Raises `InvalidConfig` when something cannot be built, `Conflict` when LiteLLM never held still: nothing has
        changed then.
        """
        before = self._running
        for _ in range(ATTEMPTS):
            journal = Journal(self._on_fault)
            staged = await self._stage(plan)
            await breathe()  # the exchange is one step of its own; what LiteLLM changes meanwhile makes it stale
            try:
                journal.commit([*staged, _Running(self, plan.running, before)])
            except Stale:
                continue
            return journal
        raise Conflict("LiteLLM changed the same tables at the same time, again and again; try again")

    async def repair(self) -> int:
        """Put back the deployments that LiteLLM lost, and router settings when it replaced its Router."""
        lost = self._host.missing()
        replaced = self._host.router_replaced
        if not self._overlaid or (not lost and not replaced):
            return 0
        pieces = [Entry("model_list", key, self._running["model_list", key]) for key in lost]
        settings = [entry for entry in self._entries("router_settings") if self._is_hot(entry)] if replaced else []
        changes = Changes(added=(*pieces, *settings))
        journal = await self.apply(Plan(changes, self._running, Diff()))
        del journal  # there is nothing to return to
        return len(lost)

    def overlay(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put what runs in the place of what a configuration file says; for LiteLLM's own reads of it."""
        if not self._overlaid:
            return document
        laid: dict[str, Any] = dict(document)
        running = Content(tuple(Entry(section, key, line) for (section, key), line in self._running.items()))
        hot = Content(tuple(entry for entry in running.entries if self._is_hot(entry))).document()
        for section in ("model_list", "agents"):
            if section in laid or section in hot:
                laid[section] = running.document().get(section, [])
        for section in ("mcp_servers", "router_settings", "litellm_settings", "general_settings"):
            kept = {
                key: value
                for key, value in (laid.get(section) or {}).items()
                if not self._is_hot(Entry.of(section, str(key), value))
            }
            if section in laid or hot.get(section):
                laid[section] = {**kept, **hot.get(section, {})}
        return laid

    def run(self, running: Mapping[Key, str], *, overlaid: bool) -> None:
        """Note what runs."""
        self._running = running
        self._overlaid = overlaid

    @property
    def overlaid(self) -> bool:
        """Whether something else runs than the proxy booted with."""
        return self._overlaid

    def _is_hot(self, entry: Entry) -> bool:
        return kind_of(entry, self.sections) is Kind.HOT

    def _served(self, entry: Entry) -> Entry | None:
        line = self._running.get(entry.id)
        return None if line is None else Entry(entry.section, entry.key, line)

    def _entries(self, section: str) -> list[Entry]:
        return [Entry(key[0], key[1], line) for key, line in self._running.items() if key[0] == section]

    async def _stage(self, plan: Plan) -> Sequence[Prepared]:
        hot = plan.hot
        staged: list[Prepared] = []
        models, router = hot.of("model_list"), hot.of("router_settings")
        if models or router:
            news = await _values(models.news)
            order = [key for section, key in plan.running if section == "model_list"]
            changes = Deployments([key for _, key in models.removed], news, order)
            values = {entry.key: entry.value for entry in router.news}
            staged.append(await self._host.stage_models(changes, values, [key for _, key in router.removed]))
        agents = hot.of("agents")
        if agents:
            news = await _values(agents.news)
            names = [key for section, key in plan.running if section == "agents"]
            staged.append(await self._host.stage_agents([news.get(name) for name in names], names))
        servers = hot.of("mcp_servers")
        if servers:
            news = await _values(servers.news)
            staged.append(await self._host.stage_servers([key for _, key in servers.removed], news))
        if any(hot.of(section) for section in ("litellm_settings", "general_settings", "router_settings")):
            attributes = hot.of("litellm_settings")
            overlay = _planned(plan.running, self.sections)
            staged.append(
                self._host.stage_settings(
                    {entry.key: entry.value for entry in attributes.news},
                    [key for _, key in attributes.removed],
                    overlay,
                )
            )
        if hot.of(SECTION):
            # Last: aliases are published on the Router, whose tables the models above exchange.
            staged += await self._stage_sections(hot.of(SECTION), plan.running)
        return staged

    async def _stage_sections(self, changes: Changes, running: Mapping[Key, str]) -> Sequence[Prepared]:
        pieces = tuple(Entry(name, key, line) for (name, key), line in running.items() if name == SECTION)
        try:
            settings = parse(resolved(Content(pieces).document().get(SECTION, {})))
        except SettingsError as wrong:  # with the values of its references, which the trial process does not know
            raise InvalidConfig(SECTION, str(wrong.detail)) from None
        touched = {*(entry.key for entry in changes.news), *(key for _, key in changes.removed)}
        staged = []
        for name in sorted(touched):
            try:
                staged.append(await self._reloads.sections[name].prepare(settings))
            except InvalidConfig:
                raise
            except RouteIQError as wrong:
                raise InvalidConfig(f"{SECTION}.{name}", str(wrong.detail)) from None
        return staged


class _Running:
    """Our knowledge of what runs, switched with it."""

    name = "running configuration"

    def __init__(self, application: Application, after: Mapping[Key, str], before: Mapping[Key, str]) -> None:
        self._application = application
        self._after = after
        self._before = before
        self._overlaid = application.overlaid

    def commit(self) -> None:
        self._application.run(self._after, overlaid=True)

    def rollback(self) -> None:
        self._application.run(self._before, overlaid=self._overlaid)


async def _values(entries: Sequence[Entry]) -> dict[str, Any]:
    """Read the values of pieces, in slices."""
    values = {}
    for position, entry in enumerate(entries):
        if position % SLICE == 0:
            await breathe()
        values[entry.key] = entry.value
    return values


def _planned(running: Mapping[Key, str], sections: Collection[str]) -> Any:
    """Lay planned settings over those of LiteLLM's config state."""

    def overlay(state: Mapping[str, Any]) -> Mapping[str, Any]:
        laid: dict[str, Any] = {}
        for section, values in state.items():
            kept = {
                key: value
                for key, value in values.items()
                if kind_of(Entry(section, key, ""), sections) is not Kind.HOT
            }
            hot = {
                key: Entry(name, key, line).value
                for (name, key), line in running.items()
                if name == section and kind_of(Entry(name, key, ""), sections) is Kind.HOT
            }
            laid[section] = {**kept, **hot}
        return laid

    return overlay


def _hot_model(key: str, value: Any, sections: Collection[str]) -> bool:
    return kind_of(Entry.of("model_list", key, value), sections) is Kind.HOT


def _name(entry: Entry) -> str:
    """Name a piece; a deployment by its model group, which is what operators know."""
    return f"model_list.{model_name_of(entry.key)}" if entry.section == "model_list" else entry.path


def _diff(hot: Changes, cold: Sequence[str], ignored: Sequence[str]) -> Diff:
    added = dict.fromkeys(_name(entry) for entry in hot.added)
    removed = dict.fromkeys(_name(Entry(key[0], key[1], "")) for key in hot.removed)
    changed = dict.fromkeys(_name(entry) for entry in hot.changed)
    # A deployment without an id of its own has a new one with every edit: one that goes while another comes changed.
    both = [name for name in added if name in removed]
    changed |= dict.fromkeys(both)
    return Diff(
        tuple(name for name in added if name not in changed),
        tuple(name for name in removed if name not in changed),
        tuple(changed),
        tuple(dict.fromkeys(cold)),
        tuple(dict.fromkeys(ignored)),
    )
