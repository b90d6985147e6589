"""What `GET /config/sync/status` and `/router/info` tell of reloads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from routeiq_plugin.errors import RouteIQError
from routeiq_plugin.reload.following import Following
from routeiq_plugin.reload.service import Reloader
from routeiq_plugin.reload.snapshot import keys_in, shown
from routeiq_plugin.settings import ReloadSettings
from routeiq_plugin.store.config_source import SourceState, SourceStates
from routeiq_plugin.store.config_workers import ConfigWorkers, WorkerReport


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """Gathers the facts; places and error texts go to admins alone."""

    settings: ReloadSettings
    reloader: Reloader
    following: Following
    states: SourceStates
    workers: ConfigWorkers

    async def rendered(self, *, is_admin: bool) -> dict[str, Any]:
        """Render for a caller; while the database is away only this worker's own facts."""
        try:
            state = await self.states.get(self.reloader.source.name)
            alive = await self.workers.alive()
            reachable = True
        except RouteIQError:
            state, alive, reachable = SourceState(source=""), (), False
        told: dict[str, Any] = {
            **self.facts(),
            "enabled": self.reloader.source.remote or self.settings.watch,
            "watch": self.settings.watch,
            "sync_interval_seconds": self.settings.interval_seconds,
            "store_reachable": reachable,
            "serving": self._serving(state) if reachable else None,
            "source": {"type": self.reloader.source.facts()["type"], "remote": self.reloader.source.remote},
            "etag": shown(state.etag),
            "applied_hash": self.reloader.serving.hash,
            "rejected_hash": state.rejected_hash,
            "rejected_etag": shown(state.rejected_etag),
            "last_attempt": _time(state.last_attempt),
            "last_success": _time(state.last_success),
            "last_error_at": _time(state.last_error_at),
            "next_poll": _time(state.next_poll),
            "consecutive_failures": state.failures,
            "workers": [_worker(report, is_admin) for report in alive],
        }
        if is_admin:
            told["source"] = {**told["source"], **self.reloader.source.facts()}
            if objects := keys_in(state.etag):
                told["source"]["objects"] = objects
            told |= {
                "last_error": state.last_error,
                "rejected_reason": state.rejected_reason,
                "poller": state.poller,
                "error": self.following.error,
            }
        return told

    def _serving(self, state: SourceState) -> str:
        """Tell whose word serves: what the proxy booted with, the source's, or that of the store, which is older."""
        if self.reloader.serving.generation == 0:
            return "boot_file"
        older = state.failures or state.rejected_reason or self.following.error is not None
        return "stored_copy" if older else "source"

    def facts(self) -> Mapping[str, Any]:
        """Tell what this worker serves."""
        serving = self.reloader.serving
        return {
            "generation": serving.generation,
            "hash": serving.hash,
            "applied_at": _time(serving.applied_at),
            "behind": self.following.error is not None,
            "last_reload": serving.last_diff.rendered(),
        }

    async def worker_facts(self) -> list[dict[str, Any]]:
        """Tell every worker's generation; nothing while the database is away."""
        try:
            return [_worker(report, False) for report in await self.workers.alive()]
        except RouteIQError:
            return []


def _worker(report: WorkerReport, is_admin: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "worker": report.worker,
        "pid": report.pid,
        "generation": report.generation,
        "hash": report.hash,
        "applied_at": _time(report.applied_at),
        "seen_at": _time(report.seen_at),
        "behind": report.error is not None,
    }
    return told | {"host": report.host, "error": report.error} if is_admin else told


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
