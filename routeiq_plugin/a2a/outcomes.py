"""How calls end: what they cost, why they failed, and the one record of each."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, Self

from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.a2a.records import CallRecord, CallRecorder
from routeiq_plugin.errors import BackendError, BackendResponseTooLarge, BackendTimeout, Unavailable, wire
from routeiq_plugin.host import call_views, calls
from routeiq_plugin.host.auth import Caller

logger = logging.getLogger(__name__)

STREAMS: Final = frozenset({"SendStreamingMessage", "SubscribeToTask"})

ErrorClass = Literal[
    "refused",
    "invalid",
    "guardrail",
    "agent",
    "timeout",
    "too_large",
    "unreachable",
    "unavailable",
    "client_left",
    "internal",
]
"""Why calls fail, for records and metrics."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What an agent costs, in dollars."""

    per_query: float | None
    per_prompt_token: float
    per_completion_token: float

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Self:
        """Read LiteLLM's price parameters of an agent."""
        return cls(
            per_query=_number(params.get("cost_per_query")),
            per_prompt_token=_number(params.get("input_cost_per_token")) or 0.0,
            per_completion_token=_number(params.get("output_cost_per_token")) or 0.0,
        )

    @property
    def counts_tokens(self) -> bool:
        """Tell whether the price depends on tokens; a price per query goes first, as on stock."""
        return self.per_query is None and bool(self.per_prompt_token or self.per_completion_token)

    def cost(self, usage: call_views.Usage | None) -> float:
        """Price of one message."""
        if self.per_query is not None:
            return self.per_query
        if usage is None:
            return 0.0
        return usage.prompt * self.per_prompt_token + usage.completion * self.per_completion_token


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call failed: a class for records, and what LiteLLM's events say."""

    kind: ErrorClass
    told: call_views.CallFailed

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Classify an error of ours, or one that a hook raised."""
        if isinstance(error, call_views.CallFailed):
            return cls("guardrail", error)
        for known, kind in _KINDS:
            if isinstance(error, known):
                return cls(kind, call_views.CallFailed(str(error), wire(error).status))
        return cls("internal", call_views.CallFailed("The gateway failed", 500))


_KINDS: Final[tuple[tuple[type[BackendError | Unavailable], ErrorClass], ...]] = (
    (BackendTimeout, "timeout"),
    (BackendResponseTooLarge, "too_large"),
    (BackendError, "unreachable"),
    (Unavailable, "unavailable"),
)
INVALID: Final = Failure("invalid", call_views.CallFailed("The request is not one that A2A defines", 400))
LEFT: Final = Failure(
    "client_left",
    call_views.CallFailed("The client left before the agent answered", call_views.CLIENT_LEFT),
)


class CallLog:
    """Writes the one record of a call."""

    def __init__(self, recorder: CallRecorder, caller: Caller, agent: Agent, method: str) -> None:
        self.method = method
        self._recorder = recorder
        self._caller = caller
        self._agent = agent
        self._started_at = datetime.now(UTC)
        self._began = time.monotonic()

    def write(
        self,
        error: ErrorClass | None,
        *,
        client_left: bool = False,
        spend: float = 0.0,
        usage: call_views.Usage | None = None,
    ) -> None:
        """Write it; `spend` in dollars."""
        key = calls.key_of(self._caller)
        self._recorder.record(
            CallRecord(
                agent_id=self._agent.agent_id,
                agent_name=self._agent.name,
                method=self.method,
                key=key.hash,
                key_alias=key.alias,
                user_id=self._caller.user_id,
                team_id=self._caller.team_id,
                started_at=self._started_at,
                seconds=time.monotonic() - self._began,
                outcome="success" if error is None else "failure",
                error=error,
                streamed=self.method in STREAMS,
                aborted=client_left,
                spend=spend,
                prompt_tokens=usage.prompt if usage else 0,
                completion_tokens=usage.completion if usage else 0,
            )
        )


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        logger.warning("routeiq: an agent's price is no number and counts as none")
        return None
