"""HTTP+JSON of calling an agent, in both protocol versions: the SDK's paths below `/a2a/{agent}`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from routeiq_plugin.a2a.governance import MESSAGES, Invocation
from routeiq_plugin.a2a.invocation import callable_agent, governed
from routeiq_plugin.a2a.routes import TAG
from routeiq_plugin.a2a.service import AgentGateway
from routeiq_plugin.a2a.tasks import HINDERED
from routeiq_plugin.errors import (
    BackendError,
    InvalidRequest,
    MalformedBody,
    NotFound,
    RouteIQError,
    Unavailable,
    wire,
)
from routeiq_plugin.host.app import BODY, LeaveToStock
from routeiq_plugin.host.auth import authenticate
from routeiq_plugin.host.requests import KEY, finite_json

if TYPE_CHECKING:
    from routeiq_plugin.a2a.bindings import Bindings

_CONFIGS: Final = "/tasks/{id}/pushNotificationConfigs"
_VERSION: Final = "A2A-Version"
_WIRE: Final = "routeiq.a2a.wire"
_INTERNAL: Final = 500
_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""HTTP status to the name that google.rpc.Status has for it (AIP-193)."""
_INTEGER: Final = re.compile(r"-?[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Operation:
    """One path of the binding."""

    verb: str
    path: str
    method: str
    """1.0 name of what it does."""
    is_v03: bool = False


_BOTH: Final = (
    ("POST", "/message:send", "SendMessage"),
    ("POST", "/message:stream", "SendStreamingMessage"),
    ("POST", "/tasks/{id}:cancel", "CancelTask"),
    ("GET", "/tasks/{id}:subscribe", "SubscribeToTask"),
    ("POST", "/tasks/{id}:subscribe", "SubscribeToTask"),
    ("GET", "/tasks/{id}", "GetTask"),
    ("GET", f"{_CONFIGS}/{{push_id}}", "GetTaskPushNotificationConfig"),
    ("POST", _CONFIGS, "CreateTaskPushNotificationConfig"),
    ("GET", _CONFIGS, "ListTaskPushNotificationConfigs"),
)
OPERATIONS: Final = (
    *(Operation(*each) for each in _BOTH),
    Operation("DELETE", f"{_CONFIGS}/{{push_id}}", "DeleteTaskPushNotificationConfig"),
    Operation("GET", "/tasks", "ListTasks"),
    Operation("GET", "/extendedAgentCard", "GetExtendedAgentCard"),
    *(Operation(verb, f"/v1{path}", method, is_v03=True) for verb, path, method in _BOTH),
    Operation("GET", "/v1/card", "GetExtendedAgentCard", is_v03=True),
)
"""In the order in which they are tried: `/tasks/{id}` would match `/tasks/{id}:cancel` too."""


def rest_routes(gateway: AgentGateway) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=[TAG], dependencies=[KEY])
    for operation in OPERATIONS:
        router.add_api_route(
            f"/a2a/{{agent_id}}{operation.path}",
            _endpoint(gateway, operation),
            methods=[operation.verb],
            summary=f"{operation.method} (A2A HTTP+JSON {'0.3' if operation.is_v03 else '1.0'})",
            name=f"{operation.verb}{operation.path}",
        )
    return router


def _endpoint(gateway: AgentGateway, operation: Operation) -> Callable[[str, Request], Awaitable[Response]]:
    async def call_agent(agent_id: str, request: Request) -> Response:
        """Relay a call in the HTTP+JSON binding; errors are google.rpc.Status."""
        caller = await authenticate(request, path=f"/a2a/{agent_id}", body={})
        await gateway.ready()
        try:
            agent = await callable_agent(gateway, caller, agent_id)
            _prepare(request, operation)
            invocation = await _invocation(request, operation)

            async def answer(bindings: Bindings) -> Response:
                hindered: list[RouteIQError] = []
                request.scope[HINDERED] = hindered
                endpoints = bindings.legacy_rest if operation.is_v03 else bindings.rest
                response = await endpoints[operation.method](request)
                return _error(hindered[-1]) if hindered and response.status_code == _INTERNAL else response

            return await governed(gateway, caller, agent, request, invocation=invocation, answer=answer)
        except LeaveToStock:
            return _error(InvalidRequest(f"Agent '{agent_id}' is served in JSON-RPC only"))
        except (NotFound, InvalidRequest, BackendError, Unavailable) as error:
            return _error(error)

    return call_agent


def _prepare(request: Request, operation: Operation) -> None:
    """Note the version; a path of 1.0 without `A2A-Version` is read as what it is.

    Raises `InvalidRequest` for a query that the SDK's adapter of 0.3 would stumble over.
    """
    request.scope[_WIRE] = "0.3" if operation.is_v03 else "1.0"
    if not operation.is_v03:
        request.scope[_VERSION] = "1.0"
    elif not _INTEGER.fullmatch(request.query_params.get("historyLength", "0")):
        raise InvalidRequest("historyLength: send a whole number")


async def _invocation(request: Request, operation: Operation) -> Invocation:
    """Describe the call to LiteLLM's hooks; raises `MalformedBody`."""
    if operation.method not in MESSAGES:
        params = {"id": request.path_params.get("id"), "name": request.path_params.get("push_id")}
        return Invocation(operation.method, operation.is_v03, params)
    try:
        body = finite_json(request.scope[BODY])
    except ValueError:
        raise MalformedBody("The request body is not JSON in UTF-8 of a reasonable depth and size of numbers") from None
    return Invocation(operation.method, operation.is_v03, _said(body) if operation.is_v03 else body)


def _said(body: Any) -> Any:
    """Read what 0.3 writes in HTTP+JSON as it writes it in JSON-RPC; anything else is left to the dispatcher."""
    from a2a.compat.v0_3 import a2a_v0_3_pb2, proto_utils
    from google.protobuf.json_format import ParseDict

    try:
        request = ParseDict(body, a2a_v0_3_pb2.SendMessageRequest(), ignore_unknown_fields=True)
        params = proto_utils.FromProto.message_send_params(request)
        return params.model_dump(mode="json", by_alias=True, exclude_none=True)
    except Exception:  # noqa: BLE001  protobuf and pydantic raise types of their own
        return {}


def _error(error: RouteIQError) -> Response:
    status = wire(error).status
    told = {"code": status, "status": _STATUS.get(status, "INTERNAL"), "message": str(error.detail), "details": []}
    return JSONResponse({"error": told}, status, dict(error.headers))
