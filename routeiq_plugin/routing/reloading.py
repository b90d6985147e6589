"""Aliases as `POST /router/reload` reaches them: each loads its artifacts again, the old ones serving until then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from routeiq_plugin.errors import ArtifactRefused
from routeiq_plugin.routing.service import CURRENT


class Artifacts(Protocol):
    """What holds aliases and groups with their artifacts; `Routing` does."""

    def names(self) -> Sequence[str]:
        """List aliases and groups."""
        ...

    async def reload(self, alias: str | None = None) -> Mapping[str, str]:
        """Look for changed artifacts of one, or of all; returns what became of each arm."""
        ...


class AliasReloads:
    """Offers aliases and groups by name; a `Reloadable`."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    def names(self) -> Sequence[str]:
        """List what can be reloaded."""
        return self._artifacts.names()

    async def reload(self, name: str) -> Mapping[str, Any]:
        """Load one again; raises `ArtifactRefused` with the reason of each arm that still serves what it had."""
        told = await self._artifacts.reload(name)
        refused = {arm: word for arm, word in told.items() if word not in CURRENT}
        if refused:
            raise ArtifactRefused("; ".join(f"{arm}: {word}" for arm, word in refused.items()))
        return {"arms": dict(told)}
