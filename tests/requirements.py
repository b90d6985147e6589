"""Every row of the parity analysis, once: what LiteLLM must keep doing, what the plugin serves, what nobody else has.

A `built` row must have a test marked with its id (`@pytest.mark.requirement("A2A-08")`), a `planned` row none:
`tests/test_requirements.py` checks both, and every run prints what is still planned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """Who answers."""

    INHERIT = "inherit"
    """Stock LiteLLM; a test proves that the plugin did not break it."""
    OWN = "own"
    """The plugin."""
    BEYOND = "beyond"
    """The plugin, better than stock LiteLLM, LLMRouter and the original RouteIQ gateway."""


class State(StrEnum):
    """How far we are."""

    BUILT = "built"
    PLANNED = "planned"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One row; `note` says which part of a built row is still to come."""

    id: str
    kind: Kind
    text: str
    state: State
    note: str = ""


def _built(id: str, kind: Kind, text: str, note: str = "") -> Requirement:
    return Requirement(id, kind, text, State.BUILT, note)


def _planned(id: str, kind: Kind, text: str) -> Requirement:
    return Requirement(id, kind, text, State.PLANNED)


_INHERITED: Final = (
    _built(
        "CORE-01",
        Kind.INHERIT,
        "POST /v1/chat/completions, /chat/completions, /engines/{m}/chat/completions, "
        "/openai/deployments/{m}/chat/completions",
    ),
    _built("CORE-02", Kind.INHERIT, "POST /v1/completions, /completions"),
    _built("CORE-03", Kind.INHERIT, "POST /v1/embeddings, /embeddings, /engines/{m}/embeddings"),
    _built(
        "CORE-04",
        Kind.INHERIT,
        "POST /v1/audio/speech, /audio/speech, /v1/audio/transcriptions, /audio/transcriptions",
    ),
    _built("CORE-05", Kind.INHERIT, "POST /v1/images/generations"),
    _built(
        "CORE-06",
        Kind.INHERIT,
        "POST /v1/moderations, GET /v1/models, /v1/models/{id}, POST /v1/batches, /v1/rerank",
    ),
    _built(
        "CORE-07",
        Kind.INHERIT,
        "/v1/assistants*, /v1/threads*, /v1/vector_stores*, /vector_store/*, /v1/files*, "
        "/v1/fine_tuning/jobs*, /v1/videos*",
    ),
    _built(
        "HLTH-01",
        Kind.INHERIT,
        "GET /health, /health/liveliness, /health/readiness, /health/services, /test, /metrics",
    ),
    _built(
        "MGMT-01",
        Kind.INHERIT,
        "/key/*, /user/*, /team/*, /model/*, /v2/model/info, /budget/* (generate/new, update, delete, info)",
    ),
    _built("SDK-01", Kind.INHERIT, "OpenAI SDK against the proxy with the plugin"),
    _built("SDK-02", Kind.INHERIT, "Azure OpenAI SDK against the proxy with the plugin"),
    _built("SDK-03", Kind.INHERIT, "Anthropic SDK (pass-through) against the proxy with the plugin"),
    _built("SDK-04", Kind.INHERIT, "Google AI SDK (pass-through) against the proxy with the plugin"),
    _built("SDK-05", Kind.OWN, "A2A SDK: discovery and invocation"),
    _built("SDK-06", Kind.OWN, "MCP SDK: registration and tool calls"),
    _built("SDK-07", Kind.INHERIT, "LiteLLM Python SDK against the proxy with the plugin"),
)

_A2A: Final = (
    _built("A2A-01", Kind.OWN, "GET /v1/agents (permission-filtered) = GET /a2a/agents"),
    _built("A2A-02", Kind.OWN, "POST /v1/agents = POST /a2a/agents, durable in SQLite or PostgreSQL"),
    _built("A2A-03", Kind.OWN, "GET /v1/agents/{id} = GET /a2a/agents/{id}"),
    _built("A2A-04", Kind.OWN, "PUT /v1/agents/{id} full replace"),
    _built("A2A-05", Kind.OWN, "PATCH /v1/agents/{id} partial"),
    _built("A2A-06", Kind.OWN, "DELETE /v1/agents/{id} = DELETE /a2a/agents/{id}"),
    _built("A2A-07", Kind.OWN, "POST /v1/agents/{id}/make_public, POST /v1/agents/make_public"),
    _built("A2A-08", Kind.OWN, "POST /a2a/{id}: JSON-RPC 2.0 invocation"),
    _built("A2A-09", Kind.OWN, "POST /a2a/{id}/message/send"),
    _built("A2A-10", Kind.OWN, "message/stream over SSE"),
    _built("A2A-11", Kind.OWN, "GET /a2a/{id}/.well-known/agent-card.json = GET /a2a/agents/{id}/card"),
    _built("A2A-12", Kind.OWN, "GET /agent/daily/activity"),
    _built(
        "A2A-13",
        Kind.OWN,
        "permission filtering by key, team, access group, public",
    ),
    _built(
        "A2A-20",
        Kind.BEYOND,
        "every method in both protocol versions on one URL (tasks, push, extended card, REST binding)",
    ),
    _built("A2A-21", Kind.BEYOND, "passes the protocol's conformance suite as the bare agent does"),
    _built(
        "A2A-22",
        Kind.BEYOND,
        "task ownership per key; push notifications relayed; circuit breaker and health; deny-by-default switch",
    ),
    _built("A2A-23", Kind.BEYOND, "card caching, ETag, no backend address leaks"),
)

_MCP: Final = (
    _built("MCP-01", Kind.OWN, "GET /v1/mcp/server = GET /mcp/servers"),
    _built("MCP-02", Kind.OWN, "POST /v1/mcp/server = POST /mcp/servers, durable"),
    _built("MCP-03", Kind.OWN, "GET /v1/mcp/server/{id} = GET /mcp/servers/{id}"),
    _built("MCP-04", Kind.OWN, "PUT /v1/mcp/server and /v1/mcp/server/{id}"),
    _built("MCP-05", Kind.OWN, "DELETE /v1/mcp/server/{id} = DELETE /mcp/servers/{id}"),
    _built("MCP-06", Kind.OWN, "GET /v1/mcp/server/health (real probes)"),
    _built("MCP-07", Kind.OWN, "GET /v1/mcp/tools = GET /mcp/tools, GET /mcp/tools/list"),
    _built("MCP-08", Kind.OWN, "POST /mcp/tools/call"),
    _built("MCP-09", Kind.OWN, "GET /mcp/resources (and read)"),
    _built("MCP-10", Kind.OWN, "GET /v1/mcp/access_groups"),
    _built("MCP-11", Kind.OWN, "GET /v1/mcp/registry.json"),
    _built(
        "MCP-12",
        Kind.OWN,
        "POST /v1/mcp/server/oauth/session, GET .../oauth/{id}/authorize, POST .../oauth/{id}/token",
    ),
    _built("MCP-13", Kind.OWN, "GET /.well-known/oauth-*"),
    _built("MCP-20", Kind.BEYOND, "pooled upstream sessions: one upstream request per call"),
    _built(
        "MCP-21",
        Kind.BEYOND,
        "relay that passes the official conformance suite, both protocol generations, "
        "sampling and elicitation included",
    ),
    _built(
        "MCP-22",
        Kind.BEYOND,
        "tool-definition pinning; OAuth that any worker can finish and that remembers the user "
        "(official registry API v0.1, BYOK: later)",
    ),
)

_RELOAD: Final = (
    _built("RLD-01", Kind.OWN, "POST /router/reload (all or one strategy)"),
    _built("RLD-02", Kind.OWN, "POST /config/reload"),
    _built("RLD-03", Kind.OWN, "GET /config/sync/status"),
    _built("RLD-04", Kind.OWN, "GET /router/info"),
    _built("RLD-05", Kind.OWN, "strategy hot reload without restart, per strategy"),
    _built("RLD-06", Kind.OWN, "S3 config sync with ETag caching"),
    _built("RLD-07", Kind.OWN, "GCS config sync with ETag caching"),
    _built("RLD-08", Kind.OWN, "sync status monitoring"),
    _built(
        "RLD-20",
        Kind.BEYOND,
        "whole-or-nothing apply, dry run, history and rollback, zero failed requests, convergence of all workers",
    ),
)

_ROUTING: Final = (
    _built(
        "RTE-01",
        Kind.OWN,
        "every LLMRouter strategy by name `llmrouter-*`: native or in a worker process",
        note="what llmrouter-lib 0.4 cannot construct without network (all but graph, of those that need torch) tells "
        "LLMRouter's own error; the comparison with LLMRouter itself runs in its own virtualenv, tests/llmrouter",
    ),
    _built(
        "RTE-02",
        Kind.OWN,
        "CustomRouter strategy (`CustomRoutingStrategyBase`) and custom callback registered through LiteLLM's config",
    ),
    _built("RTE-03", Kind.OWN, "artifacts from local disk, S3 and GCS; verified; hot-swapped"),
    _built(
        "RTE-20",
        Kind.BEYOND,
        "sub-millisecond decisions without torch in the proxy; price-aware quality regression; experiments; "
        "training and evaluation from the command line (shadow arms, feedback bandit, signed artifacts: later)",
        "of LLMRouter's routers knn, svm and elo are trained here, the others by LLMRouter itself",
    ),
)

_PACKAGING: Final = (
    _built(
        "PKG-01",
        Kind.OWN,
        "pip install into an existing LiteLLM deployment; one line in litellm_config.yaml; stock `litellm --config`",
    ),
    _built(
        "PKG-02",
        Kind.OWN,
        "embedded default (SQLite) and PostgreSQL; extras; works on a range of LiteLLM versions",
    ),
    _built("PKG-03", Kind.BEYOND, "audit trail, secret rotation, export, doctor"),
)

ROWS: Final[tuple[Requirement, ...]] = (*_INHERITED, *_A2A, *_MCP, *_RELOAD, *_ROUTING, *_PACKAGING)
BY_ID: Final[Mapping[str, Requirement]] = {row.id: row for row in ROWS}
