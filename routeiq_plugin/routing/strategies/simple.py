"""Strategies that look at no prompt: in turn, by price, by latency, by size."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Final

from routeiq_plugin.errors import ArtifactRefused
from routeiq_plugin.routing.selection import ANSWER_TOKENS
from routeiq_plugin.routing.strategy import Candidate, Query, Ranking, StrategySpec

_SIZE: Final = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([bmt])(?![a-z0-9])", re.IGNORECASE)
_BILLIONS: Final[Mapping[str, float]] = {"m": 1e-3, "b": 1.0, "t": 1e3}


class RoundRobin:
    """Each candidate in turn, per worker."""

    inline = True

    def __init__(self, spec: StrategySpec) -> None:
        self._turn = itertools.count()

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """Begin one further than last time."""
        start = next(self._turn) % len(candidates)
        names = [each.model for each in candidates]
        return Ranking(tuple(names[start:] + names[:start]))


class Cheapest:
    """By the price of this request; where LiteLLM knows no price, last."""

    inline = True

    def __init__(self, spec: StrategySpec) -> None:
        pass

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """Order by what prompt and a usual answer would cost."""
        costs = {
            each.model: each.input_price * query.tokens + each.output_price * ANSWER_TOKENS
            for each in candidates
            if each.input_price is not None and each.output_price is not None
        }
        return Ranking(tuple(sorted(costs, key=costs.__getitem__)), {model: -cost for model, cost in costs.items()})


class Fastest:
    """By the time until the first byte that this worker saw lately; those that it has not seen first."""

    inline = True

    def __init__(self, spec: StrategySpec) -> None:
        pass

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """Order by moving averages."""
        seconds = {each.model: each.latency_seconds or 0.0 for each in candidates}
        return Ranking(
            tuple(sorted(seconds, key=seconds.__getitem__)), {model: -value for model, value in seconds.items()}
        )


class BySize:
    """By the number of parameters: what the artifact says, else what stands in the model's name (`llama-70b`)."""

    inline = True

    def __init__(self, spec: StrategySpec, *, largest: bool) -> None:
        self._sign = -1 if largest else 1
        told = spec.artifact.manifest.params.get("sizes", {}) if spec.artifact else {}
        try:
            self._sizes = {str(model): float(size) for model, size in told.items()}
        except (AttributeError, TypeError, ValueError):
            raise ArtifactRefused("params.sizes must map models to billions of parameters") from None

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """Order by size; models whose size is not known come last."""
        sizes = {each.model: size for each in candidates if (size := self._size(each)) is not None}
        return Ranking(tuple(sorted(sizes, key=lambda model: self._sign * sizes[model])), sizes)

    def _size(self, candidate: Candidate) -> float | None:
        known = self._sizes.get(candidate.model)
        return known if known is not None else size_of(candidate.model, candidate.provider_model)


def size_of(*names: str) -> float | None:
    """Read billions of parameters from the first name that tells them, `qwen2.5-7b` or `x-500m`."""
    for name in names:
        found = _SIZE.search(name)
        if found:
            return float(found[1]) * _BILLIONS[found[2].lower()]
    return None
