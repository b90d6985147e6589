"""What an agent says in a push notification, in the protocol version that the client reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from routeiq_plugin.errors import InvalidRequest
from routeiq_plugin.host.requests import finite_json
from routeiq_plugin.store.push import Wire

_EVENTS: Final = frozenset({"task", "message", "statusUpdate", "artifactUpdate"})
_KINDS: Final = {
    "task": "Task",
    "message": "Message",
    "status-update": "TaskStatusUpdateEvent",
    "artifact-update": "TaskArtifactUpdateEvent",
}


@dataclass(frozen=True, slots=True)
class Notification:
    """One event, ready to be sent."""

    payload: str
    """JSON as the client's version has it."""
    task_id: str
    """Empty where it names none."""


def translated(body: bytes, wire: Wire) -> Notification:
    """Read a notification of either version and write it for `wire`; imports the SDK. Raises `InvalidRequest`."""
    try:
        said = finite_json(body)
        if not isinstance(said, dict):
            raise TypeError
        spoken: Wire = "1.0" if _EVENTS & said.keys() else "0.3"
        event = _core(said, spoken)
        if spoken == wire:
            return Notification(json.dumps(said), _task_id(event))
        return Notification(json.dumps(_modern(event) if wire == "1.0" else _legacy(event)), _task_id(event))
    except (ValueError, TypeError, KeyError, OverflowError, SystemError, _parse_errors()):
        raise InvalidRequest("The body is not a push notification of A2A") from None


def _core(said: dict[str, Any], spoken: Wire) -> Any:
    from a2a.compat.v0_3 import conversions, types
    from a2a.types.a2a_pb2 import StreamResponse
    from google.protobuf.json_format import ParseDict

    if spoken == "1.0":
        return ParseDict(said, StreamResponse(), ignore_unknown_fields=True)
    kind = said.get("kind") or ("task" if "status" in said and "id" in said else "")
    result = getattr(types, _KINDS[kind]).model_validate(said)
    return conversions.to_core_stream_response(types.SendStreamingMessageSuccessResponse(result=result))


def _modern(event: Any) -> Any:
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(event)


def _legacy(event: Any) -> Any:
    from a2a.compat.v0_3 import conversions

    answer = conversions.to_compat_stream_response(event, "")
    return answer.result.model_dump(mode="json", by_alias=True, exclude_none=True)


def _task_id(event: Any) -> str:
    kind = event.WhichOneof("payload")
    if kind is None:
        raise ValueError
    said = getattr(event, kind)
    return str(said.id if kind == "task" else said.task_id)


def _parse_errors() -> type[Exception]:
    from google.protobuf.json_format import Error

    found: type[Exception] = Error
    return found
