"""One agent's server side in every binding, in front of the clients that speak to its backend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from a2a.client import ClientConfig
from a2a.server.routes.rest_dispatcher import RestDispatcher
from a2a.types.a2a_pb2 import AgentCard
from google.protobuf.json_format import MessageToDict
from starlette.requests import Request
from starlette.responses import Response

from routeiq_plugin.a2a import cards, schemas, transports
from routeiq_plugin.a2a.dispatch import CallContexts, Dispatcher
from routeiq_plugin.a2a.governed import Governed
from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.a2a.relay import Backend, Relay
from routeiq_plugin.a2a.rest_legacy import LegacyRest
from routeiq_plugin.a2a.services import TaskServices

_SPOKEN: Final = ("JSONRPC", "HTTP+JSON")

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Bindings:
    """Answers calls of one agent."""

    jsonrpc: Dispatcher
    rest: Mapping[str, Endpoint]
    """1.0 method to what answers it in HTTP+JSON of 1.0."""
    legacy_rest: Mapping[str, Endpoint]
    """The same for 0.3, without what that version lacks."""
    card: AgentCard
    """The backend's own word on what it can do."""


def bound(agent: Agent, card: AgentCard, http: Any, services: TaskServices) -> Bindings:
    """Build the server side of one agent."""

    def client(*, streaming: bool) -> Any:
        config = ClientConfig(httpx_client=http, streaming=streaming, supported_protocol_bindings=list(_SPOKEN))
        return transports.client(config, card)

    backend = Backend(
        agent_id=agent.agent_id,
        address=str(agent.backend_url),
        card=card,
        streaming=client(streaming=True),
        unary=client(streaming=False),
        client=partial(client, streaming=False),
        shown=partial(_shown, agent, services),
    )
    handler = Governed(Relay(backend, services))
    rest = RestDispatcher(handler, CallContexts())
    return Bindings(
        jsonrpc=Dispatcher(handler),
        rest={
            "SendMessage": rest.on_message_send,
            "SendStreamingMessage": rest.on_message_send_stream,
            "GetTask": rest.on_get_task,
            "ListTasks": rest.list_tasks,
            "CancelTask": rest.on_cancel_task,
            "SubscribeToTask": rest.on_subscribe_to_task,
            "CreateTaskPushNotificationConfig": rest.set_push_notification,
            "GetTaskPushNotificationConfig": rest.get_push_notification,
            "ListTaskPushNotificationConfigs": rest.list_push_notifications,
            "DeleteTaskPushNotificationConfig": rest.delete_push_notification,
            "GetExtendedAgentCard": rest.handle_authenticated_agent_card,
        },
        legacy_rest=LegacyRest(handler, CallContexts()).endpoints(),
        card=card,
    )


def _shown(agent: Agent, services: TaskServices, card: AgentCard, base_url: str) -> AgentCard:
    """Render the backend's extended card with the gateway in the backend's place."""
    document = MessageToDict(card)
    served = cards.public(
        document,
        document,
        name=agent.name,
        gateway_url=schemas.gateway_url(agent, base_url),
        provider_url=base_url,
        hidden=schemas.hidden_hosts(agent, document),
        pure=True,
        push=services.push.available,
    )
    return cards.parsed(served, agent.name)
