"""The agent registry as an administrator's client uses it: what is sent, and what every answer must have."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx

from tests.support.proxy import Proxy

MARKER: Final = "REDACTED_BY_LITELM"
"""LiteLLM's own spelling."""

KEYS: Final = frozenset(
    {
        *("identity", "identity_managed", "enabled", "execution_mode", "jwt_auth_configured", "agent_id", "agent_name"),
        *("litellm_params", "agent_card_params", "object_permission", "spend", "tpm_limit", "rpm_limit"),
        *("session_tpm_limit", "session_rpm_limit", "static_headers", "extra_headers", "access_group_ids"),
        *("kill_switch", "keys", "search_score", "created_at", "updated_at", "created_by", "updated_by"),
    }
)
"""Every key of LiteLLM's `AgentResponse` at 1.106.2; a later version may add some."""

NOWHERE: Final = "http://127.0.0.1:9/"
"""A backend address that nobody answers; discard's port."""


def card(url: str = NOWHERE, **changes: Any) -> dict[str, Any]:
    """Build an agent card, as an administrator registers it."""
    return {
        "protocolVersion": "1.0",
        "name": "Echo",
        "description": "Says it again.",
        "url": url,
        "version": "1.0.0",
        "capabilities": {"streaming": True},
        "defaultInputModes": ["text"],
        "defaultOutputModes": ["text"],
        "skills": [{"id": "echo", "name": "Echo", "description": "Says it again.", "tags": ["echo"]}],
        **changes,
    }


def body(name: str | None = None, url: str = NOWHERE, **fields: Any) -> dict[str, Any]:
    """Build the body of a registration; the name is a new one unless given."""
    return {"agent_name": name or unique(), "agent_card_params": card(url), **fields}


def unique(prefix: str = "agent") -> str:
    """Invent a name that no other test uses."""
    return f"{prefix}-{secrets.token_hex(6)}"


def path(reference: str, base: str = "/v1/agents") -> str:
    """Address an agent by id or name, whatever characters a name has."""
    return f"{base}/{quote(reference, safe='')}"


def call(client: httpx.Client, reference: str, text: str = "hello") -> httpx.Response:
    """Send a message to an agent through the gateway, in the 1.0 spelling."""
    part = {"text": text}
    message = {"messageId": secrets.token_hex(8), "role": "ROLE_USER", "parts": [part]}
    request = {"jsonrpc": "2.0", "id": "1", "method": "SendMessage", "params": {"message": message}}
    return client.post(path(reference, "/a2a"), json=request, headers={"A2A-Version": "1.0"})


def answer_of(response: httpx.Response) -> str:
    """Return what the echo agent said; fails the test for anything but an answer."""
    assert response.status_code == 200, response.text
    answer: Mapping[str, Any] = response.json()
    assert "error" not in answer, answer
    message = answer["result"]["task"]["status"]["message"]
    return "".join(part.get("text", "") for part in message["parts"])


def info(proxy: Proxy, key: str | None = None) -> dict[str, Any]:
    """Fetch `/router/info` on a connection of its own, as admin unless a key is given."""
    with proxy.client(key or proxy.master_key) as client:
        response = client.get("/router/info")
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told
