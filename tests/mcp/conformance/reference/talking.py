"""Tools that speak while they run: logs, progress, and what a server of 2025-11-25 asks its client."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    ElicitResult,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    RequestParams,
    SamplingMessage,
    TextContent,
)

from tests.mcp.conformance.reference.parts import STATELESS, Answer, Context, Tools, said, text_of
from tests.mcp.conformance.reference.schemas import WITH_DEFAULTS, WITH_ENUMS, text

_QUESTION: Final = "question"
_PAUSE: Final = 0.05
"""Seconds that the suite wants between two notifications."""


async def _logs(context: Context, params: CallToolRequestParams) -> CallToolResult:
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.session.send_log_message("info", line, related_request_id=context.request_id)
        await asyncio.sleep(_PAUSE)
    return said("Tool with logging executed successfully")


async def _progresses(context: Context, params: CallToolRequestParams) -> CallToolResult:
    for done in (0, 50, 100):
        await context.session.report_progress(done, 100, f"Completed step {done} of 100")
        await asyncio.sleep(_PAUSE)
    return said("Tool with progress executed successfully")


async def _samples(context: Context, params: CallToolRequestParams) -> Answer:
    heard = (params.input_responses or {}).get(_QUESTION)
    if heard is not None:
        return said(f"LLM response: {text_of(getattr(heard, 'content', None))}")
    text = TextContent(type="text", text=str((params.arguments or {}).get("prompt")))
    messages = [SamplingMessage(role="user", content=text)]
    return _ask(CreateMessageRequest(params=CreateMessageRequestParams(messages=messages, max_tokens=100)))


async def _elicits(context: Context, params: CallToolRequestParams) -> Answer:
    return _filled(params, str((params.arguments or {}).get("message")), text("username", "email"))


async def _elicits_defaults(context: Context, params: CallToolRequestParams) -> Answer:
    return _filled(params, "Defaults of every type", WITH_DEFAULTS)


async def _elicits_choices(context: Context, params: CallToolRequestParams) -> Answer:
    return _filled(params, "Choices of every kind", WITH_ENUMS)


def _filled(params: CallToolRequestParams, message: str, form: dict[str, Any]) -> Answer:
    heard = (params.input_responses or {}).get(_QUESTION)
    if isinstance(heard, ElicitResult):
        return said(f"User response: action={heard.action}, content={json.dumps(heard.content)}")
    return _ask(ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=form)))


async def _sends_elsewhere(context: Context, params: CallToolRequestParams) -> Answer:
    heard = (params.input_responses or {}).get(_QUESTION)
    if not isinstance(heard, ElicitResult):
        url = "https://login.example.com/"
        asked = ElicitRequestURLParams(message="Please log in", url=url, elicitation_id="elicitation-1")
        return _ask(ElicitRequest(params=asked))
    if context.protocol_version < STATELESS:
        await context.session.send_elicit_complete("elicitation-1", related_request_id=context.request_id)
    return said(f"User response: action={heard.action}")


async def _lists_roots(context: Context, params: CallToolRequestParams) -> Answer:
    heard: Any = (params.input_responses or {}).get(_QUESTION)
    if context.protocol_version < STATELESS:
        heard = await context.session.list_roots()  # on the session's own stream, not the call's
    if not isinstance(heard, ListRootsResult):
        return _ask(ListRootsRequest(params=RequestParams()))
    return said(", ".join(str(each.uri) for each in heard.roots))


def _ask(question: Any) -> InputRequiredResult:
    return InputRequiredResult(input_requests={_QUESTION: question})


async def _reconnects(context: Context, params: CallToolRequestParams) -> CallToolResult:
    """Hang up in the middle of the call: the client resumes with `Last-Event-ID` (SEP-1699)."""
    await context.session.send_log_message("info", "Before", related_request_id=context.request_id)
    if context.close_sse_stream is not None:
        await context.close_sse_stream()
    await asyncio.sleep(2 * _PAUSE)
    return said("Reconnection test completed")


TOOLS: Final[Tools] = {
    "test_tool_with_logging": _logs,
    "test_logging_tool": _logs,
    "test_tool_with_progress": _progresses,
    "test_sampling": _samples,
    "test_elicitation": _elicits,
    "test_elicitation_sep1034_defaults": _elicits_defaults,
    "test_elicitation_sep1330_enums": _elicits_choices,
    "test_url_elicitation": _sends_elsewhere,
    "test_roots": _lists_roots,
    "test_reconnection": _reconnects,
}
