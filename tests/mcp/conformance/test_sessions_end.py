"""Clients that never say goodbye: what the gateway holds for them goes with their connections."""

from __future__ import annotations

import asyncio
import os
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


@pytest.mark.requirement("MCP-21")
@pytest.mark.timeout(900)
async def test_sessions_that_are_dropped_without_delete_leave_nothing_behind(relayed: Relayed) -> None:
    key = relayed.key()
    await _drop(relayed, key, AT_ONCE * 2)
    files, memory = _files(relayed.proxy), _memory(relayed.proxy)
    await _drop(relayed, key, SESSIONS)
    await asyncio.to_thread(
        processes.wait_until, lambda: _files(relayed.proxy) <= files + SPARE_FILES, 60, f"return to {files} open files"
    )
    grown = [after - before for before, after in zip(memory, _memory(relayed.proxy), strict=True)]
    assert max(grown) < SPARE_BYTES, grown
    print(f"{SESSIONS} sessions: {files} files before, {_files(relayed.proxy)} after; memory grew by {grown} bytes")


async def _drop(relayed: Relayed, key: str, count: int) -> None:
    for _ in range(count // AT_ONCE):
        await asyncio.gather(*(_one(relayed, key) for _ in range(AT_ONCE)))


async def _one(relayed: Relayed, key: str) -> None:
    """Begin a session, listen, call, and hang up while both streams are open."""
    async with relayed.proxy.async_client(key) as client:
        opened = await client.post(relayed.path, json=initialize(), headers=ACCEPT)
        assert opened.status_code == 200, opened.text
        headers = {**ACCEPT, "Mcp-Session-Id": opened.headers["mcp-session-id"], "MCP-Protocol-Version": VERSION}
        said = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert (await client.post(relayed.path, json=said, headers=headers)).status_code == 202
        params = {"name": "test_tool_with_logging", "arguments": {}}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        async with (
            client.stream("GET", relayed.path, headers=headers) as listening,
            client.stream("POST", relayed.path, json=call, headers=headers) as calling,
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
