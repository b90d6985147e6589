"""Strategies of another package, brought in by entry points: one that stalls, one that fails, one that works."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from routeiq_plugin import Strategy
from routeiq_plugin.routing.strategy import Candidate, Query, Ranking, StrategySpec


class Stalling:
    """Never answers in time."""

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """Wait for what does not come, and end at last so that the process can."""
        threading.Event().wait(5)
        return Ranking((candidates[0].model,))


class Failing:
    """Never answers."""

    inline = True

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """Raise."""
        raise LookupError("no idea")


class ByName:
    """Orders by name, backwards."""

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """Order."""
        return Ranking(tuple(sorted((each.model for each in candidates), reverse=True)))


def stalling(spec: StrategySpec) -> Strategy:
    """Build."""
    return Stalling()


def failing(spec: StrategySpec) -> Strategy:
    """Build."""
    return Failing()


def by_name(spec: StrategySpec) -> Strategy:
    """Build."""
    return ByName()
