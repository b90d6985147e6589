"""The proxy of these tests: four model groups behind one provider, and an alias for every strategy and setting."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import httpx

from routeiq_plugin.routing import artifact, training
from routeiq_plugin.routing.dataset import Dataset, Row
from routeiq_plugin.routing.embedding import static_embedder
from routeiq_plugin.routing.selection import Price
from tests.routing.provider import Provider, said
from tests.support.proxy import PLUGIN, Proxy, merge, running_proxy
from tests.support.workers import PATIENT

GROUPS: Final[Mapping[str, Mapping[str, Any]]] = {
    "large": {"supports_vision": True, "supports_function_calling": True, "max_input_tokens": 400_000},
    "middle": {"supports_function_calling": True, "max_input_tokens": 8_000},
    "small": {"max_input_tokens": 8_000},
}
PATIENT_MS: Final = 30_000
PRICES: Final = {"large": 1e-5, "middle": 2e-6, "small": 1e-6}
CANDIDATES: Final = tuple(GROUPS)

RULES: Final = (
    {"when": {"regex": "prove"}, "model": "large"},
    {"when": {"language": "de"}, "model": "middle"},
    {"when": {"header": {"X-Tier": "gold"}}, "model": "large"},
    {"when": {"tag": "batch"}, "model": "middle"},
    {"when": {"min_chars": 2000}, "model": "middle"},
)

MATHS: Final = "Compute the integral of x^{at} + {at}x from 0 to {at} and prove that the result is right."
CHAT: Final = "Hello friend {at}, how was your holiday by the sea with the children this year?"


def alias(strategy: str, **fields: Any) -> dict[str, Any]:
    """Build an alias of all groups, with time enough to choose on a machine that is busy with something else."""
    usual = {"candidates": list(CANDIDATES), "default": "small", "deadline_ms": PATIENT_MS}
    return {"strategy": strategy, **usual, **fields}


def scored() -> Dataset:
    """Prompts of two kinds: mathematics, which only `large` answers well, and chat, which all do."""
    rows = [Row(MATHS.format(at=at), {"large": 1.0, "middle": 0.2, "small": 0.0}) for at in range(60)]
    rows += [Row(CHAT.format(at=at), {"large": 1.0, "middle": 1.0, "small": 1.0}) for at in range(60)]
    return Dataset(tuple(sorted(CANDIDATES)), tuple(rows))


def train(directory: Path, name: str = "smart") -> artifact.Manifest:
    """Train `quality` on `scored`."""
    prices = {model: Price(price, price) for model, price in PRICES.items()}
    draft = training.train_quality(scored(), static_embedder(), prices, name=name)
    return artifact.write(draft, directory)


def deployments(url: str) -> list[dict[str, Any]]:
    """Build the model_list."""
    return [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}", "api_base": url, "api_key": "upstream"},
            "model_info": {
                "input_cost_per_token": PRICES[name],
                "output_cost_per_token": PRICES[name],
                **facts,
            },
        }
        for name, facts in GROUPS.items()
    ]


def config(url: str, aliases: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Build a proxy's config: no retries, so that a failing model is asked once."""
    base = {
        "model_list": deployments(url),
        "litellm_settings": {"num_retries": 0, "callbacks": [PLUGIN, "prometheus", "decision_log.decision_log"]},
        "router_settings": {"allowed_fails": 100, "cooldown_time": 2},
        "routeiq": {"routing": {"aliases": dict(aliases)}},
    }
    return merge(base, more)


TIRED: Final = "tired"
HEAVY: Final = ("torch", "transformers", "llmrouter")


def tiring(url: str) -> dict[str, Any]:
    """Build a group that its first failure puts into cooldown for longer than any test."""
    return {
        "model_name": TIRED,
        "litellm_params": {"model": f"openai/{TIRED}", "api_base": url, "api_key": "upstream"},
        "model_info": {"allowed_fails_policy": {"InternalServerErrorAllowedFails": 0}, "cooldown_time": 3600},
    }


ENTRY_POINTS: Final = """[routeiq_plugin.strategies]
stalling = third_party:stalling
failing = third_party:failing
by-name = third_party:by_name
moody = third_party:moody
"""


def furnish(workdir: Path) -> None:
    """Put the callback, and a package with strategies, where the proxy finds them."""
    here = Path(__file__).parent
    workdir.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(here / "decision_log.py", workdir / "decision_log.py")
    package = workdir / "site"
    info = package / "third_party-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copyfile(here / "third_party.py", package / "third_party.py")
    for name in HEAVY:
        if find_spec(name) is None:  # so that whoever tries to import it is found out
            (package / name).mkdir()
            (package / name / "__init__.py").touch()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)


@contextmanager
def routed(
    workdir: Path, upstream: Provider, aliases: Mapping[str, Any], workers: int = 1, **more: Any
) -> Iterator[Routed]:
    """Run a proxy with these aliases."""
    furnish(workdir)
    env = {"PYTHONPATH": str(workdir / "site"), **(PATIENT if workers > 1 else {})}
    with running_proxy(workdir, config=config(upstream.url, aliases, **more), env=env, workers=workers) as proxy:
        yield Routed(proxy, upstream)


@dataclass(frozen=True)
class Versions:
    """Two versions of an artifact behind one path, a link that is turned from one to the other in one step."""

    link: Path
    homes: tuple[Path, ...]
    ids: tuple[str, ...]

    def turn(self, at: int) -> str:
        """Point at a version; returns its id."""
        partial = self.link.with_name("partial")
        partial.symlink_to(self.homes[at % len(self.homes)], target_is_directory=True)
        partial.replace(self.link)
        return self.ids[at % len(self.ids)]


@dataclass(frozen=True)
class Routed:
    """A proxy with aliases, and its provider."""

    proxy: Proxy
    upstream: Provider

    def ask(
        self, model: str, text: Any = "hello", key: str | None = None, *, headers: Mapping[str, str] = {}, **body: Any
    ) -> httpx.Response:
        """Ask a chat model, one user turn unless `messages` say otherwise."""
        asked = {"model": model, "messages": [{"role": "user", "content": text}], **body}
        with self.proxy.client(key or self.proxy.master_key, headers=dict(headers)) as client:
            return client.post("/v1/chat/completions", json=asked)

    def post(self, path: str, key: str | None = None, **body: Any) -> httpx.Response:
        """Post anything."""
        with self.proxy.client(key or self.proxy.master_key) as client:
            return client.post(path, json=body)

    def info(self, key: str | None = None) -> dict[str, Any]:
        """What `/router/info` says of routing."""
        with self.proxy.client(key or self.proxy.master_key) as client:
            told: dict[str, Any] = client.get("/router/info").json()["features"]["routing"]
        return told

    def logged(self) -> list[dict[str, Any]]:
        """What LiteLLM's loggers heard, oldest first."""
        path = self.proxy.workdir / "decisions.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def answerer(response: httpx.Response) -> str:
    """Return the model that a chat answer says it is from."""
    assert response.status_code == 200, response.text
    content: str = response.json()["choices"][0]["message"]["content"]
    return next(model for model in GROUPS if content == said(model))


def talk(*turns: str) -> Sequence[Mapping[str, str]]:
    """Build messages: user and assistant in turn, the user first."""
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(turns)]
