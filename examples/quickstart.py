"""From nothing to an agent called through the gateway, in one file.

Start the proxy in one terminal and this in another:

    litellm --config litellm_config.yaml
    python examples/quickstart.py

It starts a real A2A agent on this machine, registers it, finds its card at the gateway, sends it a message, streams a
second one, and deletes it again. The proxy must be allowed to call this machine: see `routeiq.outbound.allowed_hosts`
in litellm_config.yaml.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import uvicorn
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.helpers import get_stream_response_text, new_task_from_user_message, new_text_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types.a2a_pb2 import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    Part,
    Role,
    SendMessageRequest,
    StreamResponse,
    TaskState,
)
from a2a.utils.errors import A2AError
from google.protobuf.json_format import MessageToDict
from starlette.applications import Starlette

PROXY = "http://127.0.0.1:4000"
MASTER_KEY = "sk-routeiq-quickstart-2f9c61d7a84b"  # that of litellm_config.yaml


class QuickstartError(Exception):
    """Something that the reader can mend; the message says how."""


class EchoAgent(AgentExecutor):
    """Says it again, word by word."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Answer one message with a task: working, an artifact in pieces, completed."""
        words = context.get_user_input().split()
        assert context.message is not None
        await event_queue.enqueue_event(context.current_task or new_task_from_user_message(context.message))
        task = TaskUpdater(event_queue, context.task_id or "", context.context_id or "")
        await task.start_work()
        for number, word in enumerate(words):
            await task.add_artifact(
                [Part(text=f"{word} ")], artifact_id="echo", append=number > 0, last_chunk=number == len(words) - 1
            )
        await task.complete(task.new_agent_message([Part(text=f"You said: {' '.join(words)}")]))

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Stop a task."""
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()


def describe(url: str) -> AgentCard:
    """Write the agent's card."""
    return AgentCard(
        name="Echo",
        description="Says it again, word by word.",
        version="1.0.0",
        supported_interfaces=[AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")],
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="echo", name="Echo", description="Says it again.", tags=["echo"])],
    )


@contextmanager
def running_agent() -> Iterator[AgentCard]:
    """Serve the agent on a free port of this machine, in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    card = describe(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    handler = DefaultRequestHandler(EchoAgent(), InMemoryTaskStore(), card)
    app = Starlette(routes=[*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/")])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield card
    finally:
        server.should_exit = True
        thread.join()


@asynccontextmanager
async def registered(http: httpx.AsyncClient, card: AgentCard) -> AsyncIterator[str]:
    """Register the agent for the length of the block, and yield its id."""
    body = {"agent_name": f"quickstart-{secrets.token_hex(4)}", "agent_card_params": MessageToDict(card)}
    response = await http.post("/v1/agents", json=body)
    if response.status_code == 401:
        raise QuickstartError(f"{http.base_url} does not know this key; pass its master key with --key")
    if response.status_code != 200:
        raise QuickstartError(
            f"{http.base_url} refused to register the agent ({response.status_code}): {response.text}"
        )
    agent_id: str = response.json()["agent_id"]
    try:
        yield agent_id
    finally:
        (await http.delete(f"/v1/agents/{agent_id}")).raise_for_status()


async def ask(http: httpx.AsyncClient, url: str, text: str, *, streaming: bool) -> AsyncIterator[StreamResponse]:
    """Say something to the agent at `url` with the official client, which reads the agent's card there first."""
    card = await A2ACardResolver(http, url).get_agent_card()
    request = SendMessageRequest(message=new_text_message(text, role=Role.ROLE_USER))
    client = ClientFactory(ClientConfig(httpx_client=http, streaming=streaming)).create(card)
    async for event in client.send_message(request):
        yield event


async def main(proxy: str, key: str) -> None:
    """Run the whole tour against the proxy."""
    headers = {"Authorization": f"Bearer {key}"}
    with running_agent() as card:
        # trust_env: an HTTP_PROXY of the shell has no business on the way to this machine
        async with httpx.AsyncClient(base_url=proxy, headers=headers, timeout=60, trust_env=False) as http:
            async with registered(http, card) as agent_id:
                url = f"{proxy.rstrip('/')}/a2a/{agent_id}"
                print(f"The agent at {card.supported_interfaces[0].url} is now {url}")
                async for event in ask(http, url, "hello gateway", streaming=False):
                    print(f"Sent, and it answered: {event.task.status.message.parts[0].text}")
                print("Streaming:", end="", flush=True)
                async for event in ask(http, url, "one event at a time", streaming=True):
                    if event.HasField("artifact_update"):
                        print(f" {get_stream_response_text(event).strip()}", end="", flush=True)
                    elif event.status_update.status.state == TaskState.TASK_STATE_COMPLETED:
                        print(" (completed)")
            print("The agent is deleted again.")


def arguments() -> argparse.Namespace:
    """Read the command line; the environment fills in what it leaves out."""
    parser = argparse.ArgumentParser(description="Register an A2A agent with the gateway and call it.")
    parser.add_argument("--proxy", default=os.environ.get("LITELLM_PROXY_URL", PROXY), help="default: %(default)s")
    parser.add_argument(
        "--key", default=os.environ.get("LITELLM_MASTER_KEY", MASTER_KEY), help="default: that of litellm_config.yaml"
    )
    return parser.parse_args()


if __name__ == "__main__":
    given = arguments()
    try:
        asyncio.run(main(given.proxy, given.key))
    except httpx.ConnectError:
        sys.exit(f"No proxy answers at {given.proxy}. Start one: litellm --config litellm_config.yaml")
    except (QuickstartError, A2AError, httpx.HTTPError) as problem:
        sys.exit(f"The quickstart failed: {problem}")
