"""The echo agent on a2a-sdk 1.x: 1.0 JSON-RPC, and 0.3 on the same URL when asked."""

from __future__ import annotations

import sys

import httpx
from a2a.helpers import new_task_from_user_message, new_text_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import (
    BasePushNotificationSender,
    InMemoryPushNotificationConfigStore,
    InMemoryTaskStore,
    TaskUpdater,
)
from a2a.types.a2a_pb2 import (
    AgentCapabilities,
    AgentCard,
    AgentExtension,
    AgentInterface,
    AgentSkill,
    Part,
    TaskState,
)
from a2a.utils.errors import ContentTypeNotSupportedError, ExtensionSupportRequiredError
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct, Value
from starlette.applications import Starlette

from tests.support.agents.controls import Controlled, Controls, listen, serve
from tests.support.agents.scenario import Kind, Options, Step, scenario_for

_STATES = {
    Kind.WORKING: TaskState.TASK_STATE_WORKING,
    Kind.COMPLETED: TaskState.TASK_STATE_COMPLETED,
    Kind.FAILED: TaskState.TASK_STATE_FAILED,
    Kind.INPUT_REQUIRED: TaskState.TASK_STATE_INPUT_REQUIRED,
    Kind.REJECTED: TaskState.TASK_STATE_REJECTED,
    Kind.AUTH_REQUIRED: TaskState.TASK_STATE_AUTH_REQUIRED,
}

_UNREADABLE = "application/x-unreadable"
"""Media type that this agent takes from nobody."""


class EchoExecutor(AgentExecutor):
    """Plays the scenario that the message asks for."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Emit the scenario's events, each when it is let go."""
        self._refuse(context)
        scenario = scenario_for(context.get_user_input(), always_gate=self._controls.options.gate)
        updater = TaskUpdater(event_queue, context.task_id or "", context.context_id or "")
        for step in scenario.steps:
            await self._controls.admit(scenario)
            await self._emit(step, updater, context, event_queue)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Stop the task."""
        self._controls.cancelled_tasks += 1
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()

    def _refuse(self, context: RequestContext) -> None:
        wanted = self._controls.options.extension
        if wanted is not None and wanted not in context.requested_extensions:
            raise ExtensionSupportRequiredError(message=f"activate {wanted}")
        if any(part.media_type == _UNREADABLE for part in (context.message.parts if context.message else ())):
            raise ContentTypeNotSupportedError(message=f"cannot read {_UNREADABLE}")

    async def _emit(self, step: Step, updater: TaskUpdater, context: RequestContext, queue: EventQueue) -> None:
        match step.kind:
            case Kind.SUBMITTED:
                if context.current_task is None and context.message is not None:
                    await queue.enqueue_event(new_task_from_user_message(context.message))
            case Kind.REPLY:
                await queue.enqueue_event(new_text_message(step.text, context_id=updater.context_id))
            case Kind.CRASH:
                raise RuntimeError(f"crashed: {step.text}")
            case Kind.CHUNK:
                await updater.add_artifact(
                    [Part(text=step.text)], artifact_id="echo", append=step.append, last_chunk=step.last
                )
            case Kind.PARTS:
                await updater.add_artifact(
                    _parts(step.text), artifact_id="parts", name="all kinds", metadata={"n": 1.0}, last_chunk=True
                )
            case state:
                await updater.update_status(_STATES[state], updater.new_agent_message([Part(text=step.text)]))


def _parts(text: str) -> list[Part]:
    data = ParseDict({"a": [1, None, {"b": text}]}, Value())
    return [
        Part(text=text, metadata=ParseDict({"lang": "en"}, Struct())),
        Part(data=data),
        Part(raw=b"\x00\xff" + text.encode(), filename="x.bin", media_type="application/octet-stream"),
        Part(url="https://files.example/x.png", filename="x.png", media_type="image/png"),
    ]


def _capabilities(options: Options) -> AgentCapabilities:
    if options.plain:
        return AgentCapabilities()
    required = [AgentExtension(uri=options.extension, required=True)] if options.extension else []
    return AgentCapabilities(streaming=True, push_notifications=True, extended_agent_card=True, extensions=required)


def card(options: Options, url: str) -> AgentCard:
    """Describe the agent; its interfaces are what it really serves."""
    versions = ("1.0", "0.3") if options.compat else ("1.0",)
    target = options.advertised_url or url
    return AgentCard(
        name=options.name,
        description="Echoes what it is told.",
        version="1.0.0",
        supported_interfaces=[
            AgentInterface(url=target, protocol_binding=options.binding, protocol_version=version)
            for version in versions
        ],
        capabilities=_capabilities(options),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="echo", name="Echo", description="Says it again.", tags=["echo"])],
    )


def extended(public: AgentCard) -> AgentCard:
    """What an authenticated caller may read beyond the public card."""
    richer = AgentCard()
    richer.CopyFrom(public)
    richer.skills.append(AgentSkill(id="secret", name="Secret", description="For those who know.", tags=["secret"]))
    return richer


def main(options: Options) -> None:
    """Serve until the parent ends us."""
    listener, url = listen(options.port)
    controls = Controls(options)
    public = card(options, url)
    push_configs = InMemoryPushNotificationConfigStore()
    handler = DefaultRequestHandler(
        agent_executor=EchoExecutor(controls),
        task_store=InMemoryTaskStore(),
        agent_card=public,
        push_config_store=None if options.plain else push_configs,
        push_sender=BasePushNotificationSender(httpx.AsyncClient(trust_env=False), push_configs),
        extended_agent_card=None if options.plain else extended(public),
    )
    routes = [
        *create_agent_card_routes(public),
        *create_jsonrpc_routes(handler, "/", enable_v0_3_compat=options.compat),
        *(create_rest_routes(handler) if options.rest else ()),
    ]
    serve(Controlled(Starlette(routes=routes), controls), listener, url)


if __name__ == "__main__":
    main(Options.from_json(sys.argv[1]))
