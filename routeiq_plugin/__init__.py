"""RouteIQ for the stock LiteLLM proxy: name `routeiq_plugin.plugin` in `litellm_settings.callbacks`.

Importing this package mounts nothing; only LiteLLM's look-up of `plugin`, on its running loop, does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routeiq_plugin._version import __version__

if TYPE_CHECKING:
    from routeiq_plugin._plugin import RouteIQ
    from routeiq_plugin.routing.inside import RouteIQStrategy
    from routeiq_plugin.routing.strategy import Strategy

    plugin: RouteIQ

__all__ = ["RouteIQStrategy", "Strategy", "__version__", "plugin"]


def __getattr__(name: str) -> Any:
    """Resolve `plugin` when LiteLLM asks for it: that access is what turns everything on."""
    if name == "plugin":
        from routeiq_plugin.host import contract

        contract.verify()  # before anything imports what may be missing: the error must name the supported range
        from routeiq_plugin._plugin import attach

        return attach()
    if name == "Strategy":
        from routeiq_plugin.routing.strategy import Strategy

        return Strategy
    if name == "RouteIQStrategy":
        from routeiq_plugin.routing.inside import RouteIQStrategy

        return RouteIQStrategy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
