"""Words that every part of the reference server is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from mcp.server import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    CreateMessageResult,
    ElicitResult,
    GetPromptRequestParams,
    InputRequiredResult,
    ListRootsResult,
    TextContent,
)

Context = ServerRequestContext[Any, Any]
Answer = CallToolResult | InputRequiredResult
Run = Callable[[Context, CallToolRequestParams], Awaitable[Answer]]
Tools = Mapping[str, Run]

STATELESS: Final = "2026-07-28"
"""The generation without sessions, in which a server asks in its answers instead of by requests of its own."""

_ANSWERS: Final[Mapping[str, type[Any]]] = {
    "sampling/createMessage": CreateMessageResult,
    "elicitation/create": ElicitResult,
    "roots/list": ListRootsResult,
}

P = TypeVar("P", CallToolRequestParams, GetPromptRequestParams)
R = TypeVar("R")

IMAGE: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
"""A black pixel, PNG."""
AUDIO: Final = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
"""No sample at all, WAV."""


def said(text: str, *, is_error: bool = False) -> CallToolResult:
    """Answer a call in words."""
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=is_error)


def text_of(content: Any) -> str:
    """Read what a model said."""
    return str(getattr(content, "text", ""))


async def answered(context: Context, params: P, run: Callable[[Context, P], Awaitable[R | InputRequiredResult]]) -> Any:
    """Run what asks in its answers, and in a session ask the client now: one tool for both generations."""
    result = await run(context, params)
    while isinstance(result, InputRequiredResult) and context.protocol_version < STATELESS:
        heard = {name: await _asked(context, each) for name, each in (result.input_requests or {}).items()}
        params = params.model_copy(update={"input_responses": heard, "request_state": result.request_state})
        result = await run(context, params)
    return result


async def answered_in_words(context: Context, params: CallToolRequestParams, run: Run) -> Answer:
    """Do that, and tell in the result what the client would not do."""
    try:
        answer: Answer = await answered(context, params, run)
    except ClientRefusedError as refused:
        return said(f"The client refused: {refused}", is_error=True)
    return answer


class ClientRefusedError(Exception):
    """The client answered with an error."""


async def _asked(context: Context, question: Any) -> Any:
    related = ServerMessageMetadata(related_request_id=context.request_id)
    try:
        return await context.session.send_request(question, _ANSWERS[question.method], metadata=related)
    except MCPError as error:
        raise ClientRefusedError(str(error)) from None
