"""A database that is away: the proxy boots and serves models, our routes say when to come back, and it heals alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.a2a import registry as agents
from tests.a2a.relay import relay
from tests.conftest import PLUGIN_CONFIG, ProxyFactory
from tests.support import processes
from tests.support.postgres import outage
from tests.support.proxy import ANSWER, MODEL, Proxy, merge

HEAL_SECONDS = 60.0
OURS = (
    ("GET", "/v1/agents"),
    ("GET", "/a2a/agents"),
    ("GET", "/v1/agents/x"),
    ("POST", "/v1/agents"),
    ("PUT", "/v1/agents/x"),
    ("PATCH", "/v1/agents/x"),
    ("DELETE", "/v1/agents/x"),
    ("GET", "/a2a/x/.well-known/agent-card.json"),
    ("POST", "/a2a/x"),
    ("GET", "/routeiq/audit"),
)


def with_database(url: str) -> dict[str, Any]:
    return merge(PLUGIN_CONFIG, {"routeiq": {"database_url": url}})


def assert_models_run(client: httpx.Client) -> None:
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
    response = client.post("/v1/chat/completions", json=chat)
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["message"]["content"] == ANSWER


def assert_asks_to_come_back(response: httpx.Response) -> None:
    assert response.status_code == 503, response.text
    assert int(response.headers["Retry-After"]) >= 1


def assert_away_then_heals(proxy: Proxy, secrets: tuple[str, ...], heal: Any) -> None:
    """Go through an outage that began before the boot; `heal` is a context in which the database is there."""
    with proxy.client() as client, proxy.client(proxy.add_key()) as plain:
        assert_models_run(client)
        for method, path in OURS:
            body = agents.body() if method in ("POST", "PUT", "PATCH") else None
            assert_asks_to_come_back(client.request(method, path, json=body))
        for path in ("/v1/agents", "/v1/agents/x", "/a2a/x/.well-known/agent-card.json", "/router/info"):
            told = plain.get(path).text
            assert [secret for secret in secrets if secret in told] == [], path
        with proxy.client(None) as nobody:
            assert nobody.get("/v1/agents").status_code == 401, "an outage is no news for strangers"
        told = client.get("/router/info").json()
        assert told["features"]["a2a"]["state"] == "unavailable"
        assert told["features"]["a2a"]["reason"]
        assert (told["database"]["reachable"], bool(told["database"]["error"])) == (False, True)
        assert {fault["where"] for fault in told["faults"]} == {"database"}
        with heal:
            processes.wait_until(lambda: client.get("/v1/agents").status_code == 200, HEAL_SECONDS, "healing")
            agent = client.post("/v1/agents", json=agents.body())
            assert agent.status_code == 200, agent.text
            assert client.get(agents.path(agent.json()["agent_id"])).json() == agent.json()
            told = client.get("/router/info").json()
            assert (told["features"]["a2a"]["state"], told["database"]["reachable"]) == ("ready", True)
            assert_models_run(client)
    assert proxy.log().count("routeiq: database: ") == 1, "it is logged once"


@pytest.mark.requirement("PKG-02", "PKG-01")
def test_a_postgresql_that_comes_after_the_proxy(own_proxy: ProxyFactory, fresh_database: str) -> None:
    real = httpx.URL(fresh_database)
    port = processes.free_port()
    url = str(real.copy_with(port=port))
    assert real.port is not None
    with own_proxy(config=with_database(url)) as proxy:
        assert_away_then_heals(proxy, (str(port), str(real.password)), relay(port, real.port))
        assert str(real.password) not in proxy.log()


@pytest.mark.requirement("PKG-02", "PKG-01")
def test_a_directory_that_comes_after_the_proxy(own_proxy: ProxyFactory, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    with own_proxy(config=with_database(f"sqlite:///{volume}/routeiq.db")) as proxy:
        assert_away_then_heals(proxy, (str(volume),), _Directory(volume))


class _Directory:
    """A context in which the directory is there, and stays."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._path.mkdir()

    def __exit__(self, *_: object) -> None:
        return


@pytest.mark.requirement("PKG-02", "A2A-01", "A2A-03")
def test_an_outage_later_leaves_reads_and_refuses_writes(configured: Proxy, database_url: str) -> None:
    with configured.client() as client:
        agent = client.post("/v1/agents", json=agents.body()).json()
        own = agents.path(agent["agent_id"])
        with outage(database_url):
            assert client.get(own).json() == agent
            assert agent in client.get("/v1/agents").json()
            for response in (
                client.post("/v1/agents", json=agents.body()),
                client.put(own, json=agents.body()),
                client.patch(own, json={"tpm_limit": 1}),
                client.delete(own),
                client.get("/routeiq/audit"),
                client.get("/v1/agents/nobody-knows-while-it-is-away"),
            ):
                assert_asks_to_come_back(response)
            assert agents.info(configured)["database"]["reachable"] is False
            processes.wait_until(
                lambda: agents.info(configured)["database"]["followed"] is False, HEAL_SECONDS, "losing the database"
            )
            assert "unavailable" in agents.info(configured)["database"]["follow_error"]
            assert not {"error", "follow_error", "url"} & set(agents.info(configured, configured.add_key())["database"])
            assert_models_run(client)
        processes.wait_until(
            lambda: client.patch(own, json={"tpm_limit": 2}).status_code == 200, HEAL_SECONDS, "writes"
        )
        processes.wait_until(lambda: agents.info(configured)["database"]["followed"], HEAL_SECONDS, "following")
        assert client.get(own).json()["tpm_limit"] == 2
        assert client.delete(own).status_code == 200
