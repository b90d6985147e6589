"""The SDK's JSON-RPC server for both wires, mended where it answers other than the specification or the backend."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final

from a2a.compat.v0_3.jsonrpc_adapter import JSONRPC03Adapter
from a2a.server.context import ServerCallContext
from a2a.server.jsonrpc_models import InvalidParamsError, InvalidRequestError, JSONRPCError
from a2a.server.request_handlers import RequestHandler
from a2a.server.routes.common import ServerCallContextBuilder
from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
from a2a.utils.constants import PROTOCOL_VERSION_1_0, VERSION_HEADER
from a2a.utils.errors import (
    JSON_RPC_ERROR_CODE_MAP,
    A2AError,
    ContentTypeNotSupportedError,
    VersionNotSupportedError,
)
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from routeiq_plugin.a2a.governance import CALL
from routeiq_plugin.a2a.headers import OUTBOUND
from routeiq_plugin.a2a.refusals import REFUSED, Refusal, refusal_of
from routeiq_plugin.a2a.relay import WIRE
from routeiq_plugin.a2a.tasks import BASE_URL, CALLER, HINDERED

_PUSH_DELETE: Final = "tasks/pushNotificationConfig/delete"
_NO_ID: Final = ""
"""Stands for the id null, which the 0.3 models refuse although JSON-RPC allows it."""


class CallContexts(ServerCallContextBuilder):
    """Carries to the relay who calls, in which version, and the composed headers for the backend."""

    def build(self, request: Request) -> ServerCallContext:
        """Build the context of one call."""
        version = request.headers.get(VERSION_HEADER) or request.scope.get(VERSION_HEADER, "")
        carried = {name: request.scope.get(name) for name in (OUTBOUND, CALLER, BASE_URL, CALL, WIRE, HINDERED)}
        return ServerCallContext(state={"headers": {VERSION_HEADER: version}, **carried})


class Dispatcher(JsonRpcDispatcher):
    """Answers JSON-RPC of 1.0, and of 0.3 through its adapter."""

    def __init__(self, handler: RequestHandler) -> None:
        contexts = CallContexts()
        super().__init__(handler, context_builder=contexts, enable_v0_3_compat=True)
        self._v03_adapter = LegacyAdapter(handler, contexts)

    @classmethod
    def assume_version(cls, request: Request, method: object) -> None:
        """Read a 1.0 method name without `A2A-Version` as 1.0, as stock LiteLLM does; the SDK alone would refuse it."""
        if isinstance(method, str) and method in cls.METHOD_TO_MODEL:
            request.scope[VERSION_HEADER] = PROTOCOL_VERSION_1_0

    async def handle_requests(self, request: Request) -> Response:
        """Answer one call; a body that says to be something other than JSON is refused (A2A 1.0, 9.1)."""
        if not _is_json(request.headers.get("content-type", "")):
            refused = ContentTypeNotSupportedError(message="Send JSON-RPC as application/json")
            return self._generate_error_response(await _call_id(request), refused)
        return await super().handle_requests(request)

    def _generate_error_response(
        self, request_id: str | int | None, error: Exception | JSONRPCError | A2AError
    ) -> JSONResponse:
        refusal = refusal_of(error)
        if refusal is not None:
            return JSONResponse(_answer(request_id, refusal))
        return super()._generate_error_response(request_id, error)

    def _create_response(
        self, context: ServerCallContext, handler_result: AsyncGenerator[dict[str, Any]] | dict[str, Any]
    ) -> Response:
        if isinstance(handler_result, dict):
            return super()._create_response(context, _faithful(handler_result, context))
        return super()._create_response(context, _each_faithful(handler_result, context))


class LegacyAdapter(JSONRPC03Adapter):
    """Answers JSON-RPC of 0.3."""

    async def handle_request(
        self, request_id: str | int | None, method: str, body: dict[str, Any], request: Request
    ) -> Any:
        """Answer one call; the id null is as good as any."""
        if request_id is None:
            body = {**body, "id": _NO_ID}
        return await super().handle_request(request_id, method, body, request)

    def _generate_error_response(self, request_id: str | int | None, error: Exception | JSONRPCError) -> JSONResponse:
        refusal = refusal_of(error)
        if refusal is not None:
            return JSONResponse(_answer(request_id, refusal))
        if isinstance(error, InvalidRequestError):
            # The envelope was found good before: what the method's model refuses are its params.
            error = InvalidParamsError(data=error.data)
        if isinstance(error, VersionNotSupportedError):
            code = JSON_RPC_ERROR_CODE_MAP[VersionNotSupportedError]
            return JSONResponse(_answer(request_id, Refusal(code, error.message)))
        return super()._generate_error_response(request_id, error)

    async def _process_non_streaming_request(
        self, request_id: str | int | None, request_obj: Any, context: ServerCallContext
    ) -> JSONResponse:
        response: JSONResponse = await super()._process_non_streaming_request(request_id, request_obj, context)
        if request_id is not None and request_obj.method != _PUSH_DELETE:
            return response
        # The SDK leaves nulls out, and with them a null id and the result of a deletion.
        return JSONResponse({"result": None, **json.loads(bytes(response.body)), "id": request_id})

    async def _process_streaming_request(
        self, request_id: str | int | None, request_obj: Any, context: ServerCallContext
    ) -> Any:
        response = await super()._process_streaming_request(request_id, request_obj, context)
        response.body_iterator = _legacy_events(response.body_iterator, request_id, context)
        return response


async def _each_faithful(
    answers: AsyncGenerator[dict[str, Any]], context: ServerCallContext
) -> AsyncGenerator[dict[str, Any]]:
    async with aclosing(answers):
        async for answer in answers:
            yield _faithful(answer, context)


def _faithful(answer: dict[str, Any], context: ServerCallContext) -> dict[str, Any]:
    """Put the backend's own error in the place of the one that the SDK made of it."""
    refusal = context.state.get(REFUSED)
    if "error" in answer and isinstance(refusal, Refusal):
        return {**answer, "error": refusal.rendered()}
    return answer


async def _legacy_events(
    events: AsyncIterable[Any], request_id: str | int | None, context: ServerCallContext
) -> AsyncIterator[Mapping[str, str]]:
    async for event in events:
        refusal = context.state.get(REFUSED)
        if isinstance(refusal, Refusal):
            yield {"data": json.dumps(_answer(request_id, refusal))}  # it was the last: the relay has raised
        elif request_id is None:
            yield {**event, "data": json.dumps({**json.loads(event["data"]), "id": None})}
        else:
            yield event


def _answer(request_id: str | int | None, refusal: Refusal) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "error": refusal.rendered()}


def _is_json(content_type: str) -> bool:
    """Tell whether a body may be JSON by its own word; one that says nothing may."""
    media = content_type.partition(";")[0].strip().lower()
    return media in ("", "application/json") or (media.startswith("application/") and media.endswith("+json"))


async def _call_id(request: Request) -> str | int | None:
    try:
        call = await request.json()
    except (ValueError, RecursionError):
        return None
    call_id = call.get("id") if isinstance(call, dict) else None
    return call_id if isinstance(call_id, str | int) and not isinstance(call_id, bool) else None
