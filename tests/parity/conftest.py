"""The proxies of this package: started together, once, because each start takes 12-20 s of CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.parity import route_table
from tests.parity.fake_provider import FakeProvider, fake_provider
from tests.parity.route_table import StockRoute
from tests.support.proxy import ANSWER, MODEL, Proxy, start_proxy

ROOT_PATH: Final = "/genai"
USER_KEY: Final = "sk-parity-user-without-grants"
"""An internal user on both arms, known through custom auth, under LiteLLM's common checks."""

UPSTREAM_KEYS: Final[Mapping[str, str]] = {
    f"{name}_API_KEY": f"upstream-{name.lower()}"
    for name in ("OPENAI", "AZURE", "ANTHROPIC", "COHERE", "CURSOR", "GEMINI", "MISTRAL", "OPENROUTER", "TYPESAFE")
}

_REDIRECTED: Final = ("AZURE", "ANTHROPIC", "COHERE", "CURSOR", "GEMINI", "MISTRAL", "OPENROUTER", "TYPESAFE")
"""Providers whose pass-through reads `<NAME>_API_BASE`."""

_NOWHERE: Final = "http://127.0.0.1:9"
"""Nobody listens: whatever would leave the machine fails at once, on both arms alike."""


@dataclass(frozen=True)
class Arms:
    """Two proxies of one config; only the second has the plugin."""

    stock: Proxy
    plugin: Proxy

    def __iter__(self) -> Iterator[Proxy]:
        return iter((self.stock, self.plugin))


@dataclass(frozen=True)
class Installation:
    """Everything that runs for this package."""

    arms: Arms
    rooted: Proxy
    """With the plugin and without custom auth, below `ROOT_PATH`."""
    routes: list[StockRoute]


@pytest.fixture(scope="package")
def provider() -> Iterator[FakeProvider]:
    """The model provider of every proxy here."""
    with fake_provider() as running:
        yield running


@pytest.fixture(scope="package")
def installation(provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Start all proxies and the reading of the stock route table at the same time."""
    config, env = rich_config(provider.url), environment(provider.url)
    reading = route_table.start_reading(tmp_path_factory.mktemp("table"))
    with ExitStack() as stack:

        def started(name: str, **options: Any) -> Proxy:
            workdir = tmp_path_factory.mktemp(name)
            options = {"config": config, "env": env, **options}
            proxy = start_proxy(workdir, wait_ready=False, **options)
            stack.callback(proxy.kill)
            return proxy

        stock = started("stock", plugin=False)
        plugin = started("plugin")
        rooted = started("rooted", env={**env, "SERVER_ROOT_PATH": ROOT_PATH}, custom_auth=False)
        for proxy in (stock, plugin):
            proxy.add_key(key=USER_KEY, user_id="parity-user")
        for proxy in (stock, plugin, rooted):
            proxy.wait_ready()
        yield Installation(Arms(stock, plugin), rooted, reading.result())


@pytest.fixture(scope="package")
def arms(installation: Installation) -> Arms:
    """Stock and plugin."""
    return installation.arms


@pytest.fixture(scope="package")
def schemas(arms: Arms) -> tuple[dict[str, Any], dict[str, Any]]:
    """`/openapi.json` of stock and plugin; read early, it takes longer with every feature that LiteLLM loads."""
    with ThreadPoolExecutor() as pool:
        stock, plugin = pool.map(_schema, arms)
    return stock, plugin


@pytest.fixture(scope="package")
def plugged(arms: Arms) -> Proxy:
    """The proxy with the plugin."""
    return arms.plugin


def _schema(proxy: Proxy) -> dict[str, Any]:
    with proxy.client() as client:
        return dict(client.get("/openapi.json").raise_for_status().json())


def rich_config(provider_url: str) -> dict[str, Any]:
    """Build a config that has something to answer on every family of routes."""

    def model(name: str, litellm_model: str, path: str = "/v1", **params: Any) -> dict[str, Any]:
        upstream = {"model": litellm_model, "api_base": provider_url + path, "api_key": "upstream-model"}
        return {"model_name": name, "litellm_params": upstream | params}

    openai = {"custom_llm_provider": "openai", "api_base": f"{provider_url}/v1", "api_key": "upstream-files"}
    mocked = {"model": "openai/fake", "api_key": "fake", "mock_response": ANSWER}
    agent_url = f"{provider_url}/agent"
    return {
        "routeiq": {"outbound": {"allowed_hosts": ["127.0.0.1"]}},
        "model_list": [
            {"model_name": MODEL, "litellm_params": mocked},
            model("gpt-4o", "openai/gpt-4o"),
            model("instruct", "text-completion-openai/gpt-3.5-turbo-instruct"),
            model("text-embedding-3-small", "openai/text-embedding-3-small"),
            model("tts-1", "openai/tts-1"),
            model("whisper-1", "openai/whisper-1"),
            model("gpt-image-1", "openai/gpt-image-1"),
            model("omni-moderation-latest", "openai/omni-moderation-latest"),
            model("rerank-v3.5", "cohere/rerank-v3.5", ""),
            model("azure-gpt-4o", "azure/gpt-4o", "", api_version="2024-10-21"),
            model("claude", "anthropic/claude-sonnet-4-5", ""),
            model("sora-2", "openai/sora-2"),
        ],
        "files_settings": [openai],
        "finetune_settings": [openai],
        "assistant_settings": {
            "custom_llm_provider": "openai",
            "litellm_params": {"api_key": openai["api_key"], "api_base": openai["api_base"]},
        },
        "agents": [
            {
                "agent_name": "configured-agent",
                "litellm_params": {},
                "agent_card_params": {
                    "protocolVersion": "1.0",
                    "name": "configured-agent",
                    "description": "Comes from the config, not from the registry",
                    "url": agent_url,
                    "version": "1.0.0",
                    "defaultInputModes": ["text"],
                    "defaultOutputModes": ["text"],
                    "capabilities": {"streaming": True},
                    "skills": [{"id": "echo", "name": "Echo", "description": "Echoes", "tags": ["echo"]}],
                },
            }
        ],
    }


def environment(provider_url: str) -> dict[str, str]:
    """Point every provider that LiteLLM finds by environment at the fake one, and the rest of the world at nobody."""
    bases = {
        "OPENAI_BASE_URL": f"{provider_url}/v1",
        "OPENAI_API_BASE": provider_url,
        **{f"{name}_API_BASE": provider_url for name in _REDIRECTED},
    }
    proxies = {"HTTP_PROXY": _NOWHERE, "HTTPS_PROXY": _NOWHERE, "NO_PROXY": "127.0.0.1,localhost"}
    return {**UPSTREAM_KEYS, **bases, **proxies, "LITELLM_LOCAL_BLOG_POSTS": "True"}
