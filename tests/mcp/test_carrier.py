"""The relay's way to a server whose kept connection ends just when it is used again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from routeiq_plugin.errors import BackendError
from routeiq_plugin.mcp.credentials import Credential
from routeiq_plugin.mcp.http.carrier import Carrier
from routeiq_plugin.mcp.http.wire import Wire
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.outbound import Clients, Guard
from routeiq_plugin.settings import OutboundSettings

pytestmark = pytest.mark.requirement("MCP-21")


@dataclass
class Leaving:
    """Answers the first request of each connection, and ends the connection at the second."""

    heard: list[str] = field(default_factory=list)
    _serving: list[asyncio.Future[None]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        served = asyncio.ensure_future(self._answer(reader, writer))
        self._serving.append(served)
        await served

    async def aclose(self) -> None:
        """Return when all connections have ended, which their clients close."""
        await asyncio.gather(*self._serving)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            message = await self._read(reader)
            body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {}}).encode()
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            writer.write(head + body)
            await writer.drain()
            await self._read(reader)
        writer.close()
        await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> dict[str, Any]:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        message: dict[str, Any] = json.loads(await reader.readexactly(length))
        self.heard.append(message["method"])
        return message


@pytest.fixture
async def leaving() -> AsyncIterator[tuple[Wire, Leaving]]:
    """The way to such a server."""
    served = Leaving()
    listening = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    settings = OutboundSettings(allowed_hosts=("127.0.0.1",))
    clients = Clients(settings, Guard(settings.allowed_hosts))
    carrier = Carrier(clients)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/mcp"
    yield Wire(carrier, Server({"server_id": "s", "url": url}, 1), Credential("c"), 30), served
    await carrier.aclose()
    await clients.aclose()
    await served.aclose()
    listening.close()


@pytest.mark.parametrize("method", ["initialize", "tools/list", "resources/read"])
async def test_what_only_asks_is_asked_again(leaving: tuple[Wire, Leaving], method: str) -> None:
    wire, served = leaving
    for number in range(3):
        reply = await wire.once({"jsonrpc": "2.0", "id": number, "method": method}, {})
        assert reply.message == {"jsonrpc": "2.0", "id": number, "result": {}}
    assert served.heard == [method] * 5  # on three connections, of which two ended in a question


async def test_a_call_is_never_sent_twice(leaving: tuple[Wire, Leaving]) -> None:
    wire, served = leaving
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "pay", "arguments": {}}}
    assert [each async for each in wire.ask(call, {})][-1]["result"] == {}
    with pytest.raises(BackendError):
        async for _ in wire.ask(call, {}):
            pass
    assert served.heard == ["tools/call", "tools/call"]
