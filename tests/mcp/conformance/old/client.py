"""The official client of the SDK 1.x as a command: `client URL KEY` plays one conversation and prints it as JSON."""

# The names of 1.x do not exist in the SDK that mypy sees.
# mypy: disable-error-code="attr-defined, import-not-found, import-untyped, misc, call-arg, arg-type"

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from typing import Any, Final

from mcp import ClientSession, McpError
from mcp.client.streamable_http import streamablehttp_client
from mcp.types import (
    CreateMessageResult,
    ElicitResult,
    ListRootsResult,
    Root,
    TextContent,
)
from pydantic import AnyUrl

WATCHED: Final = "test://watched-resource"
SECONDS: Final = timedelta(seconds=60)


class Heard:
    """What reached the client besides answers."""

    def __init__(self) -> None:
        self.logs: list[str] = []
        self.progress: list[float] = []
        self.notifications: list[str] = []
        self._news = asyncio.Event()

    async def log(self, params: Any) -> None:
        """Hear a log line."""
        self.logs.append(str(params.data))

    async def report(self, progress: float, total: float | None, message: str | None) -> None:
        """Hear of progress."""
        self.progress.append(progress)

    async def message(self, message: Any) -> None:
        """Hear a notification."""
        self.notifications.append(type(getattr(message, "root", message)).__name__)
        self._news.set()

    async def until(self, name: str) -> None:
        """Wait for a notification."""
        async with asyncio.timeout(60):
            while name not in self.notifications:
                self._news.clear()
                await self._news.wait()


async def _sampled(context: Any, params: Any) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="I am old"), model="m")


async def _elicited(context: Any, params: Any) -> ElicitResult:
    return ElicitResult(action="accept", content=dict.fromkeys(params.requestedSchema["properties"], "old"))


async def _rooted(context: Any) -> ListRootsResult:
    return ListRootsResult(roots=[Root(uri="file:///old")])


async def converse(url: str, key: str) -> dict[str, Any]:
    """Say everything that a client can say."""
    heard = Heard()
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        streamablehttp_client(url, headers=headers) as (reading, writing, _),
        ClientSession(
            reading,
            writing,
            SECONDS,
            sampling_callback=_sampled,
            elicitation_callback=_elicited,
            list_roots_callback=_rooted,
            logging_callback=heard.log,
            message_handler=heard.message,
        ) as session,
    ):
        begun = await session.initialize()
        await session.set_logging_level("debug")
        return {
            "server": begun.serverInfo.name,
            "tools": [each.name for each in (await session.list_tools()).tools],
            "logged": await _call(session, "test_tool_with_logging", heard),
            "progressed": await _call(session, "test_tool_with_progress", heard),
            "user": await _call(session, "test_elicitation", heard, message="Who?"),
            "model": await _call(session, "test_sampling", heard, prompt="Who?"),
            "roots": await _call(session, "test_roots", heard),
            "unknown": await _refused(session.get_prompt("nothing")),
            "updated": await _updated(session, heard),
            "pinged": (await session.send_ping()).model_dump(exclude_none=True),
            "logs": heard.logs,
            "progress": heard.progress,
        }


async def _call(session: ClientSession, name: str, heard: Heard, **arguments: Any) -> str:
    result: Any = await session.call_tool(name, arguments, progress_callback=heard.report)
    return str(result.content[0].text)


async def _updated(session: ClientSession, heard: Heard) -> bool:
    """Subscribe, and let the server change what is subscribed to until the stream of the session has told of it."""
    await session.subscribe_resource(AnyUrl(WATCHED))
    while "ResourceUpdatedNotification" not in heard.notifications:
        await session.call_tool("test_trigger_resource_update", {})
        await session.call_tool("test_trigger_tool_change", {})
        await heard.until("ToolListChangedNotification")
        heard.notifications = [each for each in heard.notifications if each != "ToolListChangedNotification"]
    return True


async def _refused(asking: Any) -> int:
    try:
        await asking
    except McpError as refused:
        return int(refused.error.code)
    raise AssertionError("it was not refused")


if __name__ == "__main__":
    print(json.dumps(asyncio.run(converse(*sys.argv[1:3]))))
