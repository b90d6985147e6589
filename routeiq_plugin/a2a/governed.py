"""The SDK's request handler under governance: what goes to the agent and what it answers passes LiteLLM's hooks."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any, NoReturn, TypeVar, cast

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
    SubscribeToTaskRequest,
    Task,
    TaskPushNotificationConfig,
)
from a2a.utils.errors import A2AError, InternalError
from pydantic import ValidationError

from routeiq_plugin.a2a import shapes
from routeiq_plugin.a2a.governance import CALL, GovernedCall
from routeiq_plugin.a2a.outcomes import Failure
from routeiq_plugin.a2a.shapes import Event
from routeiq_plugin.host.call_views import CallFailed, Shown, StreamEvent
from routeiq_plugin.outbound import backend_error

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]
"""A call that begins when it is called, so that a failure to begin is the call's own."""
Events = Callable[[], AsyncGenerator[Event, None]]


class Governed(RequestHandler):
    """Passes each method on to another handler; every outcome of it ends the call once."""

    def __init__(self, inner: RequestHandler) -> None:
        self._inner = inner

    async def on_message_send(self, params: SendMessageRequest, context: ServerCallContext) -> Task | Message:
        """Send the message that the hooks let out."""
        call = _call(context)
        return await _unary(call, lambda: self._inner.on_message_send(_revised(call, params), context))

    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Send the message that the hooks let out; each event as soon as they let it out."""
        call = _call(context)
        async with aclosing(
            _stream(call, lambda: self._inner.on_message_send_stream(_revised(call, params), context))
        ) as events:
            async for event in events:
                yield event

    async def on_subscribe_to_task(
        self, params: SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Subscribe; each event as soon as the hooks let it out."""
        call = _call(context)
        async with aclosing(_stream(call, lambda: self._inner.on_subscribe_to_task(params, context))) as events:
            async for event in events:
                yield event

    async def on_get_task(self, params: GetTaskRequest, context: ServerCallContext) -> Task | None:
        """Get a task."""
        return await _unary(_call(context), lambda: self._inner.on_get_task(params, context))

    async def on_list_tasks(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """List tasks."""
        return await _unary(_call(context), lambda: self._inner.on_list_tasks(params, context))

    async def on_cancel_task(self, params: CancelTaskRequest, context: ServerCallContext) -> Task | None:
        """Cancel a task."""
        return await _unary(_call(context), lambda: self._inner.on_cancel_task(params, context))

    async def on_create_task_push_notification_config(
        self, params: TaskPushNotificationConfig, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """Register a webhook."""
        return await _unary(
            _call(context), lambda: self._inner.on_create_task_push_notification_config(params, context)
        )

    async def on_get_task_push_notification_config(
        self, params: GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """Get a webhook."""
        return await _unary(_call(context), lambda: self._inner.on_get_task_push_notification_config(params, context))

    async def on_list_task_push_notification_configs(
        self, params: ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> ListTaskPushNotificationConfigsResponse:
        """List webhooks."""
        return await _unary(_call(context), lambda: self._inner.on_list_task_push_notification_configs(params, context))

    async def on_delete_task_push_notification_config(
        self, params: DeleteTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> None:
        """Delete a webhook."""
        await _unary(_call(context), lambda: self._inner.on_delete_task_push_notification_config(params, context))

    async def on_get_extended_agent_card(
        self, params: GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> AgentCard:
        """Get the card for callers who are known."""
        return await _unary(_call(context), lambda: self._inner.on_get_extended_agent_card(params, context))


def _call(context: ServerCallContext) -> GovernedCall:
    call = context.state[CALL]
    assert isinstance(call, GovernedCall)
    return call


def _revised(call: GovernedCall, params: SendMessageRequest) -> SendMessageRequest:
    message = call.revised_message
    if message is not None:
        shapes.revise(params, message)
    return params


async def _unary(call: GovernedCall, work: Work[T]) -> T:
    try:
        answer = await _moderated(call, work)
        answer = await _shown(call, answer)
    except asyncio.CancelledError:
        call.abandon()
        raise
    except Exception as error:  # noqa: BLE001  every failure ends the call
        await _end_badly(call, error)
    call.succeed()
    return answer


async def _moderated(call: GovernedCall, work: Work[T]) -> T:
    """Let the agent work while the hooks judge the request; their refusal ends the work."""
    if not call.hosted.moderates:
        return await work()
    async with asyncio.TaskGroup() as both:
        both.create_task(call.hosted.moderate())
        working = both.create_task(work())
    return working.result()


async def _shown(call: GovernedCall, answer: T) -> T:
    """Show an answer to the hooks and return what they leave of it; of a list, each task."""
    if isinstance(answer, ListTasksResponse):
        tasks = [await _shown(call, task) for task in answer.tasks]
        del answer.tasks[:]
        answer.tasks.extend(tasks)
        return answer
    result = shapes.result(answer)
    before = copy.deepcopy(result)
    changed = await call.hosted.answered(result)
    if changed != before and before:
        answer = cast("T", shapes.restored(changed))
    call.heard(lambda: changed, shapes.said(answer) if call.counts_tokens else "")
    return answer


async def _stream(call: GovernedCall, work: Events) -> AsyncGenerator[Event, None]:
    moderation = asyncio.ensure_future(call.hosted.moderate()) if call.hosted.moderates else None
    try:
        async with aclosing(_events(call, work)) as events:
            async for event in events:
                if moderation is not None:
                    await moderation
                yield event
        await call.hosted.release()
    except (asyncio.CancelledError, GeneratorExit):
        call.abandon()
        raise
    except Exception as error:  # noqa: BLE001  every failure ends the call
        await _end_badly(call, error)
    finally:
        if moderation is not None:
            moderation.cancel()
            await asyncio.gather(moderation, return_exceptions=True)
    call.succeed()


async def _events(call: GovernedCall, work: Events) -> AsyncGenerator[Event, None]:
    async with aclosing(work()) as events:
        if not call.hosted.watches_streams:
            async for event in events:
                call.heard(partial(shapes.result, event), shapes.said(event) if call.counts_tokens else "")
                yield event
            return
        async with aclosing(call.hosted.streamed(_visible(call, events))) as shown:
            async for each in shown:
                event = _let_out(each)
                call.heard(partial(shapes.result, event), shapes.said(event) if call.counts_tokens else "")
                yield event


async def _visible(call: GovernedCall, events: AsyncIterator[Any]) -> AsyncGenerator[StreamEvent, None]:
    async for event in events:
        yield call.hosted.event(shapes.result(event), event)


def _let_out(shown: Shown) -> Any:
    if shown.text is not None:
        return shapes.replaced(shown.origin, shown.text)
    return shown.origin if shown.result is None else shapes.restored(shown.result)


async def _end_badly(call: GovernedCall, error: Exception) -> NoReturn:
    """End the call and raise what the client is told, in the protocol's terms."""
    if isinstance(error, ExceptionGroup):
        error = next((each for each in error.exceptions if isinstance(each, CallFailed)), error.exceptions[0])
    failure = _failure(error)
    await call.fail(failure)
    if isinstance(error, A2AError):
        raise error
    raise InternalError(message=failure.told.message, data=failure.told.data) from error


def _failure(error: Exception) -> Failure:
    if isinstance(error, ValidationError):
        return Failure("guardrail", CallFailed("A guardrail left no message that A2A defines", 500))
    if not isinstance(error, A2AError):
        return Failure.of(error)
    if error.__cause__ is None:
        return Failure("agent", CallFailed(error.message, 500))
    return Failure.of(backend_error(error.__cause__))
