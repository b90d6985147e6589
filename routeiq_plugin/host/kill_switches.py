"""Kill switches of agents: LiteLLM has them since 1.104; where it has none, no agent can be given one."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

from routeiq_plugin.host.headers import redact_headers, restore_headers

_CREDENTIALS: Final = ("headers", "query_params")
"""Parts of a webhook that may carry its credentials beside `auth`."""
_MODULE: Final = "litellm.proxy.agent_endpoints.kill_switch"


def redact(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Replace the webhook's credentials, and every value of a header or query parameter, by the marker."""
    if config is None:
        return None
    module = importlib.import_module(_MODULE)
    shown: dict[str, Any] = module.redact_kill_switch(_config(config)).model_dump(mode="json")
    return {**shown, **{part: redact_headers(shown.get(part) or {}) for part in _CREDENTIALS}}


def restore(incoming: Mapping[str, Any] | None, stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Put the webhook's stored credentials and headers back behind the marker."""
    if incoming is None:
        return None
    module = importlib.import_module(_MODULE)
    existing = _config(stored) if stored else None
    restored: dict[str, Any] = module.restore_kill_switch(_config(incoming), existing).model_dump(mode="json")
    return {
        **restored,
        **{part: restore_headers(restored.get(part) or {}, (stored or {}).get(part) or {}) for part in _CREDENTIALS},
    }


def _config(value: Mapping[str, Any]) -> Any:
    shape = importlib.import_module("litellm.types.agents").AgentKillSwitchConfig
    return shape.model_validate(value)
