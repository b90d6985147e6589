"""Session ids that clients hold: sealed and self-describing, so that any worker carries a session on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final

from routeiq_plugin.errors import CannotOpen, NotFound
from routeiq_plugin.host.auth import Caller
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.store.sealing import Sealer

MARK: Final = "routeiq."
"""Begins every id of ours; another one is stock's."""
_LONGEST: Final = 4096


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a session id says: the server's own id for the session, and for whom and where it is good."""

    session: str
    """The upstream's `Mcp-Session-Id`, '' for a server that gives none."""
    place: str
    owner: str
    is_own: bool = False
    """The session is the gateway's: `session` names it in the store."""


class Tickets:
    """Issues and reads session ids."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def issue(self, server: Server, caller: Caller, session: str, *, is_own: bool = False) -> str:
        """Return the id that the client gets for the server's own, or for one that the gateway keeps."""
        return self.issue_at(_place(server), caller, session, is_own=is_own)

    def issue_at(self, place: str, caller: Caller, session: str, *, is_own: bool) -> str:
        """Return the id of a session that is good in one place."""
        told = [session, place, owner_of(caller), is_own]
        return MARK + self._sealer.seal(json.dumps(told, separators=(",", ":")))

    def read(self, server: Server, caller: Caller, given: str) -> Ticket:
        """Open an id; raises `NotFound` for one that is damaged, another caller's, or of another server."""
        return self.read_at(_place(server), caller, given)

    def read_at(self, place: str, caller: Caller, given: str) -> Ticket:
        """Open an id that is good in one place; raises `NotFound`."""
        try:
            if len(given) > _LONGEST:
                raise CannotOpen
            ticket = Ticket(*json.loads(self._sealer.open(given.removeprefix(MARK))))
        except (CannotOpen, ValueError, TypeError):
            raise NotFound("Session not found") from None
        if ticket.place != place or ticket.owner != owner_of(caller):
            raise NotFound("Session not found")
        return ticket


def _place(server: Server) -> str:
    return _digest(server.server_id, server.url or "")


def owner_of(caller: Caller) -> str:
    """Name a caller: what is one's is never another's."""
    return _digest(caller.key_hash, caller.user_id or "", caller.team_id or "")


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
