"""Train LLMRouter's routers with LLMRouter itself, and write down what they say: `python -m tests.llmrouter.training`.

A process of its own, because importing llmrouter takes 20 s and 700 MB. Its Longformer, which must be fetched, is
replaced by the proxy's own embedder wherever LLMRouter took a reference to it, for training and for the answers.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from routeiq_plugin.routing.embedding import static_embedder
from tests.llmrouter.prompts import SIZES, Prompt, prompts, read, rows

TRAINED: Final = 400
ASKED: Final = 240

ROUTERS: Final[Mapping[str, tuple[str, str, str, Mapping[str, Any]]]] = {
    "llmrouter-knn": ("KNNRouter", "KNNRouterTrainer", "pkl", {"n_neighbors": 7}),
    "llmrouter-svm": ("SVMRouter", "SVMRouterTrainer", "pkl", {"kernel": "rbf", "C": 2.0, "gamma": "scale"}),
    "llmrouter-mlp": (
        "MLPRouter",
        "MLPTrainer",
        "pkl",
        {"hidden_layer_sizes": [64, 32], "activation": "tanh", "epochs": 20},
    ),
    "llmrouter-mf": (
        "MFRouter",
        "MFRouterTrainer",
        "pkl",
        {"latent_dim": 64, "text_dim": static_embedder().identity.dim, "epochs": 3},
    ),
    "llmrouter-elo": ("EloRouter", "EloRouterTrainer", "pkl", {}),
    "llmrouter-hybrid": ("HybridLLMRouter", "HybridLLMTrainer", "pkl", {"hidden_layer_sizes": [48], "max_iter": 300}),
    "llmrouter-graph": ("GraphRouter", "GraphTrainer", "pt", {"hidden_dim": 32, "train_epoch": 60}),
    "llmrouter-smallest": ("SmallestLLM", "", "", {}),
    "llmrouter-largest": ("LargestLLM", "", "", {}),
}
"""Class, trainer, suffix of the trained file, hparam."""
EXTRAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "llmrouter-hybrid": {"router_mode": "probabilistic", "router_tau": 0.3, "router_threshold": 0.55}
}
FEATURES: Final = 16


def main() -> None:
    """Train all, and ask each about prompts that none has seen."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rows", type=Path, help="routing rows to use instead of made ones")
    options = parser.parse_args()
    given = prompts(TRAINED + ASKED) if options.rows is None else read(options.rows)
    given = list(given)
    random.Random(1).shuffle(given)
    asked, trained = given[:ASKED], given[ASKED:][:1_000]
    sizes = SIZES if options.rows is None else {model: f"{at + 1}B" for at, model in enumerate(trained[0].scores)}
    home: Path = options.directory
    _write_data(home, trained, sizes)
    importlib.import_module("torch").set_num_threads(1)  # more get in each other's way on a busy machine
    models = importlib.import_module("llmrouter.models")
    _install_embedder()
    said = {name: _answers(home, models, name, sizes, [prompt.text for prompt in asked]) for name in ROUTERS}
    (home / "said.json").write_text(json.dumps({"asked": [prompt.text for prompt in asked], "said": said}))


def _write_data(home: Path, trained: Sequence[Prompt], sizes: Mapping[str, str]) -> None:
    torch = importlib.import_module("torch")
    embed = static_embedder().embed
    torch.save(torch.stack([torch.from_numpy(embed(prompt.text).copy()) for prompt in trained]), home / "queries.pt")
    with (home / "routing.jsonl").open("w", encoding="utf-8") as file:
        for row in rows(trained, list(sizes)):
            file.write(json.dumps(row) + "\n")
    llms = {model: {"model": model, "size": size} for model, size in sizes.items()}
    (home / "llms.json").write_text(json.dumps(llms))


def _install_embedder() -> None:
    torch = importlib.import_module("torch")
    embed = static_embedder().embed

    def stand_in(text: str) -> Any:
        return torch.from_numpy(embed(text).copy())

    for name, module in list(sys.modules.items()):
        if name.startswith("llmrouter") and hasattr(module, "get_longformer_embedding"):
            module.get_longformer_embedding = stand_in  # type: ignore[attr-defined]


def _answers(home: Path, models: Any, name: str, sizes: Mapping[str, str], texts: Sequence[str]) -> list[str]:
    torch, numpy = importlib.import_module("torch"), importlib.import_module("numpy")
    torch.manual_seed(3)
    numpy.random.seed(3)
    router_class, trainer_class, _, _ = ROUTERS[name]
    config = config_of(home, name, sizes)
    router = getattr(models, router_class)(str(config))
    if trainer_class:
        getattr(models, trainer_class)(router, device="cpu").train()
    return [str(router.route_single({"query": text})["model_name"]) for text in texts]


def config_of(home: Path, name: str, sizes: Mapping[str, str]) -> Path:
    """Write the router's YAML."""
    _, _, suffix, hparam = ROUTERS[name]
    rng = random.Random(5)
    features = {model: {"embedding": [rng.uniform(-1, 1) for _ in range(FEATURES)]} for model in sizes}
    trained = str(home / f"{name}.{suffix}")
    config = {
        "data_path": {
            "routing_data_train": str(home / "routing.jsonl"),
            "query_embedding_data": str(home / "queries.pt"),
            "llm_data": str(home / "llms.json"),
        },
        "model_path": {"ini_model_path": "", "save_model_path": trained, "load_model_path": trained},
        "hparam": dict(hparam),
        "llm_data": features,
        **EXTRAS.get(name, {}),
    }
    path = home / f"{name}.yaml"
    path.write_text(importlib.import_module("yaml").safe_dump(config))
    return path


if __name__ == "__main__":
    main()
