"""Tools that speak while they run: logs, progress, and what a server of 2025-11-25 asks its client."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types import CallToolRequestParams, CallToolResult, SamplingMessage, TextContent

from tests.mcp.conformance.reference.parts import Context, Tools, said, text_of
from tests.mcp.conformance.reference.schemas import WITH_DEFAULTS, WITH_ENUMS, text

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


async def _samples(context: Context, params: CallToolRequestParams) -> CallToolResult:
    asked = str((params.arguments or {}).get("prompt"))
    try:
        heard = await context.session.create_message(
            messages=[SamplingMessage(role="user", content=TextContent(type="text", text=asked))],
            max_tokens=100,
            related_request_id=context.request_id,
        )
    except MCPError as refused:
        return said(f"Sampling error: {refused}", is_error=True)
    return said(f"LLM response: {text_of(heard.content)}")


async def _elicits(context: Context, params: CallToolRequestParams) -> CallToolResult:
    return await _filled(context, str((params.arguments or {}).get("message")), text("username", "email"))


async def _elicits_defaults(context: Context, params: CallToolRequestParams) -> CallToolResult:
    return await _filled(context, "Defaults of every type", WITH_DEFAULTS)


async def _elicits_choices(context: Context, params: CallToolRequestParams) -> CallToolResult:
    return await _filled(context, "Choices of every kind", WITH_ENUMS)


async def _filled(context: Context, message: str, form: dict[str, Any]) -> CallToolResult:
    try:
        heard = await context.session.elicit_form(message, form, related_request_id=context.request_id)
    except MCPError as refused:
        return said(f"Elicitation error: {refused}", is_error=True)
    return said(f"User response: action={heard.action}, content={json.dumps(heard.content)}")


async def _sends_elsewhere(context: Context, params: CallToolRequestParams) -> CallToolResult:
    try:
        heard = await context.session.elicit_url(
            "Please log in", "https://login.example.com/", "elicitation-1", related_request_id=context.request_id
        )
    except MCPError as refused:
        return said(f"Elicitation error: {refused}", is_error=True)
    await context.session.send_elicit_complete("elicitation-1", related_request_id=context.request_id)
    return said(f"User response: action={heard.action}")


async def _lists_roots(context: Context, params: CallToolRequestParams) -> CallToolResult:
    roots = (await context.session.list_roots()).roots
    return said(", ".join(str(each.uri) for each in roots))


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
