"""What LiteLLM's hooks see of an agent's answers and events, and what they leave of them."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from litellm.types.agents import LiteLLMSendMessageResponse

CLIENT_LEFT: Final = 499

Json = dict[str, Any]


class CallFailed(Exception):
    """How a call failed after the agent was asked; `status_code` is what LiteLLM's events show, not what is sent."""

    def __init__(self, message: str, status_code: int, data: Json | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.data = data


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a call."""

    prompt: int = 0
    completion: int = 0


class StreamEvent(dict[str, Any]):
    """One event of a stream as JSON-RPC in 0.3 shape, for hooks to change; `origin` stays what the agent sent."""

    def __init__(self, call_id: Any, result: Json, origin: Any) -> None:
        super().__init__(jsonrpc="2.0", id=call_id, result=result)
        self.origin = origin
        self.before = copy.deepcopy(result)


@dataclass(frozen=True, slots=True)
class Shown:
    """What the hooks let out: an event as the agent sent it, a changed one, or text in place of an event's own."""

    origin: Any = None
    result: Json | None = None
    text: str | None = None


class Answer(LiteLLMSendMessageResponse):  # type: ignore[misc]  # LiteLLM is not followed by mypy, see pyproject.toml
    """LiteLLM's answer, whose dump shares `result`: its guardrails change the dump and expect the answer to follow."""

    def model_dump(self, **options: Any) -> Json:
        """Dump; without options, `result` is this answer's own."""
        if options:
            dumped: Json = super().model_dump(**options)
            return dumped
        return {"id": self.id, "jsonrpc": self.jsonrpc, "result": self.result}


class Boundary:
    """Remembers what the agent's side raised, so that it is not taken for a hook's refusal."""

    def __init__(self, events: AsyncIterator[StreamEvent]) -> None:
        self._events = events
        self.failure: Exception | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        try:
            return await anext(self._events)
        except StopAsyncIteration:
            raise
        except Exception as failure:
            self.failure = failure
            raise


def shown_of(event: Any, changed: Any) -> Shown:
    """Tell a changed event from one as it was; LiteLLM's per-event hook answers with text, in place of the event."""
    origin = event.origin if isinstance(event, StreamEvent) else None
    if not isinstance(changed, Mapping):
        return Shown(origin, text=str(changed))
    result = result_of(changed)
    if isinstance(event, StreamEvent) and result == event.before:
        return Shown(origin)
    return Shown(origin, result)


def status_of(refused: Exception) -> int:
    """Take the status that a hook's own exception names; without one it is an error of the hook."""
    status = getattr(refused, "status_code", None)
    return status if isinstance(status, int) and 400 <= status < 600 else 500


def withheld(refused: Exception) -> CallFailed:
    """Say that a hook withheld an answer."""
    detail = getattr(refused, "detail", None)
    if isinstance(detail, Mapping):
        message = detail.get("error") or detail.get("message") or "A guardrail refused"
        data = {name: value for name, value in detail.items() if name not in ("error", "message")}
        return CallFailed(str(message), status_of(refused), data or None)
    text = detail or getattr(refused, "message", None) or refused
    return CallFailed(str(text), status_of(refused))


def result_of(answer: Mapping[str, Any]) -> Json:
    """Take the result out of an answer that went through hooks; raises `CallFailed` for an error put in its place."""
    error = answer.get("error")
    if isinstance(error, Mapping):
        data = error.get("data")
        raise CallFailed(str(error.get("message")), 500, data if isinstance(data, dict) and data else None)
    result = answer.get("result")
    return result if isinstance(result, dict) else {}
