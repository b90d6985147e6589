"""`routeiq export`: what it writes, LiteLLM alone can load; uninstalling loses nothing."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import pytest
import yaml

from routeiq_plugin.store.agents import AgentRecord
from routeiq_plugin.store.mcp_servers import McpServerRecord
from tests.operations.commands import Home

pytestmark = pytest.mark.requirement("PKG-03")

AWKWARD: Final = 'it\'s a "secret" $HOME `x` \\n # no comment'
RECORDS: Final = (
    AgentRecord(
        agent_id="1",
        agent_name="weather report",
        card={"name": "Weather", "url": "http://127.0.0.1:9/", "protocolVersion": "1.0"},
        litellm_params={"api_key": AWKWARD, "model": "m", "nested": {"deep": [{"token": "canary-2"}]}},
        static_headers={"X-Secret": "canary-3"},
        kill_switch={
            "url": "http://127.0.0.1:9/off",
            "auth": {"type": "bearer", "token": "canary-4"},
            "headers": {"X-Switch": "canary-5"},
        },
        extra_headers=("x-a",),
        access_group_ids=("g",),
        object_permission={"models": ["m"]},
        tpm_limit=1,
        rpm_limit=2,
        session_tpm_limit=3,
        session_rpm_limit=4,
    ),
    AgentRecord(agent_id="2", agent_name="weather-report", card={"name": "B"}, static_headers={"X-Secret": "canary-6"}),
    AgentRecord(agent_id="3", agent_name="wetter für 東京", card={"name": "C"}, enabled=False),
)
SECRETS: Final = (AWKWARD, *(f"canary-{number}" for number in range(2, 7)))


@pytest.fixture
def exported(home: Home) -> tuple[Path, Path]:
    """The document and the file of variables."""
    home.store(RECORDS)
    document, variables = home.path / "agents.yaml", home.path / "agents.env"
    variables.write_text("an older, longer file that everyone may read\n" * 100)
    variables.chmod(0o644)
    done = home.run("export", "--output", str(document), "--env-file", str(variables))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return document, variables


def loaded(document: Path, variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Load the document as LiteLLM does: its own resolution of `os.environ/`, its own loader, a registry of its own."""
    from litellm.proxy.agent_endpoints.agent_registry import AgentRegistry
    from litellm.proxy.proxy_server import ProxyConfig

    registry = AgentRegistry()
    with patch.dict(os.environ, variables):
        config = ProxyConfig()._check_for_os_environ_vars(config=yaml.safe_load(document.read_text()))
        registry.load_agents_from_config(config["agents"])
    return {agent.agent_name: agent.model_dump(mode="json") for agent in registry.get_agent_list()}


def sourced(variables: Path) -> dict[str, str]:
    """Read the variables as a POSIX shell does: `set -a; . agents.env`."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'set -a; . {shlex.quote(str(variables))}; exec "{sys.executable}" -c "$PROGRAM"'],
        env={"PATH": os.defpath, "PROGRAM": "import json, os; print(json.dumps(dict(os.environ)))"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names: dict[str, str] = json.loads(done.stdout)
    return {name: value for name, value in names.items() if name.startswith("ROUTEIQ_")}


def dotenv(variables: Path) -> dict[str, str]:
    """Read the variables as LiteLLM does with its `.env`."""
    from dotenv import dotenv_values

    return {name: value or "" for name, value in dotenv_values(variables, interpolate=False).items()}


def test_the_document_holds_no_secret_and_the_variables_are_private(exported: tuple[Path, Path]) -> None:
    document, variables = exported
    text = document.read_text()
    assert [secret for secret in SECRETS if secret in text] == []
    assert yaml.safe_load(text).keys() == {"agents"}
    assert variables.stat().st_mode & 0o777 == 0o600
    assert "older" not in variables.read_text()


def test_a_shell_reads_the_variables_too(exported: tuple[Path, Path]) -> None:
    _, variables = exported
    values = dotenv(variables)
    assert sorted(values.values()) == sorted(SECRETS)
    ordinary = {name: value for name, value in values.items() if value != AWKWARD}
    shell = sourced(variables)
    assert {name: shell.get(name) for name in ordinary} == ordinary


def test_litellm_alone_loads_it_with_every_secret(exported: tuple[Path, Path]) -> None:
    document, variables = exported
    agents = loaded(document, dotenv(variables))
    assert agents.keys() == {record.agent_name for record in RECORDS}
    for record in RECORDS:
        agent = agents[record.agent_name]
        assert agent["agent_card_params"] == dict(record.card)
        assert (agent["litellm_params"] or {}) == dict(record.litellm_params)
        assert (agent["static_headers"] or {}) == dict(record.static_headers)
        assert agent["enabled"] == record.enabled
    first = agents["weather report"]
    assert first["litellm_params"]["api_key"] == AWKWARD
    assert first["litellm_params"]["nested"] == {"deep": [{"token": "canary-2"}]}
    assert first["kill_switch"]["auth"] == {"type": "bearer", "token": "canary-4"}
    assert first["kill_switch"]["headers"] == {"X-Switch": "canary-5"}
    assert [first[name] for name in ("tpm_limit", "rpm_limit", "session_tpm_limit", "session_rpm_limit")] == [
        1,
        2,
        3,
        4,
    ]
    assert (first["extra_headers"], first["access_group_ids"]) == (["x-a"], ["g"])
    assert first["object_permission"]["models"] == ["m"]


def test_standard_output_is_the_document_and_secrets_left_out_are_told(home: Home) -> None:
    home.store(RECORDS)
    done = home.run("export")
    assert done.returncode == 0
    assert [agent["agent_name"] for agent in yaml.safe_load(done.stdout)["agents"]] == [
        record.agent_name for record in RECORDS
    ]
    assert "--env-file" in done.stderr
    assert [secret for secret in SECRETS if secret in done.stdout + done.stderr] == []


def test_what_cannot_be_opened_is_told(home: Home) -> None:
    home.store(RECORDS[:1], salt="sk-another")
    done = home.run("export")
    assert done.returncode == 1
    assert "weather report" in done.stderr


def test_an_absent_database_is_told_and_not_made(home: Home) -> None:
    done = home.run("export")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (home.path / "routeiq.db").exists()


NOW: Final = datetime.now(UTC)
SERVERS: Final = (
    McpServerRecord(
        server_id="id-1",
        config={
            "server_name": "weather",
            "alias": "w",
            "url": "http://127.0.0.1:9/mcp",
            "transport": "http",
            "auth_type": "bearer_token",
            "mcp_access_groups": ["g"],
            "allowed_tools": ["echo"],
            "allow_all_keys": True,
            "description": "Rain",
        },
        secrets={
            "credentials": {"auth_value": AWKWARD, "client_secret": "canary-2", "scopes": ["read"]},
            "static_headers": {"X-Secret": "canary-3"},
            "env": {"TOKEN": "canary-4"},
            "env_vars": [
                {"name": "V", "value": "canary-5", "scope": "global"},
                {"name": "U", "value": "", "scope": "user"},
            ],
        },
        created_at=NOW,
        updated_at=NOW,
    ),
    McpServerRecord(
        server_id="id-2", config={"url": "http://127.0.0.1:9/sse", "transport": "sse"}, created_at=NOW, updated_at=NOW
    ),
)


def test_litellm_alone_loads_the_servers_with_every_secret_and_their_ids(home: Home) -> None:
    from litellm.proxy._experimental.mcp_server.mcp_server_manager import MCPServerManager
    from litellm.proxy.proxy_server import ProxyConfig

    home.store_servers(SERVERS)
    document, variables = home.path / "servers.yaml", home.path / "servers.env"
    command = ("export", "--output", str(document), "--env-file", str(variables))
    done = home.run(*command)
    assert done.returncode == 0, done.stderr
    text = document.read_text()
    assert [secret for secret in (AWKWARD, *SECRETS[1:5]) if secret in text] == []
    manager = MCPServerManager()
    # Which would connect to the servers in a task that cannot be cancelled.
    manager.initialize_tool_name_to_mcp_server_name_mapping = lambda: None
    with patch.dict(os.environ, dotenv(variables)):
        config = ProxyConfig()._check_for_os_environ_vars(config=yaml.safe_load(text))
        asyncio.run(manager.load_servers_from_config(config["mcp_servers"], None))
    first, second = (manager.config_mcp_servers[record.server_id] for record in SERVERS)
    assert (first.server_name, first.alias, first.url, first.transport) == (
        "weather",
        "w",
        "http://127.0.0.1:9/mcp",
        "http",
    )
    assert (first.authentication_token, first.client_secret, first.scopes) == (AWKWARD, "canary-2", ["read"])
    assert (first.static_headers, first.env) == ({"X-Secret": "canary-3"}, {"TOKEN": "canary-4"})
    assert first.env_vars[0]["value"] == "canary-5"
    assert (first.access_groups, first.allowed_tools, first.allow_all_keys) == (["g"], ["echo"], True)
    assert (second.transport, second.url) == ("sse", "http://127.0.0.1:9/sse")
