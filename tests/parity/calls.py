"""The calls that the differential test makes on both arms, each with the requirement it proves and its status."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.support.proxy import MODEL

Upload = tuple[str, bytes, str]
"""File name, content and media type of one form part."""


@dataclass(frozen=True)
class Call:
    """One request of an admin."""

    requirement: str
    method: str
    path: str
    served: bool = True
    """Whether stock serves it here; a refusal of stock's must stay the same refusal."""
    json: Any = None
    content: bytes | None = None
    form: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Upload] = field(default_factory=dict)
    note: str = ""
    """Tells calls of one path apart."""

    @property
    def name(self) -> str:
        """What the test is called."""
        return f"{self.method} {self.path}{f' ({self.note})' if self.note else ''}"

    def options(self) -> dict[str, Any]:
        """The request's body as httpx takes it."""
        if self.files:
            return {"data": dict(self.form), "files": dict(self.files)}
        if self.content is not None:
            return {"content": self.content, "headers": {"content-type": "application/json"}}
        return {"json": self.json} if self.json is not None else {}


_MESSAGES: Final = [{"role": "user", "content": "hi"}]
_WAV: Final = {"file": ("a.wav", b"RIFF....WAVE", "audio/wav")}
_PNG: Final = {"image": ("a.png", b"\x89PNG not really", "image/png")}
_BATCH_LINE: Final = b'{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4o"}}'
_JSONL: Final = {"file": ("in.jsonl", _BATCH_LINE, "application/jsonl")}
_VIDEO: Final = b64encode(b"litellm:custom_llm_provider:openai;model_id:sora-2;video_id:video_1").decode()
"""LiteLLM's own name for the provider's `video_1`."""
_TOOL: Final = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}},
}


def _spellings(operation: str, model: str) -> tuple[str, ...]:
    return (
        f"/v1/{operation}",
        f"/{operation}",
        f"/engines/{model}/{operation}",
        f"/openai/deployments/{model}/{operation}",
    )


def _chat() -> Iterator[Call]:
    for model in (MODEL, "gpt-4o"):
        for path in _spellings("chat/completions", model):
            for stream in (False, True):
                body = {"model": model, "messages": _MESSAGES, "stream": stream}
                yield Call("CORE-01", "POST", path, json=body, note=f"{model}{', stream' if stream else ''}")
    path = "/v1/chat/completions"
    tools = {"model": "gpt-4o", "messages": _MESSAGES, "tools": [_TOOL], "temperature": 0.1, "user": "someone"}
    yield Call("CORE-01", "POST", path, json=tools, note="tools")
    yield Call("CORE-01", "POST", path, json={"model": "azure-gpt-4o", "messages": _MESSAGES}, note="azure upstream")
    yield Call("CORE-01", "POST", path, json={"model": "claude", "messages": _MESSAGES}, note="anthropic upstream")
    yield Call("CORE-01", "POST", path, False, json={"model": "no-such", "messages": _MESSAGES}, note="unknown model")
    yield Call("CORE-01", "POST", path, False, json={"model": MODEL}, note="no messages")
    yield Call("CORE-01", "POST", path, False, content=b"{not json", note="malformed")
    yield Call("CORE-01", "POST", path, False, note="no body")


def _completions() -> Iterator[Call]:
    for path in _spellings("completions", "instruct"):
        for stream in (False, True):
            body = {"model": "instruct", "prompt": "hi", "stream": stream}
            yield Call("CORE-02", "POST", path, json=body, note="stream" if stream else "")


def _embeddings() -> Iterator[Call]:
    model = "text-embedding-3-small"
    for path in _spellings("embeddings", model):
        yield Call("CORE-03", "POST", path, json={"model": model, "input": ["hi"]})


def _media() -> Iterator[Call]:
    for root in ("/v1", ""):
        speech = {"model": "tts-1", "input": "hi", "voice": "alloy"}
        yield Call("CORE-04", "POST", f"{root}/audio/speech", json=speech)
        yield Call("CORE-04", "POST", f"{root}/audio/transcriptions", form={"model": "whisper-1"}, files=_WAV)
        picture = {"model": "gpt-image-1", "prompt": "hi"}
        yield Call("CORE-05", "POST", f"{root}/images/generations", json=picture)
        yield Call("CORE-05", "POST", f"{root}/images/edits", form=picture, files=_PNG)


def _others() -> Iterator[Call]:
    documents = {"model": "rerank-v3.5", "query": "hi", "documents": ["a", "b"]}
    for root in ("/v1", ""):
        yield Call("CORE-06", "POST", f"{root}/moderations", json={"model": "omni-moderation-latest", "input": "hi"})
        yield Call("CORE-06", "POST", f"{root}/rerank", json=documents)
        yield Call("CORE-06", "GET", f"{root}/models")
        yield Call("CORE-06", "GET", f"{root}/models/gpt-4o")
        batch = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        yield Call("CORE-06", "POST", f"{root}/batches", json=batch)
        yield Call("CORE-06", "GET", f"{root}/batches/batch-1")
        yield Call("CORE-06", "POST", f"{root}/batches/batch-1/cancel")
    yield Call("CORE-06", "POST", "/v2/rerank", json=documents)
    yield Call("CORE-06", "POST", "/v1/responses", json={"model": "gpt-4o", "input": "hi"})
    yield Call("CORE-06", "POST", "/v1/messages", json={"model": "claude", "max_tokens": 9, "messages": _MESSAGES})
    yield Call("CORE-06", "POST", "/utils/token_counter", json={"model": "gpt-4o", "messages": _MESSAGES})


def _objects() -> Iterator[Call]:
    for root in ("/v1", ""):
        yield Call("CORE-07", "POST", f"{root}/assistants", json={"model": "gpt-4o"})
        yield Call("CORE-07", "GET", f"{root}/assistants")
        yield Call("CORE-07", "DELETE", f"{root}/assistants/asst_1")
        yield Call("CORE-07", "POST", f"{root}/threads", json={})
        yield Call("CORE-07", "GET", f"{root}/threads/thread_1")
        message = {"role": "user", "content": "hi"}
        yield Call("CORE-07", "POST", f"{root}/threads/thread_1/messages", json=message)
        yield Call("CORE-07", "GET", f"{root}/threads/thread_1/messages")
        yield Call("CORE-07", "POST", f"{root}/threads/thread_1/runs", json={"assistant_id": "asst_1"})
        yield Call("CORE-07", "POST", f"{root}/files", form={"purpose": "batch"}, files=_JSONL)
        yield Call("CORE-07", "GET", f"{root}/files")
        yield Call("CORE-07", "GET", f"{root}/files/file-1")
        yield Call("CORE-07", "GET", f"{root}/files/file-1/content")
        yield Call("CORE-07", "DELETE", f"{root}/files/file-1")
        yield Call("CORE-07", "POST", f"{root}/vector_stores", json={"name": "fake"})
        yield Call("CORE-07", "GET", f"{root}/vector_stores")
        yield Call("CORE-07", "GET", f"{root}/vector_stores/vs_1")
        yield Call("CORE-07", "POST", f"{root}/vector_stores/vs_1/search", json={"query": "hi"})
        yield Call("CORE-07", "POST", f"{root}/vector_stores/vs_1/files", json={"file_id": "file-1"})
        yield Call("CORE-07", "GET", f"{root}/vector_stores/vs_1/files")
        yield Call("CORE-07", "DELETE", f"{root}/vector_stores/vs_1/files/file-1")
        yield Call("CORE-07", "DELETE", f"{root}/vector_stores/vs_1")
        job = {"model": "gpt-4o", "training_file": "file-1", "custom_llm_provider": "openai"}
        yield Call("CORE-07", "POST", f"{root}/fine_tuning/jobs", False, json=job, note="enterprise only")
        yield Call("CORE-07", "GET", f"{root}/fine_tuning/jobs", False, note="enterprise only")
        yield Call("CORE-07", "GET", f"{root}/fine_tuning/jobs/ftjob-1", False, note="enterprise only")
        yield Call("CORE-07", "POST", f"{root}/fine_tuning/jobs/ftjob-1/cancel", False, note="enterprise only")
        yield Call("CORE-07", "POST", f"{root}/videos", json={"model": "sora-2", "prompt": "hi"})
        yield Call("CORE-07", "GET", f"{root}/videos/video_{_VIDEO}")
        yield Call("CORE-07", "GET", f"{root}/videos/video_{_VIDEO}/content")
        yield Call("CORE-07", "GET", f"{root}/vector_store/list")
    store = {"vector_store_id": "vs_1", "custom_llm_provider": "openai"}
    for operation in ("new", "info", "update", "delete"):
        yield Call("CORE-07", "POST", f"/vector_store/{operation}", False, json=store, note="no database")


def _health() -> Iterator[Call]:
    for path in ("liveliness", "liveness", "readiness", "readiness/details", "backlog"):
        yield Call("HLTH-01", "GET", f"/health/{path}")
    yield Call("HLTH-01", "GET", f"/health?model={MODEL}")
    yield Call("HLTH-01", "GET", "/health/services?service=langfuse", False, note="not installed")
    yield Call("HLTH-01", "GET", "/test")
    yield Call("HLTH-01", "GET", "/metrics", False, note="no prometheus callback")
    yield Call("HLTH-01", "GET", "/")


def _management() -> Iterator[Call]:
    """LiteLLM keeps these in a database that needs Prisma's engine: without one, how it refuses must not change."""
    bodies: Mapping[str, Any] = {
        "/key/generate": {"models": [MODEL], "key_alias": "alias"},
        "/key/service-account/generate": {"models": [MODEL], "team_id": "t1"},
        "/key/update": {"key": "sk-some", "models": [MODEL]},
        "/key/delete": {"keys": ["sk-some"]},
        "/key/regenerate": {"key": "sk-some"},
        "/key/block": {"key": "sk-some"},
        "/key/unblock": {"key": "sk-some"},
        "/key/health": {},
        "/v2/key/info": {"keys": ["sk-some"]},
        "/user/new": {"user_id": "u1", "user_role": "internal_user"},
        "/user/update": {"user_id": "u1", "max_budget": 1},
        "/user/delete": {"user_ids": ["u1"]},
        "/user/block": {"user_ids": ["u1"]},
        "/team/new": {"team_alias": "t1"},
        "/team/update": {"team_id": "t1", "max_budget": 1},
        "/team/delete": {"team_ids": ["t1"]},
        "/team/block": {"team_id": "t1"},
        "/team/unblock": {"team_id": "t1"},
        "/team/member_add": {"team_id": "t1", "member": {"role": "user", "user_id": "u1"}},
        "/team/member_update": {"team_id": "t1", "user_id": "u1", "max_budget_in_team": 1},
        "/team/member_delete": {"team_id": "t1", "user_id": "u1"},
        "/model/new": {"model_name": "new", "litellm_params": {"model": "openai/new"}, "model_info": {"id": "m1"}},
        "/model/update": {"model_name": "new", "litellm_params": {"model": "openai/new"}, "model_info": {"id": "m1"}},
        "/model/delete": {"id": "m1"},
        "/budget/new": {"budget_id": "b1", "max_budget": 1},
        "/budget/update": {"budget_id": "b1", "max_budget": 2},
        "/budget/info": {"budgets": ["b1"]},
        "/budget/delete": {"id": "b1"},
    }
    for path, body in bodies.items():
        yield Call("MGMT-01", "POST", path, False, json=body)
        yield Call("MGMT-01", "POST", path, False, json={"no_such_field": 1}, note="wrong body")
    for path in (
        "/key/info?key=sk-some",
        "/key/list",
        "/user/info?user_id=u1",
        "/user/list",
        "/team/info?team_id=t1",
        "/team/list",
        "/budget/list",
        "/budget/settings?budget_id=b1",
        "/model/info",
        "/v1/model/info",
        "/v2/model/info",
        "/model_group/info",
    ):
        yield Call("MGMT-01", "GET", path, False)


CALLS: Final = (
    *_chat(),
    *_completions(),
    *_embeddings(),
    *_media(),
    *_others(),
    *_objects(),
    *_health(),
    *_management(),
)
