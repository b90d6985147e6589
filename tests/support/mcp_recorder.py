"""LiteLLM callbacks for MCP, copied into a proxy's directory: what they are told of tool calls, and what hooks do.

The recorder appends to mcp_events.jsonl beside it; `tests.mcp.data.calling` reads that. The others answer to words in
arguments and results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fastapi import HTTPException
from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.integrations.custom_logger import CustomLogger

FILE: Final = Path(__file__).with_name("mcp_events.jsonl")

REWRITE: Final = "rewrite-me"
REWRITTEN: Final = "rewritten"
INJECT: Final = "inject-a-header"
HEADER: Final = "x-from-a-hook"
SECRET: Final = "4111-1111"
MASK: Final = "<card>"
FORBIDDEN: Final = "forbidden-word"
FORBIDDEN_ANSWER: Final = "forbidden-answer"
LATE: Final = "late-word"


class Recorder(CustomLogger):  # type: ignore[misc]  # LiteLLM is not followed by mypy, see pyproject.toml
    """Writes down each hook and event, and changes what asks for it."""

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: Any, call_type: str) -> Any:
        """Note what is about to be called; a tool's arguments may be changed, and headers added."""
        note("pre_call", data, call_type=call_type, tool=data.get("mcp_tool_name"), seen=data.get("mcp_arguments"))
        text = (data.get("mcp_arguments") or {}).get("text")
        if text == REWRITE:
            return {**data, "modified_arguments": {"text": REWRITTEN}}
        if text == INJECT:
            return {**data, "extra_headers": {HEADER: "of this call"}}
        return None

    async def async_moderation_hook(self, data: Any, user_api_key_dict: Any, call_type: Any) -> None:
        """Note what is being called."""
        note("during_call", data, call_type=str(getattr(call_type, "value", call_type)))

    async def async_post_mcp_tool_call_hook(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Note a result on its way out."""
        note("post_mcp_call", kwargs)

    async def async_post_call_failure_hook(
        self, request_data: Any, original_exception: Exception, user_api_key_dict: Any, traceback_str: str | None = None
    ) -> None:
        """Note a failure on its way out."""
        note("post_call_failure", request_data, error=type(original_exception).__name__)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Note the one event of a call that went well."""
        note("success", kwargs, seconds=(end_time - start_time).total_seconds())

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Note the one event of a call that did not."""
        note("failure", kwargs, error=type(kwargs.get("exception")).__name__, text=str(kwargs.get("exception")))


def note(event: str, payload: Mapping[str, Any], **facts: Any) -> None:
    """Append one line: what tests ask for, and the whole payload as text, in which they look for secrets."""
    standard = payload.get("standard_logging_object") or {}
    params = payload.get("litellm_params") or {}
    metadata = params.get("metadata") or payload.get("metadata") or {}
    line = {
        "event": event,
        "call_id": payload.get("litellm_call_id"),
        "call_type": payload.get("call_type"),
        "model": payload.get("model"),
        "cost": standard.get("response_cost"),
        "status": standard.get("status"),
        "key": metadata.get("user_api_key"),
        "user": metadata.get("user_api_key_user_id"),
        "mcp": (standard.get("metadata") or {}).get("mcp_tool_call_metadata"),
        "keys": sorted(standard),
        "payload": repr(payload) + repr(standard),
        **facts,
    }
    with FILE.open("a") as file:
        file.write(json.dumps(line, default=repr) + "\n")


class Masking(CustomGuardrail):  # type: ignore[misc]
    """Replaces a secret by a mark in what is answered."""

    async def apply_guardrail(
        self, inputs: Any, request_data: Any, input_type: str, logging_obj: Any = None
    ) -> dict[str, Any]:
        """Mask each text."""
        return {**inputs, "texts": [text.replace(SECRET, MASK) for text in inputs.get("texts", [])]}


class Blocking(CustomGuardrail):  # type: ignore[misc]
    """Refuses a word in what is asked, and another in what is answered."""

    async def apply_guardrail(self, inputs: Any, request_data: Any, input_type: str, logging_obj: Any = None) -> Any:
        """Refuse with a status of its own."""
        word = FORBIDDEN if input_type == "request" else FORBIDDEN_ANSWER
        if any(word in text for text in inputs.get("texts", [])):
            raise HTTPException(403, {"error": f"not allowed: {input_type}"})
        return inputs


class Late(CustomGuardrail):  # type: ignore[misc]
    """Refuses a word while the server already works."""

    async def async_moderation_hook(self, data: Any, user_api_key_dict: Any, call_type: Any) -> None:
        """Look at the call as it went out."""
        if LATE in json.dumps(data.get("mcp_arguments"), default=repr):
            raise HTTPException(422, {"error": "not allowed: late"})


recorder = Recorder()
