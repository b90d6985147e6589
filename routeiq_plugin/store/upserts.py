"""INSERT in the dialect of a database, which knows `on_conflict_do_update`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from routeiq_plugin.store.location import Kind


def insert(kind: Kind, table: Any) -> Any:
    """Begin the statement; the other database's dialect, which takes long to import, never is."""
    return import_module(f"sqlalchemy.dialects.{kind}").insert(table)
