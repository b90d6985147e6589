"""Streams: each event at once, nothing held back; and when the client leaves, the backend hears of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.a2a.calls import Registered, Wire, registered, sending
from tests.a2a.registry import unique
from tests.a2a.scripted import Scripted
from tests.support import processes
from tests.support.backends import Backend
from tests.support.clients import a2a_client, texts, user_message
from tests.support.proxy import Proxy

EVENTS = 5
ROUNDS = 50


def events_of(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """Read a stream event by event, as they arrive."""
    for line in response.iter_lines():
        if line.startswith("data:"):
            yield json.loads(line.removeprefix("data:"))


@pytest.fixture
def gate() -> str:
    """The name of a gate of this test alone: the text `gate:<name>` makes the agent wait there."""
    return unique("gate")


@pytest.mark.requirement("A2A-10")
@pytest.mark.parametrize("wire", ["0.3", "1.0"])
def test_an_event_arrives_before_the_next_one_exists(proxy: Proxy, backend: Backend, gate: str, wire: Wire) -> None:
    """The agent makes an event only when it is released, and it is released only after the one before was read."""
    with registered(proxy, backend.card()) as registration, proxy.client() as client:
        body = sending(f"gate:{gate}", wire, stream=True)
        backend.release(gate)
        with client.stream("POST", registration.url, json=body) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            arrived = []
            for event in events_of(response):
                assert "result" in event, event
                arrived.append(event)
                if len(arrived) < EVENTS:
                    backend.release(gate)
        assert len(arrived) == EVENTS


@pytest.mark.requirement("A2A-10", "SDK-05")
async def test_the_official_client_reads_event_by_event(proxy: Proxy, backend: Backend, gate: str) -> None:
    with registered(proxy, backend.card()) as registration:
        async with a2a_client(registration.url, proxy.master_key) as client:
            backend.release(gate)
            arrived = []
            async for event in client.send_message(user_message(f"gate:{gate}")):
                arrived.append(event)
                if len(arrived) < EVENTS:
                    backend.release(gate)
    assert len(arrived) == EVENTS
    assert texts(arrived)[-1] == f"echo: {gate}"


@pytest.mark.requirement("A2A-10")
async def test_streams_that_stand_still_keep_nobody_waiting(proxy: Proxy, backend: Backend, gate: str) -> None:
    with registered(proxy, backend.card()) as registration:
        async with proxy.async_client() as client:

            async def whole(text: str) -> list[str]:
                answer = await client.post(registration.url, json=sending(text, stream=True))
                return [line for line in answer.text.splitlines() if line.startswith("data:")]

            standing = [asyncio.create_task(whole(f"gate:{gate}")) for _ in range(10)]
            passing = await asyncio.gather(*(whole(f"free {number}") for number in range(20)))
            assert [len(events) for events in passing] == [EVENTS] * 20
            assert not any(task.done() for task in standing)
            backend.release(gate, EVENTS * len(standing))
            assert [len(events) for events in await asyncio.gather(*standing)] == [EVENTS] * 10


@pytest.mark.requirement("A2A-10")
@pytest.mark.parametrize("wire", ["0.3", "1.0"])
def test_a_client_that_leaves_its_stream_is_gone_at_the_backend_too(
    proxy: Proxy, backend: Backend, gate: str, wire: Wire
) -> None:
    with registered(proxy, backend.card()) as registration:
        before = backend.cancelled().disconnects
        backend.release(gate)
        with (
            proxy.client() as client,
            client.stream("POST", registration.url, json=sending(f"gate:{gate}", wire, stream=True)) as response,
        ):
            events = events_of(response)
            assert "result" in next(events)
            assert backend.cancelled().disconnects == before
        assert backend.cancelled(at_least=before + 1).disconnects == before + 1


@pytest.mark.requirement("A2A-10", "SDK-05")
async def test_the_official_client_that_breaks_off_is_gone_at_the_backend_too(
    proxy: Proxy, backend: Backend, gate: str
) -> None:
    with registered(proxy, backend.card()) as registration:
        before = backend.cancelled().disconnects
        backend.release(gate)
        async with a2a_client(registration.url, proxy.master_key) as client:
            stream = client.send_message(user_message(f"gate:{gate}"))
            assert isinstance(stream, AsyncGenerator)
            async with aclosing(stream):
                async for _ in stream:
                    break
        left = await asyncio.to_thread(backend.cancelled, at_least=before + 1)
        assert left.disconnects == before + 1


@pytest.mark.requirement("A2A-09")
@pytest.mark.parametrize("wire", ["0.3", "1.0"])
async def test_a_client_that_does_not_wait_for_its_answer_is_gone_at_the_backend_too(
    proxy: Proxy, script: Scripted, wire: Wire
) -> None:
    with registered(proxy, script.card("hang")) as registration:
        held, left = script.holding, script.left
        async with proxy.async_client() as client:
            call = asyncio.create_task(client.post(registration.url, json=sending("hello", wire)))
            await asyncio.to_thread(script.await_count, "holding", held + 1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        await asyncio.to_thread(script.await_count, "left", left + 1)


@pytest.mark.requirement("A2A-10")
async def test_a_client_that_leaves_before_the_first_event_is_gone_at_the_backend_too(
    proxy: Proxy, script: Scripted
) -> None:
    with registered(proxy, script.card("hang")) as registration:
        held, left = script.holding, script.left
        async with proxy.async_client() as client:
            call = asyncio.create_task(client.post(registration.url, json=sending("hello", stream=True)))
            await asyncio.to_thread(script.await_count, "holding", held + 1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        await asyncio.to_thread(script.await_count, "left", left + 1)


@pytest.mark.requirement("A2A-10")
@pytest.mark.parametrize("stream", [False, True], ids=["send", "stream"])
async def test_fifty_clients_that_leave_leave_nothing_behind(proxy: Proxy, script: Scripted, stream: bool) -> None:
    """Sockets and files of the proxy are counted; connections that are kept for the next call are part of the base."""
    way = "held-stream" if stream else "hang"
    with registered(proxy, script.card(way)) as registration:
        await leave(proxy, script, registration, stream=stream)
        base = open_files(proxy)
        for _ in range(ROUNDS):
            await leave(proxy, script, registration, stream=stream)
        processes.wait_until(lambda: open_files(proxy) <= base, 30, f"return to {base} open files")


async def leave(proxy: Proxy, script: Scripted, registration: Registered, *, stream: bool) -> None:
    """Call, hang up while the backend holds, and return when it has noticed."""
    held, left = script.holding, script.left
    async with proxy.async_client() as client:
        call = asyncio.create_task(begin(client, registration.url, stream=stream))
        await asyncio.to_thread(script.await_count, "holding", held + 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    await asyncio.to_thread(script.await_count, "left", left + 1)


async def begin(client: httpx.AsyncClient, url: str, *, stream: bool) -> None:
    async with client.stream("POST", url, json=sending("hello", stream=stream)) as response:
        async for _ in response.aiter_lines():
            pass


def open_files(proxy: Proxy) -> int:
    """Count the file descriptors of the proxy, sockets included."""
    return len(list(Path(f"/proc/{proxy.pid}/fd").iterdir()))
