"""`routeiq artifact import`: runs `opening.py`, distrusts what it wrote, and makes an artifact of it."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from routeiq_plugin.errors import ArtifactRefused
from routeiq_plugin.routing.artifact import (
    MAX_FILE_BYTES,
    SELFTEST_EXPECTED,
    SELFTEST_INPUT,
    Artifact,
    Draft,
    Manifest,
    write,
)
from routeiq_plugin.routing.artifact import read as read_artifact
from routeiq_plugin.routing.embedding import EmbedderId
from routeiq_plugin.routing.importing import opening
from routeiq_plugin.routing.strategies import registry
from routeiq_plugin.routing.worker import strategy as hosted

if TYPE_CHECKING:
    from numpy import ndarray

TIMEOUT_SECONDS: Final = 600.0
MAX_SAID_BYTES: Final = 2 * MAX_FILE_BYTES
MAX_LINE_BYTES: Final = 4_096
SELFTESTS: Final = 8
_WITHOUT_EMBEDDER: Final = frozenset({"llmrouter-elo"})
_NAMELESS: Final = frozenset({"llmrouter-mlp", "llmrouter-mf", "llmrouter-hybrid"})
"""Files that do not say which models they choose among."""
AGREEMENT: Final[Mapping[str, float]] = {"llmrouter-knn": 1.0, "llmrouter-svm": 1.0, "llmrouter-hybrid": 1.0}
"""Least share of probes on which the original and our arithmetic must choose alike, where the original can be asked."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be imported."""

    source: Path
    strategy: str
    name: str
    embedder: EmbedderId
    """What LLMRouter was trained with: its vectors must come from the embedder that the proxy has."""
    labels: Sequence[str] = ()
    """The models in LLMRouter's order, for files that do not name them; of hybrid the small and the large one."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    """What stands in LLMRouter's YAML and not in its file: `activation` of mlp, `threshold` of hybrid."""
    python: str = sys.executable
    """An interpreter that has what the file was made with: scikit-learn, torch or pandas."""


def convert(order: Order, output: Path) -> Manifest:
    """Convert and verify; raises `ArtifactRefused` with the reason of whoever refused."""
    if order.strategy not in opening.READERS:
        raise ArtifactRefused(f"{order.strategy} cannot be imported; {', '.join(opening.READERS)} can")
    if order.strategy in _NAMELESS and not order.labels and order.source.suffix not in opening.CONFIGS:
        raise ArtifactRefused(
            f"{order.source.name} does not name its models; import LLMRouter's config (.yaml) instead, "
            "or give --labels in LLMRouter's order"
        )
    arrays, facts = _read(order.source.name, _opened(order))
    draft = (_hosted_draft if order.strategy == hosted.GRAPH else drafted)(order, arrays, facts)
    manifest = write(draft, output)
    registry.verify(read_artifact(output))
    return manifest


def _opened(order: Order) -> bytes:
    """Have the file opened by a process that may do nothing else; returns what it said, unexamined."""
    with tempfile.TemporaryDirectory(prefix="routeiq-import-") as directory:
        try:
            process = subprocess.Popen(  # noqa: S603  our own script, our own arguments
                [order.python, "-I", opening.__file__, order.strategy, str(order.source.resolve())],
                cwd=directory,
                env={"PATH": os.defpath, "HOME": directory, "TMPDIR": directory},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as wrong:
            raise ArtifactRefused(f"{order.python} cannot be started: {wrong.strerror}") from None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            _end(process)

        patience = threading.Timer(TIMEOUT_SECONDS, give_up)
        patience.start()
        try:
            with process, ThreadPoolExecutor(1) as listener:
                assert process.stdout is not None
                assert process.stderr is not None
                words = listener.submit(_last_line, process.stderr)
                said = process.stdout.read(MAX_SAID_BYTES + 1)
                if len(said) > MAX_SAID_BYTES:
                    _end(process)
                status = process.wait()
        finally:
            patience.cancel()
            _end(process)
    if late.is_set():
        raise ArtifactRefused(f"{order.source.name} took more than {TIMEOUT_SECONDS:.0f} s to open")
    if len(said) > MAX_SAID_BYTES:
        raise ArtifactRefused(f"{order.source.name} turns into more than {MAX_SAID_BYTES // 1024**2} MiB")
    if status != 0:
        raise ArtifactRefused(f"{order.source.name} is refused: {words.result() or f'its process ended with {status}'}")
    return said


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it and whatever it may have started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _last_line(pipe: IO[bytes]) -> str:
    """Read all, keep the last line."""
    last = b""
    while line := pipe.readline(MAX_LINE_BYTES):
        last = line.strip() or last
    return last.decode(errors="replace")


def _read(name: str, said: bytes) -> tuple[dict[str, ndarray], dict[str, Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        (length,) = opening.LENGTH.unpack_from(said)
        start = opening.LENGTH.size
        facts = json.loads(said[start : start + length])
        arrays = load(said[start + length :])
        labels = facts.get("labels", [])
        if not isinstance(facts["params"], dict) or not all(isinstance(label, str) for label in labels):
            raise ValueError("its facts are not of their types")
    except (struct.error, SafetensorError, ValueError, KeyError, TypeError, AttributeError, MemoryError) as wrong:
        raise ArtifactRefused(f"what {name} was turned into cannot be read: {wrong}") from None
    return arrays, facts


def drafted(order: Order, arrays: dict[str, ndarray], facts: Mapping[str, Any]) -> Draft:
    """Make an artifact of what a model was taken apart to; raises `ArtifactRefused` where it chooses otherwise."""
    import numpy as np

    labels = tuple(order.renamed.get(label, label) for label in facts.get("labels") or order.labels)
    given, said = arrays.pop("probe.given", None), arrays.pop("probe.said", None)
    tensors = {name: _narrowed(name, array) for name, array in arrays.items()}
    params = {**_defaults(order.strategy), **facts["params"], **order.params}
    embedder = None if order.strategy in _WITHOUT_EMBEDDER else order.embedder
    if given is None:
        rng = np.random.default_rng(0)
        given = rng.standard_normal((opening.PROBES, order.embedder.dim)) / np.sqrt(order.embedder.dim)
    given = given.astype(np.float32)
    blank = np.zeros((1, given.shape[1] if embedder else 0), dtype=np.float32)
    unchecked = {SELFTEST_INPUT: blank, SELFTEST_EXPECTED: np.zeros((1, len(labels)), dtype=np.float32)}
    trial = _artifact(Draft(order.name, order.strategy, labels, {**tensors, **unchecked}, embedder, params=params))
    _same_width(order, tensors)
    predictor = registry.PREDICTORS[order.strategy](trial)
    rows = given if embedder else np.zeros((1, 0), dtype=np.float32)
    scores = np.array([predictor.predict(row) for row in rows], dtype=np.float32)
    agreement = _agreement(order.strategy, scores, said, params)
    if agreement is not None and agreement < AGREEMENT.get(order.strategy, 0.995):
        raise ArtifactRefused(f"our arithmetic agrees with the original on {agreement:.1%} of {len(rows)} probes only")
    return Draft(
        name=order.name,
        strategy=order.strategy,
        labels=labels,
        tensors={**tensors, SELFTEST_INPUT: rows[:SELFTESTS], SELFTEST_EXPECTED: scores[:SELFTESTS]},
        embedder=embedder,
        params=params,
        training={"imported_from": order.source.name, **facts.get("versions", {})},
        metrics={} if agreement is None else {"agreement": round(agreement, 4), "probes": len(rows)},
    )


def _hosted_draft(order: Order, arrays: dict[str, ndarray], facts: Mapping[str, Any]) -> Draft:
    """Try what the worker process is to host, in one of our own, for a self-test of LLMRouter's own answers."""
    import numpy as np

    labels = tuple(order.renamed.get(label, label) for label in facts.get("labels", ()))
    tensors = {name: _narrowed(name, array) for name, array in arrays.items()}
    _same_width(order, tensors)
    rows = tensors["queries"][:SELFTESTS]
    blank = np.zeros((len(rows), len(labels)), dtype=np.float32)
    tests = {SELFTEST_INPUT: rows, SELFTEST_EXPECTED: blank}
    params = {**facts["params"], **order.params}
    draft = Draft(order.name, order.strategy, labels, {**tensors, **tests}, order.embedder, params=params)
    workers = hosted.Workers(order.python)
    try:
        chosen = hosted.choices(workers.process(), "trial", _artifact(draft))
        versions = (workers.facts() or {}).get("versions", {})
    finally:
        workers.close()
    expected = np.eye(len(labels), dtype=np.float32)[[labels.index(model) for model in chosen]]
    return replace(
        draft,
        tensors={**tensors, SELFTEST_INPUT: rows, SELFTEST_EXPECTED: expected},
        training={"imported_from": order.source.name, **facts.get("versions", {}), **versions},
    )


def _artifact(draft: Draft) -> Artifact:
    """Return a draft as if it had been written and read."""
    with tempfile.TemporaryDirectory(prefix="routeiq-import-") as directory:
        write(draft, Path(directory))
        return read_artifact(Path(directory))


def _narrowed(name: str, array: ndarray) -> ndarray:
    import numpy as np

    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    # A support vector machine's decisions are sums of many large terms that nearly cancel.
    precise = name in ("vectors", "decisions", "intercepts", "points", "performance", "llms")
    return array.astype(np.float64 if precise and array.dtype == np.float64 else np.float32)


def _same_width(order: Order, tensors: Mapping[str, ndarray]) -> None:
    for name in ("points", "vectors", "matrix", "layers.0.weight", "queries"):
        if name in tensors and tensors[name].shape[-1] != order.embedder.dim:
            raise ArtifactRefused(
                f"{order.source.name} was trained on vectors of {tensors[name].shape[-1]} numbers, the proxy's "
                f"embedder {order.embedder.id} makes {order.embedder.dim}: train LLMRouter with that one"
            )


def _defaults(strategy: str) -> Mapping[str, Any]:
    known: Mapping[str, Mapping[str, Any]] = {
        "llmrouter-mlp": {"activation": "relu"},
        "llmrouter-hybrid": {"threshold": 0.5},
    }
    return known.get(strategy, {})


def _agreement(strategy: str, scores: ndarray, said: ndarray | None, params: Mapping[str, Any]) -> float | None:
    import numpy as np

    if said is None:
        return None
    if strategy == "llmrouter-hybrid":
        said = np.where(np.clip(said, 0, 1) >= params["threshold"], 0, 1)
    return float((scores.argmax(axis=1) == said).mean())
