"""Small parts: what is remembered is bounded, languages, rules of arithmetic, and what importing costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from routeiq_plugin.routing import artifact
from routeiq_plugin.routing.artifact import Draft
from routeiq_plugin.routing.decision import Cause, Decision
from routeiq_plugin.routing.embedding import CACHED, DIM, static_embedder
from routeiq_plugin.routing.experiments import arm_of, subject_of
from routeiq_plugin.routing.fallbacks import merged
from routeiq_plugin.routing.language import language
from routeiq_plugin.routing.strategies import registry
from routeiq_plugin.routing.strategies.simple import size_of
from routeiq_plugin.routing.threads import Threads
from tests.support.processes import clean_environment

pytestmark = pytest.mark.requirement("RTE-20")

HEAVY: Final = ("numpy", "safetensors", "tokenizers", "wordllama", "sklearn", "torch", "transformers", "llmrouter")
PROBE: Final = f"""
import sys
import routeiq_plugin.routing.commands, routeiq_plugin.routing.engine, routeiq_plugin.routing.training
import routeiq_plugin.routing.strategies.registry, routeiq_plugin.routing.importing.conversion
print(",".join(name for name in {HEAVY!r} if name in sys.modules))
"""


def test_importing_routing_loads_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""


def test_ten_thousand_prompts_leave_a_bounded_memory() -> None:
    embedder = static_embedder()
    for at in range(10_000):
        vector = embedder.embed(f"prompt number {at}")
    assert vector.shape == (DIM,)
    assert np.isclose(np.linalg.norm(vector), 1, atol=1e-5)
    assert len(embedder._known) == CACHED
    assert embedder.embed("prompt number 9999") is vector


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\ud800", "x" * 100_000, "日本語" * 5_000, "\x00" * 50])
def test_any_text_has_a_vector(text: str) -> None:
    vector = static_embedder().embed(text)
    assert vector.shape == (DIM,)
    assert np.isfinite(vector).all()


async def test_threads_are_bounded() -> None:
    threads = Threads(size=10)
    for at in range(100):
        await threads.keep(str(at), "small", None)
    assert await threads.model_of("0", None) is None
    assert await threads.model_of("99", None) == "small"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("What is the capital of this country and how is it known?", "en"),
        ("Was ist das und wie ist es mit der Sache?", "de"),
        ("Quel est le nom de la ville et pourquoi?", "fr"),
        ("¿Qué es lo que no se puede hacer con los libros?", "es"),
        ("東京はどこですか", "ja"),
        ("北京在哪里", "zh"),
        ("Где находится Москва", "ru"),
        ("Де знаходиться Київ", "uk"),
        ("서울은 어디입니까", "ko"),
        ("12345 !!!", None),
        ("", None),
    ],
)
def test_languages(text: str, code: str | None) -> None:
    assert language(text) == code


@pytest.mark.parametrize(
    ("names", "size"),
    [(("llama-3.1-8b",), 8), (("x", "openai/qwen2.5-72B-instruct"), 72), (("tiny-500m",), 0.5), (("gpt-5",), None)],
)
def test_sizes(names: tuple[str, ...], size: float | None) -> None:
    assert size_of(*names) == size


def test_arms_get_their_share() -> None:
    seen = [arm_of("auto", f"user-{at}", (3, 1)) for at in range(4000)]
    assert 0.7 < seen.count(0) / len(seen) < 0.8
    assert seen == [arm_of("auto", f"user-{at}", (3, 1)) for at in range(4000)]
    assert subject_of("user", {"key": "k", "session": "s"}) == "k"
    assert subject_of("session", {"user": "u", "session": "s"}) == "s"


def test_fallbacks_are_merged_in_order() -> None:
    decision = Decision("auto", "rules", "a", ("b", "c"), Cause.STRATEGY, 0.001)
    assert merged(decision, None, [{"a": ["d", "b"]}, {"*": ["e"]}]) == ["b", "c", "d"]
    assert merged(decision, ["x", {"model": "y"}], [{"auto": ["d"]}]) == ["b", "c", "x", {"model": "y"}, "d"]
    assert merged(decision, [{"auto": ["x"]}], [{"*": ["e"]}]) == ["b", "c", "x", "e"]
    assert merged(Decision("auto", "rules", "a", (), Cause.ONLY, 0.001), None, []) == []


def written(tmp_path: Path, draft: Draft) -> artifact.Artifact:
    artifact.write(draft, tmp_path)
    return artifact.read(tmp_path)


def test_mlp_is_a_network(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((8, DIM)), rng.standard_normal((2, 8))
    tensors: dict[str, Any] = {
        "layers.0.weight": first,
        "layers.0.bias": np.ones(8),
        "layers.1.weight": second,
        "layers.1.bias": np.zeros(2),
    }
    draft = Draft("m", "llmrouter-mlp", ("a", "b"), tensors, static_embedder().identity, params={"activation": "relu"})
    vector = rng.standard_normal(DIM)
    wanted = second @ np.maximum(first @ vector + 1, 0)
    assert np.allclose(registry.PREDICTORS["llmrouter-mlp"](written(tmp_path, draft)).predict(vector), wanted)


def test_mf_is_one_product(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    matrix, vector = rng.standard_normal((3, DIM)), rng.standard_normal(DIM)
    draft = Draft("m", "llmrouter-mf", ("a", "b", "c"), {"matrix": matrix}, static_embedder().identity)
    assert np.allclose(registry.PREDICTORS["llmrouter-mf"](written(tmp_path, draft)).predict(vector), matrix @ vector)
