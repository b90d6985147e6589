"""`litellm_settings` and `general_settings` that are looked up at each use, and what LiteLLM reads as its config."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Final

import litellm

from routeiq_plugin.host.environment import resolved
from routeiq_plugin.host.process import proxy_server

SECTIONS: Final = ("general_settings", "router_settings", "litellm_settings")
"""Of the configuration, each with a store of LiteLLM's behind it."""

Overlay = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Puts the hot pieces of the current generation into what LiteLLM read from its file, both unresolved."""

DEFAULTS: Final[Mapping[str, Any]] = {
    "drop_params": False,
    "modify_params": False,
    "turn_off_message_logging": False,
    "redact_messages_in_exceptions": False,
    "redact_user_api_key_info": False,
    "enable_json_schema_validation": False,
    "internal_user_budget_duration": None,
    "public_model_groups": None,
    "max_end_user_budget": None,
    "disable_end_user_cost_tracking": None,
    "suppress_debug_info": False,
    "add_user_information_to_llm_headers": None,
    "return_response_headers": False,
    "cost_discount_config": {},
    "cost_margin_config": {},
}
"""Of `litellm` attributes when no configuration names them: by the time we look the boot file has set its own."""


class StagedSettings:
    """Attributes of `litellm` and LiteLLM's idea of its own configuration, exchanged in one step."""

    name: Final = "litellm_settings"

    def __init__(self, attributes: Mapping[str, Any], removed: tuple[str, ...], overlay: Overlay) -> None:
        self._attributes = dict(attributes)
        self._removed = removed
        self._overlay = overlay
        self._before: dict[str, Any] = {}
        self._config: Any = None
        self._stores: dict[str, tuple[Any, Any]] = {}

    def commit(self) -> None:
        """Set the attributes and let LiteLLM's stores and config state say the same."""
        config = proxy_server().proxy_config
        self._config = config.config
        self._stores = {
            section: (store._yaml_values, store._runtime_values) for section, store in config._settings_stores.items()
        }
        for key, value in self._values().items():
            self._before[key] = getattr(litellm, key)
            setattr(litellm, key, value)
        state = dict(config.config)
        after = dict(state)
        laid = self._overlay({section: state.get(section) or {} for section in SECTIONS})
        for section in SECTIONS:
            if isinstance(state.get(section), Mapping) or laid.get(section):
                after[section] = resolved(laid.get(section) or {})
                store = config._settings_stores[section]
                store.load_yaml(after[section])
                store.apply_runtime_values({**dict(store), **after[section]})
        config.config = type(config.config)(after)

    def rollback(self) -> None:
        """Put everything back."""
        for key, value in self._before.items():
            setattr(litellm, key, value)
        config = proxy_server().proxy_config
        if self._config is not None:
            config.config = self._config
        for section, (values, runtime) in self._stores.items():
            store = config._settings_stores[section]
            store._yaml_values, store._runtime_values = values, runtime

    def _values(self) -> Mapping[str, Any]:
        return {**{key: copy.deepcopy(DEFAULTS[key]) for key in self._removed}, **self._attributes}


def overlay_config_file(overlay: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Let LiteLLM see the current generation wherever it reads its configuration file again.

    It does so at run time: management routes do, and its database job, which removes every deployment that neither
    the file nor the database names. Wraps the bound method of the one `proxy_config`, looked up when it is called.
    """
    config = proxy_server().proxy_config
    stock = config._get_config_from_file

    async def read(config_file_path: str | None = None) -> dict[str, Any]:
        return dict(overlay(await stock(config_file_path=config_file_path)))

    config._get_config_from_file = read
