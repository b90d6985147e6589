"""LLMRouter's trained routers without LLMRouter: the same arithmetic on imported tensors, in numpy.

Each predictor scores every label so that the best is LLMRouter's own answer and the rest are a sensible order after it.
Sources: llmrouter-lib 0.4 `llmrouter/models/*/router.py`; scikit-learn's KNeighborsClassifier, SVC and MLPRegressor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from routeiq_plugin.errors import ArtifactRefused
from routeiq_plugin.routing.artifact import Artifact
from routeiq_plugin.routing.strategies.learned import Predictor, input_dim

if TYPE_CHECKING:
    from numpy import ndarray

KERNELS: Final = ("rbf", "linear", "poly", "sigmoid")
ACTIVATIONS: Final = ("relu", "tanh", "logistic", "identity")
MAX_LAYERS: Final = 16


@dataclass(frozen=True, slots=True)
class Neighbours:
    """KNeighborsClassifier: votes of the k nearest, equal or by inverse distance; of a tie the first label."""

    points: ndarray
    label_of: ndarray
    labels: int
    k: int
    by_distance: bool

    def predict(self, vector: ndarray) -> ndarray:
        """Return each label's share of the votes."""
        import numpy as np

        away = self.points - vector.astype(self.points.dtype)
        squared = np.einsum("ij,ij->i", away, away)
        nearest = np.argpartition(squared, self.k - 1)[: self.k]
        weights = np.ones(self.k)
        if self.by_distance:
            distances = np.sqrt(squared[nearest])
            exact = distances == 0
            weights = exact.astype(float) if exact.any() else 1 / distances
        votes = np.bincount(self.label_of[nearest], weights=weights, minlength=self.labels)
        return np.asarray(votes / votes.sum())


def neighbours(artifact: Artifact) -> Predictor:
    """Build `llmrouter-knn`; raises `ArtifactRefused`."""
    points = artifact.tensor("points", None, input_dim(artifact))
    label_of = artifact.tensor("label_of", len(points))
    labels, k = len(artifact.manifest.labels), int(artifact.number("k"))
    _indices(artifact, label_of, labels)
    if not 1 <= k <= len(points):
        raise _wrong(artifact, "k must be from 1 to the number of points")
    return Neighbours(points, label_of, labels, k, artifact.manifest.params.get("weights") == "distance")


@dataclass(frozen=True, slots=True)
class SupportVectors:
    """SVC: one decision per pair of labels, the label with most votes, of a tie the first."""

    vectors: ndarray
    decisions: ndarray
    """(pairs, vectors)."""
    intercepts: ndarray
    pairs: ndarray
    """(pairs, 2): who wins when the decision is positive, and who otherwise."""
    labels: int
    kernel: str
    gamma: float
    coef0: float
    degree: float

    def predict(self, vector: ndarray) -> ndarray:
        """Return each label's votes, and a little for how clear they were, which orders equals but the winner."""
        import numpy as np

        decided = self.decisions @ self._kernel(vector.astype(np.float64)) + self.intercepts
        winners = np.where(decided > 0, self.pairs[:, 0], self.pairs[:, 1])
        votes = np.bincount(winners, minlength=self.labels).astype(float)
        best = int(votes.argmax())
        margins = np.tanh(decided)
        clear = np.bincount(self.pairs[:, 0], margins, self.labels) - np.bincount(
            self.pairs[:, 1], margins, self.labels
        )
        votes += 0.4 * clear / max(1, self.labels)
        votes[best] += 1.0
        return votes

    def _kernel(self, vector: ndarray) -> ndarray:
        import numpy as np

        if self.kernel == "rbf":
            away = self.vectors - vector
            return np.asarray(np.exp(-self.gamma * np.einsum("ij,ij->i", away, away)))
        product = self.vectors @ vector
        if self.kernel == "linear":
            return np.asarray(product)
        scaled = self.gamma * product + self.coef0
        return np.asarray(np.tanh(scaled) if self.kernel == "sigmoid" else scaled**self.degree)


def support_vectors(artifact: Artifact) -> Predictor:
    """Build `llmrouter-svm`; raises `ArtifactRefused`."""
    vectors = artifact.tensor("vectors", None, input_dim(artifact))
    pairs = artifact.tensor("pairs", None, 2)
    labels = len(artifact.manifest.labels)
    _indices(artifact, pairs, labels)
    kernel = _word(artifact, "kernel", KERNELS)
    return SupportVectors(
        vectors.astype("float64"),
        artifact.tensor("decisions", len(pairs), len(vectors)),
        artifact.tensor("intercepts", len(pairs)),
        pairs,
        labels,
        kernel,
        artifact.number("gamma"),
        artifact.number("coef0"),
        artifact.number("degree"),
    )


@dataclass(frozen=True, slots=True)
class Layers:
    """A feed-forward network."""

    weights: tuple[ndarray, ...]
    biases: tuple[ndarray, ...]
    activation: str

    def predict(self, vector: ndarray) -> ndarray:
        """Return the last layer's outputs."""
        import numpy as np

        for at, (weights, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            vector = weights @ vector + bias
            if at + 1 < len(self.weights):
                vector = _activated(vector, self.activation)
        return np.asarray(vector)


def layers(artifact: Artifact) -> Predictor:
    """Build `llmrouter-mlp`; raises `ArtifactRefused`."""
    return _network(artifact, len(artifact.manifest.labels))


def _network(artifact: Artifact, outputs: int) -> Layers:
    weights: list[ndarray] = []
    biases: list[ndarray] = []
    width = input_dim(artifact)
    while f"layers.{len(weights)}.weight" in artifact.tensors and len(weights) < MAX_LAYERS:
        found = artifact.tensor(f"layers.{len(weights)}.weight", None, width)
        biases.append(artifact.tensor(f"layers.{len(weights)}.bias", len(found)))
        weights.append(found)
        width = len(found)
    if not weights or width != outputs:
        raise _wrong(artifact, f"its network has {width} outputs, not {outputs}")
    return Layers(tuple(weights), tuple(biases), _word(artifact, "activation", ACTIVATIONS))


@dataclass(frozen=True, slots=True)
class Factors:
    """Matrix factorisation: P, projection and classifier of LLMRouter's bilinear model, multiplied once."""

    matrix: ndarray
    """(labels, dim)."""

    def predict(self, vector: ndarray) -> ndarray:
        """Return each label's score."""
        import numpy as np

        return np.asarray(self.matrix @ vector)


def factors(artifact: Artifact) -> Predictor:
    """Build `llmrouter-mf`; raises `ArtifactRefused`."""
    return Factors(artifact.tensor("matrix", len(artifact.manifest.labels), input_dim(artifact)))


@dataclass(frozen=True, slots=True)
class Ratings:
    """Elo: the same answer to every prompt."""

    scores: ndarray

    def predict(self, vector: ndarray) -> ndarray:
        """Return the ratings."""
        return self.scores


def ratings(artifact: Artifact) -> Predictor:
    """Build `llmrouter-elo`; raises `ArtifactRefused`."""
    return Ratings(artifact.tensor("ratings", len(artifact.manifest.labels)))


@dataclass(frozen=True, slots=True)
class Hybrid:
    """Hybrid LLM: the first label, the small model, when the score reaches the threshold; else the second."""

    network: Layers
    threshold: float

    def predict(self, vector: ndarray) -> ndarray:
        """Return how far the score is from the threshold, for small and large."""
        import numpy as np

        score = min(1.0, max(0.0, float(self.network.predict(vector)[0])))
        above = score - self.threshold
        # Exactly at the threshold the small model is LLMRouter's answer, and of equals the first label wins here.
        return np.array((above, -above))


def hybrid(artifact: Artifact) -> Predictor:
    """Build `llmrouter-hybrid`; raises `ArtifactRefused`."""
    if len(artifact.manifest.labels) != 2:
        raise _wrong(artifact, "it must have two labels, the small and the large model")
    return Hybrid(_network(artifact, 1), artifact.number("threshold"))


def _activated(vector: ndarray, name: str) -> ndarray:
    import numpy as np

    if name == "relu":
        return np.asarray(np.maximum(vector, 0))
    if name == "tanh":
        return np.asarray(np.tanh(vector))
    return np.asarray(1 / (1 + np.exp(-vector))) if name == "logistic" else vector


def _indices(artifact: Artifact, tensor: ndarray, labels: int) -> None:
    if tensor.dtype.kind not in "iu" or (tensor.size and (tensor.min() < 0 or tensor.max() >= labels)):
        raise _wrong(artifact, "it names labels that it does not have")


def _word(artifact: Artifact, name: str, known: tuple[str, ...]) -> str:
    value: Any = artifact.manifest.params.get(name)
    if value not in known:
        raise _wrong(artifact, f"params.{name} must be one of {', '.join(known)}")
    return str(value)


def _wrong(artifact: Artifact, what: str) -> ArtifactRefused:
    return ArtifactRefused(f"{artifact.manifest.id}: {what}")
