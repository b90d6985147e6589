"""Relays one agent's A2A calls to its backend, for callers who see their own tasks and nobody else's.

An a2a-sdk server (`dispatch`) calls this, and this calls an a2a-sdk client (`transports`). Nothing here is imported
before the first call: a2a-sdk and protobuf cost half a second.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from a2a.client import Client
from a2a.client.client import ClientCallContext
from a2a.server.context import ServerCallContext
from a2a.server.request_handlers import RequestHandler
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
from a2a.utils.errors import (
    ExtendedAgentCardNotConfiguredError,
    InternalError,
    PushNotificationNotSupportedError,
    TaskNotFoundError,
    UnsupportedOperationError,
)

from routeiq_plugin.a2a.headers import OUTBOUND
from routeiq_plugin.a2a.listing import OwnTasks
from routeiq_plugin.a2a.params import require_fields, require_history, require_message, shortened
from routeiq_plugin.a2a.push import Registration
from routeiq_plugin.a2a.refusals import told_by
from routeiq_plugin.a2a.services import TaskServices
from routeiq_plugin.a2a.tasks import BASE_URL, CALLER, TaskCaller, a_context, a_task, named
from routeiq_plugin.store.push import Wire
from routeiq_plugin.store.tasks import Owned

WIRE: Final = "routeiq.a2a.wire"
"""Key of the ASGI scope, and of the call context, that names the caller's protocol version where no method does."""

Event = Message | Task | TaskStatusUpdateEvent | TaskArtifactUpdateEvent
Shown = Callable[[AgentCard, str], AgentCard]


@dataclass(frozen=True, slots=True)
class Backend:
    """The far end: one agent, the clients that speak to it, and what its card says."""

    agent_id: str
    address: str
    """The URL that the admin registered; no answer holds it."""
    card: AgentCard
    streaming: Client
    unary: Client
    client: Callable[[], Client]
    """Makes one for a single call: reading an extended card changes the client that does it."""
    shown: Shown
    """Renders a card of the backend for a caller, given where that one reaches the gateway."""


@dataclass(slots=True)
class _Conversation:
    """One message on its way: whose it is, and the webhook that came with it."""

    agent_id: str
    caller: TaskCaller
    services: TaskServices
    registration: Registration | None = None
    task_id: str = ""
    settled: bool = False
    """Whether the agent has answered for a task, and so has taken the webhook."""

    async def heard(self, event: Any) -> None:
        """Note what an answer names, before the caller reads it; raises `NotTheirs`."""
        task_id, context_id = _ids(event)
        await self.services.ownership.claim(self.agent_id, self.caller, named(task_id, context_id))
        self.task_id = self.task_id or task_id
        if self.registration is not None and self.task_id and not self.settled:
            await self.services.push.settle(self.registration, self.task_id)
            self.settled = True

    async def over(self) -> None:
        """Take back the webhook of a message that began no task, or failed before its task was heard of."""
        if self.registration is not None and not self.settled:
            await self.services.push.withdraw(self.registration.push_id)


class Relay(RequestHandler):
    """Answers each A2A method with what the backend answers; its address appears in no error."""

    def __init__(self, backend: Backend, services: TaskServices) -> None:
        self._backend = backend
        self._services = services

    # Messages

    async def on_message_send(self, params: SendMessageRequest, context: ServerCallContext) -> Task | Message:
        """Relay `message/send`."""
        last: Event | None = None
        async with aclosing(self._said(self._backend.unary, params, context)) as events:
            async for event in events:
                last = event
        if not isinstance(last, Task | Message):
            raise InternalError(message="The agent gave no answer")
        return shortened(last, params.configuration)

    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Relay `message/stream`: one event of the backend is one event of ours, at once."""
        self._require_streaming()
        async with aclosing(self._said(self._backend.streaming, params, context)) as events:
            async for event in events:
                yield event

    async def _said(
        self, client: Client, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        with told_by(self._backend.address, context):
            conversation = await self._begun(params, context)
            try:
                async with aclosing(_generator(client.send_message(params, context=_onward(context)))) as events:
                    async for answer in events:
                        event = _payload(answer)
                        await conversation.heard(event)
                        yield event
            except Exception:
                await conversation.over()
                raise
            await conversation.over()

    async def _begun(self, params: SendMessageRequest, context: ServerCallContext) -> _Conversation:
        """Check every task that a message names, make the conversation the caller's, and keep its webhook."""
        require_message(params.message)
        require_history(params.configuration)
        message, caller, agent_id = params.message, _caller(context), self._backend.agent_id
        tasks = [a_task(each) for each in (message.task_id, *message.reference_task_ids) if each]
        await self._services.ownership.require(agent_id, caller, tasks)
        if message.context_id:
            await self._services.ownership.claim(agent_id, caller, [a_context(message.context_id)], asked=True)
        conversation = _Conversation(agent_id, caller, self._services, task_id=message.task_id)
        if params.configuration.HasField("task_push_notification_config"):
            asked = params.configuration.task_push_notification_config
            self._require_push()
            asked.task_id = message.task_id
            wire = _wire(context)
            conversation.registration = await self._services.push.register(agent_id, asked, wire, caller.owner)
            asked.CopyFrom(conversation.registration.callback)
            asked.ClearField("task_id")
        return conversation

    # Tasks

    async def on_get_task(self, params: GetTaskRequest, context: ServerCallContext) -> Task | None:
        """Relay `tasks/get`."""
        require_fields(params, "id")
        require_history(params)
        with told_by(self._backend.address, context):
            await self._require(context, [a_task(params.id)])
            task = await self._backend.unary.get_task(params, context=_onward(context))
            return shortened(task, params)

    async def on_cancel_task(self, params: CancelTaskRequest, context: ServerCallContext) -> Task | None:
        """Relay `tasks/cancel`."""
        require_fields(params, "id")
        with told_by(self._backend.address, context):
            await self._require(context, [a_task(params.id)])
            return await self._backend.unary.cancel_task(params, context=_onward(context))

    async def on_subscribe_to_task(
        self, params: SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Relay `tasks/resubscribe`."""
        require_fields(params, "id")
        self._require_streaming()
        with told_by(self._backend.address, context):
            await self._require(context, [a_task(params.id)])
            conversation = _Conversation(self._backend.agent_id, _caller(context), self._services)
            events = self._backend.streaming.subscribe(params, context=_onward(context))
            async with aclosing(_generator(events)) as stream:
                async for answer in stream:
                    event = _payload(answer)
                    await conversation.heard(event)
                    yield event

    async def on_list_tasks(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """Relay `tasks/list`: to admins as it is, to others their own tasks."""
        require_history(params)
        with told_by(self._backend.address, context):
            caller = _caller(context)

            async def fetch(request: ListTasksRequest) -> ListTasksResponse:
                return await self._backend.unary.list_tasks(request, context=_onward(context))

            if caller.sees_all:
                return await fetch(params)
            own = OwnTasks(self._backend.agent_id, caller, self._services.ownership, self._services.sealer)
            return await own.page(params, fetch)

    # Push notifications

    async def on_create_task_push_notification_config(
        self, params: TaskPushNotificationConfig, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """Keep the client's webhook, and give the backend a callback of ours in its place."""
        require_fields(params, "task_id", "url")
        with told_by(self._backend.address, context):
            self._require_push()
            await self._require(context, [a_task(params.task_id)])
            wire, owner = _wire(context), _caller(context).owner
            kept = await self._services.push.register(self._backend.agent_id, params, wire, owner)
            try:
                await self._backend.unary.create_task_push_notification_config(kept.callback, context=_onward(context))
            except BaseException:
                await self._services.push.withdraw(kept.push_id)
                raise
            await self._services.push.settle(kept, params.task_id)
            return kept.shown

    async def on_get_task_push_notification_config(
        self, params: GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """Show the client's own configuration; in 0.3 without an id the task's own, as the SDK names it."""
        require_fields(params, "task_id", *(("id",) if _wire(context) == "1.0" else ()))
        with told_by(self._backend.address, context):
            wanted = params.id or params.task_id
            for config in await self._push_configs(params.task_id, context):
                if config.id == wanted:
                    return config
            raise TaskNotFoundError(message="No such push notification configuration")

    async def on_list_task_push_notification_configs(
        self, params: ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> ListTaskPushNotificationConfigsResponse:
        """Show the client's own configurations of a task, all at once."""
        require_fields(params, "task_id")
        with told_by(self._backend.address, context):
            return ListTaskPushNotificationConfigsResponse(configs=await self._push_configs(params.task_id, context))

    async def on_delete_task_push_notification_config(
        self, params: DeleteTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> None:
        """Forget a configuration here, which ends its deliveries, and at the backend if that can."""
        require_fields(params, "task_id", *(("id",) if _wire(context) == "1.0" else ()))
        with told_by(self._backend.address, context):
            self._require_push()
            await self._require(context, [a_task(params.task_id)])
            await self._services.push.remove(self._backend.agent_id, params.task_id, params.id or params.task_id)
            try:
                await self._backend.unary.delete_task_push_notification_config(params, context=_onward(context))
            except (NotImplementedError, UnsupportedOperationError):
                return  # its callback is unknown here by now, so nothing goes out any more

    async def _push_configs(self, task_id: str, context: ServerCallContext) -> list[TaskPushNotificationConfig]:
        self._require_push()
        await self._require(context, [a_task(task_id)])
        if _caller(context).sees_all:
            # For others ownership proves that there is such a task; an admin may name any.
            await self._backend.unary.get_task(GetTaskRequest(id=task_id, history_length=0), context=_onward(context))
        return list(await self._services.push.of_task(self._backend.agent_id, task_id))

    # Cards

    async def on_get_extended_agent_card(
        self, params: GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> AgentCard:
        """Relay the extended card, with the gateway in the backend's place."""
        with told_by(self._backend.address, context):
            if not self._backend.card.capabilities.extended_agent_card:
                kind = UnsupportedOperationError if _wire(context) == "1.0" else ExtendedAgentCardNotConfiguredError
                raise kind(message="The agent does not support authenticated extended cards")
            card = await self._backend.client().get_extended_agent_card(params, context=_onward(context))
            return self._backend.shown(card, context.state[BASE_URL])

    async def _require(self, context: ServerCallContext, objects: Collection[Owned]) -> None:
        await self._services.ownership.require(self._backend.agent_id, _caller(context), objects)

    def _require_streaming(self) -> None:
        if not self._backend.card.capabilities.streaming:
            raise UnsupportedOperationError(message="The agent does not support streaming")

    def _require_push(self) -> None:
        if not self._backend.card.capabilities.push_notifications:
            raise PushNotificationNotSupportedError


def _caller(context: ServerCallContext) -> TaskCaller:
    caller = context.state[CALLER]
    assert isinstance(caller, TaskCaller)
    return caller


def _wire(context: ServerCallContext) -> Wire:
    """Tell which version the caller speaks; 0.3 names its methods with a slash."""
    stated = context.state.get(WIRE)
    if stated is None:
        stated = "0.3" if "/" in str(context.state.get("method", "")) else "1.0"
    return "0.3" if stated == "0.3" else "1.0"


def _onward(context: ServerCallContext) -> ClientCallContext:
    return ClientCallContext(service_parameters=dict(context.state[OUTBOUND]))


def _payload(answer: StreamResponse) -> Any:
    kind = answer.WhichOneof("payload")
    if kind is None:
        raise InternalError(message="The agent sent an event without content")
    return getattr(answer, kind)


def _ids(event: Any) -> tuple[str, str]:
    task_id = event.id if isinstance(event, Task) else event.task_id
    return str(task_id), str(event.context_id)


def _generator(events: AsyncIterator[StreamResponse]) -> AsyncGenerator[StreamResponse, None]:
    """The SDK types its generators as iterators; only a generator can be closed when the client leaves."""
    assert isinstance(events, AsyncGenerator)
    return events
