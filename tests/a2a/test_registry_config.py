"""Agents of LiteLLM's own config beside ours: listed and readable, and changed by nobody but stock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.a2a import registry as agents
from tests.a2a.conftest import CONFIG_AGENT
from tests.a2a.registry import KEYS
from tests.support.proxy import Proxy


@pytest.fixture(scope="module")
def admin_client(configured: Proxy) -> Iterator[httpx.Client]:
    with configured.client() as opened:
        yield opened


@pytest.fixture(scope="module")
def declared(admin_client: httpx.Client) -> dict[str, Any]:
    """The config's agent as it is listed."""
    (found,) = (each for each in admin_client.get("/v1/agents").json() if each["agent_name"] == CONFIG_AGENT)
    return dict(found)


@pytest.mark.requirement("A2A-01")
def test_config_agents_are_listed_beside_ours_under_litellms_id(
    admin_client: httpx.Client, declared: dict[str, Any]
) -> None:
    ours = admin_client.post("/v1/agents", json=agents.body()).json()
    listed = {each["agent_id"] for each in admin_client.get("/a2a/agents").json()}
    assert {ours["agent_id"], declared["agent_id"]} <= listed
    assert declared.keys() >= KEYS
    assert declared["agent_id"] == hashlib.sha256(CONFIG_AGENT.encode()).hexdigest()
    assert declared["agent_card_params"]["description"] == "from a file"
    assert admin_client.delete(agents.path(ours["agent_id"])).status_code == 200


@pytest.mark.requirement("A2A-03")
@pytest.mark.parametrize("base", ["/v1/agents", "/a2a/agents"])
def test_config_agents_are_readable_by_id_and_name(
    admin_client: httpx.Client, declared: dict[str, Any], base: str
) -> None:
    for reference in (declared["agent_id"], CONFIG_AGENT):
        response = admin_client.get(agents.path(reference, base))
        assert (response.status_code, response.json()) == (200, declared)
        assert "ETag" not in response.headers, "it has no version of ours"
        assert admin_client.get(agents.path(reference, "/a2a") + "/.well-known/agent-card.json").status_code == 200


@pytest.mark.requirement("A2A-02", "A2A-05")
def test_a_name_of_the_config_is_taken(admin_client: httpx.Client) -> None:
    taken = {"detail": f"Agent with name {CONFIG_AGENT} already exists"}
    response = admin_client.post("/v1/agents", json=agents.body(CONFIG_AGENT))
    assert (response.status_code, response.json()) == (400, taken)
    ours = admin_client.post("/v1/agents", json=agents.body()).json()
    renamed = admin_client.patch(agents.path(ours["agent_id"]), json={"agent_name": CONFIG_AGENT})
    assert (renamed.status_code, renamed.json()) == (400, taken)
    assert admin_client.delete(agents.path(ours["agent_id"])).status_code == 200


@pytest.mark.requirement("A2A-04", "A2A-05", "A2A-06")
@pytest.mark.parametrize("base", ["/v1/agents", "/a2a/agents"])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_changing_a_config_agent_is_stocks_business(
    admin_client: httpx.Client, stock: Proxy, declared: dict[str, Any], method: str, base: str
) -> None:
    body = {"PUT": agents.body(CONFIG_AGENT), "PATCH": {"tpm_limit": 1}}.get(method)
    with stock.client() as bare:
        expected = bare.request(method, agents.path(declared["agent_id"]), json=body)
    for reference in (declared["agent_id"], CONFIG_AGENT):
        response = admin_client.request(method, agents.path(reference, base), json=body)
        assert (response.status_code, response.json()) == (expected.status_code, expected.json())
    assert admin_client.get(agents.path(declared["agent_id"])).json() == declared


@pytest.mark.requirement("A2A-04")
def test_stock_gets_the_body_that_was_sent(admin_client: httpx.Client, declared: dict[str, Any]) -> None:
    response = admin_client.put(agents.path(declared["agent_id"]), json={"agent_name": "x", "tpm_limit": "many"})
    assert response.status_code == 422
    assert "tpm_limit" in response.text
