"""Backends' own agent cards: found, bounded, verified, remembered for a while and then only revalidated."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit, urlunsplit
from weakref import WeakValueDictionary

from routeiq_plugin.a2a import cards
from routeiq_plugin.a2a.headers import outbound
from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.a2a.signatures import SignatureRefused, Verifier
from routeiq_plugin.errors import AddressRefused, BackendError, BackendResponseTooLarge, MalformedBody, RouteIQError
from routeiq_plugin.host.requests import json_body
from routeiq_plugin.outbound import Guard, backend_error

if TYPE_CHECKING:
    from a2a.types.a2a_pb2 import AgentCard

logger = logging.getLogger(__name__)

CARD_SECONDS: Final = 300.0
"""How long what a backend's own card says is believed before it is revalidated."""
UNREACHED_SECONDS: Final = 10.0
"""How long we go by what is known when the backend's own card could not be read."""
READ_SECONDS: Final = 5.0
"""How long one look at a backend's card may take, all its requests together."""
MAX_CARD_BYTES: Final = 1024 * 1024
MAX_CARDS: Final = 4096
"""Agents whose cards are kept; the one that was not used for the longest goes first."""

WELL_KNOWN: Final = ("/.well-known/agent-card.json", "/.well-known/agent.json")
DISCOVERED: Final = (*WELL_KNOWN, "/agent.json")
"""Where stock LiteLLM looks, in its order."""


class CardClients(Protocol):
    """Makes guarded HTTP clients; `outbound.Clients` does."""

    def httpx_client(self) -> Any:
        """Make a client; closing it leaves the shared pool open."""
        ...


Report = Callable[[str, BaseException], None]
"""Takes (where, what) of a fault; `operations.faults` does."""


class CardMissing(BackendError):
    """The backend answered, and not with a card; `status` is what it said."""

    def __init__(self, detail: str, status: int) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True, slots=True)
class OwnCard:
    """A card as its backend serves it; `document` is the JSON, `card` what A2A reads in it."""

    document: Mapping[str, Any] = field(repr=False)
    card: AgentCard = field(repr=False)
    etag: str | None
    last_modified: str | None
    changed_at: datetime
    """When the content was first seen here; aware, UTC."""


class CardReader:
    """Reads one card from one URL, through the outbound guard."""

    def __init__(self, clients: CardClients, guard: Guard) -> None:
        self._clients = clients
        self._verifier = Verifier(self._keys, guard.trusts)

    async def read(self, url: str, headers: Mapping[str, str], known: OwnCard | None = None) -> OwnCard:
        """Fetch, parse and verify a card; with `known`, ask only whether it has changed.

        Raises:
            CardMissing: another status than 200.
            SignatureRefused: it is signed and the signature does not hold.
            BackendError, AddressRefused: no card came, or something that is none.
        """
        body, answered = await self._get(url, {**headers, **_conditions(known)}, may_be_unchanged=known is not None)
        if body is None and known is not None:
            return known
        document = _document(body or b"")
        if known is not None and document == known.document:
            return replace(known, etag=answered.get("etag"), last_modified=answered.get("last-modified"))
        card = await asyncio.to_thread(cards.parsed, document, "of this address")
        await self._verifier.verify(card, url)
        return OwnCard(document, card, answered.get("etag"), answered.get("last-modified"), datetime.now(UTC))

    async def _get(
        self, url: str, headers: Mapping[str, str], *, may_be_unchanged: bool = False
    ) -> tuple[bytes | None, Mapping[str, str]]:
        """Fetch at most `MAX_CARD_BYTES`; None stands for a body that has not changed."""
        try:
            async with (
                asyncio.timeout(READ_SECONDS),
                self._clients.httpx_client().stream("GET", url, headers=dict(headers)) as response,
            ):
                if response.status_code == 304 and may_be_unchanged:
                    return None, response.headers
                if response.status_code != 200:
                    raise CardMissing(f"HTTP {response.status_code}", response.status_code)
                return await _bounded(response), response.headers
        except (RouteIQError, asyncio.CancelledError):
            raise
        except Exception as failure:
            raise backend_error(failure) from failure

    async def _keys(self, url: str) -> bytes:
        body, _ = await self._get(url, {"Accept": "application/json"})
        return body or b""


async def _bounded(response: Any) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > MAX_CARD_BYTES:
            raise BackendResponseTooLarge("the backend's card is larger than 1 MiB")
    return bytes(body)


def _conditions(known: OwnCard | None) -> Mapping[str, str]:
    """Ask conditionally (RFC 9110 13.1)."""
    stated = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified} if known else {}
    return {"Accept": "application/json", **{name: value for name, value in stated.items() if value}}


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json_body(body)
    except MalformedBody:
        raise BackendError("what came is not JSON that can be shown again") from None
    if not isinstance(document, dict):
        raise BackendError("what came is JSON, but no agent card")
    return document


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is known of one agent's backend, good until `expires`; without `own` the registered card counts."""

    own: OwnCard | None
    fingerprint: str
    path: str | None
    expires: float


class OwnCards:
    """Remembers backends' cards; a backend that stops answering does not make us forget what it said."""

    def __init__(self, reader: CardReader, clock: Callable[[], float], report: Report) -> None:
        self._reader = reader
        self._clock = clock
        self._report = report
        self._known: dict[str, _Entry] = {}
        self._reading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def of(self, agent: Agent) -> tuple[OwnCard | None, float]:
        """Return the backend's own card, or None where the registered one counts, and until when that is believed.

        The time is one of the clock that was given. One look at a backend serves all who wait for it.
        """
        url, fingerprint = agent.backend_url, agent.fingerprint
        if url is None:
            return None, self._clock() + CARD_SECONDS
        known = self._entry(agent.agent_id, fingerprint)
        if known is not None and known.expires > self._clock():
            return known.own, known.expires
        lock = self._reading.setdefault(agent.agent_id, asyncio.Lock())
        if lock.locked() and known is not None and known.own is not None:
            return known.own, self._clock() + UNREACHED_SECONDS  # someone is revalidating it
        async with lock:
            known = self._entry(agent.agent_id, fingerprint)
            if known is None or known.expires <= self._clock():
                known = await self._look(agent, url, known)
                self._keep(agent.agent_id, known)
        return known.own, known.expires

    def forget(self, agent_id: str) -> None:
        """Drop what is known of an agent that was changed or deleted."""
        self._known.pop(agent_id, None)

    def _entry(self, agent_id: str, fingerprint: str) -> _Entry | None:
        known = self._known.get(agent_id)
        return known if known is not None and known.fingerprint == fingerprint else None

    def _keep(self, agent_id: str, entry: _Entry) -> None:
        self._known.pop(agent_id, None)
        self._known[agent_id] = entry  # last read, last dropped
        while len(self._known) > MAX_CARDS:
            del self._known[next(iter(self._known))]

    async def _look(self, agent: Agent, url: str, known: _Entry | None) -> _Entry:
        kept = known.own if known is not None else None
        path = known.path if known is not None else None
        headers = outbound(agent, {}, user_id=None, team_id=None)
        expires = self._clock() + UNREACHED_SECONDS
        for each in dict.fromkeys((path, *WELL_KNOWN) if path else WELL_KNOWN):
            try:
                own = await self._reader.read(f"{url.rstrip('/')}{each}", headers, kept if each == path else None)
            except SignatureRefused as refused:
                self._report("agent card", SignatureRefused(f"Agent '{agent.name}': {refused.detail}"))
                return _Entry(None, agent.fingerprint, None, self._clock() + CARD_SECONDS)
            except CardMissing as missing:
                logger.info("routeiq: agent %s: no card at %s (%s)", agent.agent_id, each, missing.detail)
                if missing.status == 404:
                    kept = None
                    continue
            except (BackendError, AddressRefused) as failed:
                logger.info("routeiq: agent %s: no card at %s (%s)", agent.agent_id, each, failed.detail)
            except Exception as odd:  # noqa: BLE001  recorded; what a stranger wrote must not fail the agent's callers
                self._report("agent card", odd)
            else:
                return _Entry(own, agent.fingerprint, each, self._clock() + CARD_SECONDS)
            return _Entry(kept, agent.fingerprint, path if kept else None, expires)
        return _Entry(None, agent.fingerprint, None, expires)


class Discovery:
    """Finds the card of an agent that is not registered yet."""

    def __init__(self, reader: CardReader, guard: Guard) -> None:
        self._reader = reader
        self._guard = guard

    async def discover(self, url: str) -> Mapping[str, Any]:
        """Return the first card at stock's well-known paths below `url`, as its backend serves it.

        Raises `AddressRefused`, and `BackendError` that says what the last try met.
        """
        return (await self._find(url, [f"{url.rstrip('/')}{path}" for path in DISCOVERED])).document

    async def completed(self, config: dict[str, Any]) -> dict[str, Any]:
        """Complete the configuration of an agent of which only the URL is given by the card that is found there.

        The URL is the agent's, or a card's that ends in `.json`. An agent that shows no card is registered by its URL
        alone, as on stock; a card's URL without a card is refused, as is a signature that does not hold.
        """
        given = {name: value for name, value in (config.get("agent_card_params") or {}).items() if value is not None}
        url = given.get("url")
        if given.keys() != {"url"} or not isinstance(url, str):
            return config
        is_card = cards.path_of(url).endswith(".json")
        base = _base(url) if is_card else url
        try:
            places = [url] if is_card else [f"{url.rstrip('/')}{path}" for path in WELL_KNOWN]
            own = await self._find(url, places, "agent_card_params.url")
        except SignatureRefused as refused:
            raise AddressRefused(f"agent_card_params.url: {refused.detail}") from refused
        except BackendError as failed:
            if is_card:
                raise AddressRefused(f"agent_card_params.url: no agent card there ({failed.detail})") from failed
            logger.info("routeiq: registering an agent without its card (%s)", failed.detail)
            return config
        return {**config, "agent_card_params": _registered(own.document, base)}

    async def _find(self, url: str, places: Sequence[str], field: str = "url") -> OwnCard:
        await self._guard.check(url, field)
        last: BackendError | None = None
        for place in places:
            try:
                return await self._reader.read(place, {})
            except SignatureRefused:
                raise
            except BackendError as failed:
                last = failed
        raise last or BackendError("there is nowhere to look")


def _base(url: str) -> str:
    """Cut a card's URL down to where its agent is."""
    parts = urlsplit(url)
    path = parts.path
    for suffix in DISCOVERED:
        if path.endswith(suffix):
            return urlunsplit((parts.scheme, parts.netloc, path.removesuffix(suffix) + "/", "", ""))
    return urlunsplit((parts.scheme, parts.netloc, path.rpartition("/")[0] + "/", "", ""))


def _registered(document: Mapping[str, Any], base: str) -> dict[str, Any]:
    """Make a found card one that is registered: on the origin where it was found, whatever origin it claims."""
    card = {name: value for name, value in document.items() if name != "signatures"}
    for listing in ("supportedInterfaces", "additionalInterfaces"):
        interfaces = card.get(listing)
        if isinstance(interfaces, list):
            card[listing] = [_pinned(each, base) for each in interfaces if isinstance(each, Mapping)]
    stated = card.get("url")
    card["url"] = cards.pinned(stated, base) if isinstance(stated, str) and "supportedInterfaces" not in card else base
    return card


def _pinned(interface: Mapping[str, Any], base: str) -> dict[str, Any]:
    return {**interface, "url": cards.pinned(str(interface.get("url", "")), base)}
