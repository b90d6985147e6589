"""The running proxy's module, looked up at each use: its globals are rebound while it starts and reloads."""

from __future__ import annotations

import sys
from typing import Any, Final

MODULE: Final = "litellm.proxy.proxy_server"


def proxy_server() -> Any:
    """Return LiteLLM's proxy module; raises `RuntimeError` outside a proxy process."""
    module = sys.modules.get(MODULE)
    if module is None:
        raise RuntimeError("routeiq_plugin.plugin works inside `litellm --config`; this process runs no LiteLLM proxy")
    return module


def has_own_database() -> bool:
    """Tell whether LiteLLM itself runs on Prisma, so that it reloads its registries from there."""
    return getattr(proxy_server(), "prisma_client", None) is not None
