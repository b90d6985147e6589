"""Agents' secrets: they reach the backend, survive what clients send back, and are readable nowhere else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from psycopg import sql

from tests.a2a import registry as agents
from tests.a2a.conftest import Create
from tests.a2a.registry import MARKER
from tests.support import processes
from tests.support.backends import Backend, agent
from tests.support.postgres import execute
from tests.support.proxy import Proxy

TOKEN: Final = "canary-token-6b1f"
HEADER: Final = "canary-header-0c9e"
SWITCH: Final = "canary-switch-77aa"
SWITCH_HEADER: Final = "canary-switch-header-4d2b"
NESTED: Final = "canary-nested-e51d"
CANARIES: Final = (TOKEN, HEADER, SWITCH, SWITCH_HEADER, NESTED)


@pytest.fixture(scope="module")
def strict() -> Iterator[Backend]:
    """An agent that answers only calls that carry both secrets."""
    with agent("1.0", require={"authorization": f"Bearer {TOKEN}", "x-static": HEADER}) as running:
        yield running


def fields(switch_url: str = agents.NOWHERE) -> dict[str, Any]:
    """Build every kind of secret that an agent can be given."""
    return {
        "litellm_params": {"api_key": TOKEN, "nested": {"deep": [{"token": NESTED, "region": "here"}]}},
        "static_headers": {"X-Static": HEADER},
        "kill_switch": {
            "url": switch_url,
            "auth": {"type": "bearer", "token": SWITCH},
            "headers": {"X-Switch": SWITCH_HEADER},
        },
    }


def assert_works(client: httpx.Client, agent_id: str) -> None:
    assert agents.answer_of(agents.call(client, agent_id)) == "echo: hello"


@pytest.mark.requirement("A2A-04")
def test_an_agent_that_was_read_edited_and_put_back_works_as_before(
    client: httpx.Client, create: Create, strict: Backend
) -> None:
    agent = create(url=strict.url, **fields())
    assert_works(client, agent["agent_id"])
    edited = agent | {"tpm_limit": 1_000_000}
    answer = client.put(agents.path(agent["agent_id"]), json=edited)
    assert answer.status_code == 200, answer.text
    assert answer.json()["agent_card_params"] == agent["agent_card_params"], "the backend is not the gateway now"
    assert_works(client, agent["agent_id"])
    again = client.put(agents.path(agent["agent_id"]), json=answer.json())
    assert {**again.json(), "updated_at": ""} == {**answer.json(), "updated_at": ""}
    assert_works(client, agent["agent_id"])


@pytest.mark.requirement("A2A-04")
def test_a_card_without_its_backend_url_put_back_keeps_the_backend(
    client: httpx.Client, create: Create, strict: Backend
) -> None:
    interfaces = [{"url": strict.url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}]
    card = agents.card(supportedInterfaces=interfaces)
    del card["url"]
    agent = create(agent_card_params=card, **fields())
    shown = agent["agent_card_params"]
    assert client.put(agents.path(agent["agent_id"]), json=agent).status_code == 200
    assert_works(client, agent["agent_id"])
    del shown["url"]
    assert client.put(agents.path(agent["agent_id"]), json={**agent, "updated_at": None}).status_code == 200
    assert_works(client, agent["agent_id"])


@pytest.mark.requirement("A2A-04", "A2A-05")
@pytest.mark.parametrize(
    "change",
    [
        {"litellm_params": {"api_key": MARKER}},
        {"litellm_params": {"model": "left out, so kept"}},
        {"static_headers": {"X-Static": MARKER, "X-More": "1"}},
        {"kill_switch": None},
        {"tpm_limit": 5},
    ],
    ids="-".join,
)
def test_the_marker_and_what_is_left_out_keep_a_secret(
    client: httpx.Client, create: Create, strict: Backend, change: Mapping[str, Any]
) -> None:
    agent = create(url=strict.url, **fields())
    assert client.patch(agents.path(agent["agent_id"]), json=change).status_code == 200
    assert_works(client, agent["agent_id"])


@pytest.mark.requirement("A2A-05")
@pytest.mark.parametrize(
    "change",
    [
        {"litellm_params": {"api_key": "another"}},
        {"static_headers": {"X-Static": "another"}},
        {"static_headers": {}},
        {"static_headers": {"X-Other": MARKER}},
    ],
)
def test_a_new_value_replaces_a_secret_at_once(
    client: httpx.Client, create: Create, strict: Backend, change: Mapping[str, Any]
) -> None:
    agent = create(url=strict.url, **fields())
    assert_works(client, agent["agent_id"])
    changed = client.patch(agents.path(agent["agent_id"]), json=change)
    assert changed.status_code == 200, changed.text
    refused = agents.call(client, agent["agent_id"]).json()
    assert "error" in refused, "the backend did not get what it demands"
    given_back = {"litellm_params": {"api_key": TOKEN}, "static_headers": {"X-Static": HEADER}}
    assert client.patch(agents.path(agent["agent_id"]), json=given_back).status_code == 200
    assert_works(client, agent["agent_id"])


@pytest.mark.requirement("A2A-04", "A2A-05")
def test_the_kill_switch_keeps_its_credentials_behind_the_marker(
    client: httpx.Client, create: Create, strict: Backend
) -> None:
    agent = create(url=strict.url, **fields(f"{strict.url}off"))
    assert client.put(agents.path(agent["agent_id"]), json=agent).status_code == 200
    client.post(f"{agents.path(agent['agent_id'])}/kill_switch")
    fired = [request for request in strict.seen() if request.path == "/off"][-1]
    assert fired.headers["authorization"] == f"Bearer {SWITCH}"
    assert fired.headers["x-switch"] == SWITCH_HEADER


@pytest.mark.requirement("A2A-04", "PKG-03")
def test_secrets_deep_in_litellm_params_survive_and_can_be_exported(
    registry: Proxy, client: httpx.Client, create: Create, tmp_path: Path
) -> None:
    agent = create(**fields())
    assert client.put(agents.path(agent["agent_id"]), json=agent).status_code == 200
    variables = tmp_path / "env"
    exported = subprocess.run(
        [
            *(sys.executable, "-m", "routeiq_plugin.cli", "export"),
            *("--config", str(registry.config_path), "--env-file", str(variables)),
        ],
        cwd=registry.workdir,
        env=processes.clean_environment(registry.launch.env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert exported.returncode == 0, exported.stderr
    assert variables.stat().st_mode & 0o777 == 0o600
    assert [canary for canary in CANARIES if canary not in variables.read_text()] == []
    assert readable(exported.stdout + exported.stderr) == []


@pytest.mark.requirement("A2A-02", "PKG-02")
def test_a_secret_is_readable_nowhere(
    registry: Proxy, client: httpx.Client, create: Create, strict: Backend, database_url: str
) -> None:
    told: list[str] = []
    agent = create(url=strict.url, **fields())
    told.append(str(agent))
    own = agents.path(agent["agent_id"])
    wrong: list[dict[str, Any]] = [
        {"static_headers": HEADER},
        {"static_headers": {"X-Static": {"inner": HEADER}}},
        {"static_headers": {"X-Static": f"{HEADER}\n"}},
        {"litellm_params": TOKEN},
        {"litellm_params": {"api_key": f"{TOKEN}\n"}},
        {"kill_switch": {"url": agents.NOWHERE, "auth": {"type": "bearer", "token": [SWITCH]}}},
        {"kill_switch": {"url": agents.NOWHERE, "auth": {"type": "none", "token": SWITCH}}},
        {"colour": TOKEN},
    ]
    for change in wrong:
        answer = client.patch(own, json=change)
        assert answer.status_code == 422, answer.text
        told.append(answer.text)
    told.append(client.post("/v1/agents", content=f'{{"static_headers": "{HEADER}"'.encode()).text)
    unreachable = create(**fields())
    for response in (
        client.patch(own, json={"tpm_limit": 1_000_000}),
        client.put(own, json=agents.body(agent["agent_name"], strict.url, **fields())),
        client.get("/v1/agents"),
        client.get("/v1/agents?health_check=true"),
        client.get(own),
        client.get(f"/a2a/{agent['agent_id']}/.well-known/agent-card.json"),
        agents.call(client, agent["agent_id"]),
        agents.call(client, unreachable["agent_id"]),
        client.get("/router/info"),
        client.get("/routeiq/audit", params={"limit": 500}),
    ):
        assert response.status_code == 200, response.text
        told += [response.text, str(response.headers)]
    assert readable("\n".join(told)) == []
    assert readable(registry.log()) == []
    stored = at_rest(registry, database_url)
    assert agent["agent_name"] in stored, "we are looking in the right place"
    assert readable(stored) == []


def readable(text: str) -> list[str]:
    """Name the canaries that a text shows."""
    return [canary for canary in CANARIES if canary in text]


def at_rest(proxy: Proxy, database_url: str) -> str:
    """Return all that the proxy's database holds: the bytes of its files, or every row of every table."""
    files = list(proxy.workdir.glob("routeiq.db*"))
    if files:
        return "\n".join(file.read_bytes().decode("latin-1") for file in files)
    tables = execute(database_url, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    return "\n".join(
        str(execute(database_url, sql.SQL("SELECT to_json(t)::text FROM {} t").format(sql.Identifier(name))))
        for (name,) in tables
    )
