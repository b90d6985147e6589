"""How good choices are on scored prompts: quality and cost against the best single model, the oracle and chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from routeiq_plugin.errors import InvalidRequest
from routeiq_plugin.routing.artifact import Artifact
from routeiq_plugin.routing.dataset import Dataset
from routeiq_plugin.routing.embedding import Embedder
from routeiq_plugin.routing.selection import Calibration, Price
from routeiq_plugin.routing.strategies import quality, registry
from routeiq_plugin.routing.training import Matrices, Progress, cost_weights, matrices, outcome, silently
from routeiq_plugin.settings import Objective

if TYPE_CHECKING:
    from numpy import ndarray

TARGETS: Final = (0.90, 0.92, 0.95, 0.97, 0.98, 1.00)
SHARE_OF_INTEREST: Final = 0.95
_STEPS: Final = 200


@dataclass(frozen=True, slots=True)
class Point:
    """One way to choose; shares are of the best single model's."""

    name: str
    quality: float
    cost: float
    """Mean USD per request; 0 where prices are not known."""
    quality_share: float
    cost_share: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found."""

    artifact: str
    rows: int
    best_single: Point
    points: tuple[Point, ...]
    """The strategy at each objective, then what it is compared with."""
    curve: tuple[tuple[float, float], ...]
    """(cost share, quality share) at every cost weight; one point for a strategy that knows no prices."""
    cost_at_95: float | None
    """Least cost share at .95 of the quality, with the weight picked on these rows: an upper bound, not a promise."""
    apgr: float | None
    """Mean share of the gap between cheapest and best single model that is recovered, over the costs between them."""


def evaluate(
    artifact: Artifact,
    data: Dataset,
    embedder: Embedder,
    prices: Mapping[str, Price] | None,
    *,
    targets: Sequence[float] = TARGETS,
    progress: Progress = silently,
) -> Evaluation:
    """Let an artifact choose for every row.

    The best single model is the one of the training, when the artifact knows it: picking it on these rows would compare
    with something that nobody could have picked. Raises `InvalidRequest` when the rows lack one of its models.
    """
    manifest = artifact.manifest
    lacking = [label for label in manifest.labels if label not in data.models]
    if lacking:
        raise InvalidRequest(f"the data have no scores of {', '.join(lacking)}")
    known = Dataset(manifest.labels, data.rows)
    given = matrices(known, embedder, prices, progress)
    predicted = _predicted(artifact, given, progress)
    best = _best_single(artifact, given)
    reference = (float(given.qualities[:, best].mean()), float(given.costs[:, best].mean()))

    def point(name: str, got: tuple[float, float]) -> Point:
        return Point(name, got[0], got[1], _share(got[0], reference[0]), _share(got[1], reference[1]))

    curve = sorted(
        (each.cost_share, each.quality_share)
        for each in (point("", outcome(predicted, given, weight)) for weight in _weights(artifact))
    )
    return Evaluation(
        artifact=manifest.id,
        rows=len(data.rows),
        best_single=point(f"best single ({manifest.labels[best]})", reference),
        points=(
            *(point(name, outcome(predicted, given, weight)) for name, weight in _objectives(artifact, targets)),
            *_compared(given, point),
        ),
        curve=tuple(curve),
        cost_at_95=min((cost for cost, share in curve if share >= SHARE_OF_INTEREST), default=None),
        apgr=_apgr(curve, point, given),
    )


def _predicted(artifact: Artifact, given: Matrices, progress: Progress) -> ndarray:
    import numpy as np

    predictor = registry.PREDICTORS.get(artifact.manifest.strategy)
    if predictor is None:
        raise InvalidRequest(f"{artifact.manifest.strategy} does not look at prompts, there is nothing to evaluate")
    built = predictor(artifact)
    embedder = artifact.manifest.embedder
    width = 0 if embedder is None else embedder.dim if not embedder.features else given.vectors.shape[1]
    return np.array([built.predict(row[:width]) for row in progress(list(given.vectors), "predicting")])


def _best_single(artifact: Artifact, given: Matrices) -> int:
    known = artifact.manifest.metrics.get("best_single")
    labels = artifact.manifest.labels
    return labels.index(known) if known in labels else int(given.qualities.mean(axis=0).argmax())


def _is_priced(artifact: Artifact) -> bool:
    return artifact.manifest.strategy == quality.NAME


def _weights(artifact: Artifact) -> Sequence[float]:
    return cost_weights() if _is_priced(artifact) else [0.0]


def _objectives(artifact: Artifact, targets: Sequence[float]) -> Sequence[tuple[str, float]]:
    if not _is_priced(artifact):
        return [(artifact.manifest.strategy, 0.0)]
    calibration = Calibration.of(artifact.manifest.params)
    return [
        (f"objective quality {target:g}", calibration.cost_weight_of(Objective(quality=target))) for target in targets
    ]


def _compared(given: Matrices, point: Callable[[str, tuple[float, float]], Point]) -> Sequence[Point]:
    """Return the cheapest model, choosing at random, and the oracle, which takes the cheapest of the best."""
    import numpy as np

    cheapest = int(given.costs.mean(axis=0).argmin())
    rows = np.arange(len(given.qualities))
    ideal = (given.qualities - 1e-6 * given.relative).argmax(axis=1)
    return (
        point("cheapest", (float(given.qualities[:, cheapest].mean()), float(given.costs[:, cheapest].mean()))),
        point("random", (float(given.qualities.mean()), float(given.costs.mean()))),
        point("oracle", (float(given.qualities[rows, ideal].mean()), float(given.costs[rows, ideal].mean()))),
    )


def _apgr(
    curve: Sequence[tuple[float, float]], point: Callable[[str, tuple[float, float]], Point], given: Matrices
) -> float | None:
    """Average performance gap recovered (RouteLLM, arXiv:2406.18665, section 2), generalised to many models.

    Its x axis, the share of calls to the strong model, is here the share of the cost between cheapest and best single.
    """
    cheapest = _compared(given, point)[0]
    weak, low = cheapest.quality_share, cheapest.cost_share
    if weak >= 1 or low >= 1:
        return None
    budgets = [low + (1 - low) * (step + 0.5) / _STEPS for step in range(_STEPS)]
    reached = [max((share for cost, share in curve if cost <= budget), default=weak) for budget in budgets]
    return sum((share - weak) / (1 - weak) for share in reached) / len(reached)


def _share(value: float, of: float) -> float:
    return value / of if of > 0 else 0.0


def table(found: Evaluation) -> str:
    """Write an evaluation for people."""
    lines = [
        f"{found.artifact} on {found.rows} prompts",
        f"{'':<44}{'quality':>9}{'of best':>9}{'cost/1000':>12}{'of best':>9}",
    ]
    for each in (*found.points, found.best_single):
        lines.append(
            f"{each.name:<44}{each.quality:>9.4f}{each.quality_share:>9.3f}"
            f"{each.cost * 1000:>11.4f}${each.cost_share:>9.3f}"
        )
    at_95 = "never" if found.cost_at_95 is None else f"{found.cost_at_95:.3f}"
    lines.append(f"least cost at {SHARE_OF_INTEREST:.0%} quality, weight picked on these rows: {at_95}")
    lines.append(f"APGR: {'not defined' if found.apgr is None else f'{found.apgr:.3f}'}")
    return "\n".join(lines)
