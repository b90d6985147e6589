"""What a call must say before anything is asked for it: the fields that A2A 1.0 requires (section 4), by name."""

from __future__ import annotations

from typing import Any, TypeVar

from a2a.types.a2a_pb2 import GetTaskRequest, ListTasksRequest, Message, Role, SendMessageConfiguration, Task
from a2a.utils.errors import InvalidParamsError

Answer = TypeVar("Answer", Task, Task | Message)


def require_fields(params: Any, *names: str) -> None:
    """Refuse params that leave one of these fields empty; raises `InvalidParamsError` in the SDK's own words."""
    missing = [name for name in names if not getattr(params, name)]
    if missing:
        raise _invalid([(name, "Field is required.") for name in missing])


def require_history(asked: GetTaskRequest | ListTasksRequest | SendMessageConfiguration) -> None:
    """Refuse a negative length; agents of 0.3 take it for none."""
    if asked.HasField("history_length") and asked.history_length < 0:
        raise _invalid([("history_length", "Give 0 or more.")])


def require_message(message: Message) -> None:
    """Refuse what the SDK's validation lets through: a role that A2A lacks, and parts that hold nothing."""
    wrong = [
        (f"message.parts[{position}]", "Give one of text, raw, url and data.")
        for position, part in enumerate(message.parts)
        if part.WhichOneof("content") is None
    ]
    if message.role not in (Role.ROLE_USER, Role.ROLE_AGENT):
        wrong.append(("message.role", "Use ROLE_USER or ROLE_AGENT."))
    if wrong:
        raise _invalid(wrong)


def shortened(answer: Answer, asked: GetTaskRequest | SendMessageConfiguration) -> Answer:
    """Hold a task to the history that was asked for (A2A 1.0, 3.2.4); backends of 0.3 read 0 as all of it."""
    if isinstance(answer, Task) and asked.HasField("history_length"):
        excess = len(answer.history) - asked.history_length
        if asked.history_length >= 0 and excess > 0:
            del answer.history[:excess]
    return answer


def _invalid(errors: list[tuple[str, str]]) -> InvalidParamsError:
    told = [{"field": field, "message": message} for field, message in errors]
    return InvalidParamsError(message="Validation failed", data={"errors": told})
