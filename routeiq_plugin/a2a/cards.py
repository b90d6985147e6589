"""Agent cards: what we store of a registered one, and what we show of it, with the gateway in the backend's place.

The rules of what is kept are those of LiteLLM's `merge_agent_card` (1.106.2), copied because that function moves.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from routeiq_plugin.errors import BackendError, InvalidRequest

if TYPE_CHECKING:
    from a2a.types.a2a_pb2 import AgentCard

SERVED_VERSIONS: Final = ("0.3", "1.0")
DEFAULT_VERSION: Final = "1.0"

_VERSION: Final = re.compile(r"^(\d+\.\d+)(?:\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)?$")
_SHOWN_KEYS: Final = frozenset(
    {
        "protocolVersion",
        "name",
        "description",
        "version",
        "capabilities",
        "defaultInputModes",
        "defaultOutputModes",
        "skills",
        "preferredTransport",
        "iconUrl",
        "provider",
        "documentationUrl",
    }
)
_DEFAULT_SKILLS: Final = (
    {"id": "chat", "name": "Chat", "description": "Conversational interaction with the agent.", "tags": ["chat"]},
)
_SECURITY_SCHEMES: Final = {
    "LiteLLMKey": {"type": "http", "scheme": "bearer", "description": "LiteLLM virtual key"},
}

Card = dict[str, Any]


def protocol_version(card: Mapping[str, Any]) -> str | None:
    """Reduce the card's `protocolVersion` to one that we serve, or None; full and pre-release forms are understood."""
    stated = card.get("protocolVersion")
    match = _VERSION.match(stated) if isinstance(stated, str) else None
    return match.group(1) if match and match.group(1) in SERVED_VERSIONS else None


def validate(card: Mapping[str, Any]) -> None:
    """Refuse a card that pins a protocol version which we cannot serve (LiteLLM's words)."""
    stated = card.get("protocolVersion")
    if stated is not None and protocol_version(card) is None:
        raise InvalidRequest(
            f"Unsupported protocolVersion '{stated}'. Supported versions: {', '.join(SERVED_VERSIONS)}."
        )


def addresses(card: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (field, URL) for each address of a card that the gateway might call."""
    if card.get("url"):
        yield "agent_card_params.url", str(card["url"])
    for listing in ("supportedInterfaces", "additionalInterfaces"):
        interfaces = card.get(listing)
        for position, interface in enumerate(interfaces if isinstance(interfaces, list) else ()):
            if isinstance(interface, Mapping) and interface.get("url"):
                yield f"agent_card_params.{listing}.{position}.url", str(interface["url"])


def as_registered(card: Mapping[str, Any], agent_id: str, stored: Mapping[str, Any] | None = None) -> Card:
    """Keep a card as the admin gave it, save what an earlier answer of ours put in.

    A client that reads an agent, edits it and writes it back sends our own interface; that one stands for what is
    stored, and must never become the backend's address: the gateway would call itself.
    """
    kept = dict(card)
    interfaces = kept.get("supportedInterfaces")
    if isinstance(interfaces, list):
        foreign = [each for each in interfaces if not _is_gateway(each, agent_id)]
        if len(foreign) < len(interfaces):
            foreign = foreign or list((stored or {}).get("supportedInterfaces") or ())
        kept["supportedInterfaces"] = foreign
        if not foreign:
            del kept["supportedInterfaces"]
    if _is_gateway({"url": kept.get("url")}, agent_id):
        kept.pop("url")
        if stored and stored.get("url"):
            kept["url"] = stored["url"]
    return kept


def _is_gateway(interface: Any, agent_id: str) -> bool:
    url = interface.get("url") if isinstance(interface, Mapping) else None
    return isinstance(url, str) and urlsplit(url).path.rstrip("/").endswith(f"/a2a/{agent_id}")


def shown(card: Mapping[str, Any], *, name: str, gateway_url: str, provider_url: str, backend_url: str | None) -> Card:
    """Render a stored card for an answer of the registry.

    `gateway_url` is where callers invoke the agent. `backend_url` is shown as `url` to admins; with None the
    gateway's own stands there, so that no other caller learns the backend's address.
    """
    version = protocol_version(card) or DEFAULT_VERSION
    return {
        **{key: value for key, value in card.items() if key in _SHOWN_KEYS and value is not None},
        "name": card.get("name") or name,
        "protocolVersion": version,
        "version": card.get("version") or "1.0.0",
        "capabilities": capabilities(card),
        "skills": card.get("skills") or [dict(skill) for skill in _DEFAULT_SKILLS],
        "defaultInputModes": card.get("defaultInputModes") or ["text"],
        "defaultOutputModes": card.get("defaultOutputModes") or ["text"],
        "provider": card.get("provider") or {"organization": "LiteLLM Proxy", "url": provider_url},
        "supportedInterfaces": [{"url": gateway_url, "protocolBinding": "JSONRPC", "protocolVersion": version}],
        "securitySchemes": {name: dict(scheme) for name, scheme in _SECURITY_SCHEMES.items()},
        "security": [{"LiteLLMKey": []}],
        "url": backend_url or gateway_url,
    }


def capabilities(card: Mapping[str, Any]) -> Card:
    """Keep only what the gateway relays today: streaming."""
    stated = card.get("capabilities")
    return {"streaming": True} if isinstance(stated, Mapping) and stated.get("streaming") else {}


def public(card: Mapping[str, Any], *, name: str, gateway_url: str, provider_url: str) -> Card:
    """Render the card that A2A clients of either protocol version discover.

    The 1.0 shape with both interfaces, and the 0.3 keys beside it, as the a2a-sdk serves its own. A backend's
    signature is dropped: it does not cover what we serve. Raises `BackendError` as `parsed` does.
    """
    from a2a.server.request_handlers.response_helpers import agent_card_to_dict
    from a2a.types.a2a_pb2 import AgentInterface

    document = shown(card, name=name, gateway_url=gateway_url, provider_url=provider_url, backend_url=None)
    document["description"] = document.get("description") or name
    card_of_agent = parsed(document, name)
    del card_of_agent.supported_interfaces[:]
    for version in reversed(SERVED_VERSIONS):
        card_of_agent.supported_interfaces.append(
            AgentInterface(url=gateway_url, protocol_binding="JSONRPC", protocol_version=version)
        )
    served: Card = agent_card_to_dict(card_of_agent)
    return served


def parsed(card: Mapping[str, Any], name: str) -> AgentCard:
    """Read a card as the a2a-sdk does; raises `BackendError` for one that A2A cannot mean."""
    from a2a.client.card_resolver import parse_agent_card
    from google.protobuf.json_format import ParseError

    try:
        return parse_agent_card(copy.deepcopy(dict(card)))  # the SDK edits what it reads
    except ParseError as unreadable:
        raise BackendError(f"Agent '{name}' has a card that is not an A2A agent card") from unreadable
