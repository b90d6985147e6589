"""`quality`: predicts how well each model would answer, from the most similar prompts and a ridge regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from routeiq_plugin.errors import ArtifactRefused
from routeiq_plugin.routing.artifact import Artifact
from routeiq_plugin.routing.features import COUNT
from routeiq_plugin.routing.strategies.learned import input_dim

if TYPE_CHECKING:
    from numpy import ndarray

NAME: Final = "quality"
CLIP: Final = 4.0
"""Standard deviations beyond which a feature says no more: an odd prompt must not be near to nothing."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """How vector and features become one point: features standardised, clipped and weighted, then length 1."""

    mean: ndarray
    deviation: ndarray
    weight: float

    def point(self, vector: ndarray) -> ndarray:
        """Map raw inputs of shape (dim + COUNT,) or (n, dim + COUNT)."""
        import numpy as np

        told = np.clip((vector[..., -COUNT:] - self.mean) / self.deviation, -CLIP, CLIP) * self.weight
        joined = np.concatenate((vector[..., :-COUNT], told), axis=-1, dtype=np.float32)
        return np.asarray(
            joined / np.maximum(np.sqrt((joined * joined).sum(axis=-1, keepdims=True)), 1e-12), dtype=np.float32
        )


@dataclass(frozen=True, slots=True)
class Ridge:
    """A linear model over points; `share` is its part in the prediction, 0 to 1."""

    weights: ndarray
    bias: ndarray
    share: float


class QualityPredictor:
    """Mean quality of the k nearest stored prompts, mixed with a linear model."""

    def __init__(self, scaling: Scaling, points: ndarray, qualities: ndarray, *, k: int, ridge: Ridge) -> None:
        self._scaling = scaling
        self._points = points
        self._qualities = qualities
        self._k = min(k, len(points))
        self._ridge = ridge

    def predict(self, vector: ndarray) -> ndarray:
        """Return the predicted quality per label, each about 0 to 1."""
        import numpy as np

        point = self._scaling.point(vector)
        similar = self._points @ point
        nearest = np.argpartition(similar, len(similar) - self._k)[-self._k :]
        found = self._qualities[nearest].mean(axis=0)
        if self._ridge.share == 0.0:
            return np.asarray(found)
        linear = point @ self._ridge.weights + self._ridge.bias
        return np.asarray((1 - self._ridge.share) * found + self._ridge.share * linear)


def predictor(artifact: Artifact) -> QualityPredictor:
    """Build from an artifact; raises `ArtifactRefused`."""
    labels, dim = len(artifact.manifest.labels), input_dim(artifact)
    if not artifact.manifest.embedder or artifact.manifest.embedder.features == 0:
        raise ArtifactRefused(f"{artifact.manifest.id}: {NAME} needs an embedder and the prompt features")
    points = artifact.tensor("points", None, dim)
    k, share = int(artifact.number("k")), artifact.number("ridge_share")
    if not len(points) or k < 1 or not 0 <= share <= 1:
        raise ArtifactRefused(f"{artifact.manifest.id}: it needs points, k of at least 1 and ridge_share from 0 to 1")
    return QualityPredictor(
        Scaling(
            artifact.tensor("features.mean", COUNT),
            artifact.tensor("features.deviation", COUNT),
            artifact.number("feature_weight"),
        ),
        points,
        artifact.tensor("qualities", len(points), labels),
        k=k,
        ridge=Ridge(artifact.tensor("ridge.weights", dim, labels), artifact.tensor("ridge.bias", labels), share),
    )
