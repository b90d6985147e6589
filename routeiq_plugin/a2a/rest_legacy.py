"""HTTP+JSON of 0.3 by the SDK's adapter, except that a stream which fails at once fails with a status."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from a2a.compat.v0_3.rest_adapter import REST03Adapter
from a2a.server.context import ServerCallContext
from a2a.server.request_handlers import RequestHandler
from a2a.server.routes.common import ServerCallContextBuilder, create_event_source_response
from a2a.utils import json_utils
from a2a.utils.error_handlers import build_rest_error_payload, rest_stream_error_handler
from starlette.requests import Request
from starlette.responses import Response

Endpoint = Callable[[Request], Awaitable[Response]]


class LegacyRest(REST03Adapter):
    """Answers the `/v1/...` paths."""

    def __init__(self, handler: RequestHandler, contexts: ServerCallContextBuilder) -> None:
        super().__init__(handler, contexts)

    def endpoints(self) -> Mapping[str, Endpoint]:
        """Return what answers each method, by its 1.0 name."""
        routes = self.routes()
        configs = "/v1/tasks/{id}/pushNotificationConfigs"
        return {
            "SendMessage": routes[("/v1/message:send", "POST")],
            "SendStreamingMessage": routes[("/v1/message:stream", "POST")],
            "GetTask": routes[("/v1/tasks/{id}", "GET")],
            "CancelTask": routes[("/v1/tasks/{id}:cancel", "POST")],
            "SubscribeToTask": routes[("/v1/tasks/{id}:subscribe", "POST")],
            "CreateTaskPushNotificationConfig": routes[(configs, "POST")],
            "GetTaskPushNotificationConfig": routes[(f"{configs}/{{push_id}}", "GET")],
            "ListTaskPushNotificationConfigs": routes[(configs, "GET")],
            "GetExtendedAgentCard": routes[("/v1/card", "GET")],
        }

    @rest_stream_error_handler
    async def _handle_streaming_request(
        self, method: Callable[[Request, ServerCallContext], AsyncIterable[Any]], request: Request
    ) -> Any:
        await request.body()
        stream = aiter(method(request, self._context_builder.build(request)))
        try:
            first = await anext(stream)
        except StopAsyncIteration:
            return create_event_source_response(iter(()))
        return create_event_source_response(_events(first, stream))


async def _events(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Mapping[str, str]]:
    yield {"data": json_utils.dumps(first)}
    try:
        async for item in rest:
            yield {"data": json_utils.dumps(item)}
    except Exception as error:  # noqa: BLE001  told in the stream: the status has gone out
        yield {"event": "error", "data": json_utils.dumps(build_rest_error_payload(error))}
