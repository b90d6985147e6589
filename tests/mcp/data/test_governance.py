"""LiteLLM's hooks, guardrails, limits and events around a tool call: those of stock, once per call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx
import pytest

from tests.mcp.data.calling import Event, Events, Registered, call, error, result
from tests.mcp.data.conftest import HTTP, OwnBackend, Register, Shared
from tests.support.mcp_backends import Speaks
from tests.support.processes import wait_until
from tests.support.proxy import Proxy

pytestmark = pytest.mark.requirement("MCP-08")

# The words of tests/support/mcp_recorder.py, which imports LiteLLM and so is not imported here.
REWRITE: Final = "rewrite-me"
INJECT: Final = "inject-a-header"
SECRET: Final = "4111-1111"

ADD: Final = {"a": 1, "b": 2}


def shape(events: Sequence[Event]) -> list[tuple[Any, ...]]:
    """What of a call's events must be the same on stock and here."""
    told = []
    for each in sorted(events, key=lambda event: event["event"] == "success"):
        metadata = {name: value for name, value in (each["mcp"] or {}).items() if value is not None}
        facts = (each["call_type"], each["model"], each["status"], each["cost"], each.get("error"), metadata)
        told.append((each["event"], tuple(each["keys"]), each.get("tool"), repr(each.get("seen")), repr(facts)))
    return told


def without_meta(answer: httpx.Response) -> dict[str, Any]:
    """An answer without what a server of 2026-07-28 says of itself: stock speaks 2025-11-25 to it."""
    return {name: value for name, value in answer.json().items() if name != "_meta"}


@pytest.fixture(params=HTTP)
def governed(request: pytest.FixtureRequest, registered: Register, backend_that: Shared) -> Registered:
    """A server whose calls have a price, of each generation."""
    cost = {"mcp_server_cost_info": {"default_cost_per_query": 0.25}}
    return registered(backend_that(request.param), "governed", mcp_info=cost)


@pytest.mark.parametrize(
    ("tool", "arguments"), [("add", ADD), ("boom", {}), ("echo", {"text": REWRITE})], ids=["good", "bad", "rewritten"]
)
def test_hooks_and_events_are_those_of_stock(
    client: httpx.Client, governed: Registered, events: Events, tool: str, arguments: Mapping[str, Any]
) -> None:
    server = governed
    body = {"server_id": server.server_id, "name": tool, "arguments": dict(arguments)}
    client.post("/mcp-rest/tools/call", json=body)  # the first one lists tools besides
    wait_until(lambda: any(each["event"] in ("success", "failure") for each in events.all()), 30, "the first end")
    shapes, answers = [], []
    for path in ("/mcp-rest/tools/call", "/mcp/tools/call"):
        before = len(events.all())
        answers.append(client.post(path, json=body))
        shapes.append(shape(events.since(before)))

    stock, ours = shapes
    assert [each[0] for each in ours] == [each[0] for each in stock]
    assert ours == stock
    assert answers[1].status_code == answers[0].status_code == 200
    assert without_meta(answers[1]) == without_meta(answers[0])


def test_each_call_has_one_end_and_its_price(
    client: httpx.Client, registered: Register, backend_that: Shared, events: Events
) -> None:
    cost = {"mcp_server_cost_info": {"default_cost_per_query": 0.25, "tool_name_to_cost_per_query": {"echo": 0.5}}}
    server = registered(backend_that(Speaks.STATELESS), "priced", mcp_info=cost)
    before = len(events.all())

    result(call(client, "add", ADD, server.server_id))
    result(call(client, "echo", {"text": "x"}, server.server_id))
    call(client, "boom", {}, server.server_id)
    call(client, "add", {"a": 1}, server.server_id)
    call(client, "wait", {"gate": "never"}, server.server_id)

    told = events.since(before, ends=5)
    ends = Counter(each["call_id"] for each in told if each["event"] in ("success", "failure"))
    assert set(ends.values()) == {1}
    assert len(ends) == 5
    costs = sorted(each["cost"] for each in told if each["event"] == "success")
    assert costs == [0.25, 0.5]
    assert {each["mcp"]["mcp_server_name"] for each in told if each["event"] == "success"} == {"priced"}


def test_a_hook_may_change_arguments_and_add_a_header_to_that_call_alone(
    client: httpx.Client, registered: Register, backend_that: Shared
) -> None:
    server = registered(backend_that(Speaks.SESSIONS), "hooked")

    assert result(call(client, "echo", {"text": REWRITE}, server.server_id)) == "rewritten"
    assert result(call(client, "echo", {"text": INJECT}, server.server_id)) == INJECT
    assert result(call(client, "echo", {"text": "plain"}, server.server_id)) == "plain"

    calls = [each for each in server.backend.seen() if each.rpc_method == "tools/call"][-2:]
    assert [each.headers.get("x-from-a-hook") for each in calls] == ["of this call", None]
    assert calls[0].headers["mcp-session-id"] == calls[1].headers["mcp-session-id"]


REFUSALS: Final = (
    ("blocking", "a forbidden-word", 403),
    ("late", "a late-word", 422),
    ("always", "forbidden-answer", 403),
)


@pytest.mark.parametrize("refusal", REFUSALS, ids=["before", "during", "after"])
def test_a_guardrail_refuses_before_during_and_after_a_call(
    client: httpx.Client, registered: Register, backend_that: Shared, events: Events, refusal: tuple[str, str, int]
) -> None:
    guardrail, text, status = refusal
    server = registered(backend_that(Speaks.STATELESS), "guarded")
    body = {"server_id": server.server_id, "name": "echo", "arguments": {"text": text}, "guardrails": [guardrail]}
    executed = server.backend.calls().get("echo", 0)
    before = len(events.all())

    refused = client.post("/mcp/tools/call", json=body)

    assert refused.status_code == status, refused.text
    ends = [each["event"] for each in events.since(before) if each["event"] in ("success", "failure")]
    assert ends == ["failure"]
    if guardrail == "blocking":
        assert server.backend.calls().get("echo", 0) == executed
    assert client.post("/mcp/tools/call", json={**body, "arguments": {"text": "harmless"}}).status_code == 200


def test_a_guardrail_masks_what_a_tool_answers(
    client: httpx.Client, registered: Register, backend_that: Shared
) -> None:
    server = registered(backend_that(Speaks.STATELESS), "masked")
    body = {"server_id": server.server_id, "name": "echo", "arguments": {"text": f"card {SECRET}"}}

    ours = without_meta(client.post("/mcp/tools/call", json=body))
    stock = without_meta(client.post("/mcp-rest/tools/call", json=body))

    assert "<card>" in repr(ours)
    assert SECRET not in repr(ours)
    assert ours == stock


def test_a_server_s_own_rate_limit_is_429(
    calling_proxy: Proxy, client: httpx.Client, registered: Register, backend_that: Shared
) -> None:
    server = registered(backend_that(Speaks.STATELESS), "limited", rpm=2)
    key = calling_proxy.add_key(object_permission={"mcp_servers": [server.server_id]})
    with calling_proxy.client(key) as caller:
        statuses = [call(caller, "add", ADD, server.server_id).status_code for _ in range(4)]

    assert statuses == [200, 200, 429, 429]


def test_a_key_s_own_rate_limit_is_429(calling_proxy: Proxy, registered: Register, backend_that: Shared) -> None:
    server = registered(backend_that(Speaks.STATELESS), "for_all")
    key = calling_proxy.add_key(object_permission={"mcp_servers": [server.server_id]}, rpm_limit=4)
    with calling_proxy.client(key) as caller:
        ours = [call(caller, "add", ADD, server.server_id).status_code for _ in range(6)]

    assert ours[0] == 200
    assert ours[-1] == 429


def test_no_secret_reaches_the_callbacks(
    client: httpx.Client, registered: Register, backend_that: Shared, events: Events
) -> None:
    server = registered(
        backend_that(Speaks.STATELESS),
        "discreet",
        auth_type="bearer_token",
        credentials={"auth_value": "canary-of-the-row"},
        static_headers={"X-Static": "canary-static"},
        extra_headers=["X-Tenant"],
    )
    headers = {"x-tenant": "canary-tenant", "x-mcp-discreet-x-own": "canary-own", "cookie": "canary-cookie"}
    before = len(events.all())

    result(call(client, "add", ADD, server.server_id, headers=headers))

    assert "canary" not in repr(events.since(before))


def test_what_was_called_is_counted(
    client: httpx.Client, registered: Register, own_backend: OwnBackend, calling_proxy: Proxy
) -> None:
    server = registered(own_backend(Speaks.STATELESS), "counted_metric")
    result(call(client, "add", ADD, server.server_id))
    call(client, "boom", {}, server.server_id)
    call(client, "add", {}, server.server_id)
    error(call(client, "nothing", {}, server.server_id), 404)

    metrics = client.get("/metrics", follow_redirects=True).text
    ours = [line for line in metrics.splitlines() if line.startswith("routeiq_mcp_requests_total")]
    mine = {line.split("outcome=")[1].split('"')[1]: line for line in ours if 'server="counted_metric"' in line}
    assert set(mine) == {"ok", "tool_error", "rejected"}
    assert all(line.endswith(" 1.0") for line in mine.values())
    facts = client.get("/router/info").json()["features"]["mcp"]
    assert facts["sessions"] >= 1
    assert facts["sessions_opened"] >= facts["sessions"]
