"""The process that opens what LLMRouter trained: `python -I opening.py STRATEGY FILE`; imports nothing of this package.

What stands between the file and the machine, each by itself:

- The unpickler builds only what is on the list below, from modules that are imported before the file is opened: a
  pickle can neither name `os.system` nor have a module imported. Torch's own files go through torch's own such list.
- From before the file is opened the process may write no file (a limit of 0 bytes), start no process and open no
  socket: limits, an audit hook, and a network namespace of its own where the kernel allows one to everybody.
- Memory and time are bounded, the environment is empty, the directory a temporary one.

It answers on standard output, which the parent bounds and distrusts: a length, JSON of facts, and safetensors.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import json
import os
import pickle
import resource
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

MEMORY_BYTES: Final = 8 * 1024**3
CPU_SECONDS: Final = 300
LENGTH: Final = struct.Struct("<Q")
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
_PYARROW: Final = {"_restore_array", "py_buffer", "type_for_alias"}
_TORCH: Final = {"_rebuild_tensor_v2", "FloatStorage", "_rebuild_parameter"}
ALLOWED: Final = {"numpy": _NUMPY, "sklearn": _SKLEARN, "pandas": _PANDAS, "pyarrow": _PYARROW, "torch": _TORCH}
"""Per package, the names that may be built; none of them runs what it is given."""
ALLOWED_BUILTINS: Final = {
    ("collections", "OrderedDict"),
    ("builtins", "slice"),
    ("builtins", "object"),
    ("builtins", "bytearray"),
    ("copyreg", "_reconstructor"),
    ("_codecs", "encode"),
}


IMPORTED: Final = {
    "llmrouter-knn": ("sklearn.neighbors",),
    "llmrouter-svm": ("sklearn.svm",),
    "llmrouter-mlp": ("torch",),
    "llmrouter-mf": ("torch",),
    "llmrouter-elo": ("pandas",),
    "llmrouter-hybrid": ("sklearn.neural_network",),
    "llmrouter-graph": ("torch", "yaml"),
}
"""What each strategy's file is made with."""
CONFIGS: Final = (".yaml", ".yml")
"""LLMRouter's own config, which says where the trained file is."""
ABSENT: Final[set[str]] = set()
"""What could not be imported; only a file that needs it is refused."""
PIP_NAMES: Final = {"sklearn": "scikit-learn", "yaml": "pyyaml"}

_FORBIDDEN: Final = (
    "socket.",
    "subprocess.",
    "os.chmod",
    "os.chown",
    "os.exec",
    "os.fork",
    "os.kill",
    "os.link",
    "os.mkdir",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.setxattr",
    "os.spawn",
    "os.symlink",
    "os.system",
    "os.truncate",
    "os.utime",
    "pty.",
    "shutil.",
)
"""Audit events, by how they begin."""
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def isolate() -> None:
    """Give up the network where everybody may, files of any length, and endless memory and time."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None, use_errno=True).unshare(_NEW_USER | _NEW_NET)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_CPU, CPU_SECONDS)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)


def confine() -> None:
    """Give up processes, sockets and writing, once everything is imported and before the file is opened."""
    _limit(resource.RLIMIT_NPROC, 0)  # the kernel does not hold root to this one; the hook does
    sys.addaudithook(_refuse)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    lowered = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (lowered, lowered))


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(_FORBIDDEN):
        raise PermissionError(f"{event} is refused while a file is imported")
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
        raise PermissionError("writing is refused while a file is imported")


class Unpickler(pickle.Unpickler):
    """Builds what is on the list."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class or function of the list; raises `UnpicklingError` for any other, and imports nothing."""
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return load_torch  # inside is another pickle, which torch must open with its own list
        listed = name in ALLOWED.get(module.partition(".")[0], ()) or (module, name) in ALLOWED_BUILTINS
        if not listed or "." in name:
            raise pickle.UnpicklingError(f"it wants {module}.{name}, which is no part of a trained router")
        if module not in sys.modules:
            if module.partition(".")[0] in ABSENT:
                raise ModuleNotFoundError(f"No module named {module!r}", name=module.partition(".")[0])
            raise pickle.UnpicklingError(f"it wants {module}, which this kind of router is not made with")
        return getattr(sys.modules[module], name)


def load_pickle(file: Any, **_options: Any) -> Any:
    """Stand in for `pickle.load`."""
    return Unpickler(file).load()


def load_pickled(data: bytes, **_options: Any) -> Any:
    """Stand in for `pickle.loads`."""
    return Unpickler(io.BytesIO(data)).load()


def load_torch(data: bytes) -> Any:
    """Open a storage inside a pickle, or a file of torch's own."""
    torch = importlib.import_module("torch")
    return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")


def load(path: Path) -> Any:
    """Open a .pkl or .pt file; a .yaml one is LLMRouter's config."""
    if path.suffix in (".pt", ".pth"):
        return load_torch(path.read_bytes())
    if path.suffix in CONFIGS:
        return importlib.import_module("yaml").safe_load(path.read_text(encoding="utf-8"))
    with path.open("rb") as file:
        return load_pickle(file)


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


def described(strategy: str, config: Any) -> Facts:
    """Tell what LLMRouter takes from config and data each time, and its trained file lacks: models in order, settings.

    For the multilayer perceptron and matrix factorisation the order is that of the training rows, as pandas groups
    them: the file of a router whose data have changed since names other models.
    """
    hparam = config.get("hparam") or {}
    if strategy == "llmrouter-mlp":
        best: dict[str, tuple[float, str]] = {}
        for row in training_rows(config):
            score = float(row["performance"])
            if row["query"] not in best or score > best[row["query"]][0]:
                best[row["query"]] = (score, str(row["model_name"]))
        labels = list(dict.fromkeys(best[query][1] for query in sorted(best)))
        return {"labels": labels, "params": {"activation": hparam.get("activation", "relu")}}
    if strategy == "llmrouter-mf":
        return {"labels": list(dict.fromkeys(str(row["model_name"]) for row in training_rows(config))), "params": {}}
    if strategy == "llmrouter-hybrid":
        llms = json.loads(Path(config["data_path"]["llm_data"]).read_text(encoding="utf-8"))
        told = {name: str(facts.get("size", "")).upper() for name, facts in llms.items()}
        sized = sorted((name for name in told if told[name].endswith("B")), key=lambda name: float(told[name][:-1]))
        return {
            "labels": [sized[0], sized[-1]],
            "params": {"threshold": float(config.get("router_threshold", 0.5))},
        }
    return {"params": {}}


def training_rows(config: Any) -> list[dict[str, Any]]:
    """Read the rows that LLMRouter's config names."""
    with Path(config["data_path"]["routing_data_train"]).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def trained_file(config: Any) -> Path:
    """Return where LLMRouter's config says that the trained file is."""
    paths = config["model_path"]
    return Path(paths.get("load_model_path") or paths["save_model_path"])


def graph(config: Any) -> tuple[Arrays, Facts]:
    """Gather what GraphRouter needs to decide, its weights and the whole training graph, from LLMRouter's config."""
    import numpy as np

    vectors = load(Path(config["data_path"]["query_embedding_data"]))
    state = dict(load(trained_file(config)))
    rows = training_rows(config)
    # As GraphRouter._prepare_training_data numbers them: by first appearance; a missing score is 0, of two the last.
    labels = list(dict.fromkeys(str(row["model_name"]) for row in rows))
    place = {model: at for at, model in enumerate(labels)}
    embeddings: dict[str, int] = {}
    for row in rows:
        embeddings.setdefault(row["query"], int(row["embedding_id"]))
    queries = {query: at for at, query in enumerate(embeddings)}
    performance = np.zeros((len(queries), len(labels)))
    for row in rows:
        performance[queries[row["query"]], place[str(row["model_name"])]] = row["performance"]
    told = config.get("llm_data") or {}
    drawn = [model for model in labels if "embedding" not in told.get(model, {})]
    if drawn:
        raise ValueError(
            f"LLMRouter drew the features of {', '.join(drawn)} at random and kept them nowhere: "
            "give llm_data.<model>.embedding in its config, and train again"
        )
    arrays = {f"state.{name}": tensor.detach().cpu().numpy() for name, tensor in state.items()}
    arrays["queries"] = np.stack([vectors[at].numpy() for at in embeddings.values()])
    arrays["performance"] = np.nan_to_num(performance)
    arrays["llms"] = np.asarray([told[model]["embedding"] for model in labels], dtype=np.float64)
    hidden = int((config.get("hparam") or {}).get("hidden_dim", 64))
    return arrays, {"params": {"hidden_dim": hidden}, "labels": labels}


READERS: Final[dict[str, Callable[[Any], tuple[Arrays, Facts]]]] = {
    "llmrouter-knn": neighbours,
    "llmrouter-svm": support_vectors,
    "llmrouter-mlp": network,
    "llmrouter-mf": factors,
    "llmrouter-elo": ratings,
    "llmrouter-hybrid": regressor,
    "llmrouter-graph": graph,
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


_DTYPES: Final = {"float64": "F64", "float32": "F32", "int64": "I64"}


def serialized(arrays: Arrays) -> bytes:
    """Write safetensors, for which this interpreter may have no library; other numbers become int64 or float64."""
    import numpy as np

    header: dict[str, Any] = {}
    blobs: list[bytes] = []
    at = 0
    for name, given in arrays.items():
        array = np.asarray(given)
        if array.dtype.name not in _DTYPES:
            array = array.astype(np.int64 if array.dtype.kind in "iub" else np.float64)
        blobs.append(np.ascontiguousarray(array).tobytes())
        place = [at, at + len(blobs[-1])]
        header[name] = {"dtype": _DTYPES[array.dtype.name], "shape": list(array.shape), "data_offsets": place}
        at = place[1]
    told = json.dumps(header).encode()
    told += b" " * (-len(told) % 8)
    return LENGTH.pack(len(told)) + told + b"".join(blobs)


def main(strategy: str, source: Path) -> None:
    """Open, take apart, and tell."""
    told = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    isolate()
    tempfile.tempdir = str(Path.cwd())  # else it is found by writing, which nobody may here
    for module in ("numpy", *IMPORTED[strategy], *(("yaml",) if source.suffix in CONFIGS else ())):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as absent:
            ABSENT.add(absent.name or module)
    with contextlib.suppress(ImportError):  # where numpy 1 wrote the pickle
        importlib.import_module("numpy.core.multiarray")
    confine()
    model = load(source)
    told_beside: Facts = {"params": {}}
    if source.suffix in CONFIGS and strategy != "llmrouter-graph":
        told_beside = described(strategy, model)
        model = load(trained_file(model))
    arrays, facts = READERS[strategy](model)
    facts = {**facts, **told_beside, "params": {**facts["params"], **told_beside["params"]}}
    arrays |= probes(model, arrays)
    versions = {name: module.__version__ for name in ("sklearn", "torch") if (module := sys.modules.get(name))}
    head = json.dumps({**facts, "versions": versions}).encode()
    told.write(LENGTH.pack(len(head)) + head + serialized(arrays))
    told.flush()


def refusal(refused: BaseException) -> str:
    """Put into one line what is wrong, and what to do about a missing package."""
    if isinstance(refused, ModuleNotFoundError) and refused.name:
        package = PIP_NAMES.get(refused.name, refused.name)
        return (
            f"{package} is not installed for {sys.executable}; run: {sys.executable} -m pip install {package}, "
            "or name another interpreter with --python"
        )
    return " ".join(f"{type(refused).__name__}: {refused}".split())


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    try:
        main(sys.argv[1], Path(sys.argv[2]))
    except Exception as refused:  # noqa: BLE001  the parent tells it
        sys.exit(refusal(refused))
