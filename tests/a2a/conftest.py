"""Proxies for the agents' tests: the shared one on SQLite, and one on PostgreSQL that has agents in its config too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx
import pytest

from tests.a2a import events, oversight, webhooks
from tests.a2a import guarded as guarded_proxy
from tests.a2a import registry as agents
from tests.a2a.carded import Carded, carded
from tests.a2a.scripted import Scripted, scripted
from tests.a2a.webhooks import Webhook
from tests.conftest import PLUGIN_CONFIG
from tests.support.postgres import create_database
from tests.support.proxy import Proxy, merge, running_proxy

CONFIG_AGENT: Final = "from the config"

Create = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def database_url(postgres_url: str) -> str:
    """URL of the database of `configured`, on the shared server."""
    assert postgres_url
    return create_database()


@pytest.fixture
def fresh_database(postgres_url: str) -> str:
    """URL of an empty database of the test's own, on the shared server."""
    assert postgres_url
    return create_database()


@pytest.fixture(scope="session")
def configured(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> Iterator[Proxy]:
    """A proxy on PostgreSQL, with an agent of LiteLLM's own config, under LiteLLM's own rule of access."""
    config = merge(
        PLUGIN_CONFIG,
        {
            "routeiq": {"database_url": database_url, "a2a": {"default_access": "litellm"}},
            "agents": [{"agent_name": CONFIG_AGENT, "agent_card_params": agents.card(description="from a file")}],
        },
    )
    with running_proxy(tmp_path_factory.mktemp("configured"), config=config) as running:
        yield running


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def registry(request: pytest.FixtureRequest) -> Proxy:
    """Each database in turn."""
    running: Proxy = request.getfixturevalue({"sqlite": "proxy", "postgresql": "configured"}[request.param])
    return running


@pytest.fixture(scope="session")
def client(registry: Proxy) -> Iterator[httpx.Client]:
    """An administrator's client of `registry`."""
    with registry.client() as opened:
        yield opened


@pytest.fixture
def create(client: httpx.Client) -> Iterator[Create]:
    """Register an agent that is gone after the test: `create(name, url, **fields)` returns the answer."""
    created: list[str] = []

    def register(name: str | None = None, url: str = agents.NOWHERE, **fields: Any) -> dict[str, Any]:
        response = client.post("/v1/agents", json=agents.body(name, url, **fields))
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        created.append(answer["agent_id"])
        return answer

    yield register
    for agent_id in created:
        assert client.delete(agents.path(agent_id)).status_code in (200, 404)


@pytest.fixture(scope="session")
def script() -> Iterator[Scripted]:
    """An agent that answers as badly as it is told to."""
    with scripted() as server:
        yield server


@pytest.fixture(scope="session")
def carding() -> Iterator[Carded]:
    """A server of cards, for `site`."""
    with carded() as server:
        yield server


@pytest.fixture
def site(carding: Carded) -> Carded:
    """A backend that shows nothing but the cards that it is given, and has been asked for none."""
    carding.reset()
    return carding


@pytest.fixture(scope="session")
def canary() -> Iterator[Scripted]:
    """A listener that nobody may reach; `canary.connections` must stay 0."""
    with scripted() as server:
        yield server


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory, script: Scripted, canary: Scripted) -> Iterator[Proxy]:
    """A proxy that may call `script` alone, briefly and for little; `tests.a2a.guarded.client` talks to it."""
    workdir = tmp_path_factory.mktemp("guarded")
    with running_proxy(workdir, **guarded_proxy.options(workdir, script, canary)) as running:
        yield running


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy on SQLite that shows metrics and is quick to give up on an agent."""
    with running_proxy(tmp_path_factory.mktemp("watched"), config=oversight.CONFIG) as running:
        yield running


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy whose callbacks write down what LiteLLM tells them, with guardrails that agents may name."""
    workdir = tmp_path_factory.mktemp("recorded")
    with running_proxy(workdir, **events.options(workdir)) as running:
        yield running


@pytest.fixture(scope="session")
def told(recorded: Proxy) -> events.Events:
    """What the callbacks of `recorded` were told."""
    return events.Events.of(recorded)


@pytest.fixture(scope="session")
def reachable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that knows where agents reach it, so that it can relay their notifications."""
    with running_proxy(tmp_path_factory.mktemp("reachable"), **webhooks.options()) as running:
        yield running


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A client's webhook."""
    with webhooks.webhook() as server:
        yield server
