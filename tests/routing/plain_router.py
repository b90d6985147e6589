"""A program with a plain `litellm.Router`, no proxy: `python -m tests.routing.plain_router URL` tells who answered."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from routeiq_plugin import RouteIQStrategy
from tests.routing.world import GROUPS, PRICES

GROUP: Final = "mixed"
MODELS: Final = tuple(f"openai/{name}" for name in GROUPS)
SETTINGS: Final[dict[str, Any]] = {
    "strategy": "rules",
    "candidates": list(MODELS),
    "default": "openai/small",
    "sticky": "none",
    "rules": [
        {"when": {"regex": "prove"}, "model": "openai/large"},
        {"when": {"language": "de"}, "model": "openai/middle"},
    ],
}

litellm: Any = importlib.import_module("litellm")


def deployment(url: str, name: str, group: str = GROUP, **params: Any) -> dict[str, Any]:
    """Build one deployment."""
    upstream = {"model": f"openai/{name}", "api_base": url, "api_key": "upstream", **params}
    price = {"input_cost_per_token": PRICES[name], "output_cost_per_token": PRICES[name]}
    return {"model_name": group, "litellm_params": upstream, "model_info": price}


def router(url: str, group: dict[str, Any] = SETTINGS, tagged: str | None = None, **options: Any) -> Any:
    """Build a Router whose one group mixes three models, with our strategy."""
    tags: dict[str, Any] = {"tags": ["t"]}
    deployments = [deployment(url, name, **(tags if name == tagged else {})) for name in GROUPS]
    made = litellm.Router(model_list=[*deployments, deployment(url, "middle", "other")], num_retries=0, **options)
    RouteIQStrategy(made, {GROUP: group})
    return made


async def said(asked: Any, text: str, model: str = GROUP, **options: Any) -> str:
    """Ask, and return the answer or the error's class."""
    try:
        answer = await asked.acompletion(model=model, messages=[{"role": "user", "content": text}], **options)
    except Exception as error:  # noqa: BLE001  told to the test
        return type(error).__name__
    return str(answer.choices[0].message.content)


async def best(url: str) -> Any:
    """Each rule, and the default several times."""
    made = router(url)
    texts = ("prove it", "was ist das und wie ist es", "hello", "hello", "hello")
    return [await said(made, text) for text in texts]


async def cooldown(url: str) -> Any:
    """`broken` is down: the first call fails, the second goes elsewhere."""
    rules = [{"when": {}, "model": "openai/broken"}]
    settings = {**SETTINGS, "candidates": [*MODELS, "openai/broken"], "rules": rules}
    made = litellm.Router(
        model_list=[
            deployment(url, "small"),
            {"model_name": GROUP, "litellm_params": {"model": "openai/broken", "api_base": url, "api_key": "x"}},
        ],
        num_retries=0,
        allowed_fails=0,
        cooldown_time=60,
    )
    RouteIQStrategy(made, {GROUP: settings})
    return [await said(made, "hello") for _ in range(3)]


async def wiped(url: str) -> Any:
    """LiteLLM drops custom strategies when its own changes."""
    made = router(url)
    made.update_settings(routing_strategy="least-busy")
    gone = "async_get_available_deployment" not in vars(made)
    answers = [await said(made, "prove it") for _ in range(2)]
    return [gone, *answers, "async_get_available_deployment" in vars(made)]


async def tags(url: str) -> Any:
    """A tag that another model has."""
    made = router(url, tagged="middle", enable_tag_filtering=True)
    return [await said(made, "prove it", metadata={"tags": ["t"]})]


async def cost(url: str) -> Any:
    """Prices of the deployments."""
    made = router(url, {**SETTINGS, "strategy": "cost", "rules": []})
    return [await said(made, "hello") for _ in range(4)]


async def other(url: str) -> Any:
    """A group that is not ours."""
    return [await said(router(url), "prove it", "other")]


async def synchronous(url: str) -> Any:
    """The synchronous API."""
    made = router(url)
    answer = await asyncio.to_thread(made.completion, GROUP, [{"role": "user", "content": "hello"}])
    return [answer.choices[0].message.content]


SCENES: Final[tuple[Callable[[str], Awaitable[Any]], ...]] = (best, cooldown, wiped, tags, cost, other, synchronous)


async def main(url: str) -> None:
    """Play every scene, each without the callbacks of the one before."""
    told: dict[str, Any] = {}
    for scene in SCENES:
        before = list(litellm.callbacks)
        told[scene.__name__] = await scene(url)
        litellm.callbacks[:] = before
    print(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
