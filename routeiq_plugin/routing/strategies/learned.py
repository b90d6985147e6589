"""Strategies made of an artifact: a predictor over the prompt's vector, and what to do with what it predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from routeiq_plugin.errors import ArtifactRefused
from routeiq_plugin.routing.artifact import SELFTEST_EXPECTED, SELFTEST_INPUT, Artifact
from routeiq_plugin.routing.embedding import ByText, Embedder
from routeiq_plugin.routing.features import COUNT, VERSION, features
from routeiq_plugin.routing.selection import Calibration, Price, by_value, relative_costs
from routeiq_plugin.routing.strategy import Candidate, Query, Ranking, StrategySpec

if TYPE_CHECKING:
    from numpy import ndarray

TOLERANCE: Final = 2e-3
"""Of self-tests; float16 tables and another BLAS account for less."""


class Predictor(Protocol):
    """Numbers in, one score per label out."""

    def predict(self, vector: ndarray) -> ndarray:
        """Return scores of shape (labels,), higher is better."""
        ...


PredictorOf = Callable[[Artifact], Predictor]


def check(artifact: Artifact, predictor: Predictor) -> None:
    """Run the artifact's self-test; raises `ArtifactRefused` when it says something else than where it was made."""
    import numpy as np

    given = artifact.tensor(SELFTEST_INPUT, None, None)
    expected = artifact.tensor(SELFTEST_EXPECTED, len(given), len(artifact.manifest.labels))
    if not len(given):
        raise ArtifactRefused(f"{artifact.manifest.id} has no self-test")
    try:
        said = np.array([predictor.predict(row) for row in given])
    except (ValueError, IndexError) as wrong:
        raise ArtifactRefused(f"{artifact.manifest.id}: its tensors do not fit each other ({wrong})") from None
    if said.shape != expected.shape or not np.allclose(said, expected, atol=TOLERANCE):
        raise ArtifactRefused(f"{artifact.manifest.id} fails its self-test: it predicts something else here")


class LearnedStrategy:
    """Embeds the prompt, predicts a score per label, and orders the candidates by score, or by quality and price."""

    inline = True

    def __init__(self, spec: StrategySpec, predictor: Predictor, *, priced: bool) -> None:
        artifact, embedder = require(spec)
        self._labels = artifact.manifest.labels
        self._embedder = embedder
        self._with_features = bool(artifact.manifest.embedder and artifact.manifest.embedder.features)
        self._predictor = predictor
        self._known: ByText[Mapping[str, float]] = ByText()  # every turn of a thread asks about the same text
        self._priced = priced
        self._prices = _trained_prices(artifact) if priced else {}
        self._cost_weight = Calibration.of(artifact.manifest.params).cost_weight_of(spec.settings.objective)

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """Order by what is predicted for this prompt."""
        predicted = self._known.of(query.text, self._predicted)
        scores = {each.model: predicted[each.model] for each in candidates if each.model in predicted}
        if not self._priced:
            return Ranking(tuple(sorted(scores, key=scores.__getitem__, reverse=True)), scores)
        costs = relative_costs(self._prices_of(candidates, scores), max(1, query.tokens))
        return Ranking(tuple(by_value(scores, costs, self._cost_weight)), scores)

    def _predicted(self, text: str) -> Mapping[str, float]:
        return dict(zip(self._labels, self._predictor.predict(self._vector(text)).tolist(), strict=True))

    def _vector(self, text: str) -> ndarray:
        vector = self._embedder.embed(text) if self._embedder is not None else _nothing()
        if not self._with_features:
            return vector
        import numpy as np

        return np.concatenate((vector, features(text)))

    def _prices_of(self, candidates: Sequence[Candidate], models: Mapping[str, float]) -> Mapping[str, Price]:
        """Today's prices where LiteLLM knows all of them, else those of the training: a mixture compares nothing."""
        known = {
            each.model: Price(each.input_price, each.output_price)
            for each in candidates
            if each.model in models and each.input_price is not None and each.output_price is not None
        }
        if len(known) == len(models) and any(price.input or price.output for price in known.values()):
            return known
        return {model: self._prices[model] for model in models if model in self._prices}


def require(spec: StrategySpec) -> tuple[Artifact, Embedder | None]:
    """Return the artifact and the embedder that fits it; raises `ArtifactRefused` for one that does not."""
    artifact = spec.artifact
    if artifact is None:
        raise ArtifactRefused(f"the strategy {spec.name} needs an artifact")
    manifest = artifact.manifest
    if manifest.strategy != spec.name:
        raise ArtifactRefused(f"{manifest.id} was trained for the strategy {manifest.strategy}, not {spec.name}")
    strange = [label for label in manifest.labels if label not in spec.settings.candidates]
    if strange:
        raise ArtifactRefused(f"{manifest.id} knows models that are no candidates: {', '.join(strange[:8])}")
    trained = manifest.embedder
    if trained is None:
        return artifact, None
    if spec.embedder is None:
        raise ArtifactRefused(f"{manifest.id} needs the embedder {trained.id}, which is not available")
    here = spec.embedder.identity
    if (trained.id, trained.sha256, trained.dim) != (here.id, here.sha256, here.dim):
        raise ArtifactRefused(
            f"{manifest.id} was trained with the embedder {trained.id} ({trained.sha256[:12]}), "
            f"here is {here.id} ({here.sha256[:12]})"
        )
    if trained.features not in (0, VERSION):
        raise ArtifactRefused(f"{manifest.id} was trained with version {trained.features} of the prompt features")
    return artifact, spec.embedder


def input_dim(artifact: Artifact) -> int:
    """Length of the vector that the predictor is given; 0 where it looks at no prompt."""
    embedder = artifact.manifest.embedder
    return 0 if embedder is None else embedder.dim + (COUNT if embedder.features else 0)


def _trained_prices(artifact: Artifact) -> Mapping[str, Price]:
    told = artifact.manifest.params.get("prices", {})
    try:
        return {model: Price(float(row["input"]), float(row["output"])) for model, row in told.items()}
    except (AttributeError, TypeError, KeyError, ValueError):
        raise ArtifactRefused("params.prices must map models to {input, output} in USD per token") from None


def _nothing() -> ndarray:
    import numpy as np

    return np.zeros(0, dtype=np.float32)
