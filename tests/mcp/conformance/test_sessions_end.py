"""Clients that never say goodbye: what the gateway holds for them goes with their connections."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.mcp.conformance.sessions import ACCEPT, VERSION, initialize
from tests.mcp.relayed import Relayed
from tests.support import processes
from tests.support.proxy import Proxy

SESSIONS: Final = int(os.environ.get("ROUTEIQ_TEST_SESSIONS", "100"))
"""1,000 for the whole proof."""
AT_ONCE: Final = 10
SPARE_FILES: Final = 2 * AT_ONCE
"""Connections to the server that the pools keep for the next ones."""
SPARE_BYTES: Final = 16 * 1024 * 1024
"""Per worker, for what LiteLLM remembers of the calls of a minute and what Python does not give back."""


@dataclass(frozen=True)
class Endpoint:
    """Where sessions are begun and dropped."""

    relayed: Relayed
    path: str


@pytest.fixture(params=["passed on", "translated", "over all servers"])
def endpoint(request: pytest.FixtureRequest, reference_servers: Mapping[str, Relayed]) -> Endpoint:
    """The server's own session, one that the gateway keeps for a server without any, and one of `/mcp`."""
    reference, stateless = reference_servers["reference"], reference_servers["stateless"]
    return {
        "passed on": Endpoint(reference, reference.path),
        "translated": Endpoint(stateless, stateless.path),
        "over all servers": Endpoint(reference, "/mcp"),
    }[request.param]


@pytest.mark.requirement("MCP-21")
@pytest.mark.timeout(900)
async def test_sessions_that_are_dropped_without_delete_leave_nothing_behind(endpoint: Endpoint) -> None:
    key, proxy = endpoint.relayed.key(), endpoint.relayed.proxy
    await _drop(endpoint, key, AT_ONCE * 2)
    files, memory = _files(proxy), _memory(proxy)
    await _drop(endpoint, key, SESSIONS)
    await asyncio.to_thread(
        processes.wait_until, lambda: _files(proxy) <= files + SPARE_FILES, 60, f"return to {files} open files"
    )
    grown = [after - before for before, after in zip(memory, _memory(proxy), strict=True)]
    assert max(grown) < SPARE_BYTES, grown
    print(f"{SESSIONS} sessions: {files} files before, {_files(proxy)} after; memory grew by {grown} bytes")


async def _drop(endpoint: Endpoint, key: str, count: int) -> None:
    for _ in range(count // AT_ONCE):
        await asyncio.gather(*(_one(endpoint, key) for _ in range(AT_ONCE)))


async def _one(endpoint: Endpoint, key: str) -> None:
    """Begin a session, listen, call, and hang up while both streams are open."""
    path = endpoint.path
    async with endpoint.relayed.proxy.async_client(key) as client:
        opened = await client.post(path, json=initialize(), headers=ACCEPT)
        assert opened.status_code == 200, opened.text
        headers = {**ACCEPT, "Mcp-Session-Id": opened.headers["mcp-session-id"], "MCP-Protocol-Version": VERSION}
        said = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert (await client.post(path, json=said, headers=headers)).status_code == 202
        params = {"name": "test_tool_with_logging", "arguments": {}, "_meta": {"progressToken": 1}}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        async with (
            client.stream("GET", path, headers=headers) as listening,
            client.stream("POST", path, json=call, headers=headers) as calling,
        ):
            assert (listening.status_code, calling.status_code) == (200, 200)
            await _first_piece(calling)


async def _first_piece(response: httpx.Response) -> bytes:
    async for piece in response.aiter_raw():
        return piece
    raise AssertionError("the stream ended before it began")


def _files(proxy: Proxy) -> int:
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in proxy.worker_pids())


def _memory(proxy: Proxy) -> list[int]:
    """Resident bytes of each worker."""
    pages = os.sysconf("SC_PAGE_SIZE")
    return [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * pages for pid in proxy.worker_pids()]
