"""From predicted qualities and prices to an order of models."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from routeiq_plugin.errors import ArtifactRefused
from routeiq_plugin.settings import Objective

ANSWER_TOKENS: Final = 200
"""Length of an answer that prices are compared for; the calibration assumes the same."""


@dataclass(frozen=True, slots=True)
class Price:
    """USD per token."""

    input: float
    output: float

    def of(self, prompt_tokens: float, answer_tokens: float = ANSWER_TOKENS) -> float:
        """Cost of one request."""
        return self.input * prompt_tokens + self.output * answer_tokens


def relative_costs(prices: Mapping[str, Price], prompt_tokens: float) -> Mapping[str, float]:
    """Return each model's cost as a share of the dearest one's, for the same request; all 0 where nothing costs."""
    costs = {model: price.of(prompt_tokens) for model, price in prices.items()}
    dearest = max(costs.values(), default=0.0)
    return {model: cost / dearest if dearest > 0 else 0.0 for model, cost in costs.items()}


def by_value(quality: Mapping[str, float], costs: Mapping[str, float], cost_weight: float) -> Sequence[str]:
    """Order by predicted quality less `cost_weight` times the relative cost; of equals the cheaper first."""
    return sorted(
        quality, key=lambda model: (-(quality[model] - cost_weight * costs.get(model, 0.0)), costs.get(model, 0.0))
    )


@dataclass(frozen=True, slots=True)
class Calibration:
    """Which cost weight keeps which share of the best single model's quality, as found on validation data."""

    quality: tuple[float, ...]
    """Rising."""
    cost_weight: tuple[float, ...]

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Calibration:
        """Read `params.calibration`; raises `ArtifactRefused`."""
        rows = params.get("calibration")
        try:
            pairs = sorted((float(row["quality"]), float(row["cost_weight"])) for row in rows or ())
        except (TypeError, KeyError, ValueError):
            raise ArtifactRefused("params.calibration must be a list of {quality, cost_weight}") from None
        return cls(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))

    def cost_weight_of(self, objective: Objective) -> float:
        """Return the weight for an objective; a quality beyond the calibrated ones takes the most careful weight."""
        if objective.cost_weight is not None:
            return objective.cost_weight
        if not self.quality:
            return 0.0
        at = bisect_left(self.quality, (objective.quality or 1.0) - 1e-9)
        return self.cost_weight[min(at, len(self.cost_weight) - 1)]
