"""What is kept of clients' sessions with the gateway, and of requests that wait for them: no more than they need."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from routeiq_plugin.errors import InvalidRequest, Unavailable
from routeiq_plugin.mcp.http.facts import Facts
from routeiq_plugin.mcp.relay.client_sessions import LONGEST_URI, MOST_FACTS, ClientSessions
from routeiq_plugin.mcp.relay.mailbox import Mailbox
from routeiq_plugin.mcp.relay.translation.parking import Parking
from routeiq_plugin.store.mcp_relay import RelayStore
from tests.store.parts import SEALER, opened

pytestmark = pytest.mark.requirement("MCP-21")

FACTS: Final = Facts("2025-11-25", {"name": "c", "version": "1"})


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RelayStore]:
    """Where they are kept."""
    async with opened(f"sqlite:///{tmp_path}/routeiq.db") as database:
        yield RelayStore(database, SEALER)


@pytest.fixture
def sessions(store: RelayStore) -> ClientSessions:
    """Those of one worker."""
    return ClientSessions(store, Mailbox(store))


async def test_an_answer_is_kept_for_another_worker_if_somebody_asked(
    store: RelayStore, sessions: ClientSessions
) -> None:
    session, other = await sessions.begin(FACTS, "owner"), await sessions.begin(FACTS, "owner")
    question = session.question()
    forged = [7, None, "", "x", "routeiq.", "routeiq.a.b", question + "x", other.question(), {"a": 1}]
    for name in [*forged, question]:
        await sessions.answered(session, {"jsonrpc": "2.0", "id": name, "result": {}})
        kept = await store.take(session.letter(name), datetime.now(UTC))
        assert (kept is not None) == (name == question), name


async def test_a_cancellation_is_kept_without_what_else_it_says(store: RelayStore, sessions: ClientSessions) -> None:
    session = await sessions.begin(FACTS, "owner")
    told: dict[str, Any] = {"params": {"requestId": 7, "reason": "x" * 1000}}
    await sessions.cancel(session, told)
    assert await store.take(session.cancellation(7), datetime.now(UTC)) == {}


async def test_a_client_says_so_much_of_itself_and_no_more(sessions: ClientSessions) -> None:
    with pytest.raises(InvalidRequest, match="clientInfo"):
        await sessions.begin(Facts("2025-11-25", {"name": "c" * MOST_FACTS}), "owner")


async def test_a_resource_has_an_address_of_a_reasonable_length(sessions: ClientSessions) -> None:
    session = await sessions.begin(FACTS, "owner")
    await session.subscribe("a" * LONGEST_URI)
    with pytest.raises(InvalidRequest, match=r"params\.uri"):
        await session.subscribe("a" * (LONGEST_URI + 1))
    await session.refresh()
    assert session.state.subscriptions == ("a" * LONGEST_URI,)


async def test_what_cannot_be_kept_of_a_parked_request_is_no_fault_of_the_loop() -> None:
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))

    async def reading() -> None:
        raise Unavailable("the database is away")

    Parking().park("owner", reading())
    await asyncio.wait([each for each in asyncio.all_tasks() if each is not asyncio.current_task()])
    gc.collect()
    assert faults == []
