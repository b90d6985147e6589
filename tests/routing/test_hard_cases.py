"""Requests that are hard to route, over every API and with many at once: who answers, and none is a 500."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest

from routeiq_plugin.routing.arms import arms_of
from routeiq_plugin.routing.decision import Cause
from routeiq_plugin.routing.embedding import _WORDS, CACHED, static_embedder
from routeiq_plugin.routing.engine import Engine
from routeiq_plugin.routing.service import CURRENT, LOADED
from routeiq_plugin.routing.strategy import Candidate, Query
from routeiq_plugin.settings import AliasSettings
from tests.routing import world
from tests.routing.provider import said
from tests.routing.world import TIRED, Routed, Versions
from tests.support.processes import wait_until

pytestmark = pytest.mark.requirement("RTE-02", "RTE-03", "RTE-20")

PROMPTS: Final = int(os.environ.get("ROUTEIQ_TEST_PROMPTS", "300"))
"""Through HTTP; 10,000 take five minutes on two cores."""
SWAPS: Final = int(os.environ.get("ROUTEIQ_TEST_SWAPS", "80"))
"""Of an arm's artifact, through HTTP: eight with each request; 1,000 take ten minutes on two cores."""
CONCURRENT: Final = 16
PIXEL: Final = "data:image/png;base64,iVBORw0KGgo="
SCHEMA: Final = {"type": "object", "properties": {}}

CHAT: Final = "/v1/chat/completions"
RESPONSES: Final = "/v1/responses"
MESSAGES: Final = "/v1/messages"
COMPLETIONS: Final = "/v1/completions"
APIS: Final = (CHAT, RESPONSES, MESSAGES, COMPLETIONS)


def body(path: str, content: Any) -> dict[str, Any]:
    """Ask as this API is asked: one user turn."""
    if path == COMPLETIONS:
        return {"prompt": content}
    if path == RESPONSES:
        return {"input": content if isinstance(content, str) else [{"role": "user", "content": content}]}
    messages = [{"role": "user", "content": content}]
    return {"messages": messages, **({"max_tokens": 9} if path == MESSAGES else {})}


IMAGES: Final[Mapping[str, Any]] = {
    RESPONSES: [{"type": "input_text", "text": "what is this?"}, {"type": "input_image", "image_url": PIXEL}],
    MESSAGES: [
        {"type": "text", "text": "what is this?"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
    ],
}
TOOLS: Final[Mapping[str, Any]] = {
    RESPONSES: {"type": "function", "name": "look_up", "parameters": SCHEMA},
    MESSAGES: {"name": "look_up", "description": "looks up", "input_schema": SCHEMA},
}


@pytest.mark.parametrize("path", IMAGES)
def test_an_image_reaches_a_model_that_sees_over_other_apis(here: Routed, path: str) -> None:
    response = here.post(path, model="cheapest", **body(path, IMAGES[path]))
    assert response.status_code == 200, response.text
    assert response.headers["x-routeiq-model"] == "large"
    assert said("large") in response.text


@pytest.mark.parametrize("path", TOOLS)
def test_tools_reach_a_model_that_calls_them_over_other_apis(here: Routed, path: str) -> None:
    response = here.post(path, model="cheapest", tools=[TOOLS[path]], **body(path, "hello"))
    assert response.status_code == 200, response.text
    assert response.headers["x-routeiq-model"] == "middle"
    assert said("middle") in response.text


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES, COMPLETIONS])
def test_a_long_prompt_reaches_a_model_with_the_window_over_other_apis(here: Routed, path: str) -> None:
    response = here.post(path, model="cheapest", **body(path, "word " * 200_000))
    assert response.status_code == 200, response.text
    assert response.headers["x-routeiq-model"] == "large"
    assert said("large") in response.text


@pytest.mark.parametrize("path", APIS)
@pytest.mark.parametrize("alias", ["smart", "ruled"])
def test_an_empty_prompt_is_answered_as_by_the_model_itself(here: Routed, path: str, alias: str) -> None:
    direct = here.post(path, model="small", **body(path, ""))
    routed = here.post(path, model=alias, **body(path, ""))
    assert routed.status_code == direct.status_code
    assert routed.status_code != 500
    if alias == "ruled" and routed.status_code == 200:
        assert said("small") in routed.text


@pytest.mark.parametrize("access", ["ruled", "strict"])
@pytest.mark.parametrize("path", APIS)
def test_a_key_without_the_choice_over_every_api(here: Routed, access: str, path: str) -> None:
    key = here.proxy.add_key(models=[access, "small"])
    response = here.post(path, key, model=access, **body(path, "prove it"))
    assert response.status_code == 200, response.text
    assert said("large" if access == "ruled" else "small") in response.text


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
def test_a_stream_comes_from_the_next_model(here: Routed, path: str) -> None:
    before = len(here.upstream.calls)
    with here.upstream.failing(500, "large"):
        response = here.post(path, model="ruled", stream=True, **body(path, "prove it"))
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    assert here.upstream.models[before:] == ["large", "small"]
    assert said("small") in response.text


def test_a_stream_of_completions_falls_back_as_far_as_litellms_own_does(here: Routed) -> None:
    asked = {"stream": True, **body(COMPLETIONS, "prove it")}
    assert said("large") in here.post(COMPLETIONS, model="ruled", **asked).text
    with here.upstream.failing(500, "large"):
        direct = here.post(COMPLETIONS, model="large", fallbacks=["small"], **asked)
        routed = here.post(COMPLETIONS, model="ruled", **asked)
    assert routed.status_code == direct.status_code
    assert (said("small") in routed.text) == (said("small") in direct.text)
    print(f"completions, streamed, the first model down: {direct.status_code} from LiteLLM itself")


def test_a_group_in_cooldown_is_not_asked(here: Routed) -> None:
    with here.upstream.failing(500, TIRED):
        first = here.ask("weary", "hello, the first")
    assert first.status_code == 200
    assert said("small") in first.text
    assert first.headers["x-routeiq-model"] == TIRED
    asked = (here.ask("weary", f"hello {at}") for at in range(1_000))
    wait_until(lambda: next(asked).headers["x-routeiq-model"] == "small", 60, "the cooldown")
    before = len(here.upstream.calls)
    for path in APIS:
        response = here.post(path, model="weary", **body(path, f"hello over {path}"))
        assert response.status_code == 200, response.text
        assert response.headers["x-routeiq-model"] == "small"
        assert said("small") in response.text
    assert TIRED not in here.upstream.models[before:]
    told = here.post("/routeiq/routing/explain", model="weary", **body(CHAT, "hello")).json()
    assert told["left_out"]["resting"] == [TIRED]


def test_the_proxy_has_nothing_heavy_after_a_decision_of_an_artifact(here: Routed) -> None:
    response = here.ask("smart", world.MATHS.format(at="modules"))
    artifact = response.headers["x-routeiq-artifact"]

    def lines() -> Sequence[Mapping[str, Any]]:
        return [line for line in here.logged() if (line["decision"] or {}).get("artifact") == artifact]

    wait_until(lambda: bool(lines()), 30, "LiteLLM's log")
    assert [line["heavy"] for line in here.logged() if line["heavy"]] == []


async def test_many_different_prompts_at_once(here: Routed) -> None:
    async with here.proxy.async_client() as client:
        waiting = iter(range(PROMPTS))

        async def ask() -> None:
            for at in waiting:
                text, model = (world.MATHS, "large") if at % 2 else (world.CHAT, "small")
                messages = [{"role": "user", "content": text.format(at=f"prompt {at}")}]
                response = await client.post(CHAT, json={"model": "smart", "messages": messages})
                assert response.status_code == 200, response.text
                assert response.headers["x-routeiq-model"] == model
                assert response.json()["choices"][0]["message"]["content"] == said(model)

        await asyncio.gather(*(ask() for _ in range(CONCURRENT)))


async def test_ten_thousand_prompts_are_decided_and_little_is_remembered(versions: Versions) -> None:
    settings = AliasSettings.model_validate(world.alias("quality", artifact=str(versions.homes[0])))
    arm = arms_of("auto", settings)[0]
    arm.load()
    faults: list[BaseException] = []
    engine = Engine(lambda where, error: faults.append(error))
    candidates = [Candidate(model, price, price) for model, price in world.PRICES.items()]
    for at in range(10_000):
        text, model = (world.MATHS, "large") if at % 2 else (world.CHAT, "small")
        ordered = await engine.order(arm, Query(text.format(at=f"word{at}"), tokens=30), candidates)
        assert (ordered.models[0], ordered.cause) == (model, Cause.STRATEGY)
    assert not faults
    embedder = static_embedder()
    assert len(embedder._known) <= CACHED
    assert len(getattr(embedder._embedder, "_words")) <= _WORDS  # noqa: B009  not part of the protocol


@pytest.mark.timeout(3600)
async def test_artifacts_are_swapped_under_load(here: Routed, versions: Versions) -> None:
    def is_ready() -> bool:
        return here.post("/router/reload", strategy="swapped").status_code == 200

    await asyncio.to_thread(wait_until, is_ready, 120, "the start of the database")
    seen: dict[str, int] = dict.fromkeys(versions.ids, 0)
    swapping = True
    words: list[str] = []

    async with here.proxy.async_client() as client:

        async def ask(who: int) -> None:
            for at in itertools.count():
                if not swapping:
                    return
                messages = [{"role": "user", "content": world.MATHS.format(at=f"{who} {at}")}]
                body = {"model": "swapped", "messages": messages, "user": f"user-{who}-{at}"}
                response = await client.post(CHAT, json=body)
                assert response.status_code == 200, response.text
                assert response.json()["choices"][0]["message"]["content"] == said("large")
                seen[response.headers["x-routeiq-artifact"]] += 1

        async def swap() -> None:
            nonlocal swapping
            try:
                for at in itertools.count(1):
                    versions.turn(at)
                    told = (await client.post("/router/reload", json={"strategy": "swapped"})).json()
                    assert told["errors"] == [], told
                    words.extend(arm for each in told["reloaded"] for arm in each["arms"].values())
                    if words.count(LOADED) >= SWAPS:
                        return
            finally:
                swapping = False

        await asyncio.gather(swap(), *(ask(who) for who in range(CONCURRENT)))
    assert set(words) <= CURRENT
    assert all(seen[version] > 0 for version in versions.ids), seen
    assert set(seen) == set(versions.ids)
    print(f"{words.count(LOADED)} swaps of {len(words)} that were asked for, {sum(seen.values())} answers: {seen}")
