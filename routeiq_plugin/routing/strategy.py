"""The public seam of routing: what a strategy is told, and what it answers; third parties implement `Strategy`.

A strategy comes in by the entry point group `routeiq_plugin.strategies`: the entry point's name is what `strategy:`
says, its object is called with a `StrategySpec` and returns the strategy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from routeiq_plugin.settings import AliasSettings

if TYPE_CHECKING:
    from routeiq_plugin.routing.artifact import Artifact
    from routeiq_plugin.routing.embedding import Embedder
    from routeiq_plugin.routing.worker.strategy import Workers

ENTRY_POINTS: Final = "routeiq_plugin.strategies"


@dataclass(frozen=True, slots=True)
class Query:
    """What is known of a request; never logged."""

    text: str
    """What the thread is about: its latest user turn, or its first where threads stay on their model."""
    tokens: int = 0
    """Upper estimate of the whole prompt."""
    has_image: bool = False
    has_tools: bool = False
    tags: frozenset[str] = frozenset()
    chars: int = 0
    """Of the whole prompt."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model group that may answer; prices in USD per token, None where LiteLLM knows none."""

    model: str
    input_price: float | None = None
    output_price: float | None = None
    latency_seconds: float | None = None
    """Moving average until the first byte of an answer, as this worker saw it."""
    provider_model: str = ""
    """What the group's first deployment is called at its provider."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """A strategy's answer: models, best first; candidates that it leaves out come last."""

    order: tuple[str, ...]
    scores: Mapping[str, float] = field(default_factory=dict)
    """For people: what the order was made of."""


class Strategy(Protocol):
    """Ranks candidates for a request.

    `rank` runs in a thread, under the alias's deadline, unless the strategy has an attribute `inline = True`: then it
    runs on the event loop and must answer within a millisecond. A strategy that can do so for most requests has a
    method `rank_at_once` of the same parameters: it is asked first, on the event loop, and where it returns None `rank`
    is, in a thread. Both are called by several threads at once. Whatever they raise costs the request nothing but the
    choice: the alias's default model answers. An attribute `deadline_ms` replaces the usual 20 ms where the alias sets
    none.
    """

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """Order the candidates, of which there is at least one."""
        ...


@dataclass(frozen=True, slots=True)
class StrategySpec:
    """Everything that a strategy may be built from."""

    name: str
    settings: AliasSettings
    artifact: Artifact | None = None
    embedder: Embedder | None = None
    """Given with an artifact that needs one."""
    config: str | None = None
    """Path of LLMRouter's own config, for strategies of the worker process that have no artifact."""
    workers: Workers | None = None


class StrategyFactory(Protocol):
    """What an entry point names."""

    def __call__(self, spec: StrategySpec) -> Strategy:
        """Build; raises `RouteIQError` with what is wrong."""
        ...
