"""Bodies of the reload routes: what is asked, and what is answered."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from routeiq_plugin.errors import InvalidFields, MalformedBody


class Body(BaseModel):
    """A request body: an unknown field is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")


Asked = TypeVar("Asked", bound=Body)


def parse_body(shape: type[Asked], body: bytes) -> Asked:
    """Read a request body; none at all means every default. Raises `MalformedBody` and `InvalidFields`."""
    if not body.strip():
        return shape()
    try:
        return shape.model_validate_json(body)
    except ValidationError as invalid:
        errors = invalid.errors(include_input=False, include_url=False, include_context=False)
        if any(error["type"] == "json_invalid" for error in errors):
            raise MalformedBody("The request body is not valid JSON") from None
        raise InvalidFields([{**error, "loc": ["body", *error["loc"]]} for error in errors]) from None


class ReloadBody(Body):
    """Of `POST /config/reload`."""

    force_sync: bool = False
    """Fetch the source although it seems unchanged, and apply also what was pinned as rejected."""
    dry_run: bool = False
    """Tell what would change, and change nothing."""


class RollbackBody(Body):
    """Of `POST /config/rollback`."""

    generation: int | None = Field(default=None, ge=1)
    """Which to return to; the one before the current when left out."""
    dry_run: bool = False


class StrategyBody(Body):
    """Of `POST /router/reload`."""

    strategy: str | None = None
    """One by name; all when left out."""


class DiffAnswer(BaseModel):
    """Dotted paths of what differs."""

    added: list[str]
    removed: list[str]
    changed: list[str]
    restart_required: list[str]
    ignored: list[str]


class ReloadAnswer(BaseModel):
    """Of `POST /config/reload` and `/config/rollback`."""

    status: Literal["applied", "unchanged", "pinned", "valid"]
    message: str
    generation: int
    hash: str | None
    synced_from_remote: bool
    """Whether what a remote source holds was applied just now."""
    diff: DiffAnswer


class StrategyAnswer(BaseModel):
    """Of `POST /router/reload`."""

    status: Literal["success", "partial", "failed"]
    reloaded: list[dict[str, Any]]
    errors: list[dict[str, str]]
    generation: int


class HistoryEntry(BaseModel):
    """One generation, without its content."""

    generation: int
    origin: str
    hash: str
    applied_at: datetime
    actor: str | None
    source: str | None
    worker: str
    diff: dict[str, Any]
    current: bool


class HistoryAnswer(BaseModel):
    """Of `GET /config/history`, newest first."""

    generations: list[HistoryEntry]
