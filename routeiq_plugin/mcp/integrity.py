"""Whether tools still are what an admin approved: their descriptions instruct models, and servers may change them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from routeiq_plugin.errors import Forbidden
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.store.audit import AuditEntry

PINNED_FIELDS: Final = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
"""What a model, or a client that decides for it, sees of a tool."""

MAX_NAMED: Final = 100
"""Tools of each kind that the server object names."""


class Verdict(StrEnum):
    """How a tool compares with what was approved."""

    APPROVED = "approved"
    CHANGED = "changed"
    NEW = "new"
    """Not among the approved ones."""
    UNPINNED = "unpinned"
    """Nobody approved any tool of this server."""


class Pins(Protocol):
    """Where approvals are kept; the one in use is the store's."""

    async def all(self) -> Mapping[str, Mapping[str, str]]:
        """Return hash by tool name, by server id."""
        ...

    async def of(self, server_id: str) -> Mapping[str, str]:
        """Return hash by tool name."""
        ...

    async def approve(self, server_id: str, hashes: Mapping[str, str], audit: AuditEntry) -> None:
        """Replace a server's approvals."""
        ...


@dataclass(frozen=True, slots=True)
class Flags:
    """What the server object tells admins of its tools."""

    changed: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    approved: int = 0
    is_compared: bool = False
    """This worker has listed the server's tools since their approval, or its own start."""

    def rendered(self) -> Mapping[str, Any]:
        """Render for `mcp_info.routeiq`."""
        return {
            "approved_tools": self.approved,
            "compared": self.is_compared,
            "changed_tools": list(self.changed[:MAX_NAMED]),
            "new_tools": list(self.new[:MAX_NAMED]),
            "removed_tools": list(self.removed[:MAX_NAMED]),
        }


class Integrity:
    """Compares; `enforced` (`mcp.pin_tools`) also holds back what was not approved.

    Only our own servers are compared: LiteLLM's own have `pinned_tools`, which LiteLLM enforces.
    """

    def __init__(self, pins: Pins, *, enforced: bool) -> None:
        self.enforced = enforced
        self._pins = pins
        self._known: dict[str, Mapping[str, str]] = {}
        self._flags: dict[str, Flags] = {}
        self._compared: dict[str, Sequence[Any]] = {}
        """The lists that the flags tell of: the catalog gives out the same object as long as it believes it."""

    async def load(self) -> None:
        """Read all approvals anew."""
        self._known = dict(await self._pins.all())
        self._flags.clear()
        self._compared.clear()

    async def refresh(self, server_ids: Iterable[str]) -> None:
        """Read approvals of these servers anew."""
        for server_id in server_ids:
            self._known[server_id] = await self._pins.of(server_id)
            self._flags.pop(server_id, None)
            self._compared.pop(server_id, None)

    async def approve(self, server: Server, tools: Sequence[Any], audit: AuditEntry) -> Flags:
        """Make a server's tools, as it lists them now, the approved ones."""
        hashes = {tool.name: definition_hash(tool) for tool in tools}
        await self._pins.approve(server.server_id, hashes, audit)
        self._known[server.server_id] = hashes
        self._compared.pop(server.server_id, None)
        self.noticed(server, tools)
        return self.flags(server)

    def has_approvals(self, server: Server) -> bool:
        """Tell whether any tool of this server was approved."""
        return bool(self._known.get(server.server_id))

    def noticed(self, server: Server, tools: Sequence[Any]) -> None:
        """Compare a server's whole list with what was approved, and remember what differs."""
        if self._compared.get(server.server_id) is tools:
            return
        self._compared[server.server_id] = tools
        pins = self._known.get(server.server_id)
        if not pins:
            self._flags.pop(server.server_id, None)
            return
        verdicts = {tool.name: self.verdict(server, tool) for tool in tools}
        self._flags[server.server_id] = Flags(
            changed=tuple(name for name, verdict in verdicts.items() if verdict is Verdict.CHANGED),
            new=tuple(name for name, verdict in verdicts.items() if verdict is Verdict.NEW),
            removed=tuple(name for name in pins if name not in verdicts),
            approved=len(pins),
            is_compared=True,
        )

    def flags(self, server: Server) -> Flags:
        """Tell what differed when the server's tools were last listed by this worker."""
        known = self._flags.get(server.server_id)
        return known if known is not None else Flags(approved=len(self._known.get(server.server_id) or ()))

    def verdict(self, server: Server, tool: Any) -> Verdict:
        """Compare one tool."""
        pins = self._known.get(server.server_id)
        if not pins:
            return Verdict.UNPINNED
        pinned = pins.get(tool.name)
        if pinned is None:
            return Verdict.NEW
        return Verdict.APPROVED if pinned == definition_hash(tool) else Verdict.CHANGED

    def may_use(self, server: Server, tool: Any) -> bool:
        """Tell whether a tool may be listed and called."""
        return not (self.enforced and server.is_ours) or self.verdict(server, tool) is Verdict.APPROVED

    def require(self, server: Server, tool: Any) -> None:
        """Raise `Forbidden`, with the reason, for a tool that is held back."""
        if self.may_use(server, tool):
            return
        reason = {
            Verdict.CHANGED: "its definition has changed since an admin approved it",
            Verdict.NEW: "it is not among the tools that an admin approved",
            Verdict.UNPINNED: "no admin has approved this server's tools yet",
        }[self.verdict(server, tool)]
        raise Forbidden(
            {
                "error": "tool_not_approved",
                "message": f"Tool {tool.name} of MCP server '{server.name}' is held back: {reason}. "
                "Contact proxy admin to approve this server's tools.",
            }
        )


def definition_hash(tool: Any) -> str:
    """SHA-256 of what a model sees of a tool, as canonical JSON (after RFC 8785: sorted keys, no white space)."""
    whole = tool.model_dump(by_alias=True, mode="json", exclude_none=True)
    seen = {name: whole[name] for name in PINNED_FIELDS if name in whole}
    return hashlib.sha256(canonical(seen).encode()).hexdigest()


def canonical(value: Any) -> str:
    """Write JSON so that equal values are equal texts; keys sort by UTF-16 as RFC 8785 3.2.3 asks."""
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(value[name]) for name in sorted(value, key=lambda name: name.encode("utf-16-be"))}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
