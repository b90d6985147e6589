"""What a hostile file can do when it is handed to `routeiq artifact import`: nothing, behind either wall."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from routeiq_plugin.errors import ArtifactRefused
from routeiq_plugin.routing import artifact
from routeiq_plugin.routing.embedding import EmbedderId
from routeiq_plugin.routing.importing import conversion, opening
from routeiq_plugin.routing.importing.conversion import Order, convert

pytestmark = pytest.mark.requirement("RTE-01")

EMBEDDER: Final = EmbedderId("test", "0" * 64, 4)


class Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


def order(path: Path, strategy: str = "llmrouter-elo") -> Order:
    return Order(path, strategy, "made", EMBEDDER)


def hostile(directory: Path, port: int) -> dict[str, Call]:
    """Name one pickle per thing that none may do."""
    canary = directory / "canary"
    return {
        "write": Call(open, str(canary), "w"),
        "shell": Call(__import__("os").system, f"touch {canary}"),
        "spawn": Call(subprocess.Popen, ["touch", str(canary)]),
        "socket": Call(socket.create_connection, ("127.0.0.1", port)),
        "environment": Call(__import__("os").getenv, "PATH"),
        "eval": Call(eval, f"open({str(canary)!r}, 'w')"),
        "exec": Call(exec, f"open({str(canary)!r}, 'w')"),
        "import": Call(__import__, "this"),
    }


KINDS: Final = ("write", "shell", "spawn", "socket", "environment", "eval", "exec", "import")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", ["llmrouter-elo", "llmrouter-knn"])
def test_a_hostile_pickle_is_refused_and_does_nothing(tmp_path: Path, kind: str, strategy: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        path = tmp_path / "router.pkl"
        path.write_bytes(pickle.dumps(hostile(tmp_path, server.getsockname()[1])[kind]))
        with pytest.raises(ArtifactRefused, match=r"it wants .*, which is no part of a trained router"):
            convert(order(path, strategy), tmp_path / "made")
        with pytest.raises(BlockingIOError):
            server.accept()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["router.pkl"]


SECOND_WALL: Final = """
import importlib.util, pickle, sys
spec = importlib.util.spec_from_file_location("opening", sys.argv[1])
opening = importlib.util.module_from_spec(spec)
spec.loader.exec_module(opening)
import os, socket, subprocess
opening.isolate()
opening.confine()
try:
    print(pickle.load(open(sys.argv[2], "rb")))
except BaseException as refused:
    print(type(refused).__name__, refused)
"""


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("environment", "import")])
def test_even_a_pickle_that_ran_could_not_write_spawn_or_connect(tmp_path: Path, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        path = tmp_path / "router.pkl"
        path.write_bytes(pickle.dumps(hostile(tmp_path, server.getsockname()[1])[kind]))
        done = subprocess.run(
            [sys.executable, "-I", "-c", SECOND_WALL, opening.__file__, str(path)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        with pytest.raises(BlockingIOError):
            server.accept()
    assert "PermissionError" in done.stdout, done.stdout + done.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["router.pkl"]


def test_the_environment_of_the_opening_process_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = tmp_path / "python"
    spy.write_text("#!/bin/sh\nenv | sed 's/^/seen: /' | tr '\\n' ' ' >&2\nexit 1\n")
    spy.chmod(0o755)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with pytest.raises(ArtifactRefused) as refused:
        convert(Order(tmp_path / "x.pkl", "llmrouter-elo", "made", EMBEDDER, python=str(spy)), tmp_path / "made")
    assert "seen: HOME" in str(refused.value)
    assert "sk-secret" not in str(refused.value)


def test_ratings_of_a_plain_pickle_become_an_artifact(tmp_path: Path) -> None:
    path = tmp_path / "elo.pkl"
    path.write_bytes(pickle.dumps({"small": 900.0, "large": 1100.0}))
    manifest = convert(order(path), tmp_path / "made")
    assert manifest.labels == ("small", "large")
    made = artifact.read(tmp_path / "made")
    assert made.tensor("ratings", 2).tolist() == [900.0, 1100.0]


def test_a_package_that_is_missing_is_named_with_the_command(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    path = tmp_path / "elo.pkl"
    path.write_bytes(b"cpandas\nSeries\n.")
    with pytest.raises(ArtifactRefused, match="pip install pandas"):
        convert(Order(path, "llmrouter-elo", "made", EMBEDDER, python=str(bare)), tmp_path / "made")


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ("head -c 3000000 /dev/zero", "turns into more than"),
        ("echo nonsense", "cannot be read"),
        ("printf '\\002\\0\\0\\0\\0\\0\\0\\0{}'", "cannot be read"),
        ("sleep 60", "took more than"),
        ("kill -9 $$", "ended with -9"),
    ],
)
def test_what_the_opening_process_says_is_bounded_and_distrusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, reason: str
) -> None:
    monkeypatch.setattr(conversion, "MAX_SAID_BYTES", 1_000_000)
    monkeypatch.setattr(conversion, "TIMEOUT_SECONDS", 2.0)
    mute = tmp_path / "python"
    mute.write_text(f"#!/bin/sh\n{says}\n")
    mute.chmod(0o755)
    with pytest.raises(ArtifactRefused, match=reason):
        convert(Order(tmp_path / "x.pkl", "llmrouter-elo", "made", EMBEDDER, python=str(mute)), tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_the_list_names_nothing_that_runs_what_it_is_given() -> None:
    runs = {"system", "eval", "exec", "open", "Popen", "getattr", "__import__", "import_module", "load", "loads"}
    listed = {name for names in opening.ALLOWED.values() for name in names}
    assert not runs & (listed | {name for _, name in opening.ALLOWED_BUILTINS})
