"""`routing.aliases` and `routing.groups` taken over while the proxy runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from routeiq_plugin.appliers import Prepared
from routeiq_plugin.host.models import configured_aliases, published, republish
from routeiq_plugin.routing.aliases import Alias
from routeiq_plugin.routing.service import Known, Routing
from routeiq_plugin.settings import Settings


class RoutingApplier:
    """One of the two; a `SectionApplier`."""

    def __init__(self, routing: Routing, kind: Literal["aliases", "groups"]) -> None:
        self._routing = routing
        self._kind: Literal["aliases", "groups"] = kind

    @property
    def section(self) -> str:
        """The key below `routeiq:`."""
        return f"routing.{self._kind}"

    async def prepare(self, new: Settings) -> Prepared:
        """Load and test the strategies of what is new; raises `RouteIQError` when one of them cannot serve."""
        planned = await self._routing.planned(new.routing, self._kind)
        return _Taken(self._routing, self._kind, planned)


@dataclass(slots=True)
class _Taken:
    """New aliases or groups on their way."""

    routing: Routing
    kind: Literal["aliases", "groups"]
    planned: Mapping[str, Alias]
    before: Known | None = None
    router_before: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"routeiq.routing.{self.kind}"

    def commit(self) -> None:
        """Serve them, and tell the Router their names: so keys may be granted them, and `/v1/models` lists them."""
        self.before, self.router_before = self.routing.known, published()
        gone = self.routing.defaults
        if self.kind == "aliases":
            self.routing.take(self.planned, self.before.groups)
            kept = {name: model for name, model in self.router_before.items() if gone.get(name) != model}
            plain = {name: model for name, model in configured_aliases().items() if name in gone}
            republish({**kept, **plain, **self.routing.defaults})
        else:
            self.routing.take(self.before.aliases, self.planned)

    def rollback(self) -> None:
        """Serve the former ones."""
        if self.before is None:
            return
        self.routing.take(self.before.aliases, self.before.groups)
        if self.kind == "aliases":
            republish(self.router_before)
