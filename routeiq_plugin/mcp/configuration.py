"""What may be registered as an MCP server: names, addresses, headers and commands, and how a change is merged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from routeiq_plugin.errors import Conflict, InvalidFields, InvalidRequest
from routeiq_plugin.host import mcp_servers as host_servers
from routeiq_plugin.host.headers import MARKER, VALUES, is_name, is_value, restore_headers
from routeiq_plugin.host.mcp_servers import Fields
from routeiq_plugin.host.names import RESERVED_NAMES
from routeiq_plugin.mcp.model import SECRET_FIELDS
from routeiq_plugin.store.mcp_servers import NAMES, McpServerRecord

MAX_NAME: Final = 256

ADDRESSES: Final = (
    "url",
    "spec_path",
    "issuer",
    "authorization_url",
    "token_url",
    "registration_url",
    "token_exchange_endpoint",
)
"""Fields that say where somebody will connect to."""
_CREDENTIAL_ADDRESSES: Final = ("id_jag_resource_token_endpoint", "dcr_issuer", "dcr_server_url")

PATH_WORDS: Final = RESERVED_NAMES | {"mcp", "toolset", "v1"}
"""Besides the gateway's own, words of LiteLLM's paths to a server: `/mcp/{name}`, `/{name}/mcp`."""

SPECIAL_IDS: Final = frozenset({"all-team-mcpservers", "all-proxy-mcpservers", "no-mcp-servers"})
"""Ids that mean something in a grant."""

STDIO_OFF: Final = (
    "transport: stdio servers are off on this proxy; an operator turns them on with `routeiq.mcp.stdio: true`"
)


def require_valid(server_id: str, fields: Mapping[str, Any], *, stdio: bool) -> None:
    """Check a whole configuration; raises `InvalidFields` or, with LiteLLM's words where it has some, a 400."""
    _require_names(server_id, fields)
    if fields.get("transport") == "stdio" and not stdio:
        raise InvalidRequest({"error": STDIO_OFF})
    for name, value in (fields.get("static_headers") or {}).items():
        if not is_name(name) or not is_value(value):
            raise InvalidFields.of(f"static_headers.{name}", VALUES)
    for position, name in enumerate(fields.get("extra_headers") or ()):
        if not is_name(name):
            raise InvalidFields.of(f"extra_headers.{position}", VALUES)
    auth_value = (fields.get("credentials") or {}).get("auth_value")
    if auth_value and not is_value(auth_value):
        raise InvalidFields.of("credentials.auth_value", VALUES)


def _require_names(server_id: str, fields: Mapping[str, Any]) -> None:
    if server_id in SPECIAL_IDS:
        raise InvalidRequest({"error": f"MCP Server with id {server_id} is special and cannot be used."})
    for field, value in (("server_id", server_id), *((name, fields.get(name)) for name in NAMES)):
        if value is None:
            continue
        text = str(value)
        if not text.strip() or len(text) > MAX_NAME or "/" in text or not text.isprintable() or text in (".", ".."):
            raise InvalidRequest({"error": f"{field}: use 1 to {MAX_NAME} printable characters without '/'"})
        if text.lower() in PATH_WORDS:
            raise InvalidRequest({"error": f"{field}: '{text}' is a path word of the gateway; choose another name"})


def addresses(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the field and the URL of everything that a server lets somebody connect to."""
    for name in ADDRESSES:
        if fields.get(name):
            yield name, str(fields[name])
    credentials = fields.get("credentials") or {}
    for name in _CREDENTIAL_ADDRESSES:
        if credentials.get(name):
            yield f"credentials.{name}", str(credentials[name])


def merged(current: Mapping[str, Any], change: Fields) -> Fields:
    """Apply what a change names to stored fields: null clears, the marker keeps a secret, credentials are merged.

    LiteLLM's rules: another address or another way of proof clears what was proved to the old one.
    """
    stale, kept = host_servers.auth_edit(current, change)
    whole = {**current, **change, **stale}
    given = change.get("credentials")
    whole["credentials"] = None if "credentials" in change and given is None else {**kept, **(given or {})}
    for name in ("static_headers", "env"):
        if change.get(name) is not None:
            whole[name] = restore_headers(change[name], current.get(name) or {})
    if change.get("env_vars") is not None:
        whole["env_vars"] = host_servers.restore_variables(change["env_vars"], current.get("env_vars"))
    return whole


def resealed(record: McpServerRecord, change: Mapping[str, Any]) -> McpServerRecord:
    """Let a server whose secrets cannot be opened be given new ones; all of them, since none can be kept."""
    sealed = {name: change[name] for name in SECRET_FIELDS if name in change}
    if not record.unreadable or not sealed:
        return record
    if MARKER in json.dumps(sealed):
        raise Conflict(
            f"MCP server '{record.name}' was sealed with another key, so '{MARKER}' stands for nothing: "
            "send its secrets again, or run `routeiq secrets rotate`"
        )
    return replace(record, unreadable=False)


def split(fields: Mapping[str, Any]) -> tuple[Fields, Fields]:
    """Part stored fields into those that are not secret and those that are; what is empty is not stored."""
    kept = {name: value for name, value in fields.items() if value is not None and name not in _OF_THE_ROW}
    secret = {name: kept.pop(name) for name in SECRET_FIELDS if name in kept}
    return kept, {name: value for name, value in secret.items() if value}


_OF_THE_ROW: Final = frozenset({"server_id", "created_at", "created_by", "updated_at", "updated_by"})
