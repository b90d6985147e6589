"""Strategies whose router runs in the worker process: LLMRouter's own code, on an artifact or on its own config."""

from __future__ import annotations

import itertools
import sys
import weakref
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from routeiq_plugin.errors import ArtifactRefused, SettingsError, Unavailable
from routeiq_plugin.routing.artifact import SELFTEST_EXPECTED, SELFTEST_INPUT, Artifact
from routeiq_plugin.routing.strategies.learned import require
from routeiq_plugin.routing.strategy import Candidate, Query, Ranking, StrategySpec
from routeiq_plugin.routing.worker import host
from routeiq_plugin.routing.worker.process import Patience, WorkerProcess

if TYPE_CHECKING:
    from routeiq_plugin.routing.embedding import Embedder

GRAPH: Final = "llmrouter-graph"
HOSTED: Final = tuple(host.ROUTERS)
"""Names of strategies that run in the worker process."""

DEADLINE_MS: Final = 1_000.0
SELFTEST_SECONDS: Final = 30.0
"""Per prompt of a self-test: nobody waits for it, and the process may have just begun."""
_TEXT_CHARS: Final = 8_000


class Workers:
    """The worker process of this proxy worker, from its first use until it is closed."""

    def __init__(self, python: str | None = None, patience: Patience | None = None) -> None:
        self._python = python or sys.executable
        self._patience = patience
        self._process: WorkerProcess | None = None
        self._lock = Lock()

    def process(self) -> WorkerProcess:
        """Return the one process; it starts with its first router."""
        with self._lock:
            if self._process is None:
                self._process = WorkerProcess(self._python, self._patience)
            return self._process

    def facts(self) -> Mapping[str, Any] | None:
        """Tell how the process is doing; None when nothing needs it."""
        return None if self._process is None else self._process.facts()

    def close(self) -> None:
        """End the process; safe to call twice."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.close()


class HostedStrategy:
    """Asks the worker process for the model, and gives it the vector that the proxy's embedder makes."""

    deadline_ms = DEADLINE_MS

    def __init__(self, process: WorkerProcess, router: str, spec: StrategySpec, embedder: Embedder) -> None:
        self._process = process
        self._router = router
        self._embedder = embedder
        self._default = spec.settings.default
        self._seconds = (spec.settings.deadline_ms or DEADLINE_MS) / 1e3
        # The process lets go of a router when nothing here can ask it any more: after a swap, not before the last use.
        weakref.finalize(self, process.drop, router).atexit = False

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """Put LLMRouter's model first, then the default."""
        vector = self._embedder.embed(query.text).tolist()
        model = self._process.route(self._router, query.text[:_TEXT_CHARS], vector, self._seconds)
        return Ranking((model, self._default), {model: 1.0})

    @property
    def reason(self) -> str | None:
        """Why it cannot answer just now, as far as that is the process's fault."""
        return self._process.reason


_numbers = itertools.count(1)


def build(spec: StrategySpec) -> HostedStrategy:
    """Have the process construct and try the router; blocks, a minute for the first.

    Raises:
        RouteIQError: with LLMRouter's own error where that is what is in the way.
    """
    if spec.workers is None:
        raise SettingsError(f"the strategy {spec.name} needs the proxy's worker process")
    process = spec.workers.process()
    router = f"router-{next(_numbers)}"
    if spec.artifact is None:
        assert spec.embedder is not None
        order = {
            "strategy": spec.name,
            "labels": list(spec.settings.candidates),
            "config": spec.config,
            "vector": [0.0] * spec.embedder.identity.dim,
        }
        _construct(process, router, order, None)
        return HostedStrategy(process, router, spec, spec.embedder)
    artifact, embedder = require(spec)
    if embedder is None:
        raise ArtifactRefused(f"{artifact.manifest.id} does not say which embedder it was trained with")
    load(process, router, artifact)
    return HostedStrategy(process, router, spec, embedder)


def load(process: WorkerProcess, router: str, artifact: Artifact) -> None:
    """Construct the router of an artifact and run its self-test; raises `RouteIQError`, and then keeps nothing."""
    labels = artifact.manifest.labels
    expected = artifact.tensor(SELFTEST_EXPECTED, None, len(labels))
    wanted = [labels[at] for at in expected.argmax(axis=1)]
    if choices(process, router, artifact) != wanted:
        process.drop(router)
        raise ArtifactRefused(f"{artifact.manifest.id} fails its self-test: LLMRouter chooses something else here")


def choices(process: WorkerProcess, router: str, artifact: Artifact) -> list[str]:
    """Construct the router of an artifact, and return its choices for the self-test's vectors."""
    from safetensors.numpy import save

    verify(artifact)
    manifest = artifact.manifest
    order = {"strategy": manifest.strategy, "labels": list(manifest.labels), "params": dict(manifest.params)}
    _construct(process, router, order, save(dict(artifact.tensors)))
    try:
        vectors = artifact.tensor(SELFTEST_INPUT, None, None).tolist()
        return [process.route(router, "", vector, SELFTEST_SECONDS) for vector in vectors]
    except BaseException:
        process.drop(router)
        raise


def verify(artifact: Artifact) -> None:
    """Check what can be known without LLMRouter: the tensors and their shapes; raises `ArtifactRefused`."""
    manifest = artifact.manifest
    if manifest.strategy != GRAPH or manifest.embedder is None:
        raise ArtifactRefused(f"{manifest.id}: artifacts of {manifest.strategy} are not supported, {GRAPH} is")
    labels = len(manifest.labels)
    queries = artifact.tensor("queries", None, manifest.embedder.dim)
    artifact.tensor("performance", len(queries), labels)
    artifact.tensor("llms", labels, None)
    artifact.number("hidden_dim")
    tests = artifact.tensor(SELFTEST_INPUT, None, manifest.embedder.dim)
    artifact.tensor(SELFTEST_EXPECTED, len(tests), labels)
    if not len(queries) or not len(tests):
        raise ArtifactRefused(f"{manifest.id} needs prompts and a self-test")


def _construct(process: WorkerProcess, router: str, order: Mapping[str, Any], weights: bytes | None) -> None:
    try:
        process.load(router, order, weights)
    except Unavailable as wrong:
        raise Unavailable(f"{order['strategy']}: {wrong}") from None
