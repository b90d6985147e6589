"""Relays one agent's A2A calls to its backend: an a2a-sdk server in front of an a2a-sdk client.

The server side speaks both wires (1.0 and 0.3) on one URL, the client side whichever the backend speaks. Nothing
here is imported before the first call: a2a-sdk and protobuf cost half a second.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any, Final, NoReturn, TypeVar

from a2a.client import Client
from a2a.client.client import ClientCallContext
from a2a.client.errors import A2AClientError
from a2a.server.context import ServerCallContext
from a2a.server.request_handlers import RequestHandler
from a2a.server.routes.common import ServerCallContextBuilder
from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
from a2a.types.a2a_pb2 import (
    AgentCard,
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTaskPushNotificationConfigsResponse,
    ListTasksRequest,
    ListTasksResponse,
    Message,
    SendMessageRequest,
    StreamResponse,
    SubscribeToTaskRequest,
    Task,
    TaskArtifactUpdateEvent,
    TaskPushNotificationConfig,
    TaskStatusUpdateEvent,
)
from a2a.utils.constants import PROTOCOL_VERSION_1_0, VERSION_HEADER
from a2a.utils.errors import (
    A2AError,
    InternalError,
    PushNotificationNotSupportedError,
    UnsupportedOperationError,
)
from starlette.requests import Request

from routeiq_plugin.a2a.backends import NOT_CALLED
from routeiq_plugin.a2a.headers import OUTBOUND
from routeiq_plugin.errors import AddressRefused
from routeiq_plugin.outbound import backend_error

LATER: Final = "The gateway does not relay this method yet"

Event = Message | Task | TaskStatusUpdateEvent | TaskArtifactUpdateEvent
T = TypeVar("T")


class CallContexts(ServerCallContextBuilder):
    """Carries the caller's protocol version to the SDK, and the composed headers to the backend."""

    def build(self, request: Request) -> ServerCallContext:
        """Build the context of one call."""
        return ServerCallContext(
            state={
                "headers": {
                    VERSION_HEADER: request.headers.get(VERSION_HEADER) or request.scope.get(VERSION_HEADER, "")
                },
                OUTBOUND: request.scope[OUTBOUND],
            }
        )


def dispatcher(streaming: Client, unary: Client) -> JsonRpcDispatcher:
    """Build the server side of one agent."""
    return JsonRpcDispatcher(Relay(streaming, unary), context_builder=CallContexts(), enable_v0_3_compat=True)


def assume_version(request: Request, method: object) -> None:
    """Read a 1.0 method name without `A2A-Version` as 1.0, as stock LiteLLM does; the SDK alone would refuse it."""
    if isinstance(method, str) and method in JsonRpcDispatcher.METHOD_TO_MODEL:
        request.scope[VERSION_HEADER] = PROTOCOL_VERSION_1_0


class Relay(RequestHandler):
    """Answers each A2A method with what the backend answers; its address appears in no error."""

    def __init__(self, streaming: Client, unary: Client) -> None:
        self._streaming = streaming
        self._unary = unary

    async def on_message_send(self, params: SendMessageRequest, context: ServerCallContext) -> Task | Message:
        """Relay `message/send`."""
        answers = self._unary.send_message(params, context=_onward(context))
        last: StreamResponse | None = None
        async with aclosing(_generator(answers)) as events:
            async for event in _guarded(events):
                last = event
        if last is None:
            raise InternalError(message="The agent gave no answer")
        answer: Task | Message = _payload(last)
        return answer

    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Relay `message/stream`: one event of the backend is one event of ours, at once."""
        events = self._streaming.send_message(params, context=_onward(context))
        async with aclosing(_generator(events)) as stream:
            async for event in _guarded(stream):
                yield _payload(event)

    async def on_get_task(self, params: GetTaskRequest, context: ServerCallContext) -> Task | None:
        """Relay `tasks/get`."""
        return await _answered(self._unary.get_task(params, context=_onward(context)))

    async def on_cancel_task(self, params: CancelTaskRequest, context: ServerCallContext) -> Task | None:
        """Relay `tasks/cancel`."""
        return await _answered(self._unary.cancel_task(params, context=_onward(context)))

    async def on_subscribe_to_task(
        self, params: SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Relay `tasks/resubscribe`."""
        events = self._streaming.subscribe(params, context=_onward(context))
        async with aclosing(_generator(events)) as stream:
            async for event in _guarded(stream):
                yield _payload(event)

    async def on_list_tasks(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """Refuse: a list would show one caller the tasks of another until tasks have owners here."""
        raise UnsupportedOperationError(message=LATER)

    async def on_create_task_push_notification_config(
        self, params: TaskPushNotificationConfig, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """Refuse: a webhook must pass our outbound guard, which the backend's own call would not."""
        raise PushNotificationNotSupportedError

    async def on_get_task_push_notification_config(
        self, params: GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """Refuse, as creation does."""
        raise PushNotificationNotSupportedError

    async def on_list_task_push_notification_configs(
        self, params: ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> ListTaskPushNotificationConfigsResponse:
        """Refuse, as creation does."""
        raise PushNotificationNotSupportedError

    async def on_delete_task_push_notification_config(
        self, params: DeleteTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> None:
        """Refuse, as creation does."""
        raise PushNotificationNotSupportedError

    async def on_get_extended_agent_card(
        self, params: GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> AgentCard:
        """Refuse: the backend's own card would name its address."""
        raise UnsupportedOperationError(message=LATER)


def _onward(context: ServerCallContext) -> ClientCallContext:
    return ClientCallContext(service_parameters=dict(context.state[OUTBOUND]))


def _payload(event: StreamResponse) -> Any:
    kind = event.WhichOneof("payload")
    if kind is None:
        raise InternalError(message="The agent sent an event without content")
    return getattr(event, kind)


def _generator(events: AsyncIterator[StreamResponse]) -> AsyncGenerator[StreamResponse, None]:
    """The SDK types its generators as iterators; only a generator can be closed when the client leaves."""
    assert isinstance(events, AsyncGenerator)
    return events


async def _guarded(events: AsyncIterator[StreamResponse]) -> AsyncGenerator[StreamResponse, None]:
    try:
        async for event in events:
            yield event
    except Exception as failure:  # noqa: BLE001  every failure becomes an A2A error
        _raise_as_a2a(failure)


async def _answered(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except Exception as failure:  # noqa: BLE001  every failure becomes an A2A error
        _raise_as_a2a(failure)


def _raise_as_a2a(failure: Exception) -> NoReturn:
    """Keep the backend's own A2A errors; say the rest without its address, which the SDK puts into its messages."""
    if isinstance(failure, NotImplementedError):
        raise UnsupportedOperationError(message="The agent's protocol version lacks this method") from failure
    if isinstance(failure, A2AError) and not isinstance(failure, A2AClientError):
        raise failure
    if isinstance(failure, A2AClientError) and failure.__cause__ is None:
        raise InternalError(message="The agent's answer is not one that A2A defines") from failure
    told = backend_error(failure)
    raise InternalError(message=NOT_CALLED if isinstance(told, AddressRefused) else str(told.detail)) from failure
