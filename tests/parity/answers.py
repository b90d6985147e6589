"""What the fake provider says: one answer per operation of the OpenAI, Cohere, Anthropic and Gemini APIs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

TEXT: Final = "an answer from the fake provider"
"""The text of every chat answer, whole or streamed."""

AUDIO: Final = b"ID3 not really audio"
VECTOR: Final = (0.25, -0.5, 0.125)

_CREATED: Final = 1_700_000_000
_OPENAI_USAGE: Final = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
_ANTHROPIC_USAGE: Final = {"input_tokens": 3, "output_tokens": 5}
_GEMINI_USAGE: Final = {"promptTokenCount": 3, "candidatesTokenCount": 5, "totalTokenCount": 8}


def _object(kind: str, id: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "object": kind, "created_at": _CREATED, "metadata": {}, **fields}


_FILE: Final = _object("file", "file-1", bytes=3, filename="in.jsonl", purpose="batch", status="processed")
_BATCH: Final = _object(
    "batch",
    "batch-1",
    endpoint="/v1/chat/completions",
    input_file_id="file-1",
    completion_window="24h",
    status="validating",
)
_ASSISTANT: Final = _object("assistant", "asst_1", model="gpt-4o", instructions=None, tools=[], name="fake")
_THREAD: Final = _object("thread", "thread_1", tool_resources=None)
_MESSAGE: Final = _object(
    "thread.message",
    "msg_1",
    thread_id="thread_1",
    role="user",
    status="completed",
    content=[{"type": "text", "text": {"value": "hi", "annotations": []}}],
)
_RUN: Final = _object(
    "thread.run",
    "run_1",
    thread_id="thread_1",
    assistant_id="asst_1",
    status="completed",
    model="gpt-4o",
    instructions="",
    tools=[],
    parallel_tool_calls=True,
)
_STORE_COUNTS: Final = {"in_progress": 0, "completed": 1, "failed": 0, "cancelled": 0, "total": 1}
_STORE: Final = _object(
    "vector_store", "vs_1", name="fake", status="completed", usage_bytes=3, file_counts=_STORE_COUNTS
)
_STORE_FILE: Final = _object(
    "vector_store.file", "file-1", vector_store_id="vs_1", status="completed", usage_bytes=3, last_error=None
)
_JOB: Final = _object(
    "fine_tuning.job",
    "ftjob-1",
    model="gpt-4o",
    status="queued",
    training_file="file-1",
    validation_file=None,
    hyperparameters={"n_epochs": 1},
    organization_id="org",
    result_files=[],
    seed=1,
    trained_tokens=None,
    fine_tuned_model=None,
    finished_at=None,
    error=None,
)
_VIDEO: Final = _object("video", "video_1", model="sora-2", status="queued", progress=0, seconds="4", size="720x1280")
_RESPONSE: Final = _object(
    "response",
    "resp_1",
    model="gpt-4o",
    status="completed",
    output=[
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": TEXT, "annotations": []}],
        }
    ],
    parallel_tool_calls=True,
    tool_choice="auto",
    tools=[],
    usage={"input_tokens": 3, "output_tokens": 5, "total_tokens": 8},
)


def _page(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": [item], "first_id": item["id"], "last_id": item["id"], "has_more": False}


def _deleted(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": item["id"], "object": f"{item['object']}.deleted", "deleted": True}


_CHAT: Final = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": _CREATED,
    "model": "gpt-4o",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TEXT}}],
    "usage": _OPENAI_USAGE,
}
_COMPLETION: Final = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": _CREATED,
    "model": "gpt-3.5-turbo-instruct",
    "choices": [{"index": 0, "finish_reason": "stop", "text": TEXT, "logprobs": None}],
    "usage": _OPENAI_USAGE,
}
_EMBEDDING: Final = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": list(VECTOR)}],
    "model": "text-embedding-3-small",
    "usage": {"prompt_tokens": 3, "total_tokens": 3},
}
_MODERATION: Final = {
    "id": "modr-1",
    "model": "omni-moderation-latest",
    "results": [{"flagged": False, "categories": {"hate": False}, "category_scores": {"hate": 0.01}}],
}
_RERANK: Final = {
    "id": "rerank-1",
    "results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}],
    "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
}
_SEARCH: Final = {
    "object": "vector_store.search_results.page",
    "search_query": ["hi"],
    "data": [
        {"file_id": "file-1", "filename": "in", "score": 0.5, "content": [{"type": "text", "text": "hi"}]},
    ],
    "has_more": False,
    "next_page": None,
}
_MESSAGES: Final = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": TEXT}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": _ANTHROPIC_USAGE,
}
_GEMINI: Final = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": TEXT}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": _GEMINI_USAGE,
    "modelVersion": "gemini-2.5-flash",
}

_COLLECTIONS: Final = (
    ("files", _FILE),
    ("batches", _BATCH),
    ("assistants", _ASSISTANT),
    ("threads", _THREAD),
    ("threads/[^/]+/messages", _MESSAGE),
    ("threads/[^/]+/runs", _RUN),
    ("vector_stores", _STORE),
    ("vector_stores/[^/]+/files", _STORE_FILE),
    ("fine_tuning/jobs", _JOB),
    ("videos", _VIDEO),
    ("responses", _RESPONSE),
)
"""What is created by POST, listed, read, changed and deleted alike."""


def _table() -> Iterator[tuple[str, str, Any]]:
    for path, item in _COLLECTIONS:
        yield "POST", f"{path}", item
        yield "GET", f"{path}", _page(item)
        yield "GET|POST|PUT", f"{path}/[^/]+", item
        yield "POST", f"{path}/[^/]+/(cancel|remix)", item
        yield "DELETE", f"{path}/[^/]+", _deleted(item)
    yield "GET", "(files|vector_stores/[^/]+/files|videos)/[^/]+/content", AUDIO
    yield "POST", "vector_stores/[^/]+/search", _SEARCH
    yield "POST", "chat/completions", _CHAT
    yield "POST", "completions", _COMPLETION
    yield "POST", "embeddings", _EMBEDDING
    yield "POST", "audio/speech", AUDIO
    yield "POST", "audio/transcriptions", {"text": TEXT}
    yield "POST", "images/(generations|edits|variations)", {"created": _CREATED, "data": [{"b64_json": "aGk="}]}
    yield "POST", "moderations", _MODERATION
    yield "POST", "rerank", _RERANK
    yield "GET", "models", _page({"id": "gpt-4o", "object": "model", "created": _CREATED, "owned_by": "fake"})
    yield "POST", "messages", _MESSAGES
    yield "POST", "messages/count_tokens", {"input_tokens": 3}
    yield "POST", "models/[^/]+:(generateContent|streamGenerateContent)", _GEMINI
    yield "POST", "models/[^/]+:countTokens", {"totalTokens": 3}
    yield "GET", "models/[^/]+", {"name": "models/gemini-2.5-flash", "displayName": "Fake", "object": "model"}


_PREFIX: Final = r"(/openai)?(/v1|/v2|/v1beta|/deployments/[^/]+)?/"
_ANSWERS: Final = tuple((re.compile(f"({method}) {_PREFIX}{path}/?"), answer) for method, path, answer in _table())


def answer(method: str, path: str) -> Any:
    """Return the JSON value, or the bytes, of an operation; None for one that no provider has."""
    for pattern, found in _ANSWERS:
        if pattern.fullmatch(f"{method} {path}"):
            return found
    return None


def chat_events() -> Iterator[tuple[str | None, Mapping[str, Any]]]:
    """The events of OpenAI's chat stream, without the final `[DONE]`."""
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": _CREATED, "model": "gpt-4o"}
    for word in TEXT.split(" "):
        delta = {"role": "assistant", "content": word if word == TEXT.split(" ")[0] else f" {word}"}
        yield None, base | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield None, base | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def completion_events() -> Iterator[tuple[str | None, Mapping[str, Any]]]:
    """The events of OpenAI's completion stream, without the final `[DONE]`."""
    yield None, _COMPLETION


def anthropic_events() -> Iterator[tuple[str | None, Mapping[str, Any]]]:
    """The events of Anthropic's message stream."""
    opening = {**_MESSAGES, "content": [], "stop_reason": None}
    delta = {"type": "text_delta", "text": TEXT}
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    for event in (
        {"type": "message_start", "message": opening},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ):
        yield str(event["type"]), event


def gemini_events() -> Iterator[tuple[str | None, Mapping[str, Any]]]:
    """The events of Gemini's stream."""
    yield None, _GEMINI
