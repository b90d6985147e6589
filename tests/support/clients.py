"""The official a2a-sdk 1.x client, in process; its 0.3 twin is `tests.support.legacy.call`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import httpx
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.helpers import get_stream_response_text, new_text_message
from a2a.types.a2a_pb2 import Role, SendMessageRequest, StreamResponse


@asynccontextmanager
async def a2a_client(url: str, key: str | None = None, *, streaming: bool = True) -> AsyncIterator[Client]:
    """Open the official client for the agent at `url` (its card is read below it), with `key` as bearer."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as http:
        card = await A2ACardResolver(http, url).get_agent_card()
        async with ClientFactory(ClientConfig(httpx_client=http, streaming=streaming)).create(card) as client:
            yield client


async def send(url: str, text: str, key: str | None = None) -> list[StreamResponse]:
    """Send a message and return the one answer, as the SDK gives it."""
    async with a2a_client(url, key, streaming=False) as client:
        return [event async for event in client.send_message(user_message(text))]


async def stream(url: str, text: str, key: str | None = None) -> list[StreamResponse]:
    """Send a message and return every event of its stream."""
    async with a2a_client(url, key) as client:
        return [event async for event in client.send_message(user_message(text))]


def user_message(text: str) -> SendMessageRequest:
    """Build the request that says `text`."""
    return SendMessageRequest(message=new_text_message(text, role=Role.ROLE_USER))


def texts(events: Iterable[StreamResponse]) -> list[str]:
    """The text of each event, its parts joined, empty where it has none."""
    return [get_stream_response_text(event, delimiter="") for event in events]
