"""What the tests of activity, breakers and metrics share: the proxy's config, and looks from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx

from tests.a2a.calls import Registered, sending
from tests.conftest import PLUGIN_CONFIG
from tests.support.processes import wait_until
from tests.support.proxy import PLUGIN, Proxy, merge

FAILURES: Final = 3
COOLDOWN: Final = 0.5
PATIENCE: Final = 30.0
"""Seconds until a test gives up on what happens in the background."""

CONFIG: Final[Mapping[str, Any]] = merge(
    PLUGIN_CONFIG,
    {
        "routeiq": {
            "a2a": {"breaker": {"failures": FAILURES, "cooldown_seconds": COOLDOWN}},
            "outbound": {"timeout_seconds": 2},
        },
        "litellm_settings": {"callbacks": ["prometheus", PLUGIN]},
    },
)

Node = dict[str, Any]


def say(client: httpx.Client, agent: Registered, text: str = "hello", **options: Any) -> httpx.Response:
    """Call an agent."""
    return client.post(agent.url, json=sending(text, **options))


def days() -> dict[str, str]:
    """A range that holds today wherever midnight falls during the test."""
    today = datetime.now(UTC).date()
    return {
        "start_date": (today - timedelta(days=1)).isoformat(),
        "end_date": (today + timedelta(days=1)).isoformat(),
    }


def activity(proxy: Proxy, key: str | None = None, **query: Any) -> Node:
    """Fetch daily activity, as admin unless a key is given; every row unless a page is."""
    with proxy.client(key or proxy.master_key) as client:
        response = client.get("/agent/daily/activity", params={**days(), "page_size": 1000, **query})
    assert response.status_code == 200, response.text
    told: Node = response.json()
    return told


def recorded(proxy: Proxy, agent_id: str, calls: int, key: str | None = None) -> Node:
    """Return an agent's activity once it says so many calls."""
    until(lambda: activity(proxy, key, agent_ids=agent_id)["metadata"]["total_api_requests"] >= calls, "activity")
    return activity(proxy, key, agent_ids=agent_id)


def metrics(proxy: Proxy) -> str:
    """Fetch `/metrics`."""
    with proxy.client(follow_redirects=True) as client:
        response = client.get("/metrics")
    assert response.status_code == 200, response.text
    return response.text


def ours(proxy: Proxy) -> str:
    """Our samples alone: LiteLLM names agents in its own too, as models, and keeps those."""
    return "\n".join(line for line in metrics(proxy).splitlines() if line.startswith("routeiq_"))


def series(proxy: Proxy, name: str, **labels: str) -> dict[frozenset[tuple[str, str]], float]:
    """Return the values of the samples of one name that have these labels among theirs."""
    from prometheus_client.parser import text_string_to_metric_families

    return {
        frozenset(sample.labels.items()): sample.value
        for family in text_string_to_metric_families(metrics(proxy))
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    }


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that happens in the background of the proxy."""
    wait_until(condition, PATIENCE, what)
