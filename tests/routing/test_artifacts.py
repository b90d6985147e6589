"""What the proxy loads and what it refuses: whole, ours, and saying what it said where it was made."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from routeiq_plugin.errors import ArtifactRefused, RouteIQError, SettingsError, Unavailable
from routeiq_plugin.routing import artifact, sources
from routeiq_plugin.routing.arms import Arm, arms_of
from routeiq_plugin.routing.artifact import MANIFEST, WEIGHTS
from routeiq_plugin.routing.strategies import registry
from routeiq_plugin.routing.worker.strategy import GRAPH, HOSTED
from routeiq_plugin.settings import AliasSettings
from tests.routing import world
from tests.support import processes

pytestmark = pytest.mark.requirement("RTE-03")

SETTINGS: Final = AliasSettings.model_validate(world.alias("quality"))


@pytest.fixture
def copy(artifact_path: Path, tmp_path: Path) -> Path:
    """A whole artifact that a test may spoil."""
    return Path(shutil.copytree(artifact_path, tmp_path / "copy"))


def arm_of(path: Path | str, **changes: Any) -> Arm:
    settings = AliasSettings.model_validate({**world.alias("quality"), "artifact": str(path), **changes})
    return arms_of("auto", settings)[0]


def edited(copy: Path, **changes: Any) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps({**manifest, **changes}))


def retensored(copy: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change tensors, and make the manifest agree."""
    import hashlib

    tensors = load_file(copy / WEIGHTS)
    change(tensors)
    save_file(tensors, copy / WEIGHTS)
    data = (copy / WEIGHTS).read_bytes()
    edited(copy, files={WEIGHTS: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}})


def test_a_whole_one_is_loaded(copy: Path) -> None:
    arm = arm_of(copy)
    assert arm.load()
    assert arm.active is not None
    assert arm.active.artifact_id == artifact.read(copy).manifest.id
    assert not arm.load()


MANIFEST_FAULTS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "schema": ({"schema_version": 2}, "schema_version is 2"),
    "unknown key": ({"run": "me"}, "run is wrong"),
    "label": ({"labels": ["large", "small", "nobody"]}, "no candidates: nobody"),
    "label twice": ({"labels": ["large", "large", "small"]}, "twice"),
    "fewer labels": ({"labels": ["large", "small"]}, "shape"),
    "strategy": ({"strategy": "llmrouter-knn"}, "trained for the strategy llmrouter-knn"),
    "kind of file": ({"files": {"model.pkl": {"sha256": "0" * 64, "bytes": 3}}}, "files.model.pkl"),
    "path": ({"files": {"../model.safetensors": {"sha256": "0" * 64, "bytes": 3}}}, "files"),
    "size": ({"files": {WEIGHTS: {"sha256": "0" * 64, "bytes": 3}}}, "bytes, its manifest says 3"),
    "huge": ({"files": {WEIGHTS: {"sha256": "0" * 64, "bytes": 10**12}}}, "bytes"),
    "missing": ({"files": {"other.safetensors": {"sha256": "0" * 64, "bytes": 3}}}, "cannot be read"),
    "other embedder": ({"embedder": {"id": "x", "sha256": "0" * 64, "dim": 128, "features": 1}}, "embedder x"),
    "dimension": ({"embedder": {"id": "x", "sha256": "0" * 64, "dim": 64, "features": 1}}, "shape"),
    "no embedder": ({"embedder": None}, "embedder"),
    "params": ({"params": {}}, "params.k must be a number"),
    "k": ({"params": {"k": 0, "ridge_share": 0, "feature_weight": 0.1}}, "k of at least 1"),
    "calibration": (
        {"params": {"k": 5, "ridge_share": 0, "feature_weight": 0.1, "calibration": 5}},
        "params.calibration|self-test",
    ),
}


@pytest.mark.parametrize("fault", MANIFEST_FAULTS)
def test_a_wrong_manifest_is_refused(copy: Path, fault: str) -> None:
    changes, words = MANIFEST_FAULTS[fault]
    edited(copy, **changes)
    arm = arm_of(copy)
    with pytest.raises(RouteIQError, match=words):
        arm.load()
    assert arm.active is None
    assert arm.reason


def test_another_sha256_is_refused(copy: Path) -> None:
    data = bytearray((copy / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (copy / WEIGHTS).write_bytes(data)
    with pytest.raises(ArtifactRefused, match="sha256"):
        arm_of(copy).load()


def test_another_prediction_is_refused(copy: Path) -> None:
    def change(tensors: dict[str, Any]) -> None:
        tensors["qualities"] = (1 - tensors["qualities"]).astype(np.float16)

    retensored(copy, change)
    with pytest.raises(ArtifactRefused, match="self-test"):
        arm_of(copy).load()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(copy: Path, value: float) -> None:
    def change(tensors: dict[str, Any]) -> None:
        tensors["qualities"][0, 0] = value

    retensored(copy, change)
    with pytest.raises(ArtifactRefused, match="finite"):
        arm_of(copy).load()


@pytest.mark.parametrize("missing", ["points", "qualities", "selftest.input"])
def test_a_missing_tensor_is_named(copy: Path, missing: str) -> None:
    retensored(copy, lambda tensors: tensors.pop(missing))
    with pytest.raises(ArtifactRefused, match=missing):
        arm_of(copy).load()


def test_an_empty_selftest_is_refused(copy: Path) -> None:
    def change(tensors: dict[str, Any]) -> None:
        for name in ("selftest.input", "selftest.expected"):
            tensors[name] = tensors[name][:0]

    retensored(copy, change)
    with pytest.raises(ArtifactRefused, match="no self-test"):
        arm_of(copy).load()


class Hostile:
    """A pickle of it runs a command when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["model.pkl", "model.pt", "model.joblib"])
def test_what_may_carry_code_is_never_opened(tmp_path: Path, name: str) -> None:
    proof = tmp_path / "ran"
    (tmp_path / name).write_bytes(pickle.dumps(Hostile(proof)))
    with pytest.raises(ArtifactRefused, match="routeiq artifact import"):
        arm_of(tmp_path / name).load()
    assert not proof.exists()


def test_a_pickle_by_another_name_is_refused(copy: Path, tmp_path: Path) -> None:
    import hashlib

    proof = tmp_path / "ran"
    data = pickle.dumps(Hostile(proof))
    (copy / WEIGHTS).write_bytes(data)
    edited(copy, files={WEIGHTS: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}})
    with pytest.raises(ArtifactRefused, match="not safetensors"):
        arm_of(copy).load()
    assert not proof.exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff\xfe", b'{"schema_version": 1}', b"{" * 10_000])
def test_a_manifest_that_is_none_is_refused(copy: Path, content: bytes) -> None:
    (copy / MANIFEST).write_bytes(content)
    with pytest.raises(ArtifactRefused):
        arm_of(copy).load()


def test_a_newer_artifact_is_swapped_in_and_a_bad_one_is_not(copy: Path, tmp_path: Path) -> None:
    arm = arm_of(copy)
    arm.load()
    first = arm.active
    world.train(tmp_path / "next", name="newer")
    for name in (WEIGHTS, MANIFEST):
        shutil.copyfile(tmp_path / "next" / name, copy / name)
    assert arm.load()
    second = arm.active
    assert second is not None
    assert first is not None
    assert second.artifact_id != first.artifact_id
    assert arm.previous is first
    edited(copy, labels=["large", "small", "nobody"])
    with pytest.raises(ArtifactRefused):
        arm.load()
    assert arm.active is second
    assert "nobody" in str(arm.reason)
    assert arm.rollback()
    assert arm.active is first
    assert arm.previous is second


def test_settings_without_the_needed_artifact_stop_the_boot() -> None:
    from routeiq_plugin.routing.aliases import alias_of

    with pytest.raises(SettingsError, match=r"routeiq\.routing\.aliases\.auto\.artifact is missing"):
        alias_of("auto", SETTINGS, "aliases")


def test_hosted_strategies_are_known_and_only_graph_needs_an_artifact() -> None:
    for name in HOSTED:
        registry.require_known("routeiq.routing.aliases.auto.strategy", name)
        assert registry.needs_artifact(name) == (name == GRAPH)


@contextmanager
def s3() -> Iterator[dict[str, str]]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=processes.free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    try:
        yield {**keys, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    finally:
        server.stop()


@contextmanager
def gs() -> Iterator[dict[str, str]]:
    from gcp_storage_emulator.server import create_server

    port = processes.free_port()
    server = create_server("127.0.0.1", port, in_memory=True)
    server.start()
    try:
        yield {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    finally:
        with suppress(Exception):
            server.stop()


STORES: Final = {"s3": s3, "gs": gs}


def test_unknown_schemes_are_refused() -> None:
    with pytest.raises(ArtifactRefused, match="https://"):
        sources.fetch("https://example.invalid/artifact")


@pytest.fixture(scope="module", params=["s3", "gs"])
def bucket(request: pytest.FixtureRequest, artifact_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The artifact in a bucket of a real S3 or GCS server on loopback; yields (file system, url)."""
    scheme: str = request.param
    with pytest.MonkeyPatch.context() as patch, STORES[scheme]() as store:
        for name, value in store.items():
            patch.setenv(name, value)
        patch.setenv(sources.CACHE, str(tmp_path_factory.mktemp("cache")))
        system = sources._filesystem(f"{scheme}://models/smart")
        system.mkdir("models")
        for name in (WEIGHTS, MANIFEST):
            system.pipe_file(f"models/smart/{name}", (artifact_path / name).read_bytes())
        yield system, f"{scheme}://models/smart"


def test_an_artifact_from_a_bucket_is_fetched_when_it_changes(bucket: Any, tmp_path: Path) -> None:
    system, url = bucket
    arm = arm_of(url)
    assert arm.load()
    assert not arm.load()
    first = arm.active
    world.train(tmp_path / "next", name="newer")
    for name in (WEIGHTS, MANIFEST):
        system.pipe_file(f"models/smart/{name}", (tmp_path / "next" / name).read_bytes())
    assert arm.load()
    assert arm.active is not None
    assert arm.active is not first
    assert str(arm.active.artifact_id).startswith("newer@")
    other_worker = arm_of(url)
    assert other_worker.load()
    assert other_worker.active is not None
    assert other_worker.active.artifact_id == arm.active.artifact_id


def test_a_bucket_that_is_away_leaves_what_was_fetched(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, url = bucket
    arm = arm_of(url)
    arm.load()
    active = arm.active
    for name in ("AWS_ENDPOINT_URL", "STORAGE_EMULATOR_HOST"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(Unavailable):
        arm.load()
    assert arm.active is active
    restarted = arm_of(url)
    assert restarted.load()
    assert restarted.active is not None
    assert active is not None
    assert restarted.active.artifact_id == active.artifact_id
    with pytest.raises(Unavailable):
        arm_of(url.replace("smart", "never-fetched")).load()
