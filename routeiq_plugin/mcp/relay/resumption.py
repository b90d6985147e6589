"""Names of events, so that a client can resume its own session's streams and nobody else's.

To the server all who come through the gateway may be one client, and servers number events as they like: small numbers
that anybody can guess are common. So each name carries proof that it was given out in this session.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from routeiq_plugin.errors import InvalidRequest

_ID: Final = re.compile(rb"(^|[\r\n])id: ?([^\r\n]+)")
_PROOF_BYTES: Final = 16


class EventNames:
    """The names of one session's events; `session` is the server's own id of it, which clients never see."""

    def __init__(self, session: str) -> None:
        self._secret = session.encode()

    def given_out(self, event: bytes) -> bytes:
        """Return the event under the name that the client gets; what has none, or is of no session, stays as it is."""
        return _ID.sub(self._named, event) if self._secret else event

    def opened(self, name: str) -> str:
        """Return the server's own name; raises `InvalidRequest` for one that was not given out in this session."""
        own, _, proof = name.rpartition(".")
        if not self._secret or not hmac.compare_digest(proof.encode("latin-1"), self._proof(own.encode("latin-1"))):
            raise InvalidRequest("Last-Event-ID: not an event of this session")
        return own

    def _named(self, found: re.Match[bytes]) -> bytes:
        before, own = found.groups()
        return before + b"id: " + own + b"." + self._proof(own)

    def _proof(self, own: bytes) -> bytes:
        return hmac.new(self._secret, own, hashlib.sha256).hexdigest()[: 2 * _PROOF_BYTES].encode()
