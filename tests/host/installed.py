"""The installed LiteLLM, imported into the test process: its warnings are its own, its price list is local."""

from __future__ import annotations

import importlib
import os
import warnings
from types import ModuleType

from routeiq_plugin.host.process import MODULE


def proxy_server() -> ModuleType:
    """Import LiteLLM's proxy module, which takes several seconds the first time."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(MODULE)
