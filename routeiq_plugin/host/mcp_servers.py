"""LiteLLM's MCP servers as it writes them down: its request and answer classes, its checks and its redactions."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import litellm
from fastapi import HTTPException
from litellm.proxy._types import (
    LiteLLM_MCPServerTable,
    MakeMCPServersPublicRequest,
    NewMCPServerRequest,
    UpdateMCPServerRequest,
)
from litellm.proxy.management_endpoints.mcp_connector_import import (
    ConvertedConnector,
    MCPConnectorImportRequest,
    MCPConnectorImportResponse,
    convert_connector_entries,
)
from litellm.types.mcp import MCP_ADMIN_CONFIG_CREDENTIAL_KEYS
from pydantic import BaseModel, ValidationError

from routeiq_plugin.errors import InvalidFields, InvalidRequest
from routeiq_plugin.host.headers import MARKER, redact_headers
from routeiq_plugin.host.process import proxy_server
from routeiq_plugin.host.public_lists import PublicNames

Fields = dict[str, Any]

__all__ = [
    "Fields",
    "LiteLLM_MCPServerTable",
    "MakeMCPServersPublicRequest",
    "NewMCPServerRequest",
    "UpdateMCPServerRequest",
]

_ENDPOINTS: Final = "litellm.proxy.management_endpoints.mcp_management_endpoints"
_RULES: Final = "litellm.proxy._experimental.mcp_server.db"

IMPORT_ANSWER: Final = MCPConnectorImportResponse

SET_BY_US: Final = frozenset({"approval_status", "submitted_by", "submitted_at"})
"""Of a request: LiteLLM overrides what a caller says here, whatever it is."""

_WITHOUT_ADMIN: Final[Mapping[str, Any]] = {
    "credentials": None,
    "pinned_tools": None,
    "url": None,
    "spec_path": None,
    "static_headers": None,
    "extra_headers": [],
    "env": {},
    "command": None,
    "args": [],
    "issuer": None,
    "authorization_url": None,
    "token_url": None,
    "registration_url": None,
    "token_exchange_endpoint": None,
    "audience": None,
    "subject_token_type": None,
    "token_exchange_profile": None,
    "env_vars": None,
}
"""What non-admins read instead: LiteLLM's rule (`_sanitize_mcp_server_for_non_admin`)."""

_RESTRICTED: Final[Mapping[str, Any]] = {
    **_WITHOUT_ADMIN,
    "allowed_tools": [],
    "mcp_access_groups": [],
    "teams": [],
    "health_check_error": None,
    "last_health_check": None,
    "created_by": None,
    "updated_by": None,
    "created_at": None,
    "updated_at": None,
}
"""What keys with `allowed_routes` read instead (`_sanitize_mcp_server_for_virtual_key`)."""


# Input


def parse_new(body: Any) -> Fields:
    """Validate the body of POST as LiteLLM does, its checks of names included; the fields as they are stored.

    Raises `InvalidFields`, and LiteLLM's 400 for a name that it refuses.
    """
    payload = _parsed(NewMCPServerRequest, body)
    _checked(payload)
    _endpoints().stamp_omitted_oauth2_flow(payload)
    fields: Fields = payload.model_dump(mode="json", exclude=set(SET_BY_US))
    return _lifted({name: value for name, value in fields.items() if value is not None})


def parse_update(body: Any) -> Fields:
    """Validate the body of PUT; only what it names, where null clears. Raises as `parse_new`."""
    payload = _parsed(UpdateMCPServerRequest, body)
    named = set(payload.model_fields_set)
    _checked(payload)
    fields: Fields = payload.model_dump(mode="json", exclude_unset=True)
    if "alias" not in named and fields.get("alias") is None:
        fields.pop("alias", None)  # LiteLLM's check sets it, whatever the body says
    return _lifted(fields)


def parse_whole(fields: Mapping[str, Any]) -> None:
    """Check a configuration with its defaults, or one that was merged, as if it were new; raises as `parse_new`.

    A body may leave out the transport; LiteLLM then asks for no URL, and compares no command with its allow-list.
    """
    known = {name: value for name, value in fields.items() if name in NewMCPServerRequest.model_fields}
    _checked(_parsed(NewMCPServerRequest, {name: value for name, value in known.items() if value is not None}))


def parse_published(body: Any) -> Sequence[str]:
    """Validate the body of make_public; returns the ids. Raises `InvalidFields`."""
    return list(_parsed(MakeMCPServersPublicRequest, body).mcp_server_ids)


@dataclass(frozen=True, slots=True)
class ImportEntry:
    """One entry of an import: fields as `parse_new` returns them, or what was wrong with it."""

    name: str
    fields: Fields | None = field(default=None, repr=False)
    error: str | None = None


def parse_import(body: Any) -> list[ImportEntry]:
    """Validate the body of an import, and turn each entry into a server as LiteLLM does; raises `InvalidFields`."""
    return [_entry(each) for each in convert_connector_entries(_parsed(MCPConnectorImportRequest, body))]


def _entry(conversion: Any) -> ImportEntry:
    if not isinstance(conversion, ConvertedConnector):
        return ImportEntry(conversion.name, error=conversion.error)
    try:
        return ImportEntry(conversion.name, parse_new(conversion.request.model_dump(exclude_none=True)))
    except InvalidRequest as refused:
        detail = refused.detail
        return ImportEntry(conversion.name, error=str(detail.get("error") if isinstance(detail, dict) else detail))


def _parsed(shape: Any, body: Any) -> Any:
    try:
        return shape.model_validate(body)
    except ValidationError as invalid:
        found = invalid.errors(include_input=False, include_url=False, include_context=False)
        raise InvalidFields([{**error, "loc": ["body", *error["loc"]]} for error in found]) from None
    except (TypeError, AttributeError, ValueError) as failure:
        # LiteLLM's validators read the body before pydantic has looked at its types.
        raise InvalidFields.of("", f"The body is not an MCP server's configuration: {type(failure).__name__}") from None


def _checked(payload: BaseModel) -> None:
    """Apply LiteLLM's checks of names, which also complete the alias."""
    try:
        _endpoints().validate_and_normalize_mcp_server_payload(payload)
    except HTTPException as refused:
        raise InvalidRequest(refused.detail) from None


def _lifted(fields: Fields) -> Fields:
    """Move token-exchange settings out of the credentials into fields of their own, as LiteLLM does on each write."""
    credentials = fields.get("credentials")
    if not isinstance(credentials, dict):
        return fields
    kept = dict(credentials)
    lifted = {}
    for name in ("token_exchange_endpoint", "audience", "subject_token_type", "token_exchange_profile"):
        value = kept.pop(name, None)
        if value is not None and name not in fields:
            lifted[name] = value
    return {**fields, **lifted, "credentials": kept}


def auth_edit(stored: Mapping[str, Any], change: Mapping[str, Any]) -> tuple[Fields, Fields]:
    """Return what a change makes stale, each as null, and which of the stored credentials outlive it.

    LiteLLM's rule (`update_mcp_server`): a secret of the old kind, or for the old address, never goes to the new one.
    """
    rules = importlib.import_module(_RULES)
    kept = dict(stored.get("credentials") or {})
    old_type, new_type = stored.get("auth_type"), change.get("auth_type") or stored.get("auth_type")
    type_changed = rules._credential_auth_class(old_type) != rules._credential_auth_class(new_type)
    url_changed = bool(change.get("url")) and change["url"] != stored.get("url")
    issuer_changed = "issuer" in change and (change["issuer"] or None) != (stored.get("issuer") or None)
    if not (type_changed or url_changed or issuer_changed):
        return {}, rules._drop_stale_minted_on_client_rotation(kept, change.get("credentials") or {})
    if type_changed:
        kept = {}
    elif old_type == "oauth2":
        kept = rules.oauth_credentials_for_upstream_edit(
            kept, stored.get("issuer") or None, stored.get("url"), issuer_changed=issuer_changed
        )
    return dict(rules.stale_mcp_auth_fields(change, stored.get)), kept


def stdio_refusal() -> str | None:
    """Say why LiteLLM itself starts no processes, or None where its environment switch is on."""
    gate = importlib.import_module("litellm.proxy._experimental.mcp_server.stdio_gate")
    return None if gate.is_mcp_stdio_enabled() else str(gate.MCP_STDIO_DISABLED_MESSAGE)


# Output


def answer(fields: Mapping[str, Any]) -> Fields:
    """Render a server with every key of LiteLLM's `LiteLLM_MCPServerTable`, in its JSON form."""
    rendered: Fields = LiteLLM_MCPServerTable.model_validate(dict(fields)).model_dump(mode="json")
    return rendered


def redacted(fields: Mapping[str, Any]) -> Fields:
    """Return what admins read: no credential, and the marker for values of headers and of the environment.

    LiteLLM shows admins those values; we show secrets to nobody.
    """
    return {
        **fields,
        "credentials": _shown_credentials(fields.get("credentials")),
        "static_headers": _marked(fields.get("static_headers")),
        "env": _marked(fields.get("env")) or {},
        "env_vars": _marked_variables(fields.get("env_vars")),
    }


def for_everyone(fields: Mapping[str, Any]) -> Fields:
    """Return what non-admins read: nothing of the upstream."""
    return {**fields, **_WITHOUT_ADMIN}


def for_restricted(fields: Mapping[str, Any]) -> Fields:
    """Return what a key that is confined to some routes reads: enough to find the server."""
    info = fields.get("mcp_info") or {}
    published = {name: info.get(name) is True for name in ("is_public", "is_public_explicit")}
    return {**fields, **_RESTRICTED, "mcp_info": published}


def _shown_credentials(credentials: Any) -> Fields | None:
    if not isinstance(credentials, Mapping):
        return None
    shown = {name: value for name in MCP_ADMIN_CONFIG_CREDENTIAL_KEYS if (value := credentials.get(name))}
    scopes = credentials.get("scopes")
    if isinstance(scopes, list) and scopes:
        shown["scopes"] = scopes
    return shown or None


def _marked(values: Any) -> dict[str, str] | None:
    return None if values is None else redact_headers(values)


def _marked_variables(variables: Iterable[Mapping[str, Any]] | None) -> list[Fields] | None:
    if variables is None:
        return None
    return [
        {**each, "value": MARKER} if each.get("scope", "global") == "global" and each.get("value") else dict(each)
        for each in variables
    ]


def restore_variables(
    incoming: Iterable[Mapping[str, Any]] | None, stored: Iterable[Mapping[str, Any]] | None
) -> list[Fields] | None:
    """Put stored values back behind the marker, by name; one that was never stored is empty."""
    if incoming is None:
        return None
    known = {each["name"]: each.get("value", "") for each in stored or ()}
    return [
        {**each, "value": known.get(each["name"], "")} if each.get("value") == MARKER else dict(each)
        for each in incoming
    ]


# What LiteLLM's settings say


def public_servers() -> PublicNames:
    """Give access to LiteLLM's list of public servers."""
    return PublicNames("public_mcp_servers")


def is_public(server_id: str, fields: Mapping[str, Any], listed: Iterable[str]) -> bool:
    """Apply LiteLLM's rule of the hub: listed, or (an operator's choice) open to the internet."""
    if server_id in listed:
        return True
    return not litellm.public_mcp_hub_strict_whitelist and bool(fields.get("available_on_public_internet", True))


def registry_is_enabled() -> bool:
    """Tell whether `general_settings.enable_mcp_registry` opens the registry for discovery."""
    return bool(proxy_server().general_settings.get("enable_mcp_registry"))


def everyone_sees_all() -> bool:
    """Tell whether `general_settings.user_mcp_management_mode` lets every user look at every server."""
    return bool(proxy_server().general_settings.get("user_mcp_management_mode") == "view_all")


def builtin_entry() -> tuple[str, str, str]:
    """Return name, description and version of the registry's entry for the gateway itself."""
    endpoints = _endpoints()
    return (
        str(endpoints.LITELLM_MCP_SERVER_NAME),
        str(endpoints.LITELLM_MCP_SERVER_DESCRIPTION),
        str(endpoints.DEFAULT_MCP_REGISTRY_VERSION),
    )


def _endpoints() -> Any:
    """Return LiteLLM's own routes' module; a proxy has imported it, a command may never need it."""
    return importlib.import_module(_ENDPOINTS)
