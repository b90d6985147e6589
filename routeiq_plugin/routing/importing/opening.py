"""The process that opens a pickle: `python -I opening.py STRATEGY FILE OUTPUT`; imports nothing of this package.

Three walls, each enough by itself for what it stops: the unpickler builds only the classes of the list below, so that a
pickle cannot name `os.system`; the process has no network (a namespace of its own where the kernel allows), no child
processes, bounded memory, time and file size; and its directory is a temporary one. It writes model.npz, plain arrays,
and facts.json; the parent reads both without trusting them.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import pickle
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

MEMORY_BYTES: Final = 8 * 1024**3
CPU_SECONDS: Final = 300
FILE_BYTES: Final = 512 * 1024**2
PROBES: Final = 256

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000

_NUMPY: Final = {
    "_reconstruct",
    "_frombuffer",
    "scalar",
    "ndarray",
    "dtype",
    "float64",
    "float32",
    "int64",
    "int32",
    "str_",
    "bool_",
    "__randomstate_ctor",
    "__bit_generator_ctor",
    "RandomState",
    "MT19937",
    "SeedSequence",
    "__pyx_unpickle_SeedSequence",
}
_SKLEARN: Final = {
    "KNeighborsClassifier",
    "KDTree",
    "KDTree64",
    "BallTree",
    "BallTree64",
    "newObj",
    "EuclideanDistance",
    "EuclideanDistance64",
    "SVC",
    "MLPRegressor",
    "LabelBinarizer",
    "AdamOptimizer",
    "SGDOptimizer",
}
_PANDAS: Final = {
    "Series",
    "SingleBlockManager",
    "Index",
    "_new_Index",
    "RangeIndex",
    "_unpickle_block",
    "StringDtype",
    "ArrowStringArray",
    "StringArray",
    "NumpyExtensionArray",
    "NDArrayBacked",
    "__pyx_unpickle_NDArrayBacked",
}
_TORCH: Final = {"_rebuild_tensor_v2", "FloatStorage", "_rebuild_parameter"}
ALLOWED: Final = {"numpy": _NUMPY, "sklearn": _SKLEARN, "pandas": _PANDAS, "torch": _TORCH}
"""Per package, the names that may be built; none of them runs what it is given."""
ALLOWED_BUILTINS: Final = {
    ("collections", "OrderedDict"),
    ("builtins", "slice"),
    ("builtins", "object"),
    ("copyreg", "_reconstructor"),
    ("_codecs", "encode"),
}


def confine() -> None:
    """Give up what opening a file does not need."""
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(AttributeError):
        libc.unshare(_NEW_USER | _NEW_NET)  # where it is refused the other walls stand
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),  # the kernel does not hold root to this one
    ):
        hard = resource.getrlimit(limit)[1]
        lowered = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (lowered, lowered))


class Unpickler(pickle.Unpickler):
    """Builds what is on the list."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class or function of the list; raises `UnpicklingError` for any other."""
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return load_torch  # inside is another pickle, which torch must open with its own list
        package = module.partition(".")[0]
        if "." in name or (name not in ALLOWED.get(package, ()) and (module, name) not in ALLOWED_BUILTINS):
            raise pickle.UnpicklingError(f"it wants {module}.{name}, which is no part of a trained router")
        return super().find_class(module, name)


def load_torch(data: bytes) -> Any:
    """Open a storage inside a pickle."""
    import torch

    return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")


def load(path: Path) -> Any:
    """Open a .pkl or .pt file."""
    if path.suffix in (".pt", ".pth"):
        return load_torch(path.read_bytes())
    with path.open("rb") as file:
        return Unpickler(file).load()


Arrays = dict[str, Any]
Facts = dict[str, Any]


def neighbours(model: Any) -> tuple[Arrays, Facts]:
    """Take a KNeighborsClassifier apart."""
    if model.effective_metric_ != "euclidean":
        raise ValueError(f"the metric {model.effective_metric_} is not supported, euclidean is")
    if model.weights not in ("uniform", "distance"):
        raise ValueError("weights must be uniform or distance")
    arrays = {"points": model._fit_X, "label_of": model._y.reshape(-1)}
    facts = {"k": int(model.n_neighbors), "weights": model.weights}
    return arrays, {"params": facts, "labels": [str(each) for each in model.classes_]}


def support_vectors(model: Any) -> tuple[Arrays, Facts]:
    """Take an SVC apart: libsvm's one-against-one decisions as one matrix over the support vectors."""
    import numpy as np

    counts = model.n_support_
    starts = np.concatenate(([0], np.cumsum(counts)))
    labels = range(len(model.classes_))
    pairs = [(i, j) for i in labels for j in labels if i < j]
    decisions = np.zeros((len(pairs), len(model.support_vectors_)))
    coefficients = np.asarray(model._dual_coef_)
    for at, (i, j) in enumerate(pairs):
        decisions[at, starts[i] : starts[i + 1]] = coefficients[j - 1, starts[i] : starts[i + 1]]
        decisions[at, starts[j] : starts[j + 1]] = coefficients[i, starts[j] : starts[j + 1]]
    facts = {"kernel": model.kernel, "gamma": float(model._gamma), "coef0": model.coef0, "degree": model.degree}
    arrays = {
        "vectors": model.support_vectors_,
        "decisions": decisions,
        "intercepts": np.asarray(model._intercept_),
        "pairs": np.asarray(pairs),
    }
    return arrays, {"params": facts, "labels": [str(each) for each in model.classes_]}


def regressor(model: Any) -> tuple[Arrays, Facts]:
    """Take an MLPRegressor apart."""
    arrays: Arrays = {}
    for at, (weights, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        arrays[f"layers.{at}.weight"], arrays[f"layers.{at}.bias"] = weights.T, bias
    return arrays, {"params": {"activation": model.activation}}


def network(model: Any) -> tuple[Arrays, Facts]:
    """Take the state of LLMRouter's torch network apart."""
    state = {name: tensor.detach().cpu().numpy() for name, tensor in dict(model).items()}
    return {name: array for name, array in state.items() if name.startswith("layers.")}, {"params": {}}


def factors(model: Any) -> tuple[Arrays, Facts]:
    """Multiply LLMRouter's bilinear model: normalised P, times the classifier's weights, times the projection."""
    import numpy as np

    state = {name: tensor.detach().cpu().numpy().astype(np.float64) for name, tensor in dict(model).items()}
    rows = state["P.weight"]
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return {"matrix": (rows * state["classifier.weight"].reshape(-1)) @ state["text_proj.weight"]}, {"params": {}}


def ratings(model: Any) -> tuple[Arrays, Facts]:
    """Take Elo's ratings, a Series or a dict, apart."""
    import numpy as np

    scores = {str(name): float(score) for name, score in dict(model).items()}
    return {"ratings": np.asarray(list(scores.values()))}, {"params": {}, "labels": list(scores)}


READERS: Final[dict[str, Callable[[Any], tuple[Arrays, Facts]]]] = {
    "llmrouter-knn": neighbours,
    "llmrouter-svm": support_vectors,
    "llmrouter-mlp": network,
    "llmrouter-mf": factors,
    "llmrouter-elo": ratings,
    "llmrouter-hybrid": regressor,
}


def probes(model: Any, arrays: Arrays) -> Arrays:
    """Ask the original itself about points near those that it knows, so that the parent can compare."""
    import numpy as np

    if not hasattr(model, "predict"):
        return {}
    rng = np.random.default_rng(0)
    known = arrays.get("points", arrays.get("vectors"))
    if known is None:
        known = rng.standard_normal((PROBES, arrays["layers.0.weight"].shape[1]))
        known /= np.linalg.norm(known, axis=1, keepdims=True)
    one, other = (known[rng.integers(0, len(known), PROBES)] for _ in range(2))
    share = rng.uniform(0, 1, (PROBES, 1))
    given = np.asarray(one * share + other * (1 - share), dtype=known.dtype)
    said = model.predict(given)
    if hasattr(model, "classes_") and not np.issubdtype(np.asarray(said).dtype, np.number):
        labels = {str(name): at for at, name in enumerate(model.classes_)}
        said = np.asarray([labels[str(each)] for each in said])
    return {"probe.given": given, "probe.said": np.asarray(said)}


def main(strategy: str, source: Path, output: Path) -> None:
    """Open, take apart, and write."""
    confine()
    model = load(source)
    arrays, facts = READERS[strategy](model)
    import numpy as np

    arrays |= probes(model, arrays)
    np.savez(output / "model.npz", **arrays)
    versions = {name: module.__version__ for name in ("sklearn", "torch") if (module := sys.modules.get(name))}
    (output / "facts.json").write_text(json.dumps({**facts, "versions": versions}))


if __name__ == "__main__":
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    try:
        main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    except Exception as refused:  # noqa: BLE001  the parent tells it
        sys.exit(f"{type(refused).__name__}: {refused}")
