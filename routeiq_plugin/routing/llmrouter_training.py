"""Trains those of LLMRouter's routers that scikit-learn makes: the same labels and estimators, without LLMRouter.

Source: llmrouter-lib 0.4 `llmrouter/models/{knnrouter,svmrouter,elorouter}`; `tests/llmrouter` compares the answers.
The rest are loops of torch (mlp, mf, graph) or need LLMRouter's own config (hybrid), and are imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, log
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from routeiq_plugin.errors import InvalidRequest, MissingExtra
from routeiq_plugin.routing.artifact import Draft
from routeiq_plugin.routing.dataset import Dataset, Row
from routeiq_plugin.routing.embedding import Embedder
from routeiq_plugin.routing.strategies.llmrouter import KERNELS, Neighbours
from routeiq_plugin.routing.training import selftest

if TYPE_CHECKING:
    from numpy import ndarray

KNN: Final = "llmrouter-knn"
SVM: Final = "llmrouter-svm"
ELO: Final = "llmrouter-elo"
SVM_PARAMS: Final[Mapping[str, Any]] = {"kernel": "rbf", "C": 1.0, "gamma": "scale", "degree": 3, "coef0": 0.0}
"""Of scikit-learn's SVC, with its defaults; LLMRouter's `hparam`."""
ELO_SCALE: Final = 400.0
ELO_BASE: Final = 10.0
ELO_FIRST: Final = 1000.0


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is trained, and on what."""

    data: Dataset
    embedder: Embedder
    name: str
    k: int = 5
    seed: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> Sequence[Row]:
        """The rows in the order in which LLMRouter, that is pandas' `groupby`, takes them."""
        return sorted(self.data.rows, key=lambda row: row.query)

    @property
    def facts(self) -> Mapping[str, Any]:
        """For the manifest."""
        data = self.data
        return {"rows": len(data.rows), "duplicates": data.duplicates, "incomplete": data.incomplete}


def best_of(row: Row) -> str:
    """Return the one label that LLMRouter gives a prompt: of equals the model that the data name first."""
    return max(row.scores, key=row.scores.__getitem__)


def train(strategy: str, lesson: Lesson) -> Draft:
    """Train one of `TRAINERS`; raises `InvalidRequest` for data that teach nothing, or `MissingExtra`."""
    return TRAINERS[strategy](lesson)


def _knn(lesson: Lesson) -> Draft:
    import numpy as np

    rows, models = lesson.rows, lesson.data.models
    if len(rows) < lesson.k:
        raise InvalidRequest(f"{len(rows)} prompts are too few for {lesson.k} neighbours")
    points = _vectors(lesson)
    label_of = np.array([models.index(best_of(row)) for row in rows], dtype=np.int64)
    predictor = Neighbours(points, label_of, len(models), lesson.k, by_distance=False)
    return Draft(
        name=lesson.name,
        strategy=KNN,
        labels=models,
        tensors={"points": points, "label_of": label_of, **selftest(points, predictor, lesson.seed)},
        embedder=lesson.embedder.identity,
        params={"k": lesson.k, "weights": "uniform"},
        training=lesson.facts,
    )


def _svm(lesson: Lesson) -> Draft:
    labels = [best_of(row) for row in lesson.rows]
    if len(set(labels)) < 2:
        raise InvalidRequest(f"{labels[0]} is the first of the best models for every prompt: there is nothing to learn")
    wrong = [name for name in lesson.params if name not in SVM_PARAMS]
    if wrong:
        raise InvalidRequest(f"--param {wrong[0]}: {SVM} takes {', '.join(SVM_PARAMS)}")
    params = {**SVM_PARAMS, **lesson.params}
    if isinstance(params["degree"], float) and params["degree"].is_integer():
        params["degree"] = int(params["degree"])
    if params["kernel"] not in KERNELS:
        raise InvalidRequest(f"--param kernel={params['kernel']}: take one of {', '.join(KERNELS)}")
    try:
        from sklearn.svm import SVC
    except ImportError:
        raise MissingExtra("scikit-learn", "train") from None
    try:
        model = SVC(**params).fit(_vectors(lesson), labels)
    except ValueError as refused:
        raise InvalidRequest(f"{SVM}: {refused}") from None
    return _drafted(SVM, lesson, model)


def _elo(lesson: Lesson) -> Draft:
    if len(lesson.data.models) < 2:
        raise InvalidRequest("one model has nobody to be compared with")
    return _drafted(ELO, lesson, _elo_ratings(lesson.rows))


def _elo_ratings(rows: Sequence[Row]) -> dict[str, float]:
    """Fit Elo ratings of battles that a prompt's best model wins against each other one, best first.

    A logistic regression without penalty, each battle seen from both sides, as `compute_elo_mle` does it.
    """
    import numpy as np

    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtra("scikit-learn", "train") from None
    battles = [(best, other) for row in rows for best in (best_of(row),) for other in row.scores if other != best]
    sides = [pair for winner, loser in battles for pair in ((winner, loser), (loser, winner))]
    models = list(dict.fromkeys([*(one for one, _ in sides), *(other for _, other in sides)]))
    place = {model: at for at, model in enumerate(models)}
    given = np.zeros((len(sides), len(models)))
    every = np.arange(len(sides))
    given[every, [place[one] for one, _ in sides]] = log(ELO_BASE)
    given[every, [place[other] for _, other in sides]] = -log(ELO_BASE)
    won = np.tile([1.0, 0.0], len(battles))
    fitted = LogisticRegression(fit_intercept=False, C=inf, solver="lbfgs").fit(given, won)
    ratings = dict(zip(models, (ELO_SCALE * fitted.coef_[0] + ELO_FIRST).tolist(), strict=True))
    return dict(sorted(ratings.items(), key=lambda each: -each[1]))


def _drafted(strategy: str, lesson: Lesson, model: Any) -> Draft:
    """Take a fitted model apart as the import does, with the same comparison of the original and our arithmetic."""
    import sklearn

    from routeiq_plugin.routing.importing import conversion, opening

    arrays, facts = opening.READERS[strategy](model)
    arrays |= opening.probes(model, arrays)
    order = conversion.Order(Path(), strategy, lesson.name, lesson.embedder.identity)
    draft = conversion.drafted(order, arrays, facts)
    return replace(draft, training={**lesson.facts, "scikit-learn": sklearn.__version__})


def _vectors(lesson: Lesson) -> ndarray:
    import numpy as np

    return np.array([lesson.embedder.embed(row.query) for row in lesson.rows], dtype=np.float32)


TRAINERS: Final[Mapping[str, Callable[[Lesson], Draft]]] = {KNN: _knn, SVM: _svm, ELO: _elo}
