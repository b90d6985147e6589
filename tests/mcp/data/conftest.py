"""A proxy whose callbacks write down what they are told of tool calls, and real MCP servers behind it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.conftest import PLUGIN_CONFIG
from tests.mcp.data.calling import TIMEOUT, Events, Registered, delete, register
from tests.support.mcp_backends import McpBackend, Speaks, mcp_server
from tests.support.proxy import PLUGIN, Proxy, merge, running_proxy

HTTP: Final = (Speaks.SESSIONS, Speaks.STATELESS)
NETWORK: Final = (*HTTP, Speaks.SSE)

RECORDER: Final = Path(__file__).parents[2] / "support" / "mcp_recorder.py"

Register = Callable[..., Registered]
Shared = Callable[[Speaks], McpBackend]
OwnBackend = Callable[..., McpBackend]


def guardrail(name: str, cls: str, mode: str, *, always: bool = False) -> dict[str, Any]:
    """Declare one, which runs where a caller names it unless it always does."""
    return {
        "guardrail_name": name,
        "litellm_params": {"guardrail": f"mcp_recorder.{cls}", "mode": [mode], "default_on": always},
    }


CONFIG: Final = merge(
    PLUGIN_CONFIG,
    {
        "routeiq": {"outbound": {"timeout_seconds": TIMEOUT}, "mcp": {"stdio": True}},
        "litellm_settings": {
            "callbacks": ["prometheus", PLUGIN, "mcp_recorder.recorder"],
            "user_url_allowed_hosts": ["127.0.0.1"],  # LiteLLM's own guard, for the OpenAPI servers that it calls
        },
        "guardrails": [
            guardrail("blocking", "Blocking", "pre_mcp_call"),
            guardrail("late", "Late", "during_mcp_call"),
            guardrail("masking", "Masking", "post_mcp_call", always=True),
            guardrail("blocking-answers", "Blocking", "post_mcp_call", always=True),
        ],
    },
)


def recorded(workdir: Path) -> Path:
    """Put the recorder into a proxy's directory."""
    workdir.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(RECORDER, workdir / RECORDER.name)
    return workdir


@pytest.fixture(scope="session")
def calling_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The proxy of these tests; shared, so clean up after you."""
    workdir = recorded(tmp_path_factory.mktemp("calling"))
    with running_proxy(workdir, config=CONFIG, env={"LITELLM_ENABLE_MCP_STDIO": "true"}) as running:
        yield running


@pytest.fixture(scope="session")
def client(calling_proxy: Proxy) -> Iterator[httpx.Client]:
    """An administrator's client."""
    with calling_proxy.client() as opened:
        yield opened


@pytest.fixture(scope="session")
def events(calling_proxy: Proxy) -> Events:
    """What the callbacks are told."""
    return Events.of(calling_proxy)


@pytest.fixture(scope="session")
def backend_that() -> Iterator[Shared]:
    """Shared servers, one per way to reach them, each started when first asked for."""
    running: dict[Speaks, McpBackend] = {}
    with ExitStack() as stack:

        def start(speaks: Speaks) -> McpBackend:
            if speaks not in running:
                running[speaks] = stack.enter_context(mcp_server(speaks, name=speaks.value))
            return running[speaks]

        yield start


@pytest.fixture
def registered(client: httpx.Client) -> Iterator[Register]:
    """Register a server that is gone after the test: `registered(backend, name, **fields)`."""
    made: list[str] = []

    def make(backend: McpBackend, name: str, **fields: Any) -> Registered:
        server_id = register(client, name, url=backend.url, transport=backend.transport, **fields)
        made.append(server_id)
        return Registered(server_id, name, backend)

    yield make
    for server_id in made:
        delete(client, server_id)


@pytest.fixture
def own_backend() -> Iterator[OwnBackend]:
    """Servers that a test may break: `own_backend(Speaks.SESSIONS)`."""
    with ExitStack() as stack:
        yield lambda speaks, **options: stack.enter_context(mcp_server(speaks, **options))
