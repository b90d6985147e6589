"""The official client at the relay, with what it heard written down."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from mcp import Client
from mcp_types import (
    CreateMessageResult,
    ElicitRequestURLParams,
    ElicitResult,
    ListRootsResult,
    PromptListChangedNotification,
    ResourceUpdatedNotification,
    Root,
    TextContent,
    ToolListChangedNotification,
)

from tests.mcp.relayed import Relayed

HEARD_SECONDS: Final = 60.0


@dataclass
class Heard:
    """What reached one client."""

    name: str
    logs: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    changed: int = 0
    asked: list[str] = field(default_factory=list)
    fences: int = 0
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def message(self, message: Any) -> None:
        """Hear a notification."""
        async with self._news:
            if isinstance(message, ResourceUpdatedNotification):
                self.updated.append(str(message.params.uri))
            elif isinstance(message, ToolListChangedNotification):
                self.changed += 1
            elif isinstance(message, PromptListChangedNotification):
                self.fences += 1
            self._news.notify_all()

    async def log(self, params: Any) -> None:
        """Hear a log line."""
        self.logs.append(str(params.data))

    async def sample(self, context: Any, params: Any) -> CreateMessageResult:
        """Answer as a model with one's own name."""
        self.asked.append(str(params.messages[0].content.text))
        return CreateMessageResult(
            role="assistant", content=TextContent(type="text", text=f"I am {self.name}"), model="m"
        )

    async def elicit(self, context: Any, params: Any) -> ElicitResult:
        """Fill in every field with one's own name."""
        self.asked.append(str(params.message))
        if isinstance(params, ElicitRequestURLParams):
            return ElicitResult(action="accept")
        return ElicitResult(action="accept", content=dict.fromkeys(params.requested_schema["properties"], self.name))

    async def roots(self, context: Any) -> ListRootsResult:
        """Tell one's own root."""
        return ListRootsResult(roots=[Root(uri=f"file:///{self.name}")])

    async def until(self, condition: Callable[[Heard], bool], seconds: float = HEARD_SECONDS) -> None:
        """Wait for something to be heard; raises `TimeoutError`."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: condition(self))

    async def listens(self, client: Client) -> None:
        """Return when the stream of a session's notifications is open: what is sent before is nobody's."""
        async with asyncio.timeout(HEARD_SECONDS):
            while not self.changed:
                await client.call_tool("test_trigger_tool_change", {})
                with suppress(TimeoutError):
                    await self.until(lambda it: it.changed > 0, 1.0)

    async def catches_up(self, client: Client) -> None:
        """Return when everything that was sent so far has been heard: the stream keeps its order."""
        fences = self.fences
        await client.call_tool("test_trigger_prompt_change", {})
        await self.until(lambda it: it.fences > fences)


@asynccontextmanager
async def connected(relayed: Relayed, heard: Heard, mode: Any = "legacy", key: str | None = None) -> AsyncIterator[Any]:
    """Connect under a key of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        async with relayed.connected(
            mode,
            key,
            message_handler=heard.message,
            logging_callback=heard.log,
            sampling_callback=heard.sample,
            elicitation_callback=heard.elicit,
            list_roots_callback=heard.roots,
        ) as client:
            yield client
