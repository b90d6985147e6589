"""What operators want to know about the store, also while it is away."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import select

from routeiq_plugin.errors import RouteIQError
from routeiq_plugin.store import schema
from routeiq_plugin.store.engine import Database
from routeiq_plugin.store.location import Kind
from routeiq_plugin.store.tables import MetaRow, RevisionRow


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """Facts for `/router/info`; `safe_url` and `error` name hosts and paths: for admins only."""

    kind: Kind
    safe_url: str
    reachable: bool
    schema_head: str
    """The schema that this version of the package works with."""
    schema_revision: str | None = None
    data_revision: int | None = None
    """Grows by one with every write of any worker."""
    store_id: str | None = None
    """Tells this database from another one."""
    error: str | None = None


async def status(database: Database) -> StoreStatus:
    """Ask the database; never raises, an outage is an answer too."""
    try:
        async with database.read() as session:
            revision = (await session.exec(select(RevisionRow.revision))).one_or_none()
            store_id = (await session.exec(select(MetaRow.value).where(MetaRow.key == "store_id"))).one_or_none()
        return StoreStatus(
            kind=database.kind,
            safe_url=database.safe_url,
            reachable=True,
            schema_head=schema.HEAD,
            schema_revision=await database.schema_revision(),
            data_revision=revision,
            store_id=store_id,
        )
    except RouteIQError as error:
        return StoreStatus(
            kind=database.kind,
            safe_url=database.safe_url,
            reachable=False,
            schema_head=schema.HEAD,
            error=str(error),
        )
