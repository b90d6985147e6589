"""Configurations for reload tests: small ones that work, and hostile ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from tests.support.proxy import merge


def deployment(name: str, answer: str, *, model_id: str | None = None, **params: Any) -> dict[str, Any]:
    """A model that answers by itself."""
    entry: dict[str, Any] = {
        "model_name": name,
        "litellm_params": {"model": "openai/fake", "api_key": "fake", "mock_response": answer, **params},
    }
    return entry if model_id is None else entry | {"model_info": {"id": model_id}}


def agent(name: str, url: str = "http://127.0.0.1:9/") -> dict[str, Any]:
    """An agent as a LiteLLM config declares it."""
    card = {
        "name": name,
        "description": "of the config",
        "url": url,
        "version": "1",
        "protocolVersion": "0.3.0",
        "capabilities": {},
        "skills": [],
        "defaultInputModes": ["text"],
        "defaultOutputModes": ["text"],
    }
    return {"agent_name": name, "agent_card_params": card}


def server(port: int = 9) -> dict[str, Any]:
    """An MCP server as a LiteLLM config declares it."""
    return {"url": f"http://127.0.0.1:{port}/mcp", "transport": "http"}


def written(base: Mapping[str, Any], **changes: Any) -> bytes:
    """A whole configuration in YAML: the base with changes merged in; None takes a key out."""
    config = merge(base, changes)
    return yaml.safe_dump({key: value for key, value in config.items() if value is not None}, sort_keys=False).encode()


BOMB: Final = "\n".join(
    ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]", *(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))]
).encode()

HOSTILE: Final[Mapping[str, tuple[bytes, str, str]]] = {
    "truncated": (b"model_list:\n- model_name: x\n  litellm_params: {model: openai/fake, api_k", "", "line"),
    "cut off after the first key": (b"model_list:\n", "model_list", "is missing"),
    "wrong type of a section": (b"model_list: {}\n", "model_list", "must be a list"),
    "wrong type of an entry": (b"model_list: [1]\n", "model_list[0]", "must be a mapping"),
    "no model": (
        b"model_list: [{model_name: x, litellm_params: {}}]\n",
        "model_list.x.litellm_params.model",
        "required",
    ),
    "wrong type of a parameter": (
        b"model_list: [{model_name: x, litellm_params: {model: openai/x, timeout: {a: 1}}}]\n",
        "model_list.x",
        "",
    ),
    "duplicate ids": (
        b"model_list:\n"
        b"- {model_name: x, litellm_params: {model: openai/x}, model_info: {id: same}}\n"
        b"- {model_name: y, litellm_params: {model: openai/y}, model_info: {id: same}}\n",
        "model_list.y#same.model_info.id",
        "same",
    ),
    "duplicate key": (b"model_list: []\nmodel_list: []\n", "", "twice"),
    "unknown provider": (
        b"model_list: [{model_name: x, litellm_params: {model: nosuchprovider/x}}]\n",
        "model_list.x",
        "Provider",
    ),
    "alias bomb": (BOMB, "", "aliases"),
    "a cycle": (b"a: &a [*a]\n", "", "alias"),
    "50 MB": (b"# " + b"x" * (50 * 1024 * 1024), "", "larger than 16 MiB"),
    "Latin-1": ("model_list: []\nname: caf\u00e9\n".encode("latin-1"), "", "not UTF-8"),
    "empty": (b"", "", "empty"),
    "only a comment": (b"# nothing\n", "", "empty"),
    "a list": (b"[1, 2]\n", "", "must hold a mapping"),
    "python object": (b"model_list: !!python/object/apply:os.system ['touch /tmp/pwned']\n", "", "not YAML"),
    "deep nesting": (b"a: " + b"[" * 100_000, "", "not YAML"),
    "a secret in an address": (
        b"model_list:\n- {model_name: x, litellm_params: {model: openai/x, api_base: os.environ/LITELLM_MASTER_KEY}}\n",
        "model_list.x",
        "LITELLM_MASTER_KEY",
    ),
    "a secret through OIDC": (
        b"model_list:\n- {model_name: x, litellm_params: "
        b"{model: bedrock/x, aws_web_identity_token: oidc/env/LITELLM_SALT_KEY}}\n",
        "model_list.x",
        "LITELLM_SALT_KEY",
    ),
    "our own section": (b"model_list: []\nrouteiq: {colour: 1}\n", "routeiq", "routeiq.colour"),
    "an unknown routing strategy": (
        b"model_list: []\nrouter_settings: {routing_strategy: nonsense}\n",
        "router_settings",
        "nonsense",
    ),
    "an agent without a card": (b"model_list: []\nagents: [{agent_name: x}]\n", "agents.x.agent_card_params", "requi"),
    "a broken MCP server": (
        b"model_list: []\nmcp_servers: {x: {url: 'http://127.0.0.1:9/', transport: carrier-pigeon}}\n",
        "mcp_servers.x",
        "",
    ),
}
"""Bytes, the path that the answer names, and a word of its message."""
