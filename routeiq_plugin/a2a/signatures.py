"""Signatures of agent cards (A2A 1.0, 8.4): verified with the keys that the card's own `jku` names."""

from __future__ import annotations

import asyncio
import binascii
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from routeiq_plugin.errors import BackendError

if TYPE_CHECKING:
    from a2a.types.a2a_pb2 import AgentCard
    from jwt import PyJWK

ALGORITHMS: Final = ("EdDSA", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
"""Asymmetric ones: who could verify a shared secret could also forge with it."""

MAX_KEY_SETS: Final = 4
"""How many key sets of one card are fetched."""

MAX_SIGNATURES: Final = 16
"""How many a card may bear: each is checked, and some take tens of milliseconds."""

MAX_KEYS: Final = 64
"""How many a key set may hold."""


class SignatureRefused(BackendError):
    """A card is signed and the signature does not hold; the message names no address."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """Checks the signatures of cards; `read` fetches a key set, `may_hold_keys` opens other origins than the card's."""

    read: Callable[[str], Awaitable[bytes]]
    may_hold_keys: Callable[[str], bool]

    async def verify(self, card: AgentCard, origin: str) -> None:
        """Accept an unsigned card and one of which a signature holds; raises `SignatureRefused` for any other.

        `origin` is a URL on the origin that served the card.
        """
        if not card.signatures:
            return
        if len(card.signatures) > MAX_SIGNATURES:
            raise SignatureRefused(f"the card bears more than {MAX_SIGNATURES} signatures")
        stated = list(dict.fromkeys(_key_sets(card)))
        if not stated:
            raise SignatureRefused("the card's signature names no key set (jku)")
        trusted = [url for url in stated if _same_origin(url, origin) or self.may_hold_keys(url)]
        if not trusted:
            raise SignatureRefused(
                "the card's signature names keys on another origin than the card's; "
                "name that host in `routeiq.outbound.allowed_hosts` to trust it"
            )
        keys: dict[tuple[str, str | None], PyJWK] = {}
        for url in trusted[:MAX_KEY_SETS]:
            keys |= await self._keys(url)
        await asyncio.to_thread(_verify, card, keys)

    async def _keys(self, url: str) -> Mapping[tuple[str, str | None], PyJWK]:
        from jwt import PyJWTError

        try:
            found = await asyncio.to_thread(_key_set, await self.read(url))
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError, PyJWTError) as unreadable:
            raise SignatureRefused("the key set of the card's signature cannot be read") from unreadable
        except BackendError as failed:
            raise SignatureRefused(f"the key set of the card's signature: {failed.detail}") from failed
        return {(url, key.key_id): key for key in found if isinstance(key.key_id, str | None)}


def _key_set(body: bytes) -> Sequence[PyJWK]:
    from jwt import PyJWKSet

    document = json.loads(body)
    if len(document["keys"]) > MAX_KEYS:
        raise ValueError(f"more than {MAX_KEYS} keys")
    found: Sequence[PyJWK] = PyJWKSet.from_dict(document).keys
    return found


def _verify(card: AgentCard, keys: Mapping[tuple[str, str | None], PyJWK]) -> None:
    from a2a.utils.signing import SignatureVerificationError, create_signature_verifier
    from jwt.exceptions import PyJWKSetError

    def key_of(kid: str | None, jku: str | None) -> PyJWK:
        known = isinstance(kid, str | None) and isinstance(jku, str | None)
        found = keys.get((jku or "", kid)) if known else None
        if found is None:
            raise PyJWKSetError("no such key")
        return found

    try:
        create_signature_verifier(key_of, list(ALGORITHMS))(card)
    except (SignatureVerificationError, RecursionError) as refused:
        raise SignatureRefused("no signature of the card is valid") from refused


def _key_sets(card: AgentCard) -> Iterator[str]:
    for signature in card.signatures:
        jku = _protected(signature.protected).get("jku")
        if isinstance(jku, str):
            yield jku


def _protected(encoded: str) -> Mapping[str, Any]:
    """Read a protected header as the SDK does; one that is none names no keys."""
    from jwt.utils import base64url_decode

    try:
        header = json.loads(base64url_decode(encoded.encode()).decode())
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}


def _same_origin(one: str, other: str) -> bool:
    """Compare origins (RFC 6454): scheme, host and port, the default ports filled in."""
    return _origin(one) == _origin(other) is not None


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    return parts.scheme, parts.hostname, port
