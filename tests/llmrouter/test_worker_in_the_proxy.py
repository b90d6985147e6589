"""Routers that need torch, behind a stock proxy: one decides, some LLMRouter cannot construct, and some die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from routeiq_plugin.routing.worker.strategy import GRAPH, HOSTED
from tests.llmrouter.conftest import Trained
from tests.llmrouter.test_agreement import imported
from tests.routing.provider import provider, said
from tests.routing.world import Routed, routed
from tests.support import processes

pytestmark = [pytest.mark.requirement("RTE-01"), pytest.mark.timeout(1200)]

READY: Final = 400.0
EACH: Final = 4
OWN_ERRORS: Final[Mapping[str, str]] = {
    "llmrouter-automix": "OSError: We couldn't connect to 'https://huggingface.co'",
    "llmrouter-causallm": "ModuleNotFoundError: No module named 'vllm'",
    "llmrouter-router_r1": "vllm",
    "llmrouter-routerdc": "OSError",
    "llmrouter-gmt": "TypeError: MetaRouter.__init__() missing 1 required positional argument: 'model'",
    "llmrouter-personalized": "ValueError: routing_data_train/val/test must be provided",
    "llmrouter-knn-multiround": "FileNotFoundError: Prompt template not found",
    "llmrouter-llm-multiround": "FileNotFoundError: Prompt template not found",
    "llmrouter-ts": "FileNotFoundError",
}
"""What llmrouter-lib 0.4 says on a machine without network; a later one that says otherwise belongs in docs."""


@dataclass(frozen=True, slots=True)
class World:
    """A proxy, and what its graph router should say."""

    routed: Routed
    default: str
    expected: Mapping[str, str]
    """Prompt to LLMRouter's own choice; the default's and others'."""

    def arm(self, alias: str) -> Mapping[str, Any]:
        arm: Mapping[str, Any] = self.routed.info()["aliases"][alias]["arms"]["-"]
        return arm

    def ask(self, alias: str, text: str) -> httpx.Response:
        return self.routed.ask(alias, text)

    @property
    def worker(self) -> Mapping[str, Any]:
        worker: Mapping[str, Any] = self.routed.info()["worker"]
        return worker

    def wait_until_graph_decides(self) -> None:
        processes.wait_until(
            lambda: self.arm("graph")["ready"] and self.worker["reason"] is None, READY, "the worker process"
        )


def answerer(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    content: str = response.json()["choices"][0]["message"]["content"]
    return content.removeprefix(said(""))


@pytest.fixture(scope="module")
def world(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    workdir = tmp_path_factory.mktemp("hosted")
    imported(trained, GRAPH, f"{GRAPH}.yaml", workdir / "graph")
    choices = trained.said[GRAPH]
    default = max(trained.models, key=list(choices).count)
    pairs = list(zip(trained.asked, choices, strict=True))
    expected = dict([pair for pair in pairs if pair[1] == default][:EACH])
    expected |= dict([pair for pair in pairs if pair[1] != default][:EACH])
    common = {"candidates": list(trained.models), "default": default, "sticky": "none"}
    aliases = {"graph": {**common, "strategy": GRAPH, "artifact": str(workdir / "graph"), "deadline_ms": 60_000}}
    aliases |= {name: {**common, "strategy": name} for name in OWN_ERRORS}
    with provider() as upstream:
        models = [
            {
                "model_name": name,
                "litellm_params": {"model": f"openai/{name}", "api_base": upstream.url, "api_key": "upstream"},
            }
            for name in trained.models
        ]
        with routed(workdir / "proxy", upstream, aliases, model_list=models) as running:
            made = World(running, default, expected)
            made.wait_until_graph_decides()
            yield made


def test_every_hosted_strategy_is_here() -> None:
    assert {GRAPH, *OWN_ERRORS} == set(HOSTED)


def test_the_graph_router_decides_and_not_as_the_default_would(world: World) -> None:
    assert set(world.expected.values()) > {world.default}
    for text, model in world.expected.items():
        response = world.ask("graph", text)
        assert answerer(response) == model
        assert response.headers["x-routeiq-strategy"] == GRAPH
        assert response.headers["x-routeiq-cause"] == "strategy"
        assert response.headers["x-routeiq-artifact"] == world.arm("graph")["artifact"]


@pytest.mark.parametrize("strategy", OWN_ERRORS)
def test_what_llmrouter_cannot_construct_says_so_and_the_default_model_answers(world: World, strategy: str) -> None:
    processes.wait_until(lambda: world.arm(strategy)["reason"] != "not loaded yet", READY, f"attempt at {strategy}")
    arm = world.arm(strategy)
    assert not arm["ready"]
    assert OWN_ERRORS[strategy] in arm["reason"]
    assert f"{strategy}/-: {arm['reason']}" in world.routed.info()["reason"]
    response = world.ask(strategy, "hello")
    assert answerer(response) == world.default
    assert response.headers["x-routeiq-cause"] == "strategy not ready"
    assert world.arm(strategy)["counts"]["cause: strategy not ready"] >= 1


def test_torch_is_in_the_worker_process_and_not_in_the_proxy(world: World) -> None:
    assert "libtorch" in Path(f"/proc/{world.worker['pid']}/maps").read_text()
    assert "libtorch" not in Path(f"/proc/{world.routed.proxy.pid}/maps").read_text()


def test_the_default_model_answers_until_a_killed_worker_is_back(world: World) -> None:
    text, model = next(pair for pair in world.expected.items() if pair[1] != world.default)
    os.kill(world.worker["pid"], signal.SIGKILL)
    processes.wait_until(lambda: world.worker["reason"] is not None, READY, "notice of the death")
    response = world.ask("graph", text)
    assert (answerer(response), response.headers["x-routeiq-cause"]) == (world.default, "strategy failed")
    assert "the worker process ended with -9" in world.routed.info()["reason"]
    world.wait_until_graph_decides()
    assert answerer(world.ask("graph", text)) == model


def test_no_worker_process_outlives_its_proxy(world: World) -> None:
    pid = world.worker["pid"]
    os.kill(world.routed.proxy.pid, signal.SIGKILL)
    world.routed.proxy.process.wait()
    processes.wait_until(lambda: not Path(f"/proc/{pid}/maps").exists(), READY, "end of the worker process")
