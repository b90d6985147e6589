"""The echo agent on a2a-sdk 0.3.x; runs in the virtualenv of `tests.support.legacy`, never in ours."""

# The 0.3 names do not exist in the SDK that mypy sees.
# mypy: disable-error-code="attr-defined, import-not-found, import-untyped, misc, call-arg, no-any-return"

from __future__ import annotations

import base64
import sys
from typing import Any

import httpx
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.apps import A2AStarletteApplication
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.tasks import (
    BasePushNotificationSender,
    InMemoryPushNotificationConfigStore,
    InMemoryTaskStore,
    TaskUpdater,
)
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentSkill,
    DataPart,
    FilePart,
    FileWithBytes,
    FileWithUri,
    Part,
    TaskState,
    TextPart,
)
from a2a.utils import new_agent_text_message, new_task

from tests.support.agents.controls import Controlled, Controls, listen, serve
from tests.support.agents.scenario import Kind, Options, Step, scenario_for

_STATES: dict[Kind, Any] = {
    Kind.WORKING: TaskState.working,
    Kind.COMPLETED: TaskState.completed,
    Kind.FAILED: TaskState.failed,
    Kind.INPUT_REQUIRED: TaskState.input_required,
    Kind.REJECTED: TaskState.rejected,
    Kind.AUTH_REQUIRED: TaskState.auth_required,
}


class EchoExecutor(AgentExecutor):
    """Plays the scenario that the message asks for."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Emit the scenario's events, each when it is let go."""
        scenario = scenario_for(context.get_user_input(), always_gate=self._controls.options.gate)
        updater = TaskUpdater(event_queue, context.task_id or "", context.context_id or "")
        for step in scenario.steps:
            await self._controls.admit(scenario)
            await self._emit(step, updater, context, event_queue)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Stop the task."""
        self._controls.cancelled_tasks += 1
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()

    async def _emit(self, step: Step, updater: TaskUpdater, context: RequestContext, queue: EventQueue) -> None:
        final = step.kind in (Kind.COMPLETED, Kind.FAILED, Kind.REJECTED, Kind.INPUT_REQUIRED, Kind.AUTH_REQUIRED)
        match step.kind:
            case Kind.SUBMITTED:
                if context.current_task is None:
                    await queue.enqueue_event(new_task(context.message))
            case Kind.REPLY:
                await queue.enqueue_event(new_agent_text_message(step.text, context_id=updater.context_id))
            case Kind.CRASH:
                raise RuntimeError(f"crashed: {step.text}")
            case Kind.CHUNK:
                part = Part(root=TextPart(text=step.text))
                await updater.add_artifact([part], artifact_id="echo", append=step.append, last_chunk=step.last)
            case Kind.PARTS:
                await updater.add_artifact(
                    _parts(step.text), artifact_id="parts", name="all kinds", metadata={"n": 1.0}, last_chunk=True
                )
            case state:
                message = updater.new_agent_message([Part(root=TextPart(text=step.text))])
                await updater.update_status(_STATES[state], message, final=final)


def _parts(text: str) -> list[Part]:
    raw = base64.b64encode(b"\x00\xff" + text.encode()).decode()
    octets = FileWithBytes(bytes=raw, name="x.bin", mime_type="application/octet-stream")
    linked = FileWithUri(uri="https://files.example/x.png", name="x.png", mime_type="image/png")
    return [
        Part(root=TextPart(text=text, metadata={"lang": "en"})),
        Part(root=DataPart(data={"a": [1, None, {"b": text}]})),
        Part(root=FilePart(file=octets)),
        Part(root=FilePart(file=linked)),
    ]


def card(options: Options, url: str) -> AgentCard:
    """Describe the agent."""
    return AgentCard(
        name=options.name,
        description="Echoes what it is told.",
        version="1.0.0",
        url=options.advertised_url or url,
        capabilities=AgentCapabilities(streaming=not options.plain, push_notifications=not options.plain),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="echo", name="Echo", description="Says it again.", tags=["echo"])],
        supports_authenticated_extended_card=not options.plain,
    )


def extended(public: AgentCard) -> AgentCard:
    """What an authenticated caller may read beyond the public card."""
    secret = AgentSkill(id="secret", name="Secret", description="For those who know.", tags=["secret"])
    return public.model_copy(update={"skills": [*public.skills, secret]})


def main(options: Options) -> None:
    """Serve until the parent ends us."""
    listener, url = listen(options.port)
    controls = Controls(options)
    push_configs = InMemoryPushNotificationConfigStore()
    handler = DefaultRequestHandler(
        agent_executor=EchoExecutor(controls),
        task_store=InMemoryTaskStore(),
        push_config_store=None if options.plain else push_configs,
        push_sender=BasePushNotificationSender(httpx.AsyncClient(trust_env=False), push_configs),
    )
    public = card(options, url)
    application = A2AStarletteApplication(
        public, handler, extended_agent_card=None if options.plain else extended(public)
    )
    serve(Controlled(application.build(), controls), listener, url)


if __name__ == "__main__":
    main(Options.from_json(sys.argv[1]))
