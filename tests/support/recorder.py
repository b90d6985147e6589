"""A LiteLLM callback and guardrails, copied into a proxy's directory: what LiteLLM tells callbacks, line by line.

The callback appends to events.jsonl beside it; `tests.a2a.events` reads that. The guardrails answer to words in texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fastapi import HTTPException
from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.integrations.custom_logger import CustomLogger

FILE: Final = Path(__file__).with_name("events.jsonl")

SECRET: Final = "4111-1111"
MASK: Final = "<card>"
FORBIDDEN: Final = "forbidden-word"
FORBIDDEN_ANSWER: Final = "forbidden-answer"
LATE: Final = "late-word"


class Recorder(CustomLogger):  # type: ignore[misc]  # LiteLLM is not followed by mypy, see pyproject.toml
    """Writes down each hook and event."""

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: Any, call_type: str) -> None:
        """Note a call that begins."""
        note("pre_call", data, call_type=call_type)

    async def async_post_call_success_hook(self, data: Any, user_api_key_dict: Any, response: Any) -> None:
        """Note an answer on its way out."""
        note("post_call", data, answer=response.model_dump())

    async def async_post_call_failure_hook(
        self, request_data: Any, original_exception: Exception, user_api_key_dict: Any, traceback_str: str | None = None
    ) -> None:
        """Note a failure on its way out."""
        note("post_call_failure", request_data, error=repr(original_exception), invoked=invoked(user_api_key_dict))

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Note the one event of a call that went well."""
        note("success", kwargs, answer=response_obj, seconds=(end_time - start_time).total_seconds())

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Note the one event of a call that did not."""
        note("failure", kwargs, error=repr(kwargs.get("exception")))


def invoked(identity: Any) -> str | None:
    """Tell which agent LiteLLM takes to be called."""
    found = getattr(identity, "invoked_agent_id", None)
    return None if found is None else str(found)


def note(event: str, payload: Mapping[str, Any], **facts: Any) -> None:
    """Append one line: what tests ask for, and the whole payload as text, in which they look for secrets."""
    standard = payload.get("standard_logging_object") or {}
    params = payload.get("litellm_params") or {}
    metadata = params.get("metadata") or payload.get("metadata") or {}
    body = (params.get("proxy_server_request") or payload.get("proxy_server_request") or {}).get("body") or {}
    line = {
        "event": event,
        "call_id": payload.get("litellm_call_id"),
        "call_type": payload.get("call_type"),
        "model": payload.get("model"),
        "agent_id": payload.get("agent_id"),
        "cost": payload.get("response_cost"),
        "logged_cost": standard.get("response_cost"),
        "status": standard.get("status"),
        "tokens": [standard.get("prompt_tokens"), standard.get("completion_tokens")],
        "key": metadata.get("user_api_key"),
        "user": metadata.get("user_api_key_user_id"),
        "team": metadata.get("user_api_key_team_id"),
        "client_disconnected": metadata.get("client_disconnected", False),
        "method": body.get("method"),
        "params": (body.get("params") or payload.get("params")),
        "payload": repr(payload) + repr(standard),
        **facts,
    }
    with FILE.open("a") as file:
        file.write(json.dumps(line, default=repr) + "\n")


class Masking(CustomGuardrail):  # type: ignore[misc]
    """Replaces a secret by a mark, in what is asked and in what is answered."""

    async def apply_guardrail(
        self, inputs: Any, request_data: Any, input_type: str, logging_obj: Any = None
    ) -> dict[str, Any]:
        """Mask each text."""
        return {**inputs, "texts": [text.replace(SECRET, MASK) for text in inputs.get("texts", [])]}


class Blocking(CustomGuardrail):  # type: ignore[misc]
    """Refuses a word in what is asked, and another in what is answered."""

    streaming_sampling_rate = 1
    """Look at each event of a stream before it goes out; LiteLLM's default lets four pass."""

    async def apply_guardrail(self, inputs: Any, request_data: Any, input_type: str, logging_obj: Any = None) -> Any:
        """Refuse with a status of its own."""
        word = FORBIDDEN if input_type == "request" else FORBIDDEN_ANSWER
        if any(word in text for text in inputs.get("texts", [])):
            raise HTTPException(403, {"error": f"not allowed: {input_type}", "guardrail": "blocking"})
        return inputs


class Late(CustomGuardrail):  # type: ignore[misc]
    """Refuses a word while the agent already works."""

    async def async_moderation_hook(self, data: Any, user_api_key_dict: Any, call_type: Any) -> None:
        """Look at the request as the agent got it."""
        if LATE in json.dumps(data.get("params"), default=repr):
            raise HTTPException(422, {"error": "not allowed: late"})


recorder = Recorder()
