"""The MCP servers of this proxy: our durable rows beside LiteLLM's own, one name space, and every change to ours."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from weakref import WeakValueDictionary

from routeiq_plugin.errors import Conflict, InvalidRequest, NotFound, PreconditionFailed
from routeiq_plugin.host import mcp_servers as host_servers
from routeiq_plugin.host.app import LeaveToStock
from routeiq_plugin.host.mcp_manager import Manager
from routeiq_plugin.host.mcp_servers import Fields
from routeiq_plugin.host.public_lists import PublicNames
from routeiq_plugin.host.requests import Author, Precondition
from routeiq_plugin.mcp import configuration
from routeiq_plugin.mcp.feeding import AddressCheck, Feeding, OnFault
from routeiq_plugin.mcp.model import Server
from routeiq_plugin.store.audit import AuditEntry
from routeiq_plugin.store.mcp_servers import KIND, McpServerRecord, McpServerStore, NameTaken, require_free
from routeiq_plugin.store.public import PublicList, PublicObjects
from routeiq_plugin.store.registered import StaleVersion

DELETED_KEPT: Final = 10_000
"""Deleted ids that are remembered, so that a read which began before cannot bring one back."""
_ATTEMPTS: Final = 8
"""How often a merge is computed anew when other writers keep getting in first."""

Listener = Callable[[str], Awaitable[None]]
"""Hears the id of a server that was changed or deleted, whichever worker did it."""
Written = Callable[[Server, Author], None]
"""Hears of a server that was created or updated here, and by whom."""


class ServerDirectory:
    """Answers from a snapshot in memory, reads through to the store on a miss, and commits before it says so."""

    def __init__(
        self,
        store: McpServerStore,
        manager: Manager,
        guard: AddressCheck,
        public: PublicObjects,
        published: PublicNames,
        *,
        stdio: bool,
        on_fault: OnFault,
    ) -> None:
        self._store = store
        self._manager = manager
        self._public = public
        self._published = published
        self._stdio = stdio
        self._listed = PublicList()
        self._rows: dict[str, Server] = {}
        self._deleted: dict[str, None] = {}
        self._changing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._feeding = Feeding(manager, guard, self._rows.get, stdio, on_fault)
        self.listeners: list[Listener] = []
        self.written: list[Written] = []

    # Following the store

    async def load(self) -> None:
        """Replace the snapshot by what the store holds, and feed it to LiteLLM."""
        current = {record.server_id: Server.of(record) for record in await self._store.all()}
        gone = [server_id for server_id in self._rows if server_id not in current]
        self._deleted.clear()  # what is read now is the truth, a restored backup included
        changed = [server.server_id for server in current.values() if self._remember(server)]
        for server_id in gone:
            await self._forget(server_id)
        await self._feeding.feed(list(current))
        await self._tell(changed)
        await self.refresh_public()

    async def refresh_public(self) -> None:
        """Take over which of LiteLLM's servers are public, and tell LiteLLM which of all are."""
        self._listed = await self._public.listed()
        self._published.put(self.public_ids())

    async def refresh(self, server_ids: Sequence[str]) -> None:
        """Take over the rows that some worker changed."""
        for server_id in dict.fromkeys(server_ids):
            record = await self._store.get(server_id)
            if record is None:
                await self._forget(server_id)
            elif self._remember(Server.of(record)):
                await self._changed(server_id)
        self._published.put(self.public_ids())

    async def restore(self) -> int:
        """Feed what LiteLLM dropped when it reloaded its own servers; returns how many those were."""
        if not self._published.holds:
            self._published.put(self.public_ids())
        return await self._feeding.restore(list(self._rows.values()))

    def _remember(self, server: Server) -> bool:
        """Take a row over; tells whether it is news."""
        if server.server_id in self._deleted:
            return False  # it was read just before it was deleted
        known = self._rows.get(server.server_id)
        if known is not None and (known.version or 0) > (server.version or 0):
            return False  # the feed may tell of a row after we have written it again
        self._rows[server.server_id] = server
        return known != server

    async def _changed(self, server_id: str) -> None:
        await self._feeding.feed([server_id])
        await self._tell([server_id])

    async def _forget(self, server_id: str) -> None:
        self._deleted[server_id] = None
        while len(self._deleted) > DELETED_KEPT:
            del self._deleted[next(iter(self._deleted))]
        server = self._rows.pop(server_id, None)
        if server is not None:
            await self._feeding.drop(server)
            await self._tell([server_id])

    async def _tell(self, server_ids: Sequence[str]) -> None:
        for listener in self.listeners:
            for server_id in server_ids:
                await listener(server_id)

    # Reading

    def all(self) -> Sequence[Server]:
        """List our servers by age, then LiteLLM's own."""
        ours = sorted(self._rows.values(), key=lambda server: (server.fields["created_at"], server.server_id))
        return [*ours, *(self._stock(fields) for fields in self._manager.stock(self._rows))]

    def public_ids(self) -> tuple[str, ...]:
        """List what is published in the hub: ours, then what LiteLLM declares, then those of LiteLLM's added here."""
        ours = [server.server_id for server in self._rows.values() if server.is_public]
        return tuple(dict.fromkeys((*ours, *self._public_foreign())))

    def _public_foreign(self) -> Sequence[str]:
        declared = () if self._listed.replaces else self._published.declared()
        return [each for each in (*declared, *self._listed.ids) if each not in self._rows]

    def _stock(self, fields: Fields) -> Server:
        return Server(fields, version=None, is_public=str(fields["server_id"]) in self._public_foreign())

    async def find(self, reference: str) -> Server | None:
        """Find a server by id, alias or name; a miss asks the store, so that no worker is ever behind on a new one."""
        server = self.in_memory(reference)
        if server is not None:
            return server
        record = await self._store.get(reference) or await self._store.by_name(reference)
        if record is None:
            return None
        found = Server.of(record)
        if self._remember(found):
            await self._changed(found.server_id)
        return found

    def in_memory(self, reference: str) -> Server | None:
        """Find a server by id, alias or name in this worker's memory alone."""
        server = self._rows.get(reference) or self._named(reference)
        if server is not None:
            return server
        stock = self._manager.find_stock(reference, self._rows)
        return None if stock is None else self._stock(stock)

    def _named(self, reference: str) -> Server | None:
        for field in ("alias", "server_name"):
            for row in self._rows.values():
                if row.fields.get(field) == reference:
                    return row
        return None

    @property
    def count(self) -> int:
        """How many servers are ours."""
        return len(self._rows)

    @property
    def unreadable(self) -> Sequence[str]:
        """Names of the servers whose secrets were sealed with another key."""
        return sorted(server.name for server in self._rows.values() if server.unreadable)

    @property
    def held_back(self) -> Mapping[str, str]:
        """Why servers of ours are not served, by id."""
        return self._feeding.held_back

    # Changing

    async def create(self, config: Fields, author: Author) -> Server:
        """Register a server; raises `InvalidRequest`, `AddressRefused` or, for a name or id in use, LiteLLM's 400."""
        given = config.get("server_id")
        server_id = str(uuid.uuid4()) if given is None else str(given)
        host_servers.parse_whole(config)
        configuration.require_valid(server_id, config, stdio=self._stdio)
        if given is not None and await self._has(server_id):
            raise InvalidRequest({"error": _id_exists(server_id)})
        now = datetime.now(UTC)
        kept, secrets = configuration.split(config)
        record = McpServerRecord(
            server_id=server_id,
            config=kept,
            secrets=secrets,
            created_at=now,
            updated_at=now,
            created_by=author.actor,
            updated_by=author.actor,
        )
        await self._require_acceptable(record)
        try:
            stored = await self._store.create(record, _audit("mcp_server.create", record, author, config))
        except NameTaken as taken:
            raise InvalidRequest({"error": _name_exists(taken)}) from taken
        except Conflict as lost_race:
            raise InvalidRequest({"error": _id_exists(server_id)}) from lost_race
        return await self._written(stored, author)

    async def update(self, reference: str, change: Fields, author: Author, precondition: Precondition) -> Server:
        """Merge into a server what the change names; raises `NotFound`, and as `create`."""
        # This worker's writers queue, so that only other workers' can get in between.
        async with self._changing.setdefault(reference, asyncio.Lock()):
            return await self._attempt(reference, change, author, precondition)

    async def delete(self, reference: str, author: Author, precondition: Precondition) -> Server:
        """Delete a server with what is stored for it; raises `NotFound`."""
        record = await self._record(reference)
        precondition.check(record.version, record.updated_at, "MCP server")
        audit = _audit("mcp_server.delete", record, author, {})
        try:
            await self._store.delete(record.server_id, precondition.version, audit)
        except StaleVersion as stale:
            raise PreconditionFailed(str(stale)) from stale
        await self._forget(record.server_id)
        return Server.of(record)

    async def publish_only(self, references: Sequence[str], author: Author) -> Sequence[str]:
        """Publish exactly these servers in the hub, at once or not at all; returns their ids. Raises `NotFound`."""
        servers = [await self._known(reference) for reference in references]
        ours = {server.server_id for server in servers if server.is_ours}
        ids = list(dict.fromkeys(server.server_id for server in servers))
        audit = AuditEntry(
            actor=author.actor,
            action="mcp_server.make_only_public",
            object_kind=KIND,
            object_id="*",
            request_id=author.request_id,
            details={"server_ids": ids},
        )
        changed = await self._public.replace(ours, [each for each in ids if each not in ours], audit)
        await self.refresh(changed)
        await self.refresh_public()
        return ids

    async def _known(self, reference: str) -> Server:
        server = await self.find(reference)
        if server is None:
            raise NotFound(f"MCP Server with ID {reference} not found")
        return server

    async def _attempt(self, reference: str, change: Fields, author: Author, precondition: Precondition) -> Server:
        for _ in range(_ATTEMPTS):
            current = await self._record(reference)
            precondition.check(current.version, current.updated_at, "MCP server")
            updated = self._updated(current, change, author)
            await self._require_acceptable(updated)
            try:
                stored = await self._store.replace(
                    updated, current.version, _audit("mcp_server.update", updated, author, change)
                )
            except StaleVersion:
                continue  # another writer was first: merge into what they wrote
            except NameTaken as taken:
                raise InvalidRequest({"error": _name_exists(taken)}) from taken
            return await self._written(stored, author)
        raise Conflict(f"MCP server '{reference}' is being changed by too many writers at once; try again")

    def _updated(self, current: McpServerRecord, change: Fields, author: Author) -> McpServerRecord:
        current = configuration.resealed(current, change)
        given = {name: value for name, value in change.items() if name != "server_id"}
        whole = configuration.merged({**current.config, **current.secrets}, given)
        host_servers.parse_whole(whole)
        configuration.require_valid(current.server_id, whole, stdio=self._stdio)
        kept, secrets = configuration.split(whole)
        return replace(
            current,
            config=kept,
            secrets=secrets,
            updated_at=max(datetime.now(UTC), current.updated_at),
            updated_by=author.actor,
        )

    async def _written(self, record: McpServerRecord, author: Author) -> Server:
        server = await self._stored_now(record)
        for listener in self.written:
            listener(server, author)
        return server

    async def _stored_now(self, record: McpServerRecord) -> Server:
        """Let this worker and its LiteLLM see what was committed."""
        server = Server.of(record)
        if self._remember(server):
            await self._changed(server.server_id)
        return server

    async def _record(self, reference: str) -> McpServerRecord:
        """Read a row of ours; raises `LeaveToStock` for a server of LiteLLM's, `NotFound` for none."""
        record = await self._store.get(reference) or await self._store.by_name(reference)
        if record is not None:
            return record
        if self._manager.find_stock(reference, self._rows) is not None:
            raise LeaveToStock
        raise NotFound({"error": f"MCP Server not found, passed server_id={reference}"})

    async def _has(self, server_id: str) -> bool:
        if server_id in self._rows or await self._store.get(server_id) is not None:
            return True
        return any(known == server_id for known, _ in self._manager.stock_names(self._rows))

    async def _require_acceptable(self, record: McpServerRecord) -> None:
        """Refuse names that LiteLLM's own servers have, and addresses that may not be called."""
        try:
            require_free(record.server_id, record.config, self._manager.stock_names({*self._rows, record.server_id}))
        except NameTaken as taken:
            raise InvalidRequest({"error": _name_exists(taken)}) from taken
        await self._feeding.require_allowed(Server.of(record))


def _id_exists(server_id: str) -> str:
    return f"MCP Server with id {server_id} already exists. Cannot create another."


def _name_exists(taken: NameTaken) -> str:
    """Say it in LiteLLM's words."""
    return (
        f"An MCP server with {taken.field} '{taken.value}' already exists (server_id={taken.server_id}). "
        "MCP server names and aliases must be unique, case-insensitive."
    )


def _audit(action: str, record: McpServerRecord, author: Author, config: Mapping[str, Any]) -> AuditEntry:
    return AuditEntry(
        actor=author.actor,
        action=action,
        object_kind=KIND,
        object_id=record.server_id,
        request_id=author.request_id,
        details={"server_name": record.name, "fields": sorted(config)},
    )
