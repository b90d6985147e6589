"""The LiteLLM internals that we build on, as data: verified at start, by `routeiq doctor` and by contract tests."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from importlib.metadata import version
from operator import attrgetter
from typing import Any, Final

from routeiq_plugin.errors import IncompatibleHost

OLDEST_SUPPORTED: Final = "1.103.0"
NEWEST_TESTED: Final = "1.106.2"


@dataclass(frozen=True, slots=True)
class Seam:
    """One name in LiteLLM and the parameters that we pass it by keyword."""

    module: str
    name: str
    parameters: tuple[str, ...] = ()
    formerly: str | None = None
    """The name under which the oldest supported version has it."""
    since: str | None = None
    """Newer than the oldest supported version: its absence costs one feature, not the boot."""

    @property
    def label(self) -> str:
        """Dotted name, as operators read it in an error."""
        return f"{self.module}.{self.name}"


SEAMS: Final = (
    Seam("litellm.integrations.custom_logger", "CustomLogger"),
    Seam("litellm.proxy.proxy_server", "app.router.routes"),
    Seam("litellm.proxy.proxy_server", "app.openapi"),
    Seam("litellm.proxy.proxy_server", "proxy_config.get_config_state"),
    Seam("litellm.proxy.proxy_server", "proxy_shutdown_event"),
    Seam("litellm.proxy.proxy_server", "general_settings"),
    Seam("litellm.proxy.proxy_server", "master_key"),
    Seam("litellm.proxy.proxy_server", "prisma_client"),
    Seam("litellm.proxy._types", "ProxyException"),
    Seam("litellm.proxy._types", "LitellmUserRoles.PROXY_ADMIN"),
    Seam("litellm.proxy._types", "user_api_key_has_admin_view"),
    Seam("litellm.proxy.auth.user_api_key_auth", "user_api_key_auth", ("request",)),
    Seam(
        "litellm.proxy.common_utils.rbac_utils", "check_feature_access_for_user", ("user_api_key_dict", "feature_name")
    ),
    Seam(
        "litellm.proxy.agent_endpoints.auth.agent_permission_handler",
        "AgentRequestHandler.resolve_agent_access",
        ("user_api_key_auth",),
    ),
    Seam("litellm.proxy.agent_endpoints.auth.agent_permission_handler", "UnrestrictedAgentAccess"),
    Seam("litellm.proxy.agent_endpoints.agent_registry", "global_agent_registry.register_agent", ("agent_config",)),
    Seam("litellm.proxy.agent_endpoints.agent_registry", "global_agent_registry.deregister_agent", ("agent_name",)),
    Seam("litellm.proxy.agent_endpoints.agent_registry", "global_agent_registry.get_agent_by_id", ("agent_id",)),
    Seam("litellm.proxy.agent_endpoints.agent_registry", "global_agent_registry.get_agent_by_name", ("agent_name",)),
    Seam("litellm.proxy.agent_endpoints.agent_registry", "global_agent_registry.get_agent_list"),
    Seam("litellm.proxy.agent_endpoints.agent_registry", "redact_sensitive_agent_litellm_params"),
    Seam("litellm.proxy.agent_endpoints.agent_registry", "_restore_redacted_litellm_params", ("incoming", "existing")),
    Seam("litellm.proxy.agent_endpoints.kill_switch", "redact_kill_switch", since="1.104"),
    Seam("litellm.proxy.agent_endpoints.kill_switch", "restore_kill_switch", since="1.104"),
    Seam("litellm.proxy.agent_endpoints.agent_registry", "global_agent_registry.stable_agent_id", ("agent_id",)),
    Seam(
        "litellm.proxy.agent_endpoints.a2a_routing",
        "route_a2a_agent_request",
        ("data", "route_type", "user_api_key_dict"),
    ),
    Seam(
        "litellm.proxy.agent_endpoints.model_list_helpers",
        "append_agents_to_model_group",
        ("model_groups", "user_api_key_dict"),
    ),
    Seam(
        "litellm.proxy.agent_endpoints.model_list_helpers",
        "append_agents_to_model_info",
        ("models", "user_api_key_dict"),
    ),
    Seam("litellm.proxy._types", "UserAPIKeyAuth"),
    Seam("litellm.types.agents", "AgentConfig"),
    Seam("litellm.types.agents", "PatchAgentRequest"),
    Seam("litellm.types.agents", "AgentResponse.model_fields"),
    Seam("litellm.types.agents", "AgentKillSwitchConfig", since="1.104"),
    Seam(
        "litellm.types.proxy.management_endpoints.common_daily_activity",
        "SpendAnalyticsPaginatedResponse.model_fields",
    ),
    Seam("litellm.constants", "REDACTED_BY_LITELM_STRING"),
    Seam("litellm.proxy.common_utils.encrypt_decrypt_utils", "get_salt_key", formerly="_get_salt_key"),
    Seam("litellm.proxy.common_utils.encrypt_decrypt_utils", "encrypt_value_helper", ("value", "new_encryption_key")),
    Seam("litellm.proxy.common_utils.encrypt_decrypt_utils", "decrypt_value", ("value", "signing_key")),
    Seam("litellm.proxy.common_utils.encrypt_decrypt_utils", "_decrypt_aes_gcm", ("value", "signing_key")),
    Seam(
        "litellm.proxy.common_request_processing",
        "ProxyBaseLLMRequestProcessing.common_processing_pre_call_logic",
        (
            "request",
            "general_settings",
            "user_api_key_dict",
            "proxy_logging_obj",
            "proxy_config",
            "route_type",
            "version",
        ),
    ),
    Seam("litellm.proxy.proxy_server", "proxy_logging_obj"),
    Seam("litellm.proxy.proxy_server", "version"),
    Seam("litellm.proxy.utils", "ProxyLogging.during_call_hook", ("data", "user_api_key_dict", "call_type")),
    Seam("litellm.proxy.utils", "ProxyLogging.post_call_success_hook", ("data", "response", "user_api_key_dict")),
    Seam(
        "litellm.proxy.utils",
        "ProxyLogging.post_call_failure_hook",
        ("request_data", "original_exception", "user_api_key_dict"),
    ),
    Seam(
        "litellm.proxy.utils",
        "ProxyLogging.async_post_call_streaming_iterator_hook",
        ("response", "user_api_key_dict", "request_data"),
    ),
    Seam(
        "litellm.proxy.utils",
        "ProxyLogging.async_post_call_streaming_hook",
        ("data", "response", "user_api_key_dict", "str_so_far"),
    ),
    Seam("litellm.proxy.utils", "ProxyLogging.callback_capabilities", formerly="ProxyLogging._callback_capabilities"),
    Seam(
        "litellm.proxy.utils",
        "ProxyLogging.arelease_max_parallel_requests_on_disconnect",
        formerly="ProxyLogging._arelease_max_parallel_requests_on_disconnect",
    ),
    Seam(
        "litellm.proxy.utils",
        "unified_guardrail.async_post_call_success_hook",
        ("data", "user_api_key_dict", "response"),
    ),
    Seam(
        "litellm.litellm_core_utils.litellm_logging",
        "Logging.dispatch_success_handlers",
        ("start_time", "end_time", "cache_hit", "prefer_async_handlers"),
    ),
    Seam("litellm.litellm_core_utils.litellm_logging", "Logging.dispatch_failure_handlers", ("prefer_async_handlers",)),
    Seam("litellm.litellm_core_utils.logging_worker", "GLOBAL_LOGGING_WORKER.ensure_initialized_and_enqueue"),
    Seam("litellm.proxy.litellm_pre_call_utils", "get_chain_id_from_headers"),
    Seam("litellm.types.agents", "LiteLLMSendMessageResponse.model_fields"),
    Seam("litellm", "token_counter"),
    Seam("litellm", "Usage"),
    Seam("litellm", "public_agent_groups"),
    # Hot reload
    Seam("litellm.proxy.proxy_server", "llm_router"),
    Seam("litellm.proxy.proxy_server", "user_config_file_path"),
    Seam("litellm.proxy.proxy_server", "proxy_config.config"),
    Seam("litellm.proxy.proxy_server", "proxy_config._get_config_from_file", ("config_file_path",)),
    Seam("litellm.proxy.proxy_server", "proxy_config._settings_stores"),
    Seam("litellm.proxy.config_resolvers.settings_store", "SettingsStore.load_yaml", ("mapping",)),
    Seam("litellm.proxy.config_resolvers.settings_store", "SettingsStore.apply_runtime_values", ("values",)),
    Seam(
        "litellm",
        "Router._create_deployment",
        ("deployment_info", "_model_name", "_litellm_params", "_model_info", "declared_id"),
    ),
    Seam("litellm", "Router.delete_deployment", ("id",)),
    Seam("litellm", "Router.update_settings"),
    Seam("litellm", "Router.validate_fallbacks", ("fallback_param",)),
    Seam("litellm", "Router.generate_model_id", ("model_group", "litellm_params")),
    Seam("litellm", "Router.has_model_id"),
    Seam("litellm", "Router._sync_deployment_budget_config", ("deployment",)),
    Seam("litellm", "Router._build_model_name_index", ("model_list",)),
    Seam("litellm", "Router._invalidate_model_group_info_cache"),
    Seam("litellm", "Router._invalidate_access_groups_cache"),
    Seam("litellm", "model_cost"),
    Seam("litellm.constants", "DEFAULT_COOLDOWN_TIME_SECONDS"),
    Seam("litellm.router_utils.pattern_match_deployments", "PatternMatchRouter"),
    Seam("litellm.secret_managers.main", "get_secret"),
    Seam("litellm.types.router", "holds_secret_pointer", since="1.104"),
    Seam("litellm.proxy.agent_endpoints.agent_registry", "global_agent_registry.agent_list"),
    Seam("litellm.proxy.agent_endpoints.agent_registry", "global_agent_registry.config_agents"),
    Seam("litellm.proxy.agent_endpoints.agent_registry", "global_agent_registry.config_agent_legacy_ids"),
    Seam("litellm.proxy.agent_endpoints.agent_registry", "global_agent_registry._create_agent_id", ("agent_config",)),
    Seam(
        "litellm.proxy.agent_endpoints.agent_registry",
        "global_agent_registry._create_legacy_agent_id",
        ("agent_config",),
    ),
)
"""Every name; `host/` imports nothing else of LiteLLM."""


def resolve(seam: Seam) -> Any:
    """Find the object behind a seam; raises `AttributeError` or `ImportError` when it has gone."""
    module = importlib.import_module(seam.module)
    try:
        return attrgetter(seam.name)(module)
    except AttributeError:
        if seam.formerly is None:
            raise
        return attrgetter(seam.formerly)(module)


def missing(seam: Seam) -> str | None:
    """Say what is wrong with a seam, or None when it is as we know it."""
    try:
        found = resolve(seam)
    except (ImportError, AttributeError) as gone:
        if seam.since is not None:
            return None
        return f"{seam.label} ({gone})"
    if not seam.parameters:
        return None
    known = inspect.signature(found).parameters
    absent = [name for name in seam.parameters if name not in known]
    return f"{seam.label} (no parameter {', '.join(absent)})" if absent else None


def verify() -> None:
    """Check every seam; raises `IncompatibleHost` that lists all that is missing and the supported range."""
    faults = [fault for fault in map(missing, SEAMS) if fault]
    if faults:
        raise IncompatibleHost(
            f"routeiq-plugin supports LiteLLM {OLDEST_SUPPORTED} and newer (tested to {NEWEST_TESTED}); "
            f"LiteLLM {litellm_version()} lacks: {'; '.join(faults)}"
        )


def litellm_version() -> str:
    """Version of the installed LiteLLM."""
    return version("litellm")
