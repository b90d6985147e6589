"""What is remembered of a call: who called which agent, how it went, how long it took and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

Outcome = Literal["success", "failure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One finished call; never holds what was said."""

    agent_id: str
    agent_name: str
    method: str
    """1.0 name of the JSON-RPC method, whichever version the caller spoke."""
    key: str
    """Hash of the caller's key as LiteLLM logs it, empty where it has none."""
    key_alias: str | None = None
    user_id: str | None = None
    team_id: str | None = None
    started_at: datetime
    """Aware, UTC."""
    seconds: float
    outcome: Outcome
    error: str | None = None
    """Class of the failure, from a small fixed set; never a message."""
    streamed: bool = False
    aborted: bool = False
    """The caller left before the end; counted as a success if the backend had answered at all."""
    spend: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class CallRecorder(Protocol):
    """Takes records of finished calls."""

    def record(self, call: CallRecord) -> None:
        """Remember a call; never blocks, never raises, drops and counts when it cannot keep up."""
        ...
