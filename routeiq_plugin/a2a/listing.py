"""Lists of tasks that show a caller its own: the backend's pages are read until one of ours is full."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from a2a.types.a2a_pb2 import ListTasksRequest, ListTasksResponse, Task
from a2a.utils.constants import DEFAULT_LIST_TASKS_PAGE_SIZE, MAX_LIST_TASKS_PAGE_SIZE
from a2a.utils.errors import InvalidParamsError

from routeiq_plugin.a2a.services import Sealer
from routeiq_plugin.a2a.tasks import TaskCaller, TaskOwnership, a_task
from routeiq_plugin.errors import CannotOpen

MAX_PAGES: Final = 50
"""Pages of the backend that one list reads. Where others have very many tasks a page of ours may come out short, with
a token for the rest, and `totalSize` then counts what was found that far."""

Fetch = Callable[[ListTasksRequest], Awaitable[ListTasksResponse]]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a list goes on: the backend's page, and how many of its tasks were used before."""

    token: str = ""
    size: int = 0
    used: int = 0
    total: int | None = None
    """Counted with the first page, and kept for those after it."""


@dataclass(frozen=True, slots=True)
class OwnTasks:
    """Lists the tasks of one caller of one agent."""

    agent_id: str
    caller: TaskCaller
    ownership: TaskOwnership
    sealer: Sealer

    async def page(self, params: ListTasksRequest, fetch: Fetch) -> ListTasksResponse:
        """Return a page of at most `page_size` own tasks; raises `InvalidParamsError` for a token of another list."""
        size = params.page_size if params.HasField("page_size") else DEFAULT_LIST_TASKS_PAGE_SIZE
        if not 1 <= size <= MAX_LIST_TASKS_PAGE_SIZE:
            raise InvalidParamsError(message=f"pageSize must be 1 to {MAX_LIST_TASKS_PAGE_SIZE}")
        place: _Place | None = self._read(params.page_token) if params.page_token else _Place(size=size)
        answer = ListTasksResponse(page_size=size)
        pages = 0
        while place is not None and len(answer.tasks) < size and pages < MAX_PAGES:
            place = await self._fill(answer, size, place, params, fetch)
            pages += 1
        first = not params.page_token
        total = len(answer.tasks) if first else self._read(params.page_token).total or len(answer.tasks)
        if place is not None:
            if first:
                total += await self._count(place, params, fetch, MAX_PAGES - pages)
            answer.next_page_token = self._sealed(place, total)
        answer.total_size = total
        return answer

    async def _fill(
        self, answer: ListTasksResponse, size: int, place: _Place, params: ListTasksRequest, fetch: Fetch
    ) -> _Place | None:
        """Add own tasks of the backend's page at `place`; returns where to go on, None at the end."""
        found = await fetch(_request(params, place))
        tasks = list(found.tasks)
        own = await self._own([each.id for each in tasks])
        for position, each in enumerate(tasks[place.used :], start=place.used):
            if len(answer.tasks) == size:
                return _Place(place.token, place.size, position)
            if each.id in own:
                answer.tasks.append(each)
        if not found.next_page_token:
            return None
        return _Place(found.next_page_token, MAX_LIST_TASKS_PAGE_SIZE)

    async def _count(self, place: _Place | None, params: ListTasksRequest, fetch: Fetch, pages: int) -> int:
        """Count own tasks from `place` on, reading as little of each as the backend offers."""
        bare = ListTasksRequest()
        bare.CopyFrom(params)
        bare.history_length = 0
        bare.include_artifacts = False
        counted = 0
        while place is not None and pages > 0:
            found = await fetch(_request(bare, place))
            rest: Sequence[Task] = list(found.tasks)[place.used :]
            own = await self._own([each.id for each in rest])
            counted += sum(each.id in own for each in rest)
            pages -= 1
            place = _Place(found.next_page_token, MAX_LIST_TASKS_PAGE_SIZE) if found.next_page_token else None
        return counted

    async def _own(self, task_ids: Sequence[str]) -> set[str]:
        owners = await self.ownership.owners(self.agent_id, [a_task(each) for each in task_ids])
        return {each.id for each, owner in owners.items() if owner == self.caller.owner}

    def _sealed(self, place: _Place, total: int) -> str:
        told = [self.agent_id, self.caller.owner, place.token, place.size, place.used, total]
        return self.sealer.seal(json.dumps(told))

    def _read(self, token: str) -> _Place:
        try:
            agent_id, owner, backend_token, size, used, total = json.loads(self.sealer.open(token))
        except (CannotOpen, ValueError, TypeError):
            raise InvalidParamsError(message="pageToken is not one of this list") from None
        if (agent_id, owner) != (self.agent_id, self.caller.owner):
            raise InvalidParamsError(message="pageToken is not one of this list")
        return _Place(backend_token, size, used, total)


def _request(params: ListTasksRequest, place: _Place) -> ListTasksRequest:
    request = ListTasksRequest()
    request.CopyFrom(params)
    request.page_token = place.token
    request.page_size = place.size
    return request
