"""Our fallbacks before the operator's and the client's, in LiteLLM's format for a single request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from routeiq_plugin.routing.decision import Decision


def merged(decision: Decision, client: object, configured: Sequence[Any]) -> list[Any]:
    """Return a list of model names (and of the client's `{model, ...}` objects), each name once, the chosen not at all.

    LiteLLM takes a request's `fallbacks` instead of the configured ones, so those are spelt out here: what stands for
    the chosen group, else for the alias, else for `*`.
    """
    listed = [*decision.fallbacks, *_client(client, decision), *_for_group(configured, decision)]
    seen = {decision.model}
    kept: list[Any] = []
    for target in listed:
        name = target if isinstance(target, str) else None
        if name is None or name not in seen:
            kept.append(target)
        if name is not None:
            seen.add(name)
    return kept


def _client(client: object, decision: Decision) -> Iterator[Any]:
    if not isinstance(client, list):
        return
    groups = [each for each in client if isinstance(each, Mapping) and "model" not in each]
    yield from (each for each in client if isinstance(each, str) or (isinstance(each, Mapping) and "model" in each))
    yield from _for_group(groups, decision)


def _for_group(entries: Sequence[Any], decision: Decision) -> Sequence[Any]:
    for name in (decision.model, decision.alias, "*"):
        for entry in entries:
            targets = entry.get(name) if isinstance(entry, Mapping) else None
            if isinstance(targets, list):
                return targets
    return ()
