"""LiteLLM's `?query=`: agents ranked by how much of a task description their cards mention (words, no embedding)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from routeiq_plugin.a2a.model import Agent

_WORD = re.compile(r"\w+")


def ranked(agents: Sequence[Agent], query: str, top_k: int) -> Sequence[Agent]:
    """Return at most `top_k` agents, best first, with `search_score` in 0..1: the share of the query's words met."""
    wanted = _words(query)
    if not wanted:
        return []
    scored = [(len(wanted & _words(" ".join(_texts(agent)))) / len(wanted), agent) for agent in agents]
    best = sorted((pair for pair in scored if pair[0] > 0), key=lambda pair: -pair[0])[:top_k]
    return [replace(agent, fields={**agent.fields, "search_score": score}) for score, agent in best]


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold()))


def _texts(agent: Agent) -> Iterator[str]:
    yield agent.name
    yield from _strings([agent.card.get(key) for key in ("name", "description", "skills")])


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _strings(list(value.values()))
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
