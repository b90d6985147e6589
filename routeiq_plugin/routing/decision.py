"""A decision about one request, and how it is shown: in headers, in LiteLLM's logs; never with a word of the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

ROUTER_TYPE: Final = "routeiq"
METADATA_KEY: Final = "routeiq_decision"
"""LiteLLM clears `routing_decision` when it routes, so ours waits under this name."""
LOGGED_AS: Final = "routing_decision"

NO_ARM: Final = "-"


class Cause(StrEnum):
    """Why the model was chosen."""

    STRATEGY = "strategy"
    STICKY = "sticky"
    """The thread began on it."""
    ONLY = "only candidate"
    """Nothing else may or can answer this request."""
    NO_STRATEGY = "strategy not ready"
    FAILED = "strategy failed"
    LATE = "deadline"


MISHAPS: Final = frozenset({Cause.NO_STRATEGY, Cause.FAILED, Cause.LATE})
"""Nothing chose, so the default model answers."""


class Logged(dict[str, Any]):
    """A decision inside a request's metadata: of this class, so that no client can send one along."""

    decided_at: float = 0.0
    """Seconds of a monotonic clock."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Who answers a request for an alias."""

    alias: str
    strategy: str
    model: str
    fallbacks: tuple[str, ...]
    cause: Cause
    seconds: float
    arm: str = NO_ARM
    artifact: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)

    def logged(self) -> Logged:
        """Render for LiteLLM's `metadata.routing_decision`, under its names where it has them."""
        return Logged(
            router_model_name=self.alias,
            router_type=ROUTER_TYPE,
            routed_model=self.model,
            cause=self.cause.value,
            strategy=self.strategy,
            arm=self.arm,
            artifact=self.artifact,
            decision_ms=round(self.seconds * 1e3, 3),
            scores={model: round(score, 4) for model, score in self.scores.items()},
        )


def decision_in(data: Mapping[str, Any]) -> Logged | None:
    """Return the decision that was made about a request, None for one that was not for an alias."""
    for name in ("litellm_metadata", "metadata"):
        metadata = data.get(name)
        found = metadata.get(METADATA_KEY) if isinstance(metadata, Mapping) else None
        if isinstance(found, Logged):
            return found
    return None


def log_decision(kwargs: Mapping[str, Any]) -> None:
    """Show a request's decision to LiteLLM's loggers, in the metadata that goes with a call of a deployment."""
    for name in ("litellm_metadata", "metadata"):
        metadata = kwargs.get(name)
        if isinstance(metadata, dict) and isinstance(decided := metadata.get(METADATA_KEY), Logged):
            metadata[LOGGED_AS] = dict(decided)


def headers(logged: Logged) -> dict[str, str]:
    """Render what `Decision.logged` said as response headers."""
    told = {
        "x-routeiq-strategy": logged["strategy"],
        "x-routeiq-model": logged["routed_model"],
        "x-routeiq-cause": logged["cause"],
        "x-routeiq-decision-ms": str(logged["decision_ms"]),
    }
    if logged["arm"] != NO_ARM:
        told["x-routeiq-arm"] = logged["arm"]
    if logged["artifact"]:
        told["x-routeiq-artifact"] = logged["artifact"]
    return {name: value.encode("ascii", "replace").decode() for name, value in told.items()}
