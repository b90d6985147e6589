"""The official a2a-sdk 0.3.x client as a command: reads a card, makes one call, prints each event as a JSON line.

An error of the SDK is the last line, {"error": {"type", "message"}}, and exit code 1.
"""

# The 0.3 names do not exist in the SDK that mypy sees.
# mypy: disable-error-code="attr-defined, import-not-found, import-untyped, misc, arg-type, call-arg, no-untyped-call"

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
from a2a.client import A2ACardResolver, A2AClientError, ClientConfig, ClientFactory, create_text_message_object
from a2a.types import (
    GetTaskPushNotificationConfigParams,
    PushNotificationConfig,
    TaskIdParams,
    TaskPushNotificationConfig,
    TaskQueryParams,
)


async def events(arguments: argparse.Namespace) -> AsyncIterator[Any]:
    """Make the call and yield the SDK's own objects."""
    headers = {"Authorization": f"Bearer {arguments.key}"} if arguments.key else {}
    async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as http:
        card = await A2ACardResolver(http, arguments.url).get_agent_card()
        config = ClientConfig(httpx_client=http, streaming=arguments.method in ("stream", "resubscribe"))
        client = ClientFactory(config).create(card)
        match arguments.method:
            case "card":
                yield card
            case "send" | "stream":
                message = create_text_message_object(content=arguments.argument)
                async for event in client.send_message(message):
                    yield latest(event)
            case "get":
                yield await client.get_task(TaskQueryParams(id=arguments.argument))
            case "cancel":
                yield await client.cancel_task(TaskIdParams(id=arguments.argument))
            case "push-set":
                wanted = json.loads(arguments.argument)
                webhook = PushNotificationConfig(url=wanted["url"], token=wanted.get("token"))
                config = TaskPushNotificationConfig(task_id=wanted["id"], push_notification_config=webhook)
                yield await client.set_task_callback(config)
            case "push-get":
                yield await client.get_task_callback(GetTaskPushNotificationConfigParams(id=arguments.argument))
            case "extended":
                yield await client.get_card()
            case "resubscribe":
                async for event in client.resubscribe(TaskIdParams(id=arguments.argument)):
                    yield latest(event)


def latest(event: Any) -> Any:
    """The client yields (task so far, update): what arrived is the update, or the task when there is none."""
    if not isinstance(event, tuple):
        return event
    task, update = event
    return update or task


async def main(arguments: argparse.Namespace) -> int:
    """Print the events; returns the exit code."""
    try:
        async for event in events(arguments):
            print(event.model_dump_json(by_alias=True, exclude_none=True), flush=True)
    except A2AClientError as error:
        print(json.dumps({"error": {"type": type(error).__name__, "message": str(error)}}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    methods = ["card", "send", "stream", "get", "cancel", "resubscribe", "push-set", "push-get", "extended"]
    parser.add_argument("method", choices=methods)
    parser.add_argument("url")
    parser.add_argument("argument", nargs="?", default="")
    parser.add_argument("--key")
    sys.exit(asyncio.run(main(parser.parse_args())))
