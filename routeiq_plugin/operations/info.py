"""`GET /router/info`: the truth about one worker, with what only admins may see kept apart."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from routeiq_plugin.host import contract
from routeiq_plugin.operations.faults import Fault
from routeiq_plugin.store.status import StoreStatus


class State(StrEnum):
    """How a feature is doing."""

    READY = "ready"
    STARTING = "starting"
    UNAVAILABLE = "unavailable"
    """Switched on, and not able to serve: its routes answer 503 with the reason."""
    OFF = "off"
    PLANNED = "planned"
    """Not part of this version."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature and its state; `reason` says why it is not ready."""

    state: State
    reason: str | None = None
    facts: Mapping[str, Any] | None = None
    admin_facts: Mapping[str, Any] | None = None
    """Told to admins only."""


@dataclass(frozen=True, slots=True)
class Info:
    """Everything that `/router/info` can tell."""

    version: str
    features: Mapping[str, Feature]
    store: StoreStatus
    feed_connected: bool
    feed_revision: int
    feed_error: str | None
    """Why changes are not followed, or last were not."""
    routes: Sequence[str]
    shadowed: Mapping[str, str]
    faults: Sequence[Fault]
    fault_counts: Mapping[str, int]

    def rendered(self, *, is_admin: bool) -> dict[str, Any]:
        """Render for a caller; only admins read error texts and where the database is."""
        return {
            "plugin": {"name": "routeiq-plugin", "version": self.version},
            "litellm": {
                "version": contract.litellm_version(),
                "supported": f">={contract.OLDEST_SUPPORTED}",
                "newest_tested": contract.NEWEST_TESTED,
            },
            "worker": {"pid": os.getpid()},
            "features": {name: _feature(feature, is_admin) for name, feature in self.features.items()},
            "database": {
                "kind": self.store.kind,
                "reachable": self.store.reachable,
                "revision": self.store.data_revision,
                "schema_revision": self.store.schema_revision,
                "followed": self.feed_connected,
                "followed_revision": self.feed_revision,
                **(self._told_to_admins() if is_admin else {}),
            },
            "routes": {"owned": list(self.routes), "shadowed": dict(self.shadowed)},
            "faults": [_fault(fault) for fault in self.faults] if is_admin else dict(self.fault_counts),
        }

    def _told_to_admins(self) -> Mapping[str, Any]:
        return {"url": self.store.safe_url, "error": self.store.error, "follow_error": self.feed_error}


def _feature(feature: Feature, is_admin: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"state": feature.state.value, **(feature.facts or {})}
    if is_admin:
        told |= feature.admin_facts or {}
    if feature.reason is not None:
        told["reason"] = feature.reason if is_admin else "ask a proxy admin"
    return told


def _fault(fault: Fault) -> dict[str, Any]:
    return {**asdict(fault), "first_at": fault.first_at.isoformat(), "last_at": fault.last_at.isoformat()}
