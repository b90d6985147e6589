"""The object that litellm_config.yaml names: LiteLLM's hooks, each of which delegates and does nothing else."""

from __future__ import annotations

from typing import Any, Final

from fastapi import HTTPException

from routeiq_plugin.errors import RouteIQError, wire
from routeiq_plugin.gateway import Gateway
from routeiq_plugin.host.auth import caller_of
from routeiq_plugin.host.callbacks import CustomLogger
from routeiq_plugin.host.config import section
from routeiq_plugin.settings import parse

_AGENT_MODEL: Final = "a2a/"


class RouteIQ(CustomLogger):  # type: ignore[misc]  # LiteLLM is not followed by mypy, see pyproject.toml
    """The callback that LiteLLM registers; hook parameters keep LiteLLM's names, it passes them by keyword."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__()
        self._gateway = gateway

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> None:
        """Refuse `a2a/<name>` models that the caller may not invoke; everything else passes untouched."""
        model = data.get("model")
        if not isinstance(model, str) or not model.startswith(_AGENT_MODEL):
            return
        try:
            await self._gateway.refuse_forbidden_agent(model, caller_of(user_api_key_dict))
        except RouteIQError as error:
            raise HTTPException(wire(error).status, error.detail, dict(error.headers)) from None


_attached: RouteIQ | None = None


def attach() -> RouteIQ:
    """Turn the plugin on in this worker, once; LiteLLM may look the name up again when it reloads callbacks.

    Raises:
        SettingsError: a wrong value below `routeiq:`; LiteLLM stops its boot with the message.
    """
    global _attached  # noqa: PLW0603  one worker, one gateway: LiteLLM resolves the name, not an object
    if _attached is None:
        gateway = Gateway(parse(section()))
        gateway.start()
        _attached = RouteIQ(gateway)
    return _attached
