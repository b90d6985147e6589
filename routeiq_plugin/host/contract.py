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
NEWEST_TESTED: Final = "1.108.7"


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
    Seam("litellm.proxy._types", "ProxyErrorTypes.budget_exceeded"),
    Seam("litellm.proxy._types", "LiteLLM_TeamTable"),
    Seam("litellm.proxy._types", "LitellmUserRoles.PROXY_ADMIN"),
    Seam("litellm.proxy._types", "user_api_key_has_admin_view"),
    Seam("litellm.proxy.auth.user_api_key_auth", "user_api_key_auth", ("request",)),
    Seam("litellm.proxy.auth.auth_checks", "_virtual_key_max_budget_check", ("valid_token", "proxy_logging_obj")),
    Seam(
        "litellm.proxy.auth.auth_checks",
        "_team_max_budget_check",
        ("team_object", "valid_token", "proxy_logging_obj"),
    ),
    Seam("litellm.proxy.proxy_server", "get_current_spend", ("counter_key", "fallback_spend")),
    Seam("litellm.proxy.proxy_server", "user_custom_auth"),
    Seam("litellm", "BudgetExceededError"),
    Seam(
        "litellm.proxy.common_utils.rbac_utils", "check_feature_access_for_user", ("user_api_key_dict", "feature_name")
    ),
    Seam(
        "litellm.proxy.agent_endpoints.auth.agent_permission_handler",
        "AgentRequestHandler.resolve_agent_access",
        ("user_api_key_auth",),
    ),
    Seam("litellm.proxy.agent_endpoints.auth.agent_permission_handler", "UnrestrictedAgentAccess"),
    Seam("litellm.proxy.agent_endpoints.auth.agent_permission_handler", "agent_access_default_deny", since="1.108"),
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
    Seam("litellm.proxy.proxy_server", "llm_router"),
    Seam("litellm.proxy.proxy_server", "model_max_budget_limiter.is_key_within_model_budget", ("model",)),
    Seam("litellm.proxy.proxy_server", "model_max_budget_limiter.is_user_within_model_budget", ("user_id", "model")),
    Seam(
        "litellm.proxy.proxy_server",
        "model_max_budget_limiter.is_end_user_within_model_budget",
        ("end_user_id", "end_user_model_max_budget", "model"),
    ),
    Seam(
        "litellm.proxy.proxy_server",
        "model_max_budget_limiter.is_team_within_model_budget",
        ("team_id", "team_model_max_budget", "key_model_max_budget", "model"),
    ),
    Seam("litellm.proxy._types", "LiteLLM_TeamTable"),
    Seam(
        "litellm.proxy.auth.auth_checks",
        "can_key_call_model",
        ("model", "llm_model_list", "valid_token", "llm_router"),
    ),
    Seam(
        "litellm.proxy.auth.auth_checks",
        "can_team_access_model",
        ("model", "team_object", "llm_router", "team_model_aliases"),
    ),
    Seam("litellm.proxy.hooks.responses_id_security", "ResponsesIDSecurity._decrypt_response_id", ("response_id",)),
    Seam("litellm.responses.utils", "ResponsesAPIRequestUtils.get_model_id_from_response_id", ("response_id",)),
    Seam("litellm", "BudgetExceededError"),
    Seam("litellm", "Router.get_model_ids", ("model_name",)),
    Seam("litellm", "Router.get_model_list", ("model_name",)),
    Seam("litellm", "Router.get_model_group_info", ("model_group",)),
    Seam("litellm", "Router.get_model_info", ("id",)),
    Seam("litellm", "Router.update_settings"),
    Seam("litellm", "Router.set_custom_routing_strategy", ("CustomRoutingStrategy",)),
    Seam(
        "litellm",
        "Router.async_get_available_deployment",
        ("model", "request_kwargs", "messages", "input", "specific_deployment"),
    ),
    Seam("litellm.types.router", "CustomRoutingStrategyBase"),
    Seam("litellm", "callbacks"),
    Seam("litellm", "model_cost"),
    Seam(
        "litellm.router_utils.cooldown_cache",
        "CooldownCache.async_get_active_cooldowns",
        ("model_ids", "parent_otel_span"),
    ),
    Seam("litellm", "token_counter"),
    Seam("litellm", "Usage"),
    Seam("litellm", "public_agent_groups"),
    Seam("litellm", "public_mcp_servers"),
    Seam("litellm", "public_mcp_hub_strict_whitelist"),
    Seam("litellm.constants", "MCP_ALL_TOOLS_WILDCARD"),
    Seam("litellm.proxy._types", "LiteLLM_MCPServerTable.model_fields"),
    Seam("litellm.proxy._types", "MakeMCPServersPublicRequest.model_fields"),
    Seam("litellm.proxy._types", "NewMCPServerRequest.model_fields"),
    Seam("litellm.proxy._types", "UpdateMCPServerRequest.model_fields"),
    Seam("litellm.proxy._types", "MCPOAuthUserCredentialRequest.model_fields"),
    Seam("litellm.proxy._types", "MCPOAuthUserCredentialStatus.model_fields"),
    Seam("litellm.proxy._types", "MCPUserCredentialListItem.model_fields"),
    Seam("litellm.proxy._types", "SpecialMCPServerName.all_proxy_servers"),
    Seam("litellm.proxy._types", "SpecialMCPServerNames.no_mcp_servers"),
    Seam("litellm.types.mcp", "MCP_ADMIN_CONFIG_CREDENTIAL_KEYS"),
    Seam("litellm.proxy.auth.ip_address_utils", "IPAddressUtils.get_mcp_client_ip", ("request",)),
    Seam("litellm.proxy.auth.ip_address_utils", "IPAddressUtils.is_internal_ip"),
    Seam("litellm.proxy.auth.ip_address_utils", "IPAddressUtils.parse_internal_networks"),
    Seam("litellm.proxy.management_endpoints.mcp_connector_import", "ConvertedConnector"),
    Seam("litellm.proxy.management_endpoints.mcp_connector_import", "MCPConnectorImportRequest"),
    Seam("litellm.proxy.management_endpoints.mcp_connector_import", "MCPConnectorImportResponse"),
    Seam("litellm.proxy.management_endpoints.mcp_connector_import", "convert_connector_entries", ("payload",)),
    *(
        Seam("litellm.proxy.management_endpoints.mcp_management_endpoints", name)
        for name in (
            "DEFAULT_MCP_REGISTRY_VERSION",
            "LITELLM_MCP_SERVER_DESCRIPTION",
            "LITELLM_MCP_SERVER_NAME",
            "stamp_omitted_oauth2_flow",
            "validate_and_normalize_mcp_server_payload",
        )
    ),
    Seam(
        "litellm.proxy._experimental.mcp_server.auth.user_api_key_auth_mcp",
        "MCPRequestHandler.get_allowed_tools_for_server",
        ("server_id", "user_api_key_auth"),
    ),
    *(
        Seam("litellm.proxy._experimental.mcp_server.mcp_server_manager", f"global_mcp_server_manager.{name}")
        for name in (
            "add_server",
            "build_mcp_server_table",
            "config_mcp_servers",
            "get_allowed_mcp_servers",
            "get_mcp_server_by_id",
            "get_mcp_server_by_name",
            "get_registry",
            "health_check_server",
            "registry",
            "reload_servers_from_database",
            "remove_server",
            "update_server",
        )
    ),
    *(
        Seam("litellm.proxy._experimental.mcp_server.db", name)
        for name in (
            "_credential_auth_class",
            "_drop_stale_minted_on_client_rotation",
            "encrypt_credentials",
            "oauth_credentials_for_upstream_edit",
            "stale_mcp_auth_fields",
        )
    ),
    Seam("litellm.proxy._experimental.mcp_server.stdio_gate", "is_mcp_stdio_enabled"),
    Seam("litellm.proxy._experimental.mcp_server.stdio_gate", "MCP_STDIO_DISABLED_MESSAGE"),
    Seam("litellm.proxy._experimental.mcp_server.utils", "get_server_prefix", ("server",)),
    Seam("litellm.constants", "MCP_STDIO_ALLOWED_COMMANDS"),
    Seam("litellm.proxy._experimental.mcp_server.utils", "normalize_server_name", ("server_name",)),
    Seam("litellm.proxy._experimental.mcp_server.utils", "MCP_TOOL_PREFIX_SEPARATOR"),
    Seam(
        "litellm.proxy._experimental.mcp_server.mcp_server_manager",
        "global_mcp_server_manager.pre_call_tool_check",
        (
            "name",
            "arguments",
            "server_name",
            "user_api_key_auth",
            "proxy_logging_obj",
            "server",
            "raw_headers",
            "litellm_logging_obj",
            "guardrail_context",
        ),
    ),
    Seam(
        "litellm.proxy._experimental.mcp_server.mcp_server_manager",
        "global_mcp_server_manager.call_tool",
        (
            "server_name",
            "name",
            "arguments",
            "user_api_key_auth",
            "proxy_logging_obj",
            "raw_headers",
            "litellm_logging_obj",
            "guardrail_context",
        ),
    ),
    Seam(
        "litellm.proxy._experimental.mcp_server.mcp_server_manager",
        "global_mcp_server_manager.get_tools_from_server",
        ("add_prefix", "raw_headers", "user_api_key_auth"),
        formerly="global_mcp_server_manager._get_tools_from_server",
    ),
    Seam("litellm.proxy._experimental.mcp_server.exceptions", "MCPToolResultError"),
    Seam(
        "litellm.responses.mcp.request_context",
        "MCPRequestContext.resolve_guardrail_context",
        ("kwargs",),
    ),
    Seam("litellm.types.mcp", "MCPDuringCallRequestObject"),
    Seam("litellm.types.llms.base", "HiddenParams"),
    Seam(
        "litellm.proxy.utils",
        "ProxyLogging.convert_mcp_to_llm_format",
        ("request_obj", "kwargs"),
        formerly="ProxyLogging._convert_mcp_to_llm_format",
    ),
    Seam("litellm.proxy.utils", "ProxyLogging.post_mcp_call_hook", ("response", "request_data", "user_api_key_dict")),
    Seam("litellm.litellm_core_utils.litellm_logging", "Logging.post_call", ("original_response",)),
    Seam(
        "litellm.litellm_core_utils.litellm_logging",
        "Logging.async_post_mcp_tool_call_hook",
        ("kwargs", "response_obj", "start_time", "end_time"),
    ),
    Seam(
        "litellm.litellm_core_utils.litellm_logging",
        "Logging.async_success_handler",
        ("result", "start_time", "end_time"),
    ),
    Seam("litellm.litellm_core_utils.litellm_logging", "Logging.failure_handler"),
    Seam("litellm.litellm_core_utils.litellm_logging", "Logging.async_failure_handler"),
    Seam(
        "litellm.litellm_core_utils.litellm_logging",
        "Logging.mark_logging_complete",
        ("event_type",),
        formerly="Logging.has_run_logging",
    ),
    # Hot reload
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
    Seam("litellm.utils", "_invalidate_model_cost_lowercase_map"),
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
