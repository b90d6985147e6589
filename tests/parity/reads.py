"""Which GET requests stand for the stock proxy's route table, and which are left out, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tests.parity.route_table import StockRoute

ENDLESS: Final[Mapping[str, str]] = {
    "/mcp": "an event stream that stays open for server messages",
    "/mcp/proxy": "the same stream with other tools",
}

ELSEWHERE: Final[Mapping[str, str]] = {
    "/openapi.json": "tests/parity/test_schema.py; it takes seconds once every feature is loaded",
}

OWNED: Final[Mapping[str, str]] = {
    "GET /v1/agents": "the registry: one list of LiteLLM's agents and ours, visible by grant",
    "POST /v1/agents": "lands in our store, needs no Prisma",
    "GET /v1/agents/{agent_id}": "by id or name; stock answers 500 without Prisma",
    "PUT /v1/agents/{agent_id}": "ours in our store, LiteLLM's own left to stock",
    "PATCH /v1/agents/{agent_id}": "as PUT",
    "DELETE /v1/agents/{agent_id}": "as PUT",
    "POST /a2a/{agent_id}": "real relaying in both protocol versions",
    "POST /a2a/{agent_id}/message/send": "as above, the operation in the path",
    "POST /v1/a2a/{agent_id}/message/send": "as above",
    "GET /a2a/{agent_id}/.well-known/agent-card.json": "the card names the gateway in the backend's place",
    "GET /a2a/{agent_id}/.well-known/agent.json": "the card's older path, for every key as well",
    "POST /v1/a2a/discover": "through our outbound guard",
    "POST /v1/agents/{agent_id}/make_public": "durable without Prisma, and without writing the config file",
    "POST /v1/agents/make_public": "as above",
    "GET /public/agent_hub": "what is public in our store too",
    "GET /v1/mcp/server": "the registry: LiteLLM's servers and ours, each with what is known of its health",
    "POST /v1/mcp/server": "lands in our store, needs no Prisma",
    "PUT /v1/mcp/server": "ours in our store, LiteLLM's own left to stock",
    "GET /v1/mcp/server/{server_id}": "by id, alias or name; stock answers 500 without Prisma",
    "DELETE /v1/mcp/server/{server_id}": "as PUT",
    "GET /v1/mcp/server/health": "real sessions, cached and remembered",
    "GET /v1/mcp/server/submissions": "passes through us to stock's own handler",
    "GET /v1/mcp/access_groups": "of our servers too, and for each key its own",
    "GET /v1/mcp/registry.json": "for each caller what is theirs",
    "POST /v1/mcp/server/import": "lands in our store, needs no Prisma",
    "POST /v1/mcp/make_public": "durable without Prisma, and without writing the config file",
    "GET /v1/mcp/tools": "over pooled sessions, each caller's own",
    "POST /v1/mcp/server/oauth/session": "in our store, so that any worker finishes it",
    "GET /v1/mcp/server/oauth/{server_id}/authorize": "as above, bound to caller and browser",
    "POST /v1/mcp/server/oauth/{server_id}/token": "as above, and remembered for the user",
    "POST /v1/mcp/server/oauth/{server_id}/register": "as above, bounded",
    "POST /v1/mcp/server/{server_id}/oauth-user-credential": "in our store; stock answers 500 without Prisma",
    "DELETE /v1/mcp/server/{server_id}/oauth-user-credential": "as above",
    "GET /v1/mcp/server/{server_id}/oauth-user-credential/status": "as above",
    "GET /v1/mcp/user-credentials": "as above",
    "GET /.well-known/oauth-protected-resource/mcp/{mcp_server_name}": "of our servers; stock's own left to stock",
    "GET /.well-known/oauth-protected-resource/{mcp_server_name}/mcp": "as above",
    "GET /.well-known/oauth-authorization-server/mcp/{mcp_server_name}": "as above",
    **{
        f"{method} {path}": "401 with the way to log in where a server of ours wants it, else left to stock"
        for method in ("GET", "POST", "DELETE")
        for path in ("/mcp/proxy", "/{mcp_server_name}/mcp")
    },
    **{
        f"{method} /mcp": "sessions of ours, and clients of 2026-07-28; all else is left to stock"
        for method in ("GET", "POST", "DELETE")
    },
    "GET /agent/daily/activity": "from our own table; stock answers 500 without Prisma",
}
"""Stock operations that the plugin answers instead, on purpose."""

TELLS_OF_CALLBACKS: Final = dict.fromkeys(
    ("/active/callbacks", "/callbacks/list", "/settings", "/get/config/callbacks", "/health/readiness/details"),
    "names the callbacks of the config, so it names the plugin",
)
TELLS_OF_THE_PROCESS: Final[Mapping[str, str]] = {
    "/debug/asyncio-tasks": "counts the tasks that run, ours among them",
    "/debug/memory/details": "counts objects by type",
    "/debug/memory/summary": "judges the process's size",
    "/memory-usage-in-mem-cache": "counts cached items, which expire",
    "/memory-usage-in-mem-cache-items": "lists cached items, which expire",
    "/otel-spans": "lists what was traced lately",
}
TELLS_OF_ITSELF: Final[Mapping[str, str]] = {**TELLS_OF_CALLBACKS, **TELLS_OF_THE_PROCESS}
"""Answers that must differ, or may; their status and media type must not."""

_PARAMETER: Final = re.compile(r"\{(\w+)(:\w+)?\}")
_VALUES: Final[Mapping[str, str]] = {
    "agent_id": "configured-agent",
    "assistant_id": "asst_1",
    "batch_id": "batch-1",
    "container_id": "cntr_1",
    "endpoint": "v1/models",
    "facet": "mode",
    "file_id": "file-1",
    "fine_tuning_job_id": "ftjob-1",
    "model": "gpt-4o",
    "model_id": "gpt-4o",
    "provider": "openai",
    "resource_type_id": "User",
    "response_id": "resp_1",
    "revision": "1",
    "thread_id": "thread_1",
    "vector_store_id": "vs_1",
}
"""What plausible clients put into a path; every other parameter names an object that does not exist."""


def templates(routes: Iterable[StockRoute], schema: Mapping[str, Any]) -> set[str]:
    """Name every path of the table or the schema that takes GET, without converters, so that each comes once."""
    hidden = {route.path for route in routes if "GET" in route.methods}
    documented = {path for path, operations in schema["paths"].items() if "get" in operations}
    return {_PARAMETER.sub(r"{\1}", path) for path in hidden | documented}


def compared(paths: Iterable[str]) -> list[str]:
    """Keep the paths that both arms must answer alike."""
    left_out = {*ENDLESS, *ELSEWHERE, *(name.removeprefix("GET ") for name in OWNED)}
    return sorted(path for path in paths if path not in left_out)


def example(template: str) -> str:
    """Fill the parameters of a path."""
    return _PARAMETER.sub(lambda found: _VALUES.get(found[1], "no-such"), template)


def pattern(template: str) -> re.Pattern[str]:
    """Compile what a router would match for a template of ours."""
    return re.compile("".join("[^/]+" if part.startswith("{") else re.escape(part) for part in _split(template)))


def _split(template: str) -> list[str]:
    return re.split(r"(\{\w+\})", template)
