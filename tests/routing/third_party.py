"""Strategies of another package, brought in by entry points: stalling, failing, working, and doing as told."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

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


class Moody:
    """Fails as the header `x-mood` says; without it the first by name, `large`."""

    inline = True
    _moods: Mapping[str, type[Exception]] = {"late": TimeoutError, "broken": LookupError}

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """Raise or order."""
        mood = self._moods.get(query.headers.get("x-mood", ""))
        if mood is not None:
            raise mood
        return Ranking(tuple(sorted(each.model for each in candidates)))


def moody(spec: StrategySpec) -> Strategy:
    """Build."""
    return Moody()


def stalling(spec: StrategySpec) -> Strategy:
    """Build."""
    return Stalling()


def failing(spec: StrategySpec) -> Strategy:
    """Build."""
    return Failing()


def by_name(spec: StrategySpec) -> Strategy:
    """Build."""
    return ByName()
