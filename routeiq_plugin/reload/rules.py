"""What changes while the proxy runs, what needs a restart, and what only the boot file may say."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

from routeiq_plugin.errors import InvalidConfig
from routeiq_plugin.reload.content import TOP, Entry


class Kind(StrEnum):
    """How a key takes effect."""

    HOT = "hot"
    COLD = "restart"
    ROOT = "root"
    """The boot file's alone: never taken from another source."""


ROUTER_SETTINGS: Final = frozenset(
    {
        "routing_strategy",
        "routing_strategy_args",
        "routing_groups",
        "allowed_fails",
        "cooldown_time",
        "num_retries",
        "timeout",
        "max_retries",
        "retry_after",
        "fallbacks",
        "context_window_fallbacks",
        "retry_policy",
        "model_group_retry_policy",
        "model_group_alias",
        "enable_weighted_failover",
        "enable_tag_filtering",
        "tag_routing_prefix",
        "fallback_on_unsupported_params",
    }
)
"""Those that LiteLLM's `Router.update_settings` takes, but `optional_pre_call_checks`, which register callbacks."""

LITELLM_SETTINGS: Final = frozenset(
    {
        "drop_params",
        "modify_params",
        "turn_off_message_logging",
        "redact_messages_in_exceptions",
        "redact_user_api_key_info",
        "enable_json_schema_validation",
        "internal_user_budget_duration",
        "public_model_groups",
        "max_end_user_budget",
        "disable_end_user_cost_tracking",
        "suppress_debug_info",
        "add_user_information_to_llm_headers",
        "return_response_headers",
        "cost_discount_config",
        "cost_margin_config",
    }
)
"""Plain attributes of the `litellm` module that are read at each use."""

GENERAL_SETTINGS: Final = frozenset(
    {
        "completion_model",
        "max_request_size_mb",
        "max_response_size_mb",
        "max_file_size_mb",
        "always_include_stream_usage",
        "infer_model_from_keys",
        "enforce_user_param",
        "forward_client_headers_to_llm_api",
        "forward_openai_org_id",
        "user_header_name",
        "user_header_mappings",
        "reject_clientside_metadata_tags",
        "disable_budget_reservation",
        "expose_fallback_errors_to_caller",
        "disable_error_logs",
        "global_max_parallel_requests",
    }
)
"""Those that LiteLLM looks up at each request."""

_ROOT: Final = frozenset(
    {
        ("litellm_settings", "callbacks"),
        ("litellm_settings", "success_callback"),
        ("litellm_settings", "failure_callback"),
        ("litellm_settings", "service_callback"),
        ("litellm_settings", "audit_log_callbacks"),
        ("litellm_settings", "custom_provider_map"),
        ("litellm_settings", "post_call_rules"),
        ("general_settings", "master_key"),
        ("general_settings", "database_url"),
        ("general_settings", "custom_auth"),
        ("general_settings", "custom_key_generate"),
        ("general_settings", "custom_sso"),
        ("general_settings", "key_management_system"),
        ("general_settings", "key_management_settings"),
        ("routeiq", "database_url"),
        ("routeiq", "reload"),
        (TOP, "environment_variables"),
    }
)

_IN_AN_ENVIRONMENT: Final = re.compile(r"^(?:os\.environ/|oidc/env(?:_path)?/)(.+)$", re.DOTALL)
_OIDC_FILE: Final = "oidc/file/"
SECRETS: Final = frozenset({"LITELLM_MASTER_KEY", "LITELLM_SALT_KEY", "DATABASE_URL", "ROUTEIQ_DATABASE_URL"})
"""Never to be referenced by what is hot."""
_BUILT_WITH_THE_ROUTER: Final = ("auto_router/",)


def kind_of(entry: Entry, sections: Collection[str]) -> Kind:
    """Classify a piece; `sections` are those of `routeiq:` that a feature can change while it runs."""
    if entry.id in _ROOT:
        return Kind.ROOT
    hot: bool
    match entry.section:
        case "model_list":
            hot = _is_plain_deployment(entry.value)
        case "agents":
            hot = True
        case "mcp_servers":
            hot = _is_plain_server(entry.value)
        case "router_settings":
            hot = entry.key in ROUTER_SETTINGS
        case "litellm_settings":
            hot = entry.key in LITELLM_SETTINGS
        case "general_settings":
            hot = entry.key in GENERAL_SETTINGS
        case "routeiq":
            hot = entry.key in sections
        case _:
            hot = False
    return Kind.HOT if hot else Kind.COLD


def _is_plain_deployment(value: Any) -> bool:
    """Tell a deployment from LiteLLM's strategy routers, which keep the Router that they were built with."""
    params = value.get("litellm_params")
    if not isinstance(params, Mapping):
        return True  # refused when it is built, with its path
    if isinstance(params.get("organization"), list):
        return False  # becomes several deployments under one id
    return not str(params.get("model", "")).startswith(_BUILT_WITH_THE_ROUTER)


def _is_plain_server(value: Any) -> bool:
    """Tell an MCP server whose definition is all there is from one that LiteLLM must fetch something for."""
    return not isinstance(value, Mapping) or not value.get("spec_path")


def references(value: Any) -> Iterator[str]:
    """Yield every environment variable that a value refers to."""
    for text in _strings(value):
        found = _IN_AN_ENVIRONMENT.match(text)
        if found:
            yield found[1]


def check_references(entry: Entry, secrets: Collection[str], allowed: Collection[str] | None) -> None:
    """Refuse secrets of the proxy itself, and with `allowed` every name beyond it; raises `InvalidConfig`."""
    value = entry.value
    for name in references(value):
        if name in secrets:
            raise InvalidConfig(entry.path, f"refers to {name}, which is a secret of the proxy itself")
        if allowed is not None and name not in allowed:
            raise InvalidConfig(
                entry.path,
                f"refers to the variable {name}, which the boot file does not use; name it in"
                " routeiq.reload.env_allowlist",
            )
    if allowed is not None and any(text.startswith(_OIDC_FILE) for text in _strings(value)):
        raise InvalidConfig(entry.path, "refers to a file of the proxy's machine")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
