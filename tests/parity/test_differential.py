"""Installing the plugin breaks nothing: stock and plugin answer alike, call by call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.parity import calls, reads
from tests.parity.calls import Call
from tests.parity.conftest import USER_KEY, Arms, Installation
from tests.parity.fake_provider import FakeProvider
from tests.parity.observation import DROPPED, Observation, observe
from tests.support.proxy import Proxy

CORE = ("CORE-06", "CORE-07", "HLTH-01", "MGMT-01")
"""Rows with GET operations."""

CLOSE = {"Connection": "close"}
"""A connection per request: stock closes some after a failure, and the next request must not meet that."""

SAMPLED_BY_USER = 3
SAMPLED_WITHOUT_KEY = 7
"""Every so manieth route is also read by those who are no admin."""

Answers = Mapping[str, Observation]


@pytest.fixture(scope="module")
def clients(arms: Arms) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """An admin's client per arm."""
    with arms.stock.client(headers=CLOSE) as stock, arms.plugin.client(headers=CLOSE) as plugin:
        yield stock, plugin


@pytest.fixture(scope="module")
def read_paths(installation: Installation, schemas: tuple[dict[str, Any], dict[str, Any]]) -> list[str]:
    """Every GET path of the stock proxy that must not change."""
    paths = reads.templates(installation.routes, schemas[0])
    unknown = {*reads.ENDLESS, *reads.ELSEWHERE, *reads.TELLS_OF_CALLBACKS} - paths
    assert unknown == set(), "an exception names a route that stock does not have"
    return reads.compared(paths)


def marked(call: Call) -> Any:
    """Turn a row of the table into a test of its requirement."""
    return pytest.param(call, id=call.name, marks=pytest.mark.requirement(call.requirement))


@pytest.mark.parametrize("call", [marked(call) for call in calls.CALLS])
def test_a_call_is_answered_alike(
    call: Call, clients: tuple[httpx.Client, httpx.Client], provider: FakeProvider
) -> None:
    stock, asked_by_stock = made(call, clients[0], provider)
    plugin, asked_by_plugin = made(call, clients[1], provider)
    if call.served:
        assert 200 <= stock.status < 300, stock
    assert plugin == stock
    assert asked_by_plugin == asked_by_stock


@pytest.mark.parametrize("call", [marked(call) for call in calls.CALLS if call.served and not call.note])
def test_a_call_without_admin_rights_is_answered_alike(call: Call, arms: Arms) -> None:
    stock, plugin = (_once(proxy, call, USER_KEY) for proxy in arms)
    assert plugin == stock


@pytest.mark.requirement(*CORE)
async def test_every_stock_read_is_answered_alike(arms: Arms, read_paths: list[str]) -> None:
    stock, plugin = await asyncio.gather(*(answers(proxy, read_paths, proxy.master_key) for proxy in arms))
    assert len(stock) > 400
    assert differences(stock, plugin) == {}


@pytest.mark.requirement(*CORE)
async def test_stock_reads_without_admin_rights_are_answered_alike(arms: Arms, read_paths: list[str]) -> None:
    sample = read_paths[::SAMPLED_BY_USER]
    stock, plugin = await asyncio.gather(*(answers(proxy, sample, USER_KEY) for proxy in arms))
    assert differences(stock, plugin) == {}


@pytest.mark.requirement(*CORE)
@pytest.mark.parametrize("key", [None, "sk-nobody-knows-this-key"], ids=["no key", "unknown key"])
async def test_stock_reads_stay_closed(arms: Arms, read_paths: list[str], key: str | None) -> None:
    sample = read_paths[::SAMPLED_WITHOUT_KEY]
    stock, plugin = await asyncio.gather(*(answers(proxy, sample, key) for proxy in arms))
    assert differences(stock, plugin) == {}


@pytest.mark.requirement("CORE-06")
def test_the_plugin_owns_what_is_named_and_no_more(installation: Installation, plugged: Proxy) -> None:
    with plugged.client() as client:
        owned = client.get("/router/info").json()["routes"]["owned"]
    ours = [(method, reads.pattern(path)) for method, path in (name.split(" ", 1) for name in owned)]
    taken = {
        f"{method} {route.path}"
        for route in installation.routes
        for method in route.methods
        if any(method == own and path.fullmatch(reads.example(route.path)) for own, path in ours)
    }
    assert taken == set(reads.OWNED)


@pytest.mark.requirement("A2A-01")
def test_a_configured_agent_is_listed_with_all_that_stock_lists(clients: tuple[httpx.Client, httpx.Client]) -> None:
    stock, plugin = (client.get("/v1/agents").json()[0] for client in clients)
    assert stock.keys() == plugin.keys()
    volatile = {"agent_card_params", "static_headers"}  # the card gains the gateway's interfaces; {} instead of null
    assert {name: plugin[name] for name in plugin.keys() - volatile} == {
        name: stock[name] for name in stock.keys() - volatile
    }
    assert stock["agent_card_params"].items() <= plugin["agent_card_params"].items()


def made(call: Call, client: httpx.Client, provider: FakeProvider) -> tuple[Observation, list[tuple[str, str]]]:
    """Make a call, and note what it made the provider receive."""
    before = len(provider.received)
    response = client.request(call.method, call.path, **call.options())
    return _comparable(call.path, observe(response)), [(each.method, each.path) for each in provider.received[before:]]


def _once(proxy: Proxy, call: Call, key: str) -> Observation:
    with proxy.client(key) as client:
        return observe(client.request(call.method, call.path, **call.options()))


async def answers(proxy: Proxy, paths: Iterable[str], key: str | None) -> Answers:
    """Read every path."""
    async with proxy.async_client(key, headers=CLOSE) as client:
        return {path: _comparable(path, await _read(client, reads.example(path))) for path in paths}


async def _read(client: httpx.AsyncClient, path: str) -> Observation:
    try:
        return observe(await client.get(path))
    except httpx.RemoteProtocolError:
        return DROPPED


def _comparable(path: str, observation: Observation) -> Observation:
    return replace(observation, body=None) if path in reads.TELLS_OF_ITSELF else observation


def differences(stock: Answers, plugin: Answers) -> Mapping[str, tuple[Observation, Observation]]:
    """Name every path that is not answered alike, with both answers."""
    return {path: (stock[path], plugin[path]) for path in stock if stock[path] != plugin[path]}
