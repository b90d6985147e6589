"""Our rows as `agents:` and `mcp_servers:` of a litellm_config.yaml, so that uninstalling the plugin loses nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from routeiq_plugin.host import agents as host_agents
from routeiq_plugin.host import kill_switches
from routeiq_plugin.host import mcp_servers as host_servers
from routeiq_plugin.host.headers import MARKER, redact_headers
from routeiq_plugin.store.agents import AgentRecord
from routeiq_plugin.store.mcp_servers import McpServerRecord

_SETTINGS = (
    "tpm_limit",
    "rpm_limit",
    "session_tpm_limit",
    "session_rpm_limit",
    "object_permission",
    "extra_headers",
    "access_group_ids",
)


@dataclass(frozen=True, slots=True)
class Export:
    """A document without secrets, the secrets by the variable that the document names, and what had to stay behind."""

    document: str
    secrets: Mapping[str, str] = field(repr=False)
    unreadable: Sequence[str] = ()

    def environment(self) -> str:
        """Render the secrets as a dotenv file."""
        return "".join(f"{name}={_quoted(value)}\n" for name, value in self.secrets.items())


def export(records: Sequence[AgentRecord], servers: Sequence[McpServerRecord] = ()) -> Export:
    """Write agents and servers as LiteLLM reads them from its config; each secret becomes `os.environ/NAME`."""
    secrets: dict[str, str] = {}
    sections: dict[str, Any] = {"agents": [_entry(record, secrets) for record in records]}
    if servers:
        sections["mcp_servers"] = {_key(server): _server(server, secrets) for server in servers}
    document = yaml.safe_dump(sections, sort_keys=False, allow_unicode=True)
    lost = [
        *(record.agent_name for record in records if record.unreadable),
        *(server.name for server in servers if server.unreadable),
    ]
    return Export(document, secrets, lost)


def _key(server: McpServerRecord) -> str:
    """Name a server in the file; LiteLLM takes no hyphen there, and a server without a name has only its id."""
    return str(server.config.get("server_name") or server.name).replace("-", "_")


def _server(server: McpServerRecord, secrets: dict[str, str]) -> dict[str, Any]:
    """Write a server with its id, which grants may name; credentials are fields of their own there."""
    prefix = f"ROUTEIQ_MCP_{_variable(server.name)}"
    config = {name: value for name, value in server.config.items() if name != "server_name" and value not in ([], {})}
    entry: dict[str, Any] = {"server_id": server.server_id, **config}
    if "mcp_access_groups" in entry:
        entry["access_groups"] = entry.pop("mcp_access_groups")
    if entry.get("auth_type") == "oauth2":
        entry.setdefault("oauth2_flow", "authorization_code")  # which LiteLLM's config has to say
    fields = {"server_id": server.server_id, **server.config, **server.secrets}
    shown = host_servers.redacted(fields)
    for name, value in (server.secrets.get("credentials") or {}).items():
        twin = (shown["credentials"] or {}).get(name, MARKER)
        entry[name] = _with_variables(value, twin, f"{prefix}_{_variable(name)}", secrets)
    for name in ("static_headers", "env", "env_vars"):
        if server.secrets.get(name):
            value = server.secrets[name]
            entry[name] = _with_variables(value, shown[name], f"{prefix}_{_variable(name)}", secrets)
    return entry


def _entry(record: AgentRecord, secrets: dict[str, str]) -> dict[str, Any]:
    prefix = f"ROUTEIQ_{_variable(record.agent_name)}"
    settings = {name: getattr(record, name) for name in _SETTINGS}
    entry: dict[str, Any] = {
        "agent_name": record.agent_name,
        "agent_card_params": dict(record.card),
        **{name: list(value) if isinstance(value, tuple) else value for name, value in settings.items() if value},
    }
    redacted = kill_switches.redact(record.kill_switch)
    for name, value, shown in (
        ("litellm_params", dict(record.litellm_params), host_agents.redact_params(record.litellm_params)),
        ("static_headers", dict(record.static_headers), redact_headers(record.static_headers)),
        ("kill_switch", record.kill_switch, redacted),
    ):
        if value:
            entry[name] = _with_variables(value, shown, f"{prefix}_{_variable(name)}", secrets)
    if not record.enabled:
        entry["enabled"] = False
    return entry


def _with_variables(value: Any, shown: Any, name: str, secrets: dict[str, str]) -> Any:
    """Walk a value beside its redacted twin: where the twin has the marker, a variable takes the secret's place."""
    if shown == MARKER and value != MARKER:
        variable = next(_free(name, secrets))
        secrets[variable] = value if isinstance(value, str) else yaml.safe_dump(value)
        return f"os.environ/{variable}"
    if isinstance(value, Mapping):
        return {
            key: _with_variables(each, shown[key], f"{name}_{_variable(key)}", secrets) for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        pairs = enumerate(zip(value, shown, strict=True))
        return [_with_variables(each, twin, f"{name}_{position}", secrets) for position, (each, twin) in pairs]
    return value


def _free(name: str, taken: Mapping[str, str]) -> Iterator[str]:
    """Yield the name, then numbered ones: two agents' names may differ only in what a variable cannot hold."""
    if name not in taken:
        yield name
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    yield f"{name}_{number}"


def _variable(text: str) -> str:
    return re.sub(r"\W", "_", str(text), flags=re.ASCII).upper()


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
