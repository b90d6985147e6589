"""A hundred reloads under sixteen concurrent clients: nothing fails, and no answer mixes two generations."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.reload.configs import deployment, written
from tests.reload.conftest import Reloading, reloading
from tests.reload.test_sync import until

CLIENTS: Final = 16
RELOADS: Final = int(os.environ.get("ROUTEIQ_TEST_RELOADS", "10"))
"""Each waits for its turn behind sixteen clients; a hundred take twenty minutes on two cores that do other work too."""


def config(shared: Reloading, generation: int) -> bytes:
    """`steady` and `pair` change with each generation; every third one has a model that comes and goes."""
    models = [
        deployment("steady", f"steady {generation}"),
        deployment("pair", f"pair {generation}"),
        shared.base["model_list"][1],
        *([deployment("guest", "guest")] if generation % 3 == 0 else []),
    ]
    return written(shared.base, model_list=models, router_settings={"model_group_alias": {"alias": "steady"}})


async def ask(client: httpx.AsyncClient, model: str, stream: bool) -> str:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    if not stream:
        response = await client.post("/v1/chat/completions", json=body)
        assert response.status_code == 200, response.text
        return str(response.json()["choices"][0]["message"]["content"])
    text = ""
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                text += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
    return text


@pytest.mark.requirement("RLD-20")
@pytest.mark.timeout(3600)
def test_reloads_under_load_fail_no_request(tmp_path: Path, record_property: Callable[[str, Any], None]) -> None:
    with reloading(tmp_path) as shared:
        shared.write(config(shared, 0))
        shared.reload().raise_for_status()
        asyncio.run(warm(shared))
        before = shared.control("facts")
        answers = asyncio.run(run(shared))
        shared.write(config(shared, 0))
        shared.reload().raise_for_status()
        until(lambda: shared.control("facts")["tasks"] <= before["tasks"] + 2, "the tasks of requests have ended")
        after = shared.control("facts")
    for name, value in (("reloads", RELOADS), ("answers", len(answers)), ("before", before), ("after", after)):
        record_property(name, value)
    assert len(answers) > RELOADS
    assert after["callbacks"] == before["callbacks"]
    assert after["models"] == before["models"]
    assert after["deployment_names"] == before["deployment_names"]
    # One entry each for the deployments of the reload before, whose last requests may still need their price.
    assert after["prices"] <= before["prices"] + 4
    assert after["resident"] < before["resident"] + 64 * 1024 * 1024


async def warm(shared: Reloading) -> None:
    async with shared.proxy.async_client() as client:
        await asyncio.gather(*(ask(client, "alias", bool(n % 2)) for n in range(64)))


async def run(shared: Reloading) -> list[str]:
    applied = 0
    done = asyncio.Event()
    answers: list[str] = []

    async def client(number: int) -> None:
        async with shared.proxy.async_client(timeout=120.0) as http:
            while not done.is_set():
                for model in ("steady", "pair", "alias", "kept"):
                    oldest = applied
                    answer = await ask(http, model, stream=number % 2 == 0)
                    newest = applied + 1  # what is being applied may serve before its answer is here
                    check(answer, model, oldest, newest)
                    answers.append(answer)

    async def reload() -> None:
        nonlocal applied
        async with shared.proxy.async_client(timeout=120.0) as http:
            for generation in range(1, RELOADS + 1):
                shared.write(config(shared, generation))
                response = await http.post("/config/reload")
                assert response.status_code == 200, response.text
                assert response.json()["status"] == "applied"
                applied = generation
        done.set()

    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(client(number))
        group.create_task(reload())
    return answers


def check(answer: str, model: str, oldest: int, newest: int) -> None:
    """An answer is whole, and of a generation that served while it was asked for."""
    if model == "kept":
        assert answer == "kept answer"
        return
    name, _, generation = answer.partition(" ")
    assert name == ("steady" if model == "alias" else model)
    assert oldest <= int(generation) <= newest
