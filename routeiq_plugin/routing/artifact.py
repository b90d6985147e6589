"""What a trained strategy is made of: a JSON manifest and safetensors, nothing that could run; verified before use.

`read` checks everything that can be known without building the strategy: schema, names, sizes, hashes, tensors. The
self-test, which needs the strategy, is `strategies.learned.check`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from routeiq_plugin.errors import ArtifactRefused

if TYPE_CHECKING:
    from numpy import ndarray

    from routeiq_plugin.routing.embedding import EmbedderId

MANIFEST: Final = "manifest.json"
WEIGHTS: Final = "model.safetensors"
SCHEMA_VERSION: Final = 1
MAX_MANIFEST_BYTES: Final = 1024**2
MAX_FILE_BYTES: Final = 256 * 1024**2
MAX_FILES: Final = 8
EXECUTABLE: Final = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".npy", ".npz")
"""Formats that can carry code, which `routeiq artifact import` converts outside the proxy."""

SELFTEST_INPUT: Final = "selftest.input"
SELFTEST_EXPECTED: Final = "selftest.expected"

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}\.safetensors$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Part(BaseModel):
    """A section of the manifest; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileFacts(Part):
    """What a file must be."""

    sha256: Sha256
    bytes: int = Field(ge=1, le=MAX_FILE_BYTES)


class EmbedderFacts(Part):
    """Which embedder the vectors come from."""

    id: str
    sha256: Sha256
    dim: int = Field(ge=1, le=8192)
    features: int = Field(default=0, ge=0)
    """Version of `routing.features` that was joined to the vectors; 0 for none."""


class Manifest(Part):
    """manifest.json."""

    schema_version: Literal[1]
    name: str = Field(pattern="^[A-Za-z0-9_.-]{1,128}$")
    version: str = Field(pattern="^[A-Za-z0-9_.+-]{1,64}$")
    created_at: datetime
    strategy: str = Field(pattern="^[a-z][a-z0-9_-]{0,63}$")
    labels: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(min_length=1, max_length=1024)
    """Model groups, in the order of the tensors' last axis."""
    embedder: EmbedderFacts | None = None
    files: Mapping[FileName, FileFacts] = Field(max_length=MAX_FILES)
    params: Mapping[str, Any] = {}
    training: Mapping[str, Any] = {}
    metrics: Mapping[str, Any] = {}

    @property
    def id(self) -> str:
        """Name and version, as headers and logs tell it."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified artifact in memory."""

    manifest: Manifest
    tensors: Mapping[str, ndarray]
    """Of every file together; float16 is widened to float32."""

    def tensor(self, name: str, *shape: int | None) -> ndarray:
        """Return a tensor of that shape (None: any length); raises `ArtifactRefused`."""
        found = self.tensors.get(name)
        if found is None:
            raise ArtifactRefused(f"{self.manifest.id} lacks the tensor {name}")
        if len(found.shape) != len(shape) or any(
            want is not None and want != have for want, have in zip(shape, found.shape, strict=True)
        ):
            wanted = "x".join("any" if want is None else str(want) for want in shape)
            have = "x".join(map(str, found.shape))
            raise ArtifactRefused(f"{self.manifest.id}: {name} has the shape {have}, not {wanted}")
        return found

    def number(self, name: str) -> float:
        """Return a number of `params`; raises `ArtifactRefused`."""
        value = self.manifest.params.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ArtifactRefused(f"{self.manifest.id}: params.{name} must be a number")
        return float(value)


def parse_manifest(data: bytes) -> Manifest:
    """Validate manifest.json; raises `ArtifactRefused` naming the wrong field."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise ArtifactRefused(f"{MANIFEST} exceeds {MAX_MANIFEST_BYTES // 1024} KiB")
    try:
        document = json.loads(data)
    except ValueError as wrong:
        raise ArtifactRefused(f"{MANIFEST} is not JSON: {wrong}") from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise ArtifactRefused(f"{MANIFEST}: schema_version is {version!r}; this version reads {SCHEMA_VERSION}")
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as invalid:
        lines = [
            f"{'.'.join(map(str, error['loc']))} is wrong: {error['msg']}"
            for error in invalid.errors(include_input=False, include_url=False)
        ]
        raise ArtifactRefused(f"{MANIFEST}: {'; '.join(lines)}") from None
    if len(set(manifest.labels)) < len(manifest.labels):
        raise ArtifactRefused(f"{MANIFEST}: labels name a model twice")
    return manifest


def read(directory: Path) -> Artifact:
    """Read and verify an artifact of the local disk; raises `ArtifactRefused`."""
    if directory.suffix in EXECUTABLE:
        raise ArtifactRefused(f"{directory.name} may carry code and is never loaded; run: routeiq artifact import")
    try:
        manifest = parse_manifest((directory / MANIFEST).read_bytes())
    except OSError as missing:
        raise ArtifactRefused(f"{directory}: no readable {MANIFEST} ({missing.strerror})") from None
    tensors: dict[str, ndarray] = {}
    for name, facts in manifest.files.items():
        tensors |= _tensors(name, _verified(directory / name, facts))
    return Artifact(manifest, tensors)


def _verified(path: Path, facts: FileFacts) -> bytes:
    try:
        size = path.stat().st_size
        if size != facts.bytes:
            raise ArtifactRefused(f"{path.name} has {size} bytes, its manifest says {facts.bytes}")
        data = path.read_bytes()
    except OSError as missing:
        raise ArtifactRefused(f"{path.name} cannot be read ({missing.strerror})") from None
    if hashlib.sha256(data).hexdigest() != facts.sha256:
        raise ArtifactRefused(f"{path.name} is not the file that its manifest names (sha256 differs)")
    return data


def _tensors(name: str, data: bytes) -> Mapping[str, ndarray]:
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found = load(data)
    except (SafetensorError, KeyError, ValueError, MemoryError) as wrong:
        raise ArtifactRefused(f"{name} is not safetensors: {wrong}") from None
    widened: dict[str, ndarray] = {}
    for key, tensor in found.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise ArtifactRefused(f"{name}: {key} holds what is not a finite number")
        widened[key] = tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor
    return widened


@dataclass(frozen=True, slots=True)
class Draft:
    """An artifact to be written."""

    name: str
    strategy: str
    labels: tuple[str, ...]
    tensors: Mapping[str, ndarray]
    embedder: EmbedderId | None = None
    features: int = 0
    params: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] | None = None


def write(draft: Draft, directory: Path, *, now: datetime | None = None) -> Manifest:
    """Write manifest and weights into a directory, the manifest last; its version is the hash of the weights."""
    from safetensors.numpy import save

    data = save({name: _contiguous(tensor) for name, tensor in draft.tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    embedder = draft.embedder
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=draft.name,
        version=hashlib.sha256(
            (digest + json.dumps([draft.params, draft.labels], sort_keys=True, default=str)).encode()
        ).hexdigest()[:12],
        created_at=now or datetime.now(UTC),
        strategy=draft.strategy,
        labels=draft.labels,
        embedder=None
        if embedder is None
        else EmbedderFacts(id=embedder.id, sha256=embedder.sha256, dim=embedder.dim, features=draft.features),
        files={WEIGHTS: FileFacts(sha256=digest, bytes=len(data))},
        params=draft.params or {},
        training=draft.training or {},
        metrics=draft.metrics or {},
    )
    directory.mkdir(parents=True, exist_ok=True)
    _replace(directory / WEIGHTS, data)
    _replace(directory / MANIFEST, (manifest.model_dump_json(indent=1) + "\n").encode())
    return manifest


def _contiguous(tensor: ndarray) -> ndarray:
    import numpy as np

    return np.ascontiguousarray(tensor)


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)
