"""Many writers at once, on SQLite and on PostgreSQL: nothing that was answered 2xx is lost."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from tests.a2a import registry as agents
from tests.a2a.conftest import Create
from tests.support.proxy import Proxy

CHANGES: Final[tuple[dict[str, Any], ...]] = (
    {"tpm_limit": 11},
    {"rpm_limit": 12},
    {"session_tpm_limit": 13},
    {"session_rpm_limit": 14},
    {"extra_headers": ["x-fifteen"]},
    {"access_group_ids": ["sixteen"]},
    {"object_permission": {"models": ["seventeen"]}},
    {"execution_mode": "delegated"},
    {"enabled": False},
    {"static_headers": {"X-Twenty": "20"}},
)
WRITERS: Final = 20


@pytest.mark.requirement("A2A-05")
async def test_concurrent_patches_of_different_fields_all_survive(registry: Proxy, create: Create) -> None:
    agent = create()
    async with registry.async_client() as client:
        url = agents.path(agent["agent_id"])
        answers = await asyncio.gather(
            *(client.patch(url, json=CHANGES[number % len(CHANGES)]) for number in range(WRITERS))
        )
        assert [answer.status_code for answer in answers] == [200] * WRITERS, [answer.text for answer in answers]
        assert {answer.headers["ETag"] for answer in answers} == {f'"{2 + number}"' for number in range(WRITERS)}
        now = await client.get(url)
    assert now.headers["ETag"] == f'"{1 + WRITERS}"'
    for change in CHANGES:
        ((name, value),) = change.items()
        held = now.json()[name]
        match name:
            case "static_headers":
                assert held == {"X-Twenty": agents.MARKER}
            case "object_permission":
                assert held["models"] == value["models"]
            case _:
                assert held == value


@pytest.mark.requirement("A2A-02")
async def test_of_concurrent_creations_of_one_name_exactly_one_wins(registry: Proxy) -> None:
    name = agents.unique()
    async with registry.async_client() as client:
        answers = await asyncio.gather(*(client.post("/v1/agents", json=agents.body(name)) for _ in range(WRITERS)))
        won = [answer for answer in answers if answer.status_code == 200]
        lost = [answer for answer in answers if answer.status_code != 200]
        assert len(won) == 1
        assert {(answer.status_code, answer.text) for answer in lost} == {
            (400, f'{{"detail":"Agent with name {name} already exists"}}')
        }
        listed = [each for each in (await client.get("/v1/agents")).json() if each["agent_name"] == name]
        assert [each["agent_id"] for each in listed] == [won[0].json()["agent_id"]]
        assert (await client.delete(agents.path(name))).status_code == 200


@pytest.mark.requirement("A2A-04")
async def test_of_concurrent_writers_of_one_version_exactly_one_wins(registry: Proxy, create: Create) -> None:
    agent = create()
    async with registry.async_client(headers={"If-Match": '"1"'}) as client:
        url = agents.path(agent["agent_id"])
        answers = await asyncio.gather(*(client.patch(url, json={"tpm_limit": number}) for number in range(WRITERS)))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200, *[412] * (WRITERS - 1)]
        (won,) = (answer.json()["tpm_limit"] for answer in answers if answer.status_code == 200)
        assert (await client.get(url)).json()["tpm_limit"] == won


@pytest.mark.requirement("A2A-06")
async def test_of_concurrent_deletions_exactly_one_wins(registry: Proxy, create: Create) -> None:
    agent = create()
    async with registry.async_client() as client:
        answers = await asyncio.gather(*(client.delete(agents.path(agent["agent_id"])) for _ in range(WRITERS)))
    assert sorted(answer.status_code for answer in answers) == [200, *[404] * (WRITERS - 1)]
