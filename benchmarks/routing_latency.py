"""What a routed decision costs: in process, and through the proxy against naming the model directly.

`python -m benchmarks.routing_latency`: `quality` over 5,600 stored prompts of made-up words, whose meaning does not
change what they cost, asked with prompts that it has not seen, so that no vector comes from the cache.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from benchmarks import load, processes
from routeiq_plugin.routing import artifact, training
from routeiq_plugin.routing.arms import Arm, arms_of
from routeiq_plugin.routing.dataset import Dataset, Row
from routeiq_plugin.routing.embedding import static_embedder
from routeiq_plugin.routing.engine import Engine
from routeiq_plugin.routing.selection import Price
from routeiq_plugin.routing.strategy import Candidate, Query
from routeiq_plugin.settings import AliasSettings
from tests.support.proxy import MODEL, Proxy, merge, running_proxy

STORED: Final = 5_600
ASKED: Final = 2_000
MODELS: Final = tuple(f"model-{at}" for at in range(9))
P50_BUDGET_MS: Final = 0.5
P99_BUDGET_MS: Final = 3.0
REQUEST_BUDGET_MS: Final = 1.0
LENGTHS: Final = ((40, "short"), (200, "usual"), (20_000, "long"))
"""Words of a prompt."""
_VOCABULARY: Final = 20_000
_SYLLABLES: Final = ("ka", "lo", "mer", "ti", "sun", "por", "de", "an", "gil", "xe")


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


def through_the_proxy(directory: Path, seconds: float, rounds: int) -> list[float]:
    """Return what an alias adds to a request's CPU, in milliseconds, per round: explicit and routed interleaved."""
    names = [MODEL, *MODELS[1:]]
    model = {"model": "openai/fake", "api_key": "fake", "mock_response": "mock answer"}
    alias = {"strategy": "quality", "artifact": str(directory), "candidates": list(MODELS), "default": MODELS[0]}
    config = {
        "model_list": [{"model_name": name, "litellm_params": model} for name in {*names, *MODELS}],
        "routeiq": {"routing": {"aliases": {"auto": alias}}},
    }
    with tempfile.TemporaryDirectory() as workdir, running_proxy(Path(workdir), config=merge({}, config)) as proxy:
        for name in (MODEL, "auto"):
            _per_request(proxy, name, seconds)
        added = []
        for _ in range(rounds):
            explicit, routed = _per_request(proxy, MODEL, seconds), _per_request(proxy, "auto", seconds)
            added.append(routed - explicit)
    return added


def _per_request(proxy: Proxy, model: str, seconds: float) -> float:
    content = prompts(1, 100, seed=7)[0]
    body = {"model": model, "messages": [{"role": "user", "content": content}]}
    scenario = load.Scenario(model, "POST", "/v1/chat/completions", body=body)
    before = processes.cpu_seconds(proxy.pid)
    done = load.run(proxy, scenario, seconds)
    return (processes.cpu_seconds(proxy.pid) - before) / done.requests * 1e3


def lines(costs: Sequence[Cost], added: Sequence[float]) -> Iterator[str]:
    """Write what was measured, and the verdicts."""
    yield f"load average {processes.load_average():.1f}; {STORED} stored prompts, {len(MODELS)} models; milliseconds"
    yield f"{'prompt':<10}{'cpu p50':>10}{'p90':>10}{'p99':>10}{'wall p50':>10}{'p99':>10}"
    for cost in costs:
        cpu, wall = quantiles(cost.cpu, n=100), quantiles(cost.wall, n=100)
        yield f"{cost.name:<10}{cpu[49]:>10.3f}{cpu[89]:>10.3f}{cpu[98]:>10.3f}{wall[49]:>10.3f}{wall[98]:>10.3f}"
    usual = quantiles(next(cost.cpu for cost in costs if cost.name == "usual"), n=100)
    yield _verdict("decision, p50 cpu", usual[49], P50_BUDGET_MS)
    yield _verdict("decision, p99 cpu", usual[98], P99_BUDGET_MS)
    if added:
        yield f"added to a request, rounds: {', '.join(f'{each:+.2f}' for each in added)}"
        yield _verdict("added to a request, median cpu", median(added), REQUEST_BUDGET_MS)


def _verdict(what: str, measured: float, budget: float) -> str:
    return f"{'met   ' if measured <= budget else 'MISSED'}  {what}: {measured:.3f} ms (budget {budget} ms)"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=6, help="of explicit and routed requests, 0 for none")
    options.add_argument("--seconds", type=float, default=4.0, help="length of each half of a round")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        trained(Path(directory))
        costs = asyncio.run(decisions(loaded(Path(directory))))
        added = through_the_proxy(Path(directory), given.seconds, given.rounds) if given.rounds else []
    print("\n".join(lines(costs, added)))


if __name__ == "__main__":
    main()
