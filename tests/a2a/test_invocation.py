"""Calling agents: the official clients of both protocol versions, and every spelling of the one URL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from a2a.client import A2ACardResolver

from tests.a2a.calls import SEND, VERSION, Registered, Wire, answers, granted, registered, sending, text_of
from tests.conftest import BackendOf
from tests.support import clients, legacy
from tests.support.backends import VERSIONS, Backend, Version
from tests.support.proxy import Proxy

PATHS: Final = (
    "/a2a/{}",
    "/a2a/{}/",
    "/a2a/{}/message/send",
    "/a2a/{}/message/stream",
    "/v1/a2a/{}/message/send",
    "/v1/a2a/{}/message/stream",
)


@pytest.fixture(scope="module", params=VERSIONS)
def agent(request: pytest.FixtureRequest, proxy: Proxy, backend_of: BackendOf) -> Iterator[Registered]:
    """An agent of each kind in turn: its backend speaks 1.0 only, both, 0.3 only."""
    version: Version = request.param
    with registered(proxy, backend_of(version).card()) as each:
        yield each


@pytest.fixture
def key(proxy: Proxy, agent: Registered) -> str:
    """A user's key that may call `agent`."""
    return granted(proxy, agent)


@pytest.mark.requirement("A2A-08", "A2A-09", "A2A-10", "SDK-05")
async def test_both_official_clients_send_and_stream_through_one_url(agent: Registered, key: str) -> None:
    sent = await clients.send(agent.url, "hello", key)
    streamed = await clients.stream(agent.url, "hello", key)

    assert [event.WhichOneof("payload") for event in sent] == ["task"]
    assert sent[0].task.status.message.parts[0].text == "echo: hello"
    assert [event.WhichOneof("payload") for event in streamed] == [
        "task",
        "status_update",
        "artifact_update",
        "artifact_update",
        "status_update",
    ]
    assert clients.texts(streamed)[-1] == "echo: hello"

    sent_03 = await asyncio.to_thread(legacy.call, "send", agent.url, "hello", key=key)
    streamed_03 = await asyncio.to_thread(legacy.call, "stream", agent.url, "hello", key=key)

    assert [event["status"]["message"]["parts"][0]["text"] for event in sent_03] == ["echo: hello"]
    assert [event["kind"] for event in streamed_03] == [
        "task",
        "status-update",
        "artifact-update",
        "artifact-update",
        "status-update",
    ]
    assert streamed_03[-1]["status"]["message"]["parts"][0]["text"] == "echo: hello"
    assert streamed_03[-1]["final"] is True


@pytest.mark.requirement("A2A-11", "SDK-05")
async def test_both_official_clients_discover_the_agent_at_the_gateway(agent: Registered, key: str) -> None:
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, trust_env=False) as http:
        card = await A2ACardResolver(http, agent.url).get_agent_card()
    assert {(each.url, each.protocol_binding, each.protocol_version) for each in card.supported_interfaces} == {
        (agent.url, "JSONRPC", "1.0"),
        (agent.url, "JSONRPC", "0.3"),
        (agent.url, "HTTP+JSON", "1.0"),
        (agent.url, "HTTP+JSON", "0.3"),
    }
    assert card.capabilities.streaming

    [card_03] = await asyncio.to_thread(legacy.call, "card", agent.url, key=key)
    assert (card_03["url"], card_03["preferredTransport"]) == (agent.url, "JSONRPC")
    assert card_03["capabilities"]["streaming"] is True
    assert card_03["skills"][0]["id"] == "echo"


@pytest.mark.requirement("A2A-09", "SDK-05")
async def test_the_name_is_as_good_as_the_id(agent: Registered, key: str) -> None:
    [sent] = await clients.send(agent.named_url, "hello", key)
    assert sent.task.status.message.parts[0].text == "echo: hello"
    [sent_03] = await asyncio.to_thread(legacy.call, "send", agent.named_url, "hello", key=key)
    assert sent_03["status"]["state"] == "completed"


@pytest.mark.requirement("SDK-05")
async def test_a_reply_without_a_task_stays_a_message(agent: Registered, key: str) -> None:
    [sent] = await clients.send(agent.url, "reply:hello", key)
    assert sent.WhichOneof("payload") == "message"
    assert sent.message.parts[0].text == "echo: hello"
    [sent_03] = await asyncio.to_thread(legacy.call, "send", agent.url, "reply:hello", key=key)
    assert (sent_03["kind"], sent_03["parts"][0]["text"]) == ("message", "echo: hello")


@pytest.mark.requirement("SDK-05")
async def test_a_task_that_asks_or_fails_is_told_as_such(agent: Registered, key: str) -> None:
    [asked] = await asyncio.to_thread(legacy.call, "send", agent.url, "ask:colours", key=key)
    assert asked["status"]["state"] == "input-required"
    assert asked["status"]["message"]["parts"][0]["text"] == "more about colours?"
    [failed] = await asyncio.to_thread(legacy.call, "send", agent.url, "fail:do it", key=key)
    assert failed["status"]["state"] == "failed"


@pytest.mark.requirement("A2A-08", "A2A-09", "A2A-10")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("by", ["id", "name"])
@pytest.mark.parametrize(
    ("wire", "header"),
    [("0.3", None), ("0.3", "0.3"), ("1.0", None), ("1.0", "1.0")],
    ids=["0.3 names", "0.3 names and header", "1.0 names", "1.0 names and header"],
)
def test_every_spelling_is_the_same_call(
    proxy: Proxy, agent: Registered, *, path: str, by: str, wire: Wire, header: str | None
) -> None:
    reference = agent.agent_id if by == "id" else agent.name
    headers = {VERSION: header} if header else {}
    with proxy.client(headers=headers) as client:
        sent = client.post(path.format(reference), json=sending("hello", wire, call_id="a"))
        streamed = client.post(path.format(reference), json=sending("hello", wire, stream=True, call_id=7))

    assert (sent.status_code, sent.headers["content-type"]) == (200, "application/json")
    [answer] = answers(sent)
    assert (answer["jsonrpc"], answer["id"], text_of(answer)) == ("2.0", "a", "echo: hello")

    assert streamed.status_code == 200
    assert streamed.headers["content-type"].startswith("text/event-stream")
    events = answers(streamed)
    assert [(event["jsonrpc"], event["id"]) for event in events] == [("2.0", 7)] * 5
    assert _final_state(events[-1], wire) == {"0.3": "completed", "1.0": "TASK_STATE_COMPLETED"}[wire]


def _final_state(event: dict[str, Any], wire: Wire) -> str:
    result = event["result"] if wire == "0.3" else event["result"]["statusUpdate"]
    return str(result["status"]["state"])


@pytest.mark.requirement("A2A-08")
def test_a_backend_that_advertises_an_address_of_its_own_is_called_where_it_was_registered(
    proxy: Proxy, backend: Backend
) -> None:
    card = backend.card()
    card.pop("supportedInterfaces", None)
    with registered(proxy, card | {"url": backend.url}) as agent, proxy.client() as client:
        before = len(backend.calls())
        [answer] = answers(client.post(agent.url, json=sending("hello")))
        assert text_of(answer) == "echo: hello"
        assert len(backend.calls()) == before + 1


@pytest.mark.requirement("A2A-08")
def test_the_card_of_a_backend_is_read_once_for_many_calls(proxy: Proxy, backend: Backend) -> None:
    with registered(proxy, backend.card()) as agent, proxy.client() as client:
        before = len(backend.seen())
        for call_id in range(10):
            [answer] = answers(client.post(agent.url, json=sending("hello", call_id=call_id)))
            assert answer["id"] == call_id
        new = backend.seen()[before:]
    assert [seen.method for seen in new] == ["GET"] + ["POST"] * 10
    assert {seen.rpc_method for seen in new[1:]} <= set(SEND.values())


@pytest.mark.requirement("A2A-08")
def test_a_changed_address_counts_from_the_next_call_on(proxy: Proxy, backend_of: BackendOf) -> None:
    old, new = backend_of("1.0"), backend_of("0.3")
    with registered(proxy, old.card()) as agent, proxy.client() as client:
        assert text_of(answers(client.post(agent.url, json=sending("hello")))[0]) == "echo: hello"
        calls = len(old.calls()), len(new.calls())
        changed = client.put(
            f"/v1/agents/{agent.agent_id}", json={"agent_name": agent.name, "agent_card_params": new.card()}
        )
        assert changed.status_code == 200, changed.text
        assert text_of(answers(client.post(agent.url, json=sending("hello")))[0]) == "echo: hello"
    assert (len(old.calls()), len(new.calls())) == (calls[0], calls[1] + 1)
