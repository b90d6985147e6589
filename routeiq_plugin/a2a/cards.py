"""Agent cards: what we store of a registered one, and what we show of it, with the gateway in the backend's place.

The rules of what is kept are those of LiteLLM's `merge_agent_card` (1.106.2), copied because that function moves.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from routeiq_plugin.errors import BackendError, InvalidRequest

if TYPE_CHECKING:
    from a2a.types.a2a_pb2 import AgentCard

SERVED_VERSIONS: Final = ("0.3", "1.0")
DEFAULT_VERSION: Final = "1.0"

INTERFACES: Final = (("JSONRPC", "1.0"), ("JSONRPC", "0.3"), ("HTTP+JSON", "1.0"), ("HTTP+JSON", "0.3"))
"""What the gateway speaks at an agent's address, as (binding, version), the preferred one first."""

PUSH: Final = "pushNotifications"
"""The one that also needs an address at which agents reach the gateway."""

RELAYED: Final = ("streaming", PUSH, "extendedAgentCard")
"""Capabilities of a backend that the gateway passes on; of others its clients learn nothing."""

_LINKS: Final = ("documentationUrl", "iconUrl")
_PROVIDERS_PROSE: Final = frozenset({"organization"})
_SKILLS_PROSE: Final = frozenset({"id", "name", "description", "tags", "examples"})
"""What is written for people, which is the admin's own word."""

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
    return isinstance(url, str) and path_of(url).rstrip("/").endswith(f"/a2a/{agent_id}")


def pinned(stated: str, registered: str) -> str:
    """Keep an interface on the origin that the admin registered.

    Backends advertise what they believe their address to be, often `http://0.0.0.0:9999/`, sometimes somebody
    else's; only the path of such an interface is taken over.
    """
    try:
        here, there = urlsplit(registered), urlsplit(stated)
    except ValueError:
        return registered
    if (here.scheme, here.netloc) == (there.scheme, there.netloc):
        return stated
    if there.path in ("", "/"):
        return registered
    return urlunsplit((here.scheme, here.netloc, there.path, there.query, ""))


def path_of(url: str) -> str:
    """Return the path of a URL; what is none has none, and the guard says so."""
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def hosts(found: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Name the hosts of (field, URL) pairs, of which a card that we serve says nothing."""
    return frozenset(host for host in (_host(url) for _, url in found) if host)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def shown(
    card: Mapping[str, Any],
    *,
    name: str,
    gateway_url: str,
    provider_url: str,
    backend_url: str | None,
    hidden: Collection[str] = (),
) -> Card:
    """Render a stored card for an answer of the registry.

    `gateway_url` is where callers invoke the agent. `backend_url` is shown as `url` to admins; with None the
    gateway's own stands there, and links to one of the `hidden` hosts are left out, so that no other caller learns
    the backend's address.
    """
    version = protocol_version(card) or DEFAULT_VERSION
    kept = {key: value for key, value in card.items() if key in _SHOWN_KEYS and value is not None}
    for link in _LINKS:
        if _mentions(kept.get(link), hidden):
            del kept[link]
    return {
        **kept,
        "name": card.get("name") or name,
        "protocolVersion": version,
        "version": card.get("version") or "1.0.0",
        "capabilities": capabilities(card, hidden),
        "skills": _skills(card.get("skills"), hidden) or [dict(skill) for skill in _DEFAULT_SKILLS],
        "defaultInputModes": card.get("defaultInputModes") or ["text"],
        "defaultOutputModes": card.get("defaultOutputModes") or ["text"],
        "provider": _provider(card.get("provider"), provider_url, hidden),
        "supportedInterfaces": [{"url": gateway_url, "protocolBinding": "JSONRPC", "protocolVersion": version}],
        "securitySchemes": {name: dict(scheme) for name, scheme in _SECURITY_SCHEMES.items()},
        "security": [{"LiteLLMKey": []}],
        "url": backend_url or gateway_url,
    }


def _provider(stated: Any, provider_url: str, hidden: Collection[str]) -> Any:
    """Keep who made the agent; where they live only if that is not where the backend is."""
    if not stated:
        return {"organization": "LiteLLM Proxy", "url": provider_url}
    if not isinstance(stated, Mapping):
        return stated
    kept = _without(stated, hidden, _PROVIDERS_PROSE)
    return {**kept, "url": provider_url} if "url" in stated and "url" not in kept else kept


def _skills(stated: Any, hidden: Collection[str]) -> Any:
    """Keep what skills say of themselves; what they say beside that, only if it does not name the backend."""
    if not hidden or not isinstance(stated, list):
        return stated
    return [_without(each, hidden, _SKILLS_PROSE) if isinstance(each, Mapping) else each for each in stated]


def _without(stated: Mapping[str, Any], hidden: Collection[str], prose: Collection[str]) -> Card:
    return {name: value for name, value in stated.items() if name in prose or not _mentions(value, hidden)}


def says_streaming(card: Mapping[str, Any]) -> bool:
    """Tell whether a registered card says either way if its agent streams."""
    stated = card.get("capabilities")
    return isinstance(stated, Mapping) and "streaming" in stated


def capabilities(card: Mapping[str, Any], hidden: Collection[str] = ()) -> Card:
    """Keep what the gateway relays of what a card of either protocol version claims."""
    stated = card.get("capabilities")
    claimed = dict(stated) if isinstance(stated, Mapping) else {}
    if card.get("supportsAuthenticatedExtendedCard"):
        claimed.setdefault("extendedAgentCard", True)
    kept: Card = {name: True for name in RELAYED if claimed.get(name)}
    extensions = [each for each in _list(claimed.get("extensions")) if not _mentions(each, hidden)]
    return {**kept, "extensions": extensions} if extensions else kept


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mentions(value: Any, hidden: Collection[str]) -> bool:
    text = json.dumps(value, ensure_ascii=False).lower()
    return any(host in text for host in hidden)


def public(
    card: Mapping[str, Any],
    own: Mapping[str, Any] | None = None,
    *,
    name: str,
    gateway_url: str,
    provider_url: str,
    hidden: Collection[str] = (),
    pure: bool = False,
    push: bool = True,
) -> Card:
    """Render the card that A2A clients discover: what was registered, able to do what the backend's `own` card says.

    Both protocol versions stand in it: the 1.0 shape with all interfaces and, unless it is to be `pure`, the 0.3 keys
    beside it, as the a2a-sdk serves its own. A backend's signature is dropped: it does not cover what we serve.
    Raises `BackendError` as `parsed` does.
    """
    from a2a.server.request_handlers.response_helpers import agent_card_to_dict
    from a2a.types.a2a_pb2 import AgentInterface
    from google.protobuf.json_format import MessageToDict

    document = shown(
        card, name=name, gateway_url=gateway_url, provider_url=provider_url, backend_url=None, hidden=hidden
    )
    document["description"] = document.get("description") or name
    document["capabilities"] = capabilities(card if own is None else own, hidden)
    if not push:
        document["capabilities"].pop(PUSH, None)
    served = parsed(document, name)
    del served.supported_interfaces[:]
    for binding, version in INTERFACES:
        served.supported_interfaces.append(
            AgentInterface(url=gateway_url, protocol_binding=binding, protocol_version=version)
        )
    rendered: Card = MessageToDict(served) if pure else agent_card_to_dict(served)
    return rendered


def parsed(card: Mapping[str, Any], name: str) -> AgentCard:
    """Read a card as the a2a-sdk does; raises `BackendError` for one that A2A cannot mean."""
    from a2a.client.card_resolver import parse_agent_card
    from google.protobuf.json_format import ParseError

    try:
        return parse_agent_card(copy.deepcopy(dict(card)))  # the SDK edits what it reads
    except ParseError as unreadable:
        raise BackendError(f"Agent '{name}' has a card that is not an A2A agent card") from unreadable
