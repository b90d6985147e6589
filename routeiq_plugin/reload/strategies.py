"""`POST /router/reload`: strategies and artifacts, one by name or all, whoever offers them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from routeiq_plugin.appliers import Reloadable
from routeiq_plugin.errors import NotFound, RouteIQError
from routeiq_plugin.reload.journal import OnFault
from routeiq_plugin.reload.schemas import StrategyAnswer
from routeiq_plugin.store.strategies import EVERY


async def reload_strategies(reloadables: Sequence[Reloadable], name: str | None, generation: int) -> StrategyAnswer:
    """Reload one, or all; one that fails keeps serving its old self. Raises `NotFound` for an unknown name."""
    owners = {known: reloadable for reloadable in reloadables for known in reloadable.names()}
    if name is not None and name not in owners:
        raise NotFound(f"No strategy {name!r}; there are: {', '.join(sorted(owners)) or 'none'}")
    answer = StrategyAnswer(status="success", reloaded=[], errors=[], generation=generation)
    for each in [name] if name is not None else sorted(owners):
        try:
            facts = await owners[each].reload(each)
            answer.reloaded.append({"strategy": each, **facts})
        except RouteIQError as error:
            answer.errors.append({"strategy": each, "error": str(error.detail)})
    if answer.errors:
        answer.status = "partial" if answer.reloaded else "failed"
    return answer


async def tell_others(
    answer: StrategyAnswer, name: str | None, tell: Callable[[], Awaitable[None]], on_fault: OnFault
) -> None:
    """Let the other workers do the same; while they cannot be told, what this one has loaded serves here alone."""
    try:
        await tell()
    except RouteIQError as away:
        on_fault("telling the other workers to load strategies", away)
        told = f"The other workers were not told: {away.detail}"
        answer.errors.append({"strategy": name or EVERY, "error": told})
        if answer.status == "success":
            answer.status = "partial"
