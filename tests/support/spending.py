"""Callbacks for a proxy without LiteLLM's database: its own cost tracker, and a route that shows what that counted.

Copied into a proxy's directory. LiteLLM starts its tracker only beside a database; the counters that it keeps in
memory, with which budgets are compared, need none.
"""

from __future__ import annotations

from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy.hooks import proxy_track_cost_callback
from litellm.proxy.proxy_server import app, spend_counter_cache


class Counters(CustomLogger):
    """Shows LiteLLM's spend counters at `/_spend`."""

    def __init__(self) -> None:
        super().__init__()
        app.add_api_route("/_spend", self.shown)

    async def shown(self) -> dict[str, float]:
        """Return each counter, reservations included."""
        known = spend_counter_cache.in_memory_cache.cache_dict
        return {name: float(value) for name, value in known.items() if name.startswith("spend:")}


tracker = proxy_track_cost_callback._ProxyDBLogger()
counters = Counters()
