"""Callbacks that show what a proxy holds: its event loop's tasks, and LiteLLM's spend counters.

Copied into a proxy's directory. LiteLLM starts its cost tracker only beside a database; the counters that it keeps in
memory, with which budgets are compared, need none.
"""

from __future__ import annotations

import asyncio

from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy.hooks import proxy_track_cost_callback
from litellm.proxy.proxy_server import app, spend_counter_cache


class Inspection(CustomLogger):  # type: ignore[misc]  # LiteLLM is not followed by mypy
    """Answers at `/_spend` and `/_tasks`."""

    def __init__(self) -> None:
        super().__init__()
        app.add_api_route("/_spend", self.spend)
        app.add_api_route("/_tasks", self.tasks)

    async def spend(self) -> dict[str, float]:
        """Return each counter, reservations included."""
        known = spend_counter_cache.in_memory_cache.cache_dict
        return {name: float(value) for name, value in known.items() if name.startswith("spend:")}

    async def tasks(self) -> int:
        """Count the tasks of this worker."""
        return len(asyncio.all_tasks())


tracker = proxy_track_cost_callback._ProxyDBLogger()
inspection = Inspection()
