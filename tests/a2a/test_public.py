"""Public agents: made so by admins, open to every key, on a hub that needs none, and never written into a config."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.a2a import registry as agents
from tests.a2a.conftest import CONFIG_AGENT, Create
from tests.conftest import PLUGIN_CONFIG, ProxyFactory
from tests.support.processes import wait_until
from tests.support.proxy import Proxy, merge

pytestmark = pytest.mark.requirement("A2A-07", "A2A-13")

UPDATED: Final = "Successfully updated public agent groups"
CONFIG_ID: Final = hashlib.sha256(CONFIG_AGENT.encode()).hexdigest()
"""LiteLLM's id of the agent that `configured` declares."""

DECLARED: Final = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("declared", "other")}
"""Agents of a config, by name, with the ids that LiteLLM gives them."""


@pytest.fixture
def bare(registry: Proxy, client: httpx.Client) -> Iterator[None]:
    """Nothing is public before the test, nor after it."""
    assert client.post("/v1/agents/make_public", json={"agent_ids": []}).status_code == 200
    yield
    assert client.post("/v1/agents/make_public", json={"agent_ids": []}).status_code == 200


def hub(proxy: Proxy) -> list[dict[str, Any]]:
    with proxy.client(None) as nobody:
        response = nobody.get("/public/agent_hub")
    assert response.status_code == 200, response.text
    listed: list[dict[str, Any]] = response.json()
    return listed


def urls(proxy: Proxy) -> set[str]:
    return {card["url"] for card in hub(proxy)}


def url_of(proxy: Proxy, agent: dict[str, Any]) -> str:
    return f"{proxy.base_url}/a2a/{agent['agent_id']}"


@pytest.mark.usefixtures("bare")
def test_one_by_one_the_list_grows(registry: Proxy, client: httpx.Client, create: Create) -> None:
    first, second = create(), create()
    answer = client.post(f"/v1/agents/{first['agent_id']}/make_public")
    assert answer.json() == {
        "message": UPDATED,
        "public_agent_groups": [first["agent_id"]],
        "updated_by": "default_user_id",
    }
    named = client.post(agents.path(second["agent_name"]) + "/make_public")
    assert named.json()["public_agent_groups"] == [first["agent_id"], second["agent_id"]]
    again = client.post(f"/v1/agents/{first['agent_id']}/make_public")
    assert again.status_code == 400
    assert again.json() == {"detail": f"Agent with name {first['agent_name']} already in public agent groups"}
    assert urls(registry) == {url_of(registry, first), url_of(registry, second)}
    read = client.get(agents.path(first["agent_id"])).json()
    assert read["litellm_params"]["is_public"] is True
    assert read["updated_by"] == "default_user_id"


@pytest.mark.usefixtures("bare")
def test_the_bulk_form_replaces_the_list_whole_or_not_at_all(
    registry: Proxy, client: httpx.Client, create: Create
) -> None:
    first, second, third = create(), create(), create()
    wanted = [third["agent_id"], first["agent_id"]]
    answer = client.post("/v1/agents/make_public", json={"agent_ids": wanted})
    assert answer.json() == {"message": UPDATED, "public_agent_groups": wanted, "updated_by": "default_user_id"}
    assert urls(registry) == {url_of(registry, first), url_of(registry, third)}
    unknown = client.post("/v1/agents/make_public", json={"agent_ids": [second["agent_id"], "nobody"]})
    assert (unknown.status_code, unknown.json()) == (404, {"detail": "Agent with ID nobody not found"})
    assert urls(registry) == {url_of(registry, first), url_of(registry, third)}
    assert client.post("/v1/agents/make_public", json={"agent_ids": [second["agent_id"]]}).status_code == 200
    assert urls(registry) == {url_of(registry, second)}
    assert client.get(agents.path(first["agent_id"])).json()["litellm_params"]["is_public"] is False


@pytest.mark.parametrize(
    ("sent", "status", "field"),
    [
        ("{}", 422, ["body", "agent_ids"]),
        ('{"agent_ids": "x"}', 422, ["body", "agent_ids"]),
        ('{"agent_ids": [1]}', 422, ["body", "agent_ids", 0]),
        ('{"agent_ids": null}', 422, ["body", "agent_ids"]),
        ("[]", 422, ["body"]),
        ("{", 400, None),
    ],
)
def test_a_wrong_body_is_told_by_its_field(client: httpx.Client, sent: str, status: int, field: Any) -> None:
    answer = client.post("/v1/agents/make_public", content=sent, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    if field is not None:
        assert [error["loc"] for error in answer.json()["detail"]] == [field]


def test_an_unknown_agent_cannot_be_made_public(client: httpx.Client) -> None:
    answer = client.post("/v1/agents/nobody/make_public")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Agent with ID nobody not found"})


@pytest.mark.usefixtures("bare")
def test_public_opens_an_agent_to_every_key_and_closing_it_closes(
    registry: Proxy, client: httpx.Client, create: Create
) -> None:
    agent = create()
    call = {"jsonrpc": "2.0", "id": 1, "method": "no/such"}
    with registry.client(registry.add_key(object_permission={"agents": ["another"]})) as user:

        def statuses() -> list[int]:
            return [
                user.get(agents.path(agent["agent_id"])).status_code,
                user.get(f"/a2a/{agent['agent_id']}/.well-known/agent-card.json").status_code,
                user.post(f"/a2a/{agent['agent_id']}", json=call).status_code,
            ]

        assert statuses() == [403, 403, 403]
        assert client.post(f"/v1/agents/{agent['agent_id']}/make_public").status_code == 200
        assert statuses() == [200, 200, 200]
        assert agent["agent_id"] in [each["agent_id"] for each in user.get("/v1/agents").json()]
        assert client.post("/v1/agents/make_public", json={"agent_ids": []}).status_code == 200
        assert statuses() == [403, 403, 403]


@pytest.mark.usefixtures("bare")
def test_the_hub_shows_cards_without_what_is_behind_them(registry: Proxy, client: httpx.Client, create: Create) -> None:
    agent = create(
        url="http://127.0.0.1:7/inner-address",
        litellm_params={"api_key": "secret-of-the-hub", "api_base": "http://127.0.0.1:7/inner-base"},
        static_headers={"X-A": "secret-of-the-hub"},
    )
    assert hub(registry) == []
    assert client.post(f"/v1/agents/{agent['agent_id']}/make_public").status_code == 200
    (card,) = hub(registry)
    assert card["name"] == "Echo"
    assert card["url"] == url_of(registry, agent)
    assert card["supportedInterfaces"][0]["url"] == url_of(registry, agent)
    assert not [word for word in ("inner-", "secret-of-the-hub", "127.0.0.1:7") if word in str(card)]
    assert client.delete(agents.path(agent["agent_id"])).status_code == 200
    assert hub(registry) == [], "a deleted agent is gone from the hub"


@pytest.mark.usefixtures("bare")
def test_the_trail_says_who_made_what_public(client: httpx.Client, create: Create) -> None:
    agent = create()
    client.post(f"/v1/agents/{agent['agent_id']}/make_public", headers={"x-request-id": "r-public"})
    entries = client.get("/routeiq/audit", params={"object_id": agent["agent_id"]}).json()["entries"]
    assert (entries[0]["action"], entries[0]["request_id"]) == ("agent.make_public", "r-public")
    client.post("/v1/agents/make_public", json={"agent_ids": [agent["agent_id"]]})
    newest = client.get("/routeiq/audit", params={"limit": 1}).json()["entries"][0]
    assert (newest["action"], newest["details"]) == ("agent.make_only_public", {"agent_ids": [agent["agent_id"]]})


def test_an_agent_of_the_config_can_be_public_and_the_config_stays_untouched(configured: Proxy) -> None:
    before = configured.config_path.read_bytes()
    with configured.client() as admin:
        answer = admin.post(agents.path(CONFIG_AGENT) + "/make_public")
        assert answer.status_code == 200, answer.text
        assert CONFIG_ID in answer.json()["public_agent_groups"]
        assert f"{configured.base_url}/a2a/{CONFIG_ID}" in urls(configured)
        assert admin.get(agents.path(CONFIG_ID)).json()["litellm_params"]["is_public"] is True
        assert admin.post(agents.path(CONFIG_ID) + "/make_public").status_code == 400
        assert admin.post("/v1/agents/make_public", json={"agent_ids": []}).status_code == 200
        assert f"{configured.base_url}/a2a/{CONFIG_ID}" not in urls(configured)
    assert configured.config_path.read_bytes() == before


@pytest.fixture
def declared() -> dict[str, Any]:
    """A config with two agents, of which it calls one public."""
    entries = [{"agent_name": name, "agent_card_params": agents.card()} for name in DECLARED]
    return merge(
        PLUGIN_CONFIG,
        {"agents": entries, "litellm_settings": {"public_agent_groups": [DECLARED["declared"]]}},
    )


def test_what_is_public_outlives_the_process(own_proxy: ProxyFactory, declared: dict[str, Any]) -> None:
    with own_proxy(config=declared) as proxy:
        before = proxy.config_path.read_bytes()
        with proxy.client() as admin:
            ours = admin.post("/v1/agents", json=agents.body()).json()["agent_id"]
            added = admin.post(f"/v1/agents/{ours}/make_public").json()
            assert added["public_agent_groups"] == [DECLARED["declared"], ours]
            assert admin.post(f"/v1/agents/{DECLARED['other']}/make_public").status_code == 200
        everything = {f"{proxy.base_url}/a2a/{each}" for each in (ours, *DECLARED.values())}
        assert urls(proxy) == everything
        restarted = proxy.restart()
        try:
            assert urls(restarted) == everything
            with restarted.client() as admin:
                assert admin.post("/v1/agents/make_public", json={"agent_ids": [ours]}).status_code == 200
            restarted.kill()
            restarted = restarted.restart()
            assert urls(restarted) == {f"{proxy.base_url}/a2a/{ours}"}, "the config's own list was replaced"
            assert restarted.config_path.read_bytes() == before
        finally:
            restarted.kill()


def test_what_is_public_reaches_every_process(
    own_proxy: ProxyFactory, declared: dict[str, Any], tmp_path: Path
) -> None:
    shared = merge(declared, {"routeiq": {"database_url": f"sqlite:///{tmp_path}/shared.db"}})
    with (
        own_proxy(config=shared, workdir=tmp_path / "one") as one,
        own_proxy(config=shared, workdir=tmp_path / "two") as two,
        one.client() as admin,
    ):
        ours = admin.post("/v1/agents", json=agents.body()).json()["agent_id"]
        for reference in (ours, DECLARED["other"]):
            assert admin.post(f"/v1/agents/{reference}/make_public").status_code == 200
        for proxy in (one, two):
            _comes_to_show(proxy, ours, *DECLARED.values())
        assert admin.post("/v1/agents/make_public", json={"agent_ids": [ours]}).status_code == 200
        for proxy in (one, two):
            _comes_to_show(proxy, ours)


def _comes_to_show(proxy: Proxy, *agent_ids: str) -> None:
    """Wait until the hub has exactly these."""
    expected = {f"{proxy.base_url}/a2a/{each}" for each in agent_ids}
    wait_until(lambda: urls(proxy) == expected, 30, f"hub of {expected}")
