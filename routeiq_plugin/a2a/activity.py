"""Daily activity of agents: LiteLLM's query and shape, answered from our own table, for what the caller may see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from routeiq_plugin.a2a.access import Action, decide
from routeiq_plugin.a2a.directory import AgentDirectory
from routeiq_plugin.errors import InvalidRequest
from routeiq_plugin.host import activity as host_activity
from routeiq_plugin.host.auth import Caller
from routeiq_plugin.store.usage import Owner, Usage, UsageFilter, UsageKey, UsagePage, UsageStore

MODEL: Final = "a2a_agent/"
"""Before an agent's name it is what LiteLLM logs as the model of a call."""
PROVIDER: Final = "a2a_agent"
MAX_PAGE_SIZE: Final = 10_000
"""Rows that one answer may hold; a larger `page_size` reads as this, and `total_pages` says so."""

Fields = dict[str, Any]


class Query(BaseModel):
    """The query of `GET /agent/daily/activity`, LiteLLM's parameters; ids are separated by commas."""

    model_config = ConfigDict(frozen=True)

    agent_ids: str | None = None
    exclude_agent_ids: str | None = None
    start_date: str | None = None
    end_date: str | None = None
    model: str | None = None
    api_key: str | None = None
    page: int = 1
    page_size: int = 10

    def days(self) -> tuple[date, date]:
        """Return the first and the last day; raises LiteLLM's 400."""
        if self.start_date is None or self.end_date is None:
            raise InvalidRequest({"error": "Please provide start_date and end_date"})
        first, last = _day(self.start_date), _day(self.end_date)
        if first is None or last is None:
            raise InvalidRequest({"error": "start_date and end_date must be valid YYYY-MM-DD dates"})
        return first, last

    def window(self) -> tuple[int, int]:
        """Return how many rows to skip and how many to read; raises LiteLLM's 400."""
        if self.page < 1 or self.page_size < 1:
            raise InvalidRequest(f"page and page_size must be >= 1, got page={self.page}, page_size={self.page_size}")
        size = min(self.page_size, MAX_PAGE_SIZE)
        return (self.page - 1) * size, size


class Activity:
    """Answers the query for a caller."""

    def __init__(self, store: UsageStore, directory: AgentDirectory) -> None:
        self._store = store
        self._directory = directory

    async def report(self, caller: Caller, query: Query) -> Fields:
        """Render one page of rows, newest day first, as LiteLLM does: totals are those of the page.

        Admins and admin viewers see everything. Others see what they and their team did, and the sums of the agents
        that are granted to them; of other callers no key, user or team is named. Raises `InvalidRequest`,
        `Unavailable`.
        """
        first, last = query.days()
        offset, size = query.window()
        owner = None if caller.has_admin_view or caller.is_admin else _owner(caller)
        page = UsagePage((), 0)
        if query.model is None or query.model.startswith(MODEL):
            wanted = UsageFilter(
                first=first,
                last=last,
                agent_ids=query.agent_ids.split(",") if query.agent_ids else None,
                without_agent_ids=query.exclude_agent_ids.split(",") if query.exclude_agent_ids else (),
                api_key=query.api_key or None,
                agent_name=None if query.model is None else query.model.removeprefix(MODEL),
                owner=owner,
                open_agent_ids=() if owner is None else await self._open(caller),
            )
            page = await self._store.page(wanted, offset=offset, limit=size)
        paging = {
            "page": query.page,
            "total_pages": -(-page.total // size),
            "has_more": offset + size < page.total,
        }
        return host_activity.answer(_days(page.rows, owner), _totals(page.rows) | paging)

    async def _open(self, caller: Caller) -> Sequence[str]:
        grants = await caller.agent_grants()
        return [
            agent.agent_id
            for agent in self._directory.all()
            if decide(caller, grants, agent, Action.ANALYSE, default="deny")
        ]


def _day(text: str) -> date | None:
    """Read exactly YYYY-MM-DD, as LiteLLM does; other spellings of ISO 8601 are no date here."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if day.isoformat() == text else None


def _owner(caller: Caller) -> Owner:
    return Owner(caller.key_hash, caller.user_id or "", caller.team_id or "")


class _Sums(dict[str, Any]):
    """A node of LiteLLM's breakdown: metrics added up, and below them the keys that the caller may know."""

    def __init__(self, **metadata: Any) -> None:
        super().__init__(metrics=defaultdict(float), metadata=metadata, api_key_breakdown={})

    def add(self, key: UsageKey, usage: Usage, owner: Owner | None) -> None:
        _add(self["metrics"], usage)
        _add_key(self["api_key_breakdown"], key, usage, owner)


def _days(rows: Iterable[tuple[UsageKey, Usage]], owner: Owner | None) -> list[Fields]:
    days: dict[date, Fields] = {}
    for key, usage in rows:
        day = days.setdefault(key.day, {"date": key.day, "metrics": defaultdict(float), "breakdown": {}})
        _add(day["metrics"], usage)
        model = MODEL + usage.agent_name
        for kind, name, metadata in (
            ("models", model, {}),
            ("model_groups", model, {}),
            ("providers", PROVIDER, {}),
            ("endpoints", key.method, {}),
            ("entities", key.agent_id, {"agent_name": usage.agent_name}),
        ):
            nodes = day["breakdown"].setdefault(kind, {})
            nodes.setdefault(name, _Sums(**metadata)).add(key, usage, owner)
        _add_key(day["breakdown"].setdefault("api_keys", {}), key, usage, owner)
    return list(days.values())


def _add_key(nodes: dict[str, Fields], key: UsageKey, usage: Usage, owner: Owner | None) -> None:
    if owner is not None and not owner.owns(key):
        return  # counted in the sums above; whose it is stays theirs
    metadata = {"key_alias": usage.key_alias, "user_id": key.user_id or None, "team_id": key.team_id or None}
    node = nodes.setdefault(key.api_key, {"metrics": defaultdict(float), "metadata": metadata})
    _add(node["metrics"], usage)


def _add(metrics: dict[str, float], usage: Usage) -> None:
    for name, amount in _metrics(usage).items():
        metrics[name] += amount


def _metrics(usage: Usage) -> Mapping[str, float]:
    return {
        "spend": usage.spend,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "successful_requests": usage.successful_requests,
        "failed_requests": usage.failed_requests,
        "api_requests": usage.successful_requests + usage.failed_requests,
        "total_response_time_ms": round(usage.response_seconds * 1000),
        "timed_requests": usage.timed_requests,
    }


def _totals(rows: Iterable[tuple[UsageKey, Usage]]) -> Fields:
    """Name the sums as LiteLLM's metadata does."""
    sums: dict[str, float] = defaultdict(float)
    for _, usage in rows:
        _add(sums, usage)
    return {name if name.startswith("total_") else f"total_{name}": amount for name, amount in sums.items()}
