"""Trains `quality` from scored prompts; whatever is chosen is chosen on held-out folds.

Folds, not a split: every row is predicted by a model that never saw it, so that all calibrate and all are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from routeiq_plugin.errors import InvalidRequest
from routeiq_plugin.routing.artifact import SELFTEST_EXPECTED, SELFTEST_INPUT, Draft
from routeiq_plugin.routing.dataset import Dataset
from routeiq_plugin.routing.embedding import Embedder
from routeiq_plugin.routing.features import VERSION, features
from routeiq_plugin.routing.selection import ANSWER_TOKENS, Price
from routeiq_plugin.routing.strategies import quality
from routeiq_plugin.routing.strategies.learned import Predictor
from routeiq_plugin.routing.strategies.quality import QualityPredictor, Ridge, Scaling
from routeiq_plugin.routing.tokens import estimated_tokens

if TYPE_CHECKING:
    from numpy import ndarray

FOLDS: Final = 5
REPEATS: Final = 3
"""Partitions into folds: what is chosen must not hang on one of them."""
MARGIN: Final = 0.02
"""Added to a quality target when it is calibrated: targets met on held-out rows are missed elsewhere by some points."""
NEIGHBOURS: Final = (30, 60, 100, 150)
FEATURE_WEIGHTS: Final = (0.1, 0.15, 0.2, 0.3)
RIDGE_SHARES: Final = (0.0, 0.3)
RIDGE_PENALTY: Final = 3.0
TIE: Final = 0.05
"""Costs that differ by less are equal: of those the simplest predictor is taken."""
TARGETS: Final = tuple(share / 100 for share in range(94, 103))
"""Shares of the best single model's quality at which candidates of `_chosen` are compared."""
SELFTESTS: Final = 8
MIN_ROWS: Final = 50
_BLOCK: Final = 512

Progress = Callable[[Sequence[Any], str], Iterator[Any]]


@dataclass(frozen=True, slots=True)
class Matrices:
    """A data set as numbers."""

    vectors: ndarray
    """(n, dim + features), raw."""
    qualities: ndarray
    """(n, models)."""
    costs: ndarray
    """(n, models), USD; zeros where prices are not known."""
    relative: ndarray
    """(n, models): share of the dearest model's cost."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the folds were asked to decide."""

    k: int
    feature_weight: float
    ridge_share: float


def silently(items: Sequence[Any], _title: str) -> Iterator[Any]:
    """Show no progress."""
    return iter(items)


def matrices(
    data: Dataset, embedder: Embedder, prices: Mapping[str, Price] | None, progress: Progress = silently
) -> Matrices:
    """Embed and describe every prompt; raises `InvalidRequest` when a model has no price while others do."""
    import numpy as np

    if prices is not None and (absent := [model for model in data.models if model not in prices]):
        raise InvalidRequest(f"no price for {', '.join(absent)}")
    vectors = np.array(
        [np.concatenate((embedder.embed(text), features(text))) for text in progress(data.queries, "embedding")],
        dtype=np.float32,
    )
    qualities = np.array([[row.scores[model] for model in data.models] for row in data.rows], dtype=np.float32)
    tokens = np.array([estimated_tokens(text) for text in data.queries], dtype=float)
    per_token = np.array(
        [[prices[model].input, prices[model].output] if prices else (0.0, 0.0) for model in data.models]
    )
    costs = tokens[:, None] * per_token[:, 0] + ANSWER_TOKENS * per_token[:, 1]
    dearest = costs.max(axis=1, keepdims=True)
    return Matrices(vectors, qualities, costs, np.divide(costs, dearest, out=np.zeros_like(costs), where=dearest > 0))


def train_quality(
    data: Dataset,
    embedder: Embedder,
    prices: Mapping[str, Price] | None,
    *,
    name: str,
    seed: int = 0,
    margin: float = MARGIN,
    progress: Progress = silently,
) -> Draft:
    """Train the strategy `quality`; raises `InvalidRequest` for data that are too few."""
    if len(data.rows) < MIN_ROWS:
        raise InvalidRequest(f"{len(data.rows)} prompts are too few, give at least {MIN_ROWS}")
    given = matrices(data, embedder, prices, progress)
    choice, predicted, explained = _chosen(given, seed, progress)
    best = int(given.qualities.mean(axis=0).argmax())
    calibration = calibrate(predicted, _repeated(given), best, margin)
    predictor, tensors = _fitted(given, choice)
    return Draft(
        name=name,
        strategy=quality.NAME,
        labels=data.models,
        tensors={**tensors, **selftest(given.vectors, predictor, seed)},
        embedder=embedder.identity,
        features=VERSION,
        params={
            "k": choice.k,
            "feature_weight": choice.feature_weight,
            "ridge_share": choice.ridge_share,
            "calibration": calibration,
            "prices": {
                model: {"input": price.input, "output": price.output}
                for model, price in (prices or {}).items()
                if model in data.models
            },
        },
        training={
            "rows": len(data.rows),
            "duplicates": data.duplicates,
            "incomplete": data.incomplete,
            "folds": FOLDS,
            "seed": seed,
            "margin": margin,
        },
        metrics={
            "explained_variance": round(explained, 4),
            "best_single": data.models[best],
            "best_single_quality": round(float(given.qualities[:, best].mean()), 4),
            "oracle_quality": round(float(given.qualities.max(axis=1).mean()), 4),
        },
    )


def calibrate(
    predicted: ndarray, given: Matrices, best: int, margin: float, targets: Sequence[float] = ()
) -> list[dict[str, float]]:
    """Find, for each share of the best single model's quality, the cost weight that keeps it for the least money.

    `predicted` are held-out predictions, (n, models). A share that no weight keeps gets the cheapest of those with the
    best quality.
    """
    weights = cost_weights()
    curve = [outcome(predicted, given, weight) for weight in weights]
    reference = max(float(given.qualities[:, best].mean()), 1e-9)
    finest = max(range(len(curve)), key=lambda at: (curve[at][0], -curve[at][1]))
    table = []
    for target in targets or tuple(share / 100 for share in range(70, 101)):
        kept = [at for at, (got, _) in enumerate(curve) if got / reference >= target + margin]
        at = min(kept, key=lambda at: curve[at][1]) if kept else finest
        table.append(
            {
                "quality": target,
                "cost_weight": round(float(weights[at]), 6),
                "held_out_quality": round(curve[at][0] / reference, 4),
                "held_out_cost": round(curve[at][1] / max(float(given.costs[:, best].mean()), 1e-12), 4),
            }
        )
    return table


def cost_weights() -> Sequence[float]:
    """Return the weights that are tried, from none to one that always takes the cheapest."""
    import numpy as np

    return [0.0, *np.geomspace(0.002, 10.0, 120).tolist()]


def outcome(predicted: ndarray, given: Matrices, cost_weight: float) -> tuple[float, float]:
    """Return the mean quality and the mean cost in USD of choosing with a weight."""
    import numpy as np

    chosen = (predicted - cost_weight * given.relative).argmax(axis=1)
    rows = np.arange(len(chosen))
    return float(given.qualities[rows, chosen].mean()), float(given.costs[rows, chosen].mean())


def _chosen(given: Matrices, seed: int, progress: Progress) -> tuple[Choice, ndarray, float]:
    """Try every combination on the folds; returns the best, its held-out predictions, and their R squared.

    The best is the one whose choices cost least for the same quality: predictions that explain more variance do not
    choose better (seen on LLMRouter's data: mixing in ridge explains more and costs a fifth more).
    """
    import numpy as np

    rng, rows = np.random.default_rng(seed), len(given.vectors)
    partitions = [np.array_split(rng.permutation(rows), FOLDS) for _ in range(REPEATS)]
    trials = [(weight, at, fold) for weight in FEATURE_WEIGHTS for at, folds in enumerate(partitions) for fold in folds]
    asked = _repeated(given)
    held_out: dict[Choice, ndarray] = {}
    for weight, at, fold in progress(trials, "folds"):
        rest = np.setdiff1d(np.arange(rows), fold, assume_unique=True)
        for choice, predicted in _on_fold(given, rest, fold, weight).items():
            held_out.setdefault(choice, np.empty_like(asked.qualities))[fold + at * rows] = predicted
    spread = float(((asked.qualities - asked.qualities.mean(axis=0)) ** 2).sum()) or 1.0
    explained = {
        choice: 1 - float(((predicted - asked.qualities) ** 2).sum()) / spread for choice, predicted in held_out.items()
    }
    costs = {choice: _cost_of_quality(predicted, asked) for choice, predicted in held_out.items()}
    near = [choice for choice, cost in costs.items() if cost <= min(costs.values()) * (1 + TIE)]
    best = min(near, key=lambda choice: (choice.ridge_share, costs[choice], -explained[choice]))
    return best, held_out[best], explained[best]


def _repeated(given: Matrices) -> Matrices:
    """Return the rows once per partition, to be compared with the predictions of all."""
    import numpy as np

    times = (REPEATS, 1)
    return Matrices(
        given.vectors, np.tile(given.qualities, times), np.tile(given.costs, times), np.tile(given.relative, times)
    )


def _cost_of_quality(predicted: ndarray, given: Matrices) -> float:
    """Return the mean, over `TARGETS`, of the least share of the best single model's cost that reaches them."""
    best = int(given.qualities.mean(axis=0).argmax())
    quality_of_best = max(float(given.qualities[:, best].mean()), 1e-9)
    cost_of_best = max(float(given.costs[:, best].mean()), 1e-12)
    curve = [outcome(predicted, given, weight) for weight in cost_weights()[::3]]
    dearest = float(given.costs.mean(axis=0).max())
    least = [
        min((cost for got, cost in curve if got >= target * quality_of_best), default=dearest) for target in TARGETS
    ]
    return sum(least) / len(least) / cost_of_best


def _on_fold(given: Matrices, rest: ndarray, fold: ndarray, weight: float) -> dict[Choice, ndarray]:
    import numpy as np

    scaling = _scaling(given.vectors[rest], weight)
    points, asked = scaling.point(given.vectors[rest]), scaling.point(given.vectors[fold])
    ridge = _ridge(points, given.qualities[rest])
    linear = asked @ ridge.weights + ridge.bias
    nearest = _nearest(points, asked, min(max(NEIGHBOURS), len(rest)))
    found: dict[Choice, ndarray] = {}
    for k in NEIGHBOURS:
        near = given.qualities[rest][nearest[:, :k]].mean(axis=1)
        for share in RIDGE_SHARES:
            found[Choice(k, weight, share)] = np.asarray((1 - share) * near + share * linear)
    return found


def _nearest(points: ndarray, asked: ndarray, k: int) -> ndarray:
    """Return the indices of the k most similar points of each, the most similar first."""
    import numpy as np

    blocks = []
    for start in range(0, len(asked), _BLOCK):
        similar = asked[start : start + _BLOCK] @ points.T
        top = np.argpartition(similar, similar.shape[1] - k, axis=1)[:, -k:]
        order = np.argsort(-np.take_along_axis(similar, top, axis=1), axis=1)
        blocks.append(np.take_along_axis(top, order, axis=1))
    return np.concatenate(blocks)


def _scaling(vectors: ndarray, weight: float) -> Scaling:
    from routeiq_plugin.routing.features import COUNT

    told = vectors[:, -COUNT:]
    return Scaling(told.mean(axis=0), told.std(axis=0) + 1e-3, weight)


def _ridge(points: ndarray, qualities: ndarray, share: float = 0.0) -> Ridge:
    """Solve (X'X + penalty I) W = X'Y on centred data."""
    import numpy as np

    x = points - points.mean(axis=0)
    y = qualities - qualities.mean(axis=0)
    weights = np.linalg.solve(x.T @ x + RIDGE_PENALTY * np.eye(x.shape[1], dtype=x.dtype), x.T @ y)
    return Ridge(
        weights.astype(np.float32), (qualities.mean(axis=0) - points.mean(axis=0) @ weights).astype(np.float32), share
    )


def _fitted(given: Matrices, choice: Choice) -> tuple[Predictor, dict[str, ndarray]]:
    import numpy as np

    scaling = _scaling(given.vectors, choice.feature_weight)
    points = scaling.point(given.vectors).astype(np.float16)
    qualities = given.qualities.astype(np.float16)
    exact = points.astype(np.float32)
    ridge = _ridge(exact, given.qualities, choice.ridge_share)
    predictor = QualityPredictor(scaling, exact, qualities.astype(np.float32), k=choice.k, ridge=ridge)
    return predictor, {
        "points": points,
        "qualities": qualities,
        "features.mean": scaling.mean,
        "features.deviation": scaling.deviation,
        "ridge.weights": ridge.weights,
        "ridge.bias": ridge.bias,
    }


def selftest(vectors: ndarray, predictor: Predictor, seed: int) -> dict[str, ndarray]:
    """Write down what a predictor says about some of its training rows."""
    import numpy as np

    picked = np.random.default_rng(seed).choice(len(vectors), min(SELFTESTS, len(vectors)), replace=False)
    rows = vectors[np.sort(picked)]
    return {
        SELFTEST_INPUT: rows,
        SELFTEST_EXPECTED: np.array([predictor.predict(row) for row in rows], dtype=np.float32),
    }
