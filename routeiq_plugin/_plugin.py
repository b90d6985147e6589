"""The object that litellm_config.yaml names: LiteLLM's hooks, each of which delegates and does nothing else."""

from __future__ import annotations

from typing import Any, Final

from fastapi import HTTPException

from routeiq_plugin.errors import RouteIQError, SettingsError, wire
from routeiq_plugin.gateway import Gateway
from routeiq_plugin.host.auth import caller_of
from routeiq_plugin.host.callbacks import CustomLogger, replace_callback
from routeiq_plugin.host.config import section
from routeiq_plugin.host.models import taken_names
from routeiq_plugin.routing.decision import decision_in, headers, log_decision
from routeiq_plugin.settings import SECTION, parse

_AGENT_MODEL: Final = "a2a/"


class RouteIQ(CustomLogger):  # type: ignore[misc]  # LiteLLM is not followed by mypy, see pyproject.toml
    """The callback that LiteLLM registers; hook parameters keep LiteLLM's names, it passes them by keyword."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__()
        self.gateway = gateway

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> None:
        """Refuse `a2a/<name>` models that the caller may not invoke; everything else passes untouched."""
        model = data.get("model")
        if not isinstance(model, str) or not model.startswith(_AGENT_MODEL):
            return
        try:
            await self.gateway.refuse_forbidden_agent(model, caller_of(user_api_key_dict))
        except RouteIQError as error:
            raise HTTPException(wire(error).status, error.detail, dict(error.headers)) from None


class RoutingRouteIQ(RouteIQ):
    """The callback of a proxy that has aliases; others do not pay for hooks that the class lacks."""

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> None:
        """Choose the model of a request for an alias; refuse as `RouteIQ` does."""
        routing = self.gateway.routing
        if not routing.handles(data.get("model"), call_type):
            await super().async_pre_call_hook(user_api_key_dict, cache, data, call_type)
            return
        try:
            await routing.route(data, user_api_key_dict, cache)
        except RouteIQError as error:
            raise HTTPException(wire(error).status, error.detail, dict(error.headers)) from None

    async def async_pre_call_deployment_hook(self, kwargs: dict[str, Any], call_type: Any) -> None:
        """Put the decision where LiteLLM logs such: it cleared that place when it chose a deployment."""
        log_decision(kwargs)

    async def async_post_call_response_headers_hook(
        self,
        data: dict[str, Any],
        user_api_key_dict: Any,
        response: Any,
        request_headers: dict[str, str] | None = None,
        litellm_call_info: dict[str, Any] | None = None,
    ) -> dict[str, str] | None:
        """Tell the decision in response headers, those of failures too."""
        decided = decision_in(data)
        if decided is None:
            return None
        if response is not None:
            self.gateway.routing.answered(decided, (litellm_call_info or {}).get("model_id"))
        return headers(decided)

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: Any,
        traceback_str: str | None = None,
    ) -> None:
        """Count a request that failed for good."""
        decided = decision_in(request_data)
        if decided is not None:
            self.gateway.routing.failed(decided)


_attached: RouteIQ | None = None


def attach() -> RouteIQ:
    """Turn the plugin on in this worker, once; LiteLLM may look the name up again when it reloads callbacks.

    Raises:
        SettingsError: a wrong value below `routeiq:`; LiteLLM stops its boot with the message.
    """
    global _attached  # noqa: PLW0603  one worker, one gateway: LiteLLM resolves the name, not an object
    if _attached is None:
        settings = parse(section())
        taken = taken_names(settings.routing.aliases)
        if taken:
            raise SettingsError(f"{SECTION}.routing.aliases.{taken[0]} is wrong: a model of this proxy has that name")
        gateway = Gateway(settings)
        gateway.start()
        _attached = RoutingRouteIQ(gateway) if gateway.routing.defaults else RouteIQ(gateway)
        gateway.routing.on_aliases = _attend
    return _attached


def _attend() -> None:
    """Register the hooks of aliases when a reload brings the first."""
    global _attached  # noqa: PLW0603  as above
    if type(_attached) is RouteIQ:
        routing = RoutingRouteIQ(_attached.gateway)
        replace_callback(_attached, routing)
        _attached = routing
