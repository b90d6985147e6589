"""LiteLLM's start and stop: when its keys are known, and a place in its shutdown (no task is cancelled there)."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from routeiq_plugin.host.config import declared_master_key
from routeiq_plugin.host.process import proxy_server

logger = logging.getLogger(__name__)

server_log = logging.getLogger("uvicorn.error")
"""Where the server tells its own start and stop: shown at INFO by default, as our own loggers are not."""


def config_is_loaded() -> bool:
    """Tell whether LiteLLM has taken over the master key of its config: what it sealed with before may differ."""
    return bool(proxy_server().master_key == declared_master_key())


def before_shutdown(stop: Callable[[], Awaitable[None]]) -> None:
    """Run `stop` first when LiteLLM shuts down.

    Wraps the module function `proxy_shutdown_event`, which LiteLLM's lifespan looks up when it calls it. A failing
    `stop` is logged and does not keep LiteLLM from its own shutdown.
    """
    module = proxy_server()
    shutdown = module.proxy_shutdown_event

    @functools.wraps(shutdown)
    async def stop_then_shutdown(*args: Any, **kwargs: Any) -> Any:
        try:
            await stop()
        except Exception:
            logger.exception("routeiq: shutdown failed")
        return await shutdown(*args, **kwargs)

    module.proxy_shutdown_event = stop_then_shutdown
