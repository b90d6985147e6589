"""The pipeline: fetch, parse, validate, compare, apply, record. One at a time, and whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from routeiq_plugin.errors import (
    Conflict,
    InvalidConfig,
    InvalidRequest,
    NotFound,
    RouteIQError,
    SourceUnreachable,
    Unavailable,
)
from routeiq_plugin.reload.application import Application, Diff, Plan
from routeiq_plugin.reload.content import Content
from routeiq_plugin.reload.documents import digest
from routeiq_plugin.reload.identity import Identity
from routeiq_plugin.reload.journal import OnFault
from routeiq_plugin.reload.pace import breathe
from routeiq_plugin.reload.sources import BootFile, Fetched, Source
from routeiq_plugin.reload.workshop import Reading, Rules, Workshop, entries
from routeiq_plugin.store.config_source import SourceState, SourceStates
from routeiq_plugin.store.generations import GenerationFacts, GenerationStore, Proposal, StoredGeneration

NOT_APPLIED: Final = "The configuration could not be applied, so the old one serves; /router/info has the fault"
OVERTAKEN: Final = "The source was reloaded or rolled back while it was read; try again"
"""What was read may be what a rollback has just left."""
BUSY: Final = "A configuration reload is running; try again when it has ended"


@dataclass(frozen=True, slots=True)
class Order:
    """Who asks for a reload, and how."""

    origin: str
    """api, watch, sync, boot or rollback."""
    actor: str | None = None
    request_id: str | None = None
    force: bool = False
    """Fetch although nothing seems new, and apply also what was pinned as rejected."""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a reload ended."""

    status: str
    """applied, unchanged, pinned or valid (a dry run)."""
    message: str
    generation: int
    hash: str | None
    synced_from_remote: bool
    diff: Diff


@dataclass(frozen=True, slots=True)
class Serving:
    """What this worker serves."""

    generation: int = 0
    """0 is the boot file, before anybody reloaded anything."""
    hash: str | None = None
    applied_at: datetime | None = None
    last_diff: Diff = field(default_factory=Diff)


@dataclass(frozen=True, slots=True)
class Stores:
    """What the pipeline remembers, shared by every worker."""

    generations: GenerationStore
    sources: SourceStates


class Reloader:
    """Reloads of one worker, and its following of those of the others."""

    def __init__(
        self,
        *,
        identity: Identity,
        boot: BootFile,
        source: Source,
        workshop: Workshop,
        application: Application,
        stores: Stores,
        secrets: Callable[[], Sequence[str]],
        allowlist: Sequence[str],
        on_fault: OnFault,
    ) -> None:
        self.source = source
        self._identity = identity
        self._boot = boot
        self._workshop = workshop
        self._application = application
        self._generations = stores.generations
        self._sources = stores.sources
        self._secrets = secrets
        self._allowlist = allowlist
        self._on_fault = on_fault
        self._turn = asyncio.Lock()
        self._busy = False
        self._begun: Content | None = None
        self._newest = 0  # of the store, when the reload that is under way began
        self.serving = Serving()
        self.last_outcome: Outcome | None = None

    async def reload(self, order: Order) -> Outcome:
        """Fetch the source and apply what is new in it.

        Raises:
            InvalidConfig: it cannot be used; what served before still does, and `/config/sync/status` names the reason.
            Conflict: another reload is running, in this worker or another.
            SourceUnreachable: the source does not answer.
        """
        async with _Slot(self, order):
            state = await self._sources.get(self.source.name)
            fetched = await self._fetch(order, state)
            if fetched is None:
                return self._unchanged(state.hash)
            return await self._take(order, state, fetched)

    async def take(self, order: Order, state: SourceState, fetched: Fetched) -> Outcome:
        """Apply what was fetched already; raises as `reload` does."""
        async with _Slot(self, order):
            return await self._take(order, state, fetched)

    async def rollback(self, order: Order, generation: int | None) -> Outcome:
        """Return to an applied generation, the one before the current by default.

        What is left is pinned as rejected: it is not applied again until its source changes or an admin forces it.
        Raises `NotFound` and what `reload` raises.
        """
        async with _Slot(self, order):
            current = await self._generations.current()
            if current is None:
                raise NotFound("Nothing was ever reloaded, so there is nothing to return to")
            stored = await self._target(current, generation)
            content = await entries(stored.content.split("\n"))
            left = await self._generations.get(current.generation)
            assert left is not None  # the newest is never dropped
            left_hash = (await entries(left.content.split("\n"))).hash  # in this version's form, as it comes again
            await self._know_boot()
            await self._level(current)
            plan = await self._application.plan(content)
            if order.dry_run:
                return self._outcome("valid", "It can be returned to", stored.hash, plan.diff)
            proposal = self._proposal(order, content, stored.document_digest, plan.diff)
            outcome = await self._commit(plan, proposal)
            state = await self._sources.get(self.source.name)
            pinned = replace(
                state,
                rejected_etag=state.etag,
                rejected_hash=left_hash,
                rejected_reason=f"rolled back to generation {stored.generation}",
            )
            await self._sources.put(pinned)
            return outcome

    async def follow(self) -> bool:
        """Apply the newest generation when it is not the one that serves; raises `RouteIQError`, the old one serving.

        Waits for a reload of this worker that is under way. Returns whether something was applied.
        """
        async with self._turn:
            current = await self._generations.current()
            if current is None or not self._is_news(current):
                return False
            await self._know_boot()
            return await self._catch_up(current)

    def _is_news(self, current: GenerationFacts) -> bool:
        # Not by number alone: a database that was restored from a backup counts from an older one.
        return (current.generation, current.hash) != (self.serving.generation, self.serving.hash)

    async def repair(self) -> int:
        """Put back what LiteLLM dropped of what serves, between two reloads; returns how many deployments."""
        async with self._turn:
            return await self._application.repair()

    async def join(self, peers: bool) -> None:
        """Decide at the start whether the boot file is news, or older than what every other worker serves.

        Without any reload ever there is nothing to decide. A boot file that the store has not seen is news, and so is
        every other one when no worker is alive; but never one that was rolled back.
        """
        async with self._turn:
            current = await self._generations.current()
            if current is None or self.serving.generation:
                return  # nobody ever reloaded, or this worker has since
            booted = digest(self._boot.documents)
            if current.document_digest == booted and not self.source.remote:
                self.serving = Serving(current.generation, current.hash, current.applied_at)
                return
            state = await self._sources.get(self.source.name)
            await self._know_boot()
            assert self._begun is not None
            pinned = state.rejected_hash == self._begun.hash
            seen = await self._generations.with_digest(booted) is not None
            if self.source.remote or pinned or (peers and seen) or not self._boot.documents:
                await self._catch_up(current)
                return
            order = Order("boot")
            plan = Plan((await self._application.plan(self._begun)).hot, self._application.running, Diff())
            await self._record(plan, self._proposal(order, self._begun, booted, Diff()))

    async def _fetch(self, order: Order, state: SourceState) -> Fetched | None:
        try:
            return await self.source.fetch(None if order.force else state.etag)
        except RouteIQError as error:
            if not order.dry_run:
                await self._failed(state, str(error.detail))
            raise

    async def _take(self, order: Order, asked: SourceState, fetched: Fetched) -> Outcome:
        state = await self._sources.get(self.source.name)
        if (state.etag, state.rejected_reason) != (asked.etag, asked.rejected_reason):
            raise Conflict(OVERTAKEN)
        await self._know_boot()
        current = await self._generations.current()
        if current is None and self.serving.generation:
            self.serving = Serving()  # the store has lost its history
        await self._level(current)
        try:
            reading = await self._read(fetched)
            await breathe()
            plan = await self._application.plan(
                reading.content, ignored=reading.ignored, restart_required=reading.restart_required
            )
            await breathe()
            if reading.content.hash == state.rejected_hash and not order.force:
                return await self._pinned(order, state, fetched, reading, plan)
            await self._workshop.build(
                [entry for entry in plan.hot.news if entry.section in ("model_list", "router_settings")]
            )
        except InvalidConfig as invalid:
            if not order.dry_run:
                await self._rejected(state, fetched, invalid)
            raise
        except SourceUnreachable as away:  # with a document that it includes
            if not order.dry_run:
                await self._failed(state, str(away.detail))
            raise
        if order.dry_run:
            return self._outcome("valid", "Nothing was applied: a dry run", reading.content.hash, plan.diff)
        outcome = await self._apply(order, reading, plan, state, fetched)
        await breathe()
        await self._sources.put(_succeeded(state, fetched.etag, reading.content.hash))
        return outcome

    async def _level(self, current: GenerationFacts | None) -> None:
        """Follow the newest generation before another takes its place.

        One that cannot serve here must not keep this worker from what mends it.
        """
        self._newest = 0 if current is None else current.generation
        if current is None:
            return
        try:
            await self._catch_up(current)
        except InvalidConfig as wrong:
            self._on_fault("following the configuration", wrong)

    async def _apply(self, order: Order, reading: Reading, plan: Plan, state: SourceState, fetched: Fetched) -> Outcome:
        if not plan.hot and self._newest == self.serving.generation:
            self.serving = replace(self.serving, last_diff=plan.diff)
            return self._outcome("unchanged", "What is hot is as it was", self.serving.hash, plan.diff)
        proposal = self._proposal(order, reading.content, digest(reading.documents), plan.diff)
        try:
            return await self._commit(plan, proposal)
        except InvalidConfig as invalid:
            await self._rejected(state, fetched, invalid)
            raise

    async def _commit(self, plan: Plan, proposal: Proposal) -> Outcome:
        """Apply and record; what cannot be recorded is not applied."""
        if not self._newest:
            await self._remember_boot()
        generation = (self._newest or self.serving.generation) + 1
        try:
            journal = await self._application.apply(plan)
            try:
                applied_at = await self._generations.apply(self._identity.name, generation, proposal)
            except BaseException:
                journal.rollback()
                raise
        except RouteIQError:
            raise
        except Exception as error:
            self._on_fault("applying the configuration", error)
            raise Unavailable(NOT_APPLIED) from error
        self.serving = Serving(generation, proposal.hash, applied_at, plan.diff)
        remote = self.source.remote and proposal.origin != "rollback"
        self.last_outcome = Outcome("applied", "Applied", generation, proposal.hash, remote, plan.diff)
        return self.last_outcome

    async def _record(self, plan: Plan, proposal: Proposal) -> None:
        """Record what runs already."""
        current = await self._generations.current()
        generation = (current.generation if current else 0) + 1
        applied_at = await self._generations.apply(self._identity.name, generation, proposal)
        self.serving = Serving(generation, proposal.hash, applied_at, plan.diff)

    async def _catch_up(self, current: GenerationFacts) -> bool:
        if not self._is_news(current):
            return False
        stored = await self._generations.get(current.generation)
        if stored is None:
            return False
        content = await entries(stored.content.split("\n"))
        plan = await self._application.plan(content)
        if plan.hot:
            await self._application.apply(plan)
        self.serving = Serving(stored.generation, stored.hash, datetime.now(UTC), plan.diff)
        return True

    async def _know_boot(self) -> None:
        """Learn what the proxy booted with: from the store when a worker has read the same bytes before."""
        if self._begun is not None:
            return
        booted = digest(self._boot.documents)
        stored = await self._generations.with_digest(booted) if self._boot.documents else None
        if stored is not None and (stored.origin == "boot" or not self.source.remote):
            begun = await entries(stored.content.split("\n"))
        elif self._boot.documents:
            rules = Rules(False, Content(()), self._application.sections, (), (), check=False)
            begun = (await self._workshop.read(self._boot.documents[:1], self._boot.include, rules)).content
        else:
            begun = Content(())
        await self._application.begin(begun)
        self._begun = begun

    async def _remember_boot(self) -> None:
        """Make what the proxy booted with the first generation, so that it can be returned to."""
        if self.serving.generation or self._begun is None:
            return
        proposal = self._proposal(Order("boot"), self._begun, digest(self._boot.documents), Diff())
        await self._generations.remember_boot(self._identity.name, proposal)
        current = await self._generations.current()
        if current is None or current.hash != proposal.hash:
            raise Conflict("Another worker reloaded the configuration at the same time; try again")
        self.serving = replace(self.serving, generation=current.generation, hash=current.hash)

    async def _read(self, fetched: Fetched) -> Reading:
        assert self._begun is not None
        rules = Rules(
            remote=self.source.remote,
            boot=self._begun,
            sections=self._application.sections,
            secrets=self._secrets(),
            allowlist=self._allowlist,
        )
        return await self._workshop.read(fetched.documents, fetched.include, rules)

    async def _pinned(
        self, order: Order, state: SourceState, fetched: Fetched, reading: Reading, plan: Plan
    ) -> Outcome:
        if not order.dry_run:
            await self._sources.put(_succeeded(state, fetched.etag, state.hash, pinned=True))
        told = f"Not applied: {state.rejected_reason}; change it, or send force_sync"
        return self._outcome("pinned", told, reading.content.hash, plan.diff)

    async def _rejected(self, state: SourceState, fetched: Fetched, invalid: InvalidConfig) -> None:
        now = datetime.now(UTC)
        told = f"{invalid.path}: {invalid.message}" if invalid.path else invalid.message
        await self._sources.put(
            replace(
                state,
                etag=fetched.etag,
                rejected_etag=fetched.etag,
                rejected_hash=digest(fetched.documents),
                rejected_reason=told,
                last_attempt=now,
                last_error=told,
                last_error_at=now,
                failures=state.failures + 1,
            )
        )

    async def _failed(self, state: SourceState, told: str) -> None:
        now = datetime.now(UTC)
        failures = state.failures + 1
        await self._sources.put(replace(state, last_attempt=now, last_error=told, last_error_at=now, failures=failures))

    async def _target(self, current: GenerationFacts, generation: int | None) -> StoredGeneration:
        if generation is None:
            before = [each for each in await self._generations.listed() if each.generation < current.generation]
            if not before:
                raise NotFound("There is no generation before the current one")
            generation = before[0].generation
        if generation == current.generation:
            raise InvalidRequest(f"Generation {generation} is the current one")
        stored = await self._generations.get(generation)
        if stored is None:
            raise NotFound(f"Generation {generation} is not known, or no longer; see GET /config/history")
        return stored

    def _unchanged(self, known: str | None) -> Outcome:
        return self._outcome("unchanged", "The source has not changed", known, Diff())

    def _outcome(self, status: str, message: str, content_hash: str | None, diff: Diff) -> Outcome:
        return Outcome(status, message, self.serving.generation, content_hash, False, diff)

    def _proposal(self, order: Order, content: Content, document_digest: str | None, diff: Diff) -> Proposal:
        return Proposal(
            origin=order.origin,
            hash=content.hash,
            document_digest=document_digest,
            content=content.text,
            diff=diff.rendered(),
            source=self.source.name,
            actor=order.actor,
            request_id=order.request_id,
        )


class _Slot:
    """The one reload that a worker runs.

    An admin's waits for the poll that is under way; a second admin's is refused rather than queued behind a slow
    source, and so is a poll, which comes again.
    """

    def __init__(self, reloader: Reloader, order: Order) -> None:
        self._reloader = reloader
        self._claims = order.origin in ("api", "rollback")

    async def __aenter__(self) -> None:
        if self._reloader._busy:
            raise Conflict(BUSY)
        self._reloader._busy = self._claims
        try:
            await self._reloader._turn.acquire()
        except BaseException:
            self._release()
            raise

    async def __aexit__(self, *_: Any) -> None:
        self._reloader._turn.release()
        self._release()

    def _release(self) -> None:
        if self._claims:
            self._reloader._busy = False


def _succeeded(state: SourceState, etag: str | None, content_hash: str | None, *, pinned: bool = False) -> SourceState:
    now = datetime.now(UTC)
    rejected: Mapping[str, Any] = (
        {} if pinned else {"rejected_etag": None, "rejected_hash": None, "rejected_reason": None}
    )
    return replace(state, etag=etag, hash=content_hash, last_attempt=now, last_success=now, failures=0, **rejected)
