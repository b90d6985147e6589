"""Aliases at work: one request in, a decision out; what stands in the request is changed here and nowhere else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Literal

from routeiq_plugin.errors import Forbidden, RouteIQError, Unavailable
from routeiq_plugin.host import model_access
from routeiq_plugin.host.models import (
    GroupFacts,
    ModelGroups,
    configured_fallbacks,
    group_of_deployment,
    group_of_response,
    live_router,
    publish,
)
from routeiq_plugin.host.routing_metrics import RoutingMetrics
from routeiq_plugin.routing.aliases import Alias, alias_of
from routeiq_plugin.routing.arms import Arm
from routeiq_plugin.routing.decision import METADATA_KEY, MISHAPS, Cause, Decision, Logged
from routeiq_plugin.routing.eligibility import eligible
from routeiq_plugin.routing.engine import Engine, OnFault, Ordered
from routeiq_plugin.routing.experiments import arm_of, subject_of
from routeiq_plugin.routing.fallbacks import merged
from routeiq_plugin.routing.inside import RouteIQStrategy
from routeiq_plugin.routing.latency import Latencies
from routeiq_plugin.routing.prompts import Prompt, prompt_of
from routeiq_plugin.routing.strategy import Candidate, Query
from routeiq_plugin.routing.threads import SharedCache, Threads, session_of, thread_of
from routeiq_plugin.routing.tokens import BYTES_PER_TOKEN
from routeiq_plugin.routing.worker.strategy import Workers
from routeiq_plugin.settings import RoutingSettings

RELOAD_SECONDS: Final = 30.0
"""How soon a changed artifact is noticed."""
LOADERS: Final = 16
"""Threads that load artifacts: a stalled source must not hold those that everything else runs in."""
_POLL_SECONDS: Final = 0.02
_KEPT_SECONDS: Final = 1.0

CALL_TYPES: Final = frozenset(
    {
        "completion",
        "acompletion",
        "text_completion",
        "atext_completion",
        "responses",
        "aresponses",
        "anthropic_messages",
        "generate_content",
        "agenerate_content",
        "generate_content_stream",
        "agenerate_content_stream",
    }
)
"""What aliases choose for; any other call of an alias goes to its default model, by LiteLLM's own alias."""


LOADED: Final = "loaded"
UNCHANGED: Final = "unchanged"
CURRENT: Final = frozenset({LOADED, UNCHANGED})
"""What became of an arm whose artifact is the present one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for an alias."""

    alias: Alias
    identity: Any
    """LiteLLM's auth object; only `host/` looks inside."""
    data: Mapping[str, Any]
    prompt: Prompt
    headers: Mapping[str, str]
    session: str | None
    owner: str
    subject: str

    def query(self) -> Query:
        """Describe it to a strategy: by its beginning where the thread is to stay on one model."""
        sticky = self.alias.settings.sticky == "conversation"
        return Query(
            text=self.prompt.first if sticky else self.prompt.last,
            tokens=round(self.prompt.text_bytes / BYTES_PER_TOKEN),
            has_image=self.prompt.has_image,
            has_tools=self.prompt.has_tools,
            chars=self.prompt.chars,
            tags=_tags(self.data),
            headers=self.headers,
        )


@dataclass(frozen=True, slots=True)
class Considered:
    """How a decision came about, for `explain`."""

    decision: Decision
    forbidden: Sequence[str]
    missing: Sequence[str]
    filters: Mapping[str, Sequence[str]]
    resting: Sequence[str]
    candidates: Sequence[Candidate]


@dataclass(frozen=True, slots=True)
class Known:
    """Everything whose model is chosen, by name."""

    aliases: Mapping[str, Alias]
    groups: Mapping[str, Alias]


class Routing:
    """All aliases of one worker."""

    def __init__(
        self, settings: RoutingSettings, on_fault: OnFault, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        aliases = settings.aliases if settings.enabled else {}
        self._workers = Workers(settings.worker_python)
        self._aliases = {name: alias_of(name, each, "aliases", self._workers) for name, each in aliases.items()}
        groups = settings.groups if settings.enabled else {}
        self._mixed = {name: alias_of(name, each, "groups", self._workers) for name, each in groups.items()}
        self._inside: RouteIQStrategy | None = None
        self.on_aliases: Callable[[], None] = lambda: None
        """Called when there are aliases for the first time: their hooks are registered then."""
        self._loaders = ThreadPoolExecutor(LOADERS, "routeiq-load")
        self._groups = ModelGroups()
        self._engine = Engine(on_fault)
        self._threads = Threads()
        self._latencies = Latencies()
        self._metrics = RoutingMetrics()
        self._on_fault = on_fault
        self._clock = clock

    @property
    def used(self) -> bool:
        """Tell whether anything is configured."""
        return bool(self._aliases or self._mixed)

    @property
    def defaults(self) -> Mapping[str, str]:
        """Each alias and its default model."""
        return {name: alias.settings.default for name, alias in self._aliases.items()}

    def names(self) -> Sequence[str]:
        """List aliases and groups, whose artifacts can be loaded again."""
        return sorted({*self._aliases, *self._mixed})

    def handles(self, model: object, call_type: str) -> bool:
        """Tell whether a request is for an alias: the test that every model call of the proxy pays."""
        return isinstance(model, str) and model in self._aliases and call_type in CALL_TYPES

    # Settings

    @property
    def known(self) -> Known:
        """What is served now."""
        return Known(self._aliases, self._mixed)

    async def planned(self, settings: RoutingSettings, kind: Literal["aliases", "groups"]) -> Mapping[str, Alias]:
        """Build what other settings name; what stays the same keeps its counts, new strategies are loaded and tested.

        Raises `RouteIQError` when one of them cannot be: what serves is as before.
        """
        wanted = settings.aliases if kind == "aliases" else settings.groups
        served = self._aliases if kind == "aliases" else self._mixed
        planned = {
            name: served[name]
            if name in served and served[name].settings == each
            else alias_of(name, each, kind, self._workers)
            for name, each in wanted.items()
        }
        for name, alias in planned.items():
            if served.get(name) is not alias:
                await asyncio.gather(*(self._in_thread(arm.load) for arm in alias.arms))
        return planned

    def take(self, aliases: Mapping[str, Alias], groups: Mapping[str, Alias]) -> None:
        """Serve others from now on; requests that are being decided end on what they began with."""
        self._aliases, self._mixed = dict(aliases), dict(groups)
        if self._inside is not None:
            self._inside.regroup(self._mixed)
        if self._aliases:
            self.on_aliases()

    # Artifacts

    async def run(self) -> None:
        """Load every arm, then follow its artifact, until cancelled."""
        while True:
            await self.reload()
            await asyncio.sleep(RELOAD_SECONDS)
            if not self.used:
                continue
            try:
                await self._groups.refresh()
            except Exception as failed:  # noqa: BLE001  recorded; what was known before stays
                self._on_fault("routing facts", failed)

    async def reload(self, alias: str | None = None) -> Mapping[str, str]:
        """Look for changed artifacts now; returns what became of each arm, `alias/arm` to a word or the reason."""
        named = {
            f"{each.name}/{arm.name}": arm
            for each in (*self._aliases.values(), *self._mixed.values())
            for arm in (each.arms if alias in (None, each.name) else ())
        }
        # At once: a worker process takes its time, and the others must not wait for it.
        told = await asyncio.gather(*(self._load(arm) for arm in named.values()))
        return dict(zip(named, told, strict=True))

    async def _load(self, arm: Arm) -> str:
        """Load one; those who ask while it is being loaded share the load after that, which knows what they know."""
        if arm.next_load is None:
            arm.next_load = asyncio.create_task(self._in_turn(arm))
        return await asyncio.shield(arm.next_load)

    async def _in_turn(self, arm: Arm) -> str:
        async with arm.turn:
            arm.next_load = None
            try:
                return LOADED if await self._in_thread(arm.load) else UNCHANGED
            except RouteIQError as wrong:
                self._on_fault(f"routing alias {arm.alias}", wrong)
                return str(wrong)
            except Exception as broken:  # noqa: BLE001  recorded; the other arms must be loaded too
                arm.reason = f"{type(broken).__name__}: {broken}"
                self._on_fault(f"routing alias {arm.alias}", broken)
                return arm.reason

    async def _in_thread(self, load: Callable[[], bool]) -> bool:
        return await asyncio.get_running_loop().run_in_executor(self._loaders, load)

    async def follow_router(self) -> None:
        """Publish aliases and rank inside groups as soon as there is a Router, and whenever it lost them."""
        while True:  # LiteLLM offers no event for either
            found = True
            try:
                found = self._present()
            except Exception as error:  # noqa: BLE001  recorded; another Router may do better
                self._on_fault("routing aliases", error)
            await asyncio.sleep(_KEPT_SECONDS if found else _POLL_SECONDS)

    def _present(self) -> bool:
        router = live_router()
        if router is None:
            return False
        if self._aliases:
            publish(router, self.defaults)
        if self._mixed and (self._inside is None or self._inside.router is not router):
            self._inside = RouteIQStrategy(router, self._mixed, self._on_fault)
        elif self._inside is not None:
            self._inside.attach()
        return True

    def close(self) -> None:
        """Let go of threads, and end the worker process."""
        self._workers.close()
        self._loaders.shutdown(wait=False, cancel_futures=True)
        self._engine.close()
        if self._inside is not None:
            self._inside.close()

    # Requests

    async def route(self, data: MutableMapping[str, Any], identity: Any, shared: SharedCache | None) -> None:
        """Put the chosen model and its fallbacks into a request for an alias.

        Should we fail, the request stays as it is and LiteLLM answers it with the alias's default model; where each
        candidate must be the key's own that would be unchecked, so there it is refused.

        Raises:
            Forbidden: the caller may use none of the candidates.
            Unavailable: none of them is configured, or whether the caller may use them cannot be told.
        """
        began = self._clock()
        alias = self._aliases[data["model"]]  # it may leave while the decision is made
        try:
            considered = await self._considered(self._asked(alias, data, identity), shared, began)
        except RouteIQError:
            raise
        except Exception as failed:
            self._on_fault("routing", failed)
            if alias.settings.candidate_access == "model":
                raise Unavailable("RouteIQ cannot tell now which models this key may use") from failed
            return
        self._put(considered.decision, data)

    def _put(self, decision: Decision, data: MutableMapping[str, Any]) -> None:
        data["model"] = decision.model
        if fallbacks := merged(decision, data.get("fallbacks"), configured_fallbacks(data)):
            data["fallbacks"] = fallbacks
        logged = decision.logged()
        logged.decided_at = self._clock()
        _metadata(data)[METADATA_KEY] = logged
        self._count(decision)

    async def explain(self, alias: str, data: Mapping[str, Any], identity: Any) -> Considered | None:
        """Decide without a trace: no model is called, nothing counted or remembered; None for an unknown alias."""
        known = self._aliases.get(alias)
        if known is None:
            return None
        asked = self._asked(known, {**data, "model": alias}, identity)
        return await self._considered(asked, None, self._clock(), keep=False)

    def answered(self, logged: Logged, deployment_id: object) -> None:
        """Learn that an answer has begun, and which deployment gives it."""
        model = group_of_deployment(deployment_id)
        if model is not None:
            self._latencies.observe(model, self._clock() - logged.decided_at)
        self._ended(logged, "success")

    def failed(self, logged: Logged) -> None:
        """Learn that a request failed for good, its fallbacks included."""
        self._ended(logged, "failure")

    def _ended(self, logged: Logged, outcome: str) -> None:
        arm = self._arm_named(str(logged.get("router_model_name")), str(logged.get("arm")))
        if arm is not None:
            arm.counts[outcome] += 1
            self._metrics.ended(arm.alias, arm.name, outcome)

    def _arm_named(self, alias: str, name: str) -> Arm | None:
        known = self._aliases.get(alias)
        return next((arm for arm in known.arms if arm.name == name), None) if known else None

    def _asked(self, alias: Alias, data: Mapping[str, Any], identity: Any) -> Asked:
        headers = _headers(data)
        session = session_of(data, headers)
        key, user = getattr(identity, "token", None) or getattr(identity, "api_key", None), identity.user_id
        known = {"user": data.get("user") or user, "key": key, "session": session}
        return Asked(
            alias,
            identity,
            data,
            prompt_of(data),
            headers,
            session,
            owner=str(key or user or ""),
            subject=subject_of(alias.settings.arms_by, {name: str(value) for name, value in known.items() if value}),
        )

    async def _considered(
        self, asked: Asked, shared: SharedCache | None, began: float, *, keep: bool = True
    ) -> Considered:
        settings = asked.alias.settings
        facts = await self._groups.facts(settings.candidates)
        allowed = await self._allowed(asked, facts)
        able = eligible(asked.prompt, {model: facts[model] for model in allowed})
        live = await self._groups.live(able.models)
        affordable = await model_access.affordable(asked.identity, able.models)
        ready = [model for model in affordable if model in live] or affordable or list(able.models)
        resting = [model for model in affordable if model not in ready]
        candidates = [self._candidate(facts[model]) for model in ready]
        arm = asked.alias.arms[arm_of(asked.alias.name, asked.subject, [each.weight for each in asked.alias.arms])]
        ordered = await self._ordered(asked, arm, candidates, shared, keep=keep)
        decision = Decision(
            alias=asked.alias.name,
            strategy=arm.strategy,
            model=ordered.models[0],
            fallbacks=(*ordered.models[1:], *resting),
            cause=ordered.cause,
            seconds=self._clock() - began,
            arm=arm.name,
            artifact=ordered.artifact,
            scores=ordered.scores,
        )
        return Considered(
            decision,
            forbidden=[model for model in facts if model not in allowed],
            missing=[model for model in settings.candidates if model not in facts],
            filters=able.filters,
            resting=resting,
            candidates=candidates,
        )

    async def _allowed(self, asked: Asked, facts: Mapping[str, GroupFacts]) -> Sequence[str]:
        """Return the candidates that exist and that the caller may use."""
        alias = asked.alias
        if not facts:
            raise Unavailable({"error": f"None of the models behind {alias.name} is configured in this proxy."})
        if alias.settings.candidate_access == "alias" and await model_access.holds(asked.identity, alias.name):
            return list(facts)
        allowed = [model for model in facts if await model_access.may_use(asked.identity, model)]
        if not allowed:
            raise Forbidden({"error": f"This key may use none of the models behind {alias.name}."})
        return allowed

    async def _ordered(
        self, asked: Asked, arm: Arm, candidates: Sequence[Candidate], shared: SharedCache | None, *, keep: bool
    ) -> Ordered:
        thread, pinned = await self._pinned(asked, shared)
        ordered = await self._engine.order(arm, asked.query(), candidates)
        if pinned is not None and pinned in ordered.models and pinned != ordered.models[0]:
            rest = tuple(model for model in ordered.models if model != pinned)
            ordered = Ordered((pinned, *rest), Cause.STICKY, ordered.artifact, ordered.scores)
        # What nobody chose is not kept: one slow moment would hold a whole conversation on the default model.
        if thread is not None and keep and ordered.cause not in MISHAPS:
            await self._threads.keep(thread, ordered.models[0], shared)
        return ordered

    async def _pinned(self, asked: Asked, shared: SharedCache | None) -> tuple[str | None, str | None]:
        """Return the thread's name, and the model that it is on, as far as there are any."""
        if asked.alias.settings.sticky == "none":
            return None, None
        before = group_of_response(asked.data.get("previous_response_id"))
        thread = thread_of(asked.alias.name, asked.owner, asked.prompt, asked.session)
        if before is not None:
            return thread, before
        if not asked.prompt.continued and asked.session is None:
            return thread, None
        return thread, await self._threads.model_of(thread, shared)

    def _candidate(self, facts: GroupFacts) -> Candidate:
        return Candidate(
            facts.model,
            facts.input_price,
            facts.output_price,
            self._latencies.of(facts.model),
            facts.provider_model,
        )

    def _count(self, decision: Decision) -> None:
        arm = self._arm_named(decision.alias, decision.arm)
        if arm is not None:
            arm.counts["requests"] += 1
            arm.counts[f"cause: {decision.cause.value}"] += 1
            arm.counts[f"model: {decision.model}"] += 1
        self._metrics.decided(decision.alias, decision.arm, decision.model, decision.cause.value, decision.seconds)

    # Facts

    def reasons(self) -> Sequence[str]:
        """Say of each arm that is not ready why its alias answers with the default model."""
        arms = [arm for each in (*self._aliases.values(), *self._mixed.values()) for arm in each.arms]
        return [f"{arm.alias}/{arm.name}: {arm.outage}" for arm in arms if arm.outage is not None]

    def facts(self) -> Mapping[str, Any]:
        """Tell any key which aliases there are and how they are doing."""
        return {
            kind: {name: {"arms": {arm.name: arm.facts() for arm in each.arms}} for name, each in known.items()}
            for kind, known in (("aliases", self._aliases), ("groups", self._mixed))
        }

    def admin_facts(self) -> Mapping[str, Any]:
        """Tell admins what each alias stands for, and what is wrong."""
        return {
            "aliases": {name: {**_told(each), "missing": self._missing(each)} for name, each in self._aliases.items()},
            "worker": self._workers.facts(),
            "groups": {name: _told(each) for name, each in self._mixed.items()},
        }

    def _missing(self, alias: Alias) -> Sequence[str]:
        return [model for model in alias.settings.candidates if not self._groups.exists(model)]


def _told(alias: Alias) -> dict[str, Any]:
    return {
        "candidates": list(alias.settings.candidates),
        "default": alias.settings.default,
        "candidate_access": alias.settings.candidate_access,
        "arms": {arm.name: arm.admin_facts() for arm in alias.arms},
    }


def _metadata(data: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return the metadata that LiteLLM keeps to itself for this API."""
    name = "litellm_metadata" if isinstance(data.get("litellm_metadata"), dict) else "metadata"
    found = data.get(name)
    if not isinstance(found, dict):
        found = data[name] = {}
    return found


def _headers(data: Mapping[str, Any]) -> Mapping[str, str]:
    request = data.get("proxy_server_request")
    told = request.get("headers") if isinstance(request, Mapping) else None
    return {str(name).lower(): str(value) for name, value in (told or {}).items()}


def _tags(data: Mapping[str, Any]) -> frozenset[str]:
    places = (data, data.get("metadata"), data.get("litellm_metadata"))
    found = [place.get("tags") for place in places if isinstance(place, Mapping)]
    return frozenset(str(tag) for tags in found if isinstance(tags, list) for tag in tags)
