"""One client for every binding, so that a check is written once: what it reads is put into common words."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import httpx

from tests.a2a.calls import VERSION


class Wire(StrEnum):
    """What a client speaks."""

    JSONRPC = "1.0 JSON-RPC"
    REST = "1.0 HTTP+JSON"
    LEGACY = "0.3 JSON-RPC"


CODES: Final[Mapping[int, str]] = {
    -32700: "parse",
    -32600: "invalid request",
    -32601: "no method",
    -32602: "invalid params",
    -32603: "internal",
    -32001: "task not found",
    -32002: "task not cancelable",
    -32003: "push not supported",
    -32004: "unsupported operation",
    -32005: "content type",
    -32006: "invalid agent response",
    -32007: "extended card not configured",
    -32008: "extension required",
    -32009: "version not supported",
}
"""A2A 1.0, 5.4 and 9.5."""

REASONS: Final[Mapping[str, tuple[str, int]]] = {
    "TASK_NOT_FOUND": ("task not found", 404),
    "TASK_NOT_CANCELABLE": ("task not cancelable", 400),
    "PUSH_NOTIFICATION_NOT_SUPPORTED": ("push not supported", 400),
    "UNSUPPORTED_OPERATION": ("unsupported operation", 400),
    "CONTENT_TYPE_NOT_SUPPORTED": ("content type", 400),
    "INVALID_AGENT_RESPONSE": ("invalid agent response", 500),
    "EXTENDED_AGENT_CARD_NOT_CONFIGURED": ("extended card not configured", 400),
    "EXTENSION_SUPPORT_REQUIRED": ("extension required", 400),
    "VERSION_NOT_SUPPORTED": ("version not supported", 400),
    "INVALID_PARAMS": ("invalid params", 400),
    "INVALID_REQUEST": ("invalid request", 400),
    "METHOD_NOT_FOUND": ("no method", 404),
    "INTERNAL_ERROR": ("internal", 500),
}
"""A2A 1.0, 5.4 and 11.6: reason of google.rpc.ErrorInfo, and the status it comes with."""

ERROR_INFO: Final = "type.googleapis.com/google.rpc.ErrorInfo"

_LEGACY: Final[Mapping[str, str]] = {
    "SendMessage": "message/send",
    "SendStreamingMessage": "message/stream",
    "GetTask": "tasks/get",
    "CancelTask": "tasks/cancel",
    "SubscribeToTask": "tasks/resubscribe",
    "CreateTaskPushNotificationConfig": "tasks/pushNotificationConfig/set",
    "GetTaskPushNotificationConfig": "tasks/pushNotificationConfig/get",
    "ListTaskPushNotificationConfigs": "tasks/pushNotificationConfig/list",
    "DeleteTaskPushNotificationConfig": "tasks/pushNotificationConfig/delete",
    "GetExtendedAgentCard": "agent/getAuthenticatedExtendedCard",
}
_PATHS: Final[Mapping[str, tuple[str, str]]] = {
    "SendMessage": ("POST", "/message:send"),
    "SendStreamingMessage": ("POST", "/message:stream"),
    "GetTask": ("GET", "/tasks/{id}"),
    "ListTasks": ("GET", "/tasks"),
    "CancelTask": ("POST", "/tasks/{id}:cancel"),
    "SubscribeToTask": ("POST", "/tasks/{id}:subscribe"),
    "CreateTaskPushNotificationConfig": ("POST", "/tasks/{taskId}/pushNotificationConfigs"),
    "GetTaskPushNotificationConfig": ("GET", "/tasks/{taskId}/pushNotificationConfigs/{id}"),
    "ListTaskPushNotificationConfigs": ("GET", "/tasks/{taskId}/pushNotificationConfigs"),
    "DeleteTaskPushNotificationConfig": ("DELETE", "/tasks/{taskId}/pushNotificationConfigs/{id}"),
    "GetExtendedAgentCard": ("GET", "/extendedAgentCard"),
}


@dataclass(frozen=True)
class Answer:
    """What came back; `events` holds the results of a stream, `error` the name of what went wrong."""

    response: httpx.Response
    result: Any = None
    events: tuple[Any, ...] = ()
    error: str | None = None
    message: str = ""
    details: Any = None

    @property
    def kind(self) -> str:
        """Media type, without parameters."""
        stated: str = self.response.headers.get("content-type", "")
        return stated.partition(";")[0].strip().lower()

    @property
    def task(self) -> dict[str, Any]:
        """The task that was answered; fails the test for anything else."""
        assert self.error is None, f"{self.error}: {self.message}"
        found: dict[str, Any] = self.result.get("task") or self.result
        assert "status" in found, self.result
        return found


@dataclass(frozen=True)
class Peer:
    """A client of one agent, at `url`."""

    http: httpx.Client
    url: str
    wire: Wire
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_legacy(self) -> bool:
        """Tell whether this is 0.3."""
        return self.wire is Wire.LEGACY

    # What a client says

    def message(self, text: str = "hello", **more: Any) -> dict[str, Any]:
        """Build a message; `parts` replaces its one text."""
        parts = more.pop("parts", None) or [{"text": text}]
        said = {"messageId": secrets.token_hex(8), "role": "ROLE_USER", "parts": parts, **more}
        if self.is_legacy:
            said |= {"kind": "message", "role": "user", "parts": [{"kind": "text", **part} for part in parts]}
        return said

    def send(self, text: str = "hello", *, configuration: Any = None, **more: Any) -> Answer:
        """Send a message."""
        return self.call("SendMessage", self._sending(text, configuration, more))

    def stream(self, text: str = "hello", *, configuration: Any = None, **more: Any) -> Answer:
        """Send a message and read its stream to the end."""
        return self.call("SendStreamingMessage", self._sending(text, configuration, more))

    def _sending(self, text: str, configuration: Any, more: dict[str, Any]) -> dict[str, Any]:
        params: dict[str, Any] = {"message": self.message(text, **more)}
        return params if configuration is None else {**params, "configuration": configuration}

    def webhook(self, task_id: str, **config: Any) -> Answer:
        """Register a webhook."""
        if self.is_legacy:
            params: dict[str, Any] = {"taskId": task_id, "pushNotificationConfig": config}
        else:
            params = {"taskId": task_id, **config}
        return self.call("CreateTaskPushNotificationConfig", params)

    def of_webhook(self, method: str, task_id: str, push_id: str | None = None) -> Answer:
        """Get, list or delete webhooks."""
        if self.is_legacy:
            named: dict[str, Any] = {"id": task_id} | ({"pushNotificationConfigId": push_id} if push_id else {})
        else:
            named = {"taskId": task_id} | ({"id": push_id} if push_id else {})
        return self.call(method, named)

    # How it is said

    def call(self, method: str, params: Any, *, call_id: Any = 1, **headers: str) -> Answer:
        """Make a call by its 1.0 name; `headers` with _ for -."""
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.wire is Wire.REST:
            return self.rest(method, params, extra)
        name = _LEGACY[method] if self.is_legacy and method in _LEGACY else method
        return self.raw({"jsonrpc": "2.0", "id": call_id, "method": name, "params": params}, **extra)

    def raw(self, body: Any, **headers: str) -> Answer:
        """Post a JSON-RPC body as it is; bytes are not encoded again."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = self.http.post(self.url, content=content, headers=self._headers(headers))
        return _forbidden(response) or _rpc(response)

    def rest(self, method: str, params: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """Make a call in HTTP+JSON: what the path does not take goes into the query or the body."""
        verb, path = _PATHS[method]
        left = dict(params)
        for name in re.findall(r"{(\w+)}", path):
            path = path.replace(f"{{{name}}}", str(left.pop(name, "")))
        sent: dict[str, Any] = {"json": left} if verb == "POST" else {"params": left}
        return self.rest_raw(verb, path, headers or {}, **sent)

    def rest_raw(self, verb: str, path: str, headers: Mapping[str, str] | None = None, **sent: Any) -> Answer:
        """Make a request of HTTP+JSON as it is."""
        url = self.url.rstrip("/") + path
        response = self.http.request(verb, url, headers=self._headers(headers or {}), **sent)
        return _forbidden(response) or _http(response)

    def _headers(self, extra: Mapping[str, str]) -> dict[str, str]:
        version = {} if self.is_legacy else {VERSION: "1.0"}
        return {**version, "Content-Type": "application/json", **self.headers, **extra}


def state_of(task: Mapping[str, Any]) -> str:
    """Name the state of a task in the words of neither version."""
    return str(task["status"]["state"]).removeprefix("TASK_STATE_").lower().replace("_", "-")


def kind_of(event: Mapping[str, Any]) -> str:
    """Name the kind of a stream's event in the words of 1.0."""
    legacy = {
        "task": "task",
        "message": "message",
        "status-update": "statusUpdate",
        "artifact-update": "artifactUpdate",
    }
    if "kind" in event:
        return legacy[event["kind"]]
    (only,) = event
    return str(only)


def inside(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an event of a stream is about."""
    return dict(event) if "kind" in event else dict(next(iter(event.values())))


def _events(response: httpx.Response) -> list[Any]:
    lines = re.split(r"\r\n|\n|\r", response.text)  # what ends a line in an event stream, and nothing else
    return [json.loads(line[5:]) for line in lines if line.startswith("data:")]


def _forbidden(response: httpx.Response) -> Answer | None:
    """Read LiteLLM's refusal, which comes before any protocol."""
    if response.status_code != 403:
        return None
    return Answer(response, error="forbidden", message=response.json()["detail"])


def _rpc(response: httpx.Response) -> Answer:
    assert response.status_code == 200, f"JSON-RPC answers ride HTTP 200: {response.status_code} {response.text[:300]}"
    streamed = response.headers["content-type"].startswith("text/event-stream")
    bodies = _events(response) if streamed else [response.json()]
    for body in bodies:
        assert isinstance(body, dict), body
        assert body["jsonrpc"] == "2.0", body
        assert "id" in body, body
        assert ("result" in body) != ("error" in body), body
    last = bodies[-1]
    if "error" in last:
        error = last["error"]
        assert set(error) <= {"code", "message", "data"}, error
        assert isinstance(error["code"], int), error
        assert isinstance(error["message"], str), error
        name = CODES.get(error["code"], str(error["code"]))
        return Answer(response, last, tuple(bodies[:-1]), name, error["message"], error.get("data"))
    results = tuple(body["result"] for body in bodies)
    return Answer(response, last["result"], results if streamed else ())


def _http(response: httpx.Response) -> Answer:
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        events = tuple(_events(response))
        if events and "error" in events[-1]:
            return _problem(response, events[-1]["error"], events[:-1])
        return Answer(response, events[-1] if events else None, events)
    if response.is_success:
        return Answer(response, response.json() if response.content else None)
    error = response.json()["error"]
    assert error["code"] == response.status_code, response.text
    return _problem(response, error, ())


def _problem(response: httpx.Response, error: Mapping[str, Any], events: tuple[Any, ...]) -> Answer:
    assert isinstance(error["message"], str), error
    assert isinstance(error["status"], str), error
    details = error.get("details") or []
    reasons = [each["reason"] for each in details if each.get("@type") == ERROR_INFO]
    name = REASONS[reasons[0]][0] if reasons and reasons[0] in REASONS else str(error["code"])
    return Answer(response, error, events, name, error["message"], details)
