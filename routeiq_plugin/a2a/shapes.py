"""Calls in the shape in which LiteLLM's guardrails read them: JSON of A2A 0.3, made and undone by the SDK.

What the guardrails see is parsed as the relay parses it, so that no spelling of a message passes them unseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from a2a.compat.v0_3 import conversions, types
from a2a.types.a2a_pb2 import (
    Artifact,
    ListTasksResponse,
    Message,
    SendMessageRequest,
    StreamResponse,
    Task,
    TaskArtifactUpdateEvent,
    TaskStatusUpdateEvent,
)
from a2a.utils import proto_utils
from google.protobuf.json_format import ParseDict

Json = dict[str, Any]
Event = Message | Task | TaskStatusUpdateEvent | TaskArtifactUpdateEvent

_IDS: Final = ("id", "taskId", "task_id", "name", "contextId", "pushNotificationConfigId")
_WEBHOOK: Final = "pushNotificationConfig"
"""Part of a message's configuration: the client's webhook, with its credentials."""


def message_params(params: Any, *, is_v03: bool) -> Json | None:
    """Render the params that send a message; None when they are not what the protocol asks for."""
    try:
        if is_v03:
            parsed = types.MessageSendParams.model_validate(params)
        else:
            request = ParseDict(params, SendMessageRequest(), ignore_unknown_fields=True)
            parsed = conversions.to_compat_send_message_request(request, "").params
        view = _json(parsed)
    except Exception:  # noqa: BLE001  pydantic and protobuf raise types of their own; the dispatcher tells the client
        return None
    (view.get("configuration") or {}).pop(_WEBHOOK, None)
    return view


def task_params(params: Any) -> Json:
    """Render params that name a task: its ids, and none of a webhook's credentials."""
    if not isinstance(params, Mapping):
        return {}
    return {name: params[name] for name in _IDS if isinstance(params.get(name), str)}


def revise(request: SendMessageRequest, message: Any) -> None:
    """Put a message that the hooks changed into the request; raises pydantic's error when it is none any more."""
    request.message.CopyFrom(conversions.to_core_message(types.Message.model_validate(message)))


def result(answer: object) -> Json:
    """Render what an agent answered or streamed; empty for what holds nothing that was said."""
    match answer:
        case Message() | Task() | TaskStatusUpdateEvent() | TaskArtifactUpdateEvent():
            return _json(conversions.to_compat_stream_response(proto_utils.to_stream_response(answer)).result)
        case _:
            return {}


def restored(changed: Json) -> Any:
    """Read what the hooks made of an answer; raises pydantic's error when it is no answer of its kind any more."""
    read = types.SendStreamingMessageSuccessResponse.model_validate({"id": None, "result": changed})
    response = conversions.to_core_stream_response(read)
    return _payload(response)


def replaced(answer: Event, text: str) -> Any:
    """Put `text` in place of all that an event says: into its first text, the others are emptied."""
    changed = type(answer)()
    changed.CopyFrom(answer)
    for part in _parts(changed):
        if part.WhichOneof("content") == "text":
            part.text, text = text, ""
    return changed


def said(answer: object) -> str:
    """Collect what an answer says, for counting: artifacts where there are any, else the message."""
    if isinstance(answer, ListTasksResponse) or not isinstance(answer, Event):
        return ""
    return "".join(part.text for part in _parts(answer))


def _parts(answer: Event) -> Iterator[Any]:
    match answer:
        case Message():
            yield from answer.parts
        case TaskStatusUpdateEvent():
            yield from answer.status.message.parts
        case TaskArtifactUpdateEvent():
            yield from answer.artifact.parts
        case Task():
            yield from _all(answer.artifacts) if answer.artifacts else answer.status.message.parts


def _all(artifacts: Iterable[Artifact]) -> Iterator[Any]:
    for artifact in artifacts:
        yield from artifact.parts


def _payload(response: StreamResponse) -> Any:
    return getattr(response, str(response.WhichOneof("payload")))


def _json(model: Any) -> Json:
    dumped: Json = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return dumped
