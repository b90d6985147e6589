"""What a routed decision costs: in process, and through the proxy against naming the model directly.

`python -m benchmarks.routing_latency`: `quality` over 5,600 stored prompts of made-up words, whose meaning does not
change what they cost, asked with prompts that it has not seen, so that no vector comes from the cache. With `--peer`
LLMRouter's own server answers from the same fake upstream.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import httpx

from benchmarks import load, processes
from routeiq_plugin.routing import artifact, training
from routeiq_plugin.routing.arms import Arm, arms_of
from routeiq_plugin.routing.dataset import Dataset, Row
from routeiq_plugin.routing.embedding import static_embedder
from routeiq_plugin.routing.engine import Engine
from routeiq_plugin.routing.selection import Price
from routeiq_plugin.routing.strategy import Candidate, Query
from routeiq_plugin.settings import AliasSettings
from tests.routing.provider import Provider, provider
from tests.support.processes import clean_environment, free_port, kill_group, wait_until
from tests.support.proxy import Proxy, running_proxy

STORED: Final = 5_600
ASKED: Final = 2_000
MODELS: Final = tuple(f"model-{at}" for at in range(9))
P50_BUDGET_MS: Final = 0.5
P99_BUDGET_MS: Final = 3.0
REQUEST_BUDGET_MS: Final = 1.0
LENGTHS: Final = ((40, "short"), (200, "usual"), (20_000, "long"))
"""Words of a prompt."""
FRESH: Final = 1_000
"""Different prompts of a round, more than it has time for."""
EXPLICIT: Final = "model named"
ROUTED: Final = "alias"
AGAIN: Final = "alias, the prompt known"
"""As it is in every turn of a thread but its first."""
PEER: Final = "llmrouter serve"
_PEER_START_SECONDS: Final = 300.0
_VOCABULARY: Final = 20_000
_SYLLABLES: Final = ("ka", "lo", "mer", "ti", "sun", "por", "de", "an", "gil", "xe")


Requests = Mapping[str, Sequence[float]]
"""Milliseconds of CPU per request, by what was asked, one per round."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of one kind of prompt."""

    name: str
    cpu: Sequence[float]
    wall: Sequence[float]


def prompts(count: int, words: int, seed: int) -> list[str]:
    """Make prompts up, with a few frequent words and many rare ones, as in real text."""
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4))) for _ in range(_VOCABULARY)]
    return [
        " ".join(vocabulary[min(int(rng.paretovariate(0.6)), _VOCABULARY) - 1] for _ in range(words))
        for _ in range(count)
    ]


def trained(directory: Path) -> None:
    """Write an artifact of the size that is asked for; its choices mean nothing."""
    rng = random.Random(0)
    rows = [Row(text, {model: rng.random() for model in MODELS}) for text in prompts(STORED, 60, seed=1)]
    prices = {model: Price(at + 1.0, at + 1.0) for at, model in enumerate(MODELS)}
    draft = training.train_quality(Dataset(MODELS, tuple(rows)), static_embedder(), prices, name="latency")
    artifact.write(draft, directory)


def loaded(directory: Path) -> Arm:
    """Load it as a proxy does."""
    settings = AliasSettings(strategy="quality", artifact=str(directory), candidates=MODELS, default=MODELS[0])
    arm = arms_of("auto", settings)[0]
    arm.load()
    return arm


async def decisions(arm: Arm) -> list[Cost]:
    """Time embedding, scores and policy."""
    engine = Engine(lambda where, error: sys.exit(f"{where}: {error}"))
    candidates = [Candidate(model, at + 1.0, at + 1.0) for at, model in enumerate(MODELS)]
    costs = []
    for words, name in LENGTHS:
        cpu, wall = [], []
        for at, text in enumerate(prompts(ASKED if words < 1000 else 200, words, seed=words)):
            query = Query(f"{at} {text}", tokens=words)
            before, began = time.process_time(), time.perf_counter()
            await engine.order(arm, query, candidates)
            cpu.append((time.process_time() - before) * 1e3)
            wall.append((time.perf_counter() - began) * 1e3)
        costs.append(Cost(name, cpu, wall))
    return costs


@dataclass(frozen=True, slots=True)
class Peer:
    """LLMRouter's own server."""

    port: int
    pid: int
    master_key: str = "none"


@contextmanager
def llmrouter(python: str, workdir: Path, upstream: Provider) -> Iterator[Peer]:
    """Run `llmrouter serve` with its cheapest strategy, rules, on the same upstream, from another virtualenv."""
    models = {
        name: {"provider": "openai", "model": name, "base_url": upstream.url, "api_key": "fake"} for name in MODELS
    }
    config = workdir / "llmrouter.yaml"
    rules = {"strategy": "rules", "rules": [{"default": MODELS[1]}]}
    config.write_text(json.dumps({"router": rules, "llms": models}))
    port = free_port()
    command = [str(Path(python).with_name("llmrouter")), "serve", "--config", str(config)]
    environment = {"HOME": str(workdir), "LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1"}
    with (workdir / "llmrouter.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=workdir,
            env=clean_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until(lambda: _answers(port), _PEER_START_SECONDS, "start of llmrouter serve")
            yield Peer(port, process.pid)
        finally:
            kill_group(process)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def through_servers(directory: Path, seconds: float, rounds: int, peer: str | None) -> Requests:
    """Measure a request's CPU in milliseconds per round: explicit, routed and the peer's, in turn, on one upstream."""
    alias = {"strategy": "quality", "artifact": str(directory), "candidates": list(MODELS), "default": MODELS[0]}
    with ExitStack() as stack:
        workdir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(provider())
        models = [
            {
                "model_name": name,
                "litellm_params": {"model": f"openai/{name}", "api_base": upstream.url, "api_key": "fake"},
                "model_info": {"input_cost_per_token": (at + 1) / 1e6, "output_cost_per_token": (at + 1) / 1e6},
            }
            for at, name in enumerate(MODELS)
        ]
        config = {"model_list": models, "routeiq": {"routing": {"aliases": {"auto": alias}}}}
        proxy = stack.enter_context(running_proxy(workdir / "proxy", config=config))
        arms: dict[str, tuple[Proxy | Peer, str, int]] = {
            EXPLICIT: (proxy, MODELS[0], FRESH),
            ROUTED: (proxy, "auto", FRESH),
            AGAIN: (proxy, "auto", 1),
        }
        if peer is not None:
            arms[PEER] = (stack.enter_context(llmrouter(peer, workdir, upstream)), "auto", FRESH)
        for server, model, different in arms.values():
            _per_request(server, model, prompts(different, 100, seed=7), seconds)
        found: dict[str, list[float]] = {name: [] for name in arms}
        for at in range(rounds):
            order = list(arms.items()) if at % 2 == 0 else list(arms.items())[::-1]
            for name, (server, model, different) in order:
                asked = prompts(different, 100, seed=1_000 + at if different > 1 else 7)
                found[name].append(_per_request(server, model, asked, seconds))
            upstream.calls.clear()
    return found


def _per_request(server: Proxy | Peer, model: str, asked: Sequence[str], seconds: float) -> float:
    bodies = [{"model": model, "messages": [{"role": "user", "content": text}]} for text in asked]
    scenario = load.Scenario(model, "POST", "/v1/chat/completions", bodies=bodies)
    before = processes.cpu_seconds(server.pid)
    done = load.run(server, scenario, seconds)
    return (processes.cpu_seconds(server.pid) - before) / done.requests * 1e3


def lines(costs: Sequence[Cost], requests: Requests) -> Iterator[str]:
    """Write what was measured, and the verdicts."""
    yield f"load average {processes.load_average():.1f}; {STORED} stored prompts, {len(MODELS)} models; milliseconds"
    yield f"{'prompt':<10}{'cpu p50':>10}{'p90':>10}{'p99':>10}{'wall p50':>10}{'p99':>10}"
    for cost in costs:
        cpu, wall = quantiles(cost.cpu, n=100), quantiles(cost.wall, n=100)
        yield f"{cost.name:<10}{cpu[49]:>10.3f}{cpu[89]:>10.3f}{cpu[98]:>10.3f}{wall[49]:>10.3f}{wall[98]:>10.3f}"
    usual = quantiles(next(cost.cpu for cost in costs if cost.name == "usual"), n=100)
    yield _verdict("decision, p50 cpu", usual[49], P50_BUDGET_MS)
    yield _verdict("decision, p99 cpu", usual[98], P99_BUDGET_MS)
    for name, each in requests.items():
        yield f"CPU of a request, {name}: median {median(each):.2f} ms, of {', '.join(f'{one:.2f}' for one in each)}"
    if requests:
        for name in (ROUTED, AGAIN):
            added = [routed - explicit for explicit, routed in zip(requests[EXPLICIT], requests[name], strict=True)]
            yield f"added to a request, {name}, rounds: {', '.join(f'{each:+.2f}' for each in added)}"
            yield _verdict(f"added to a request, {name}, median cpu", median(added), REQUEST_BUDGET_MS)


def _verdict(what: str, measured: float, budget: float) -> str:
    return f"{'met   ' if measured <= budget else 'MISSED'}  {what}: {measured:.3f} ms (budget {budget} ms)"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=6, help="of explicit and routed requests, 0 for none")
    options.add_argument("--seconds", type=float, default=4.0, help="length of each half of a round")
    options.add_argument("--peer", metavar="PYTHON", help="interpreter of a virtualenv that has llmrouter-lib")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        trained(Path(directory))
        costs = asyncio.run(decisions(loaded(Path(directory))))
        requests = through_servers(Path(directory), given.seconds, given.rounds, given.peer) if given.rounds else {}
    print("\n".join(lines(costs, requests)))


if __name__ == "__main__":
    main()
