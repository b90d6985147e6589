"""The worker process: `python -I host.py WORKDIR OPENING`; hosts llmrouter-lib, which the proxy never imports.

Runs in any interpreter that has llmrouter-lib, this package or not: it imports nothing of it, and the proxy shares
its framing. Frames come by standard input, a length of four bytes and JSON; answers go to the pipe
that standard output was. What LLMRouter prints goes to standard error. It ends when its input does, or with its parent.

It has no network and starts no programs (an audit hook refuses both), opens pickles only with the list of
`importing/opening.py`, and its environment holds none of the proxy's secrets.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import json
import os
import pickle
import queue
import shutil
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

MAX_FRAME: Final = 8 * 1024**2
_LENGTH: Final = struct.Struct(">I")
_PR_SET_PDEATHSIG: Final = 1

ROUTERS: Final[Mapping[str, tuple[str, str]]] = {
    "llmrouter-graph": ("graphrouter.router", "GraphRouter"),
    "llmrouter-automix": ("automix.router", "AutomixRouter"),
    "llmrouter-causallm": ("causallm_router.router", "CausalLMRouter"),
    "llmrouter-router_r1": ("router_r1.router", "RouterR1"),
    "llmrouter-routerdc": ("routerdc.router", "DCRouter"),
    "llmrouter-gmt": ("gmtrouter.router", "GMTRouter"),
    "llmrouter-personalized": ("personalizedrouter.router", "PersonalizedRouter"),
    "llmrouter-knn-multiround": ("knnmultiroundrouter.router", "KNNMultiRoundRouter"),
    "llmrouter-llm-multiround": ("llmmultiroundrouter.router", "LLMMultiRoundRouter"),
    "llmrouter-ts": ("tsrouter.router", "TSRouter"),
}
"""Below `llmrouter.models`: the module and class of each strategy."""

TRIAL_PATHS: Final = {"backbone_model": "microsoft/mdeberta-v3-base"}
TRIAL_HPARAM: Final[Mapping[str, Mapping[str, Any]]] = {
    "llmrouter-router_r1": {
        "model_id": "ulab-ai/Router-R1-Qwen2.5-3B-Instruct",
        "api_base": "http://127.0.0.1:9/v1",
        "api_key": "none",
    },
}
"""What LLMRouter's own examples name, for routers that are given no config."""

_REFUSED: Final = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind")
_NO_PROGRAMS: Final = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty")


def write_frame(pipe: IO[bytes], message: Mapping[str, Any]) -> None:
    """Send one message."""
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > MAX_FRAME:
        raise ValueError(f"a frame of {len(data)} bytes is too long")
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> dict[str, Any] | None:
    """Receive one message; None at the end. Raises `ValueError` for what is no frame."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME:
        raise ValueError(f"a frame of {length} bytes is too long")
    data = pipe.read(length)
    if len(data) < length:
        return None
    message = json.loads(data)
    if not isinstance(message, dict):
        raise ValueError("a frame must hold an object")
    return message


class Embedder:
    """Stands in for LLMRouter's Longformer: returns the vector that the proxy sent with the prompt."""

    def __init__(self) -> None:
        self._vector: Sequence[float] = ()

    def take(self, vector: Sequence[float]) -> None:
        """Hold the vector of the prompt that is to be routed."""
        self._vector = vector

    def __call__(self, texts: str | Sequence[str]) -> Any:
        """Return a tensor for a text, as `llmrouter.utils.get_longformer_embedding` does."""
        torch = importlib.import_module("torch")
        if not isinstance(texts, str) and len(texts) != 1:
            raise ValueError("the proxy's embedder knows whole prompts only")
        return torch.tensor(self._vector, dtype=torch.float32)

    def install(self) -> None:
        """Replace the function wherever LLMRouter's modules have taken a reference to it."""
        for name, module in list(sys.modules.items()):
            if name.startswith("llmrouter") and hasattr(module, "get_longformer_embedding"):
                module.get_longformer_embedding = self  # type: ignore[attr-defined]


class Routers:
    """LLMRouter's routers by the proxy's names for them."""

    def __init__(self, workdir: Path, embedder: Embedder) -> None:
        self._workdir = workdir
        self._embedder = embedder
        self._known: dict[str, Any] = {}

    def load(self, order: Mapping[str, Any]) -> None:
        """Construct a router with LLMRouter's own code, and try it where no self-test will; raises what that raises."""
        module, name = ROUTERS[order["strategy"]]
        made = getattr(importlib.import_module(f"llmrouter.models.{module}"), name)
        self._embedder.install()
        config = order.get("config")
        if config is None:
            home = self._workdir / order["router"]
            home.mkdir(exist_ok=True)
            weights = order.get("weights")
            config = graph(home, order, Path(weights)) if weights else trial(home, order)
        self._known[order["router"]] = made(str(config))
        if not order.get("weights"):
            try:
                self.route({"router": order["router"], "text": "Hello.", "vector": order["vector"]})
            except BaseException:
                self.drop(order["router"])
                raise

    def drop(self, router: str) -> None:
        """Forget a router."""
        self._known.pop(router, None)
        shutil.rmtree(self._workdir / router, ignore_errors=True)

    def route(self, order: Mapping[str, Any]) -> str:
        """Ask a router for the model of one prompt."""
        self._embedder.take(order["vector"])
        answer = self._known[order["router"]].route_single({"query": order["text"]})
        model = answer.get("model_name") if isinstance(answer, dict) else None
        if model is None:
            raise ValueError("LLMRouter answered without a model")
        return str(model)


def graph(home: Path, order: Mapping[str, Any], weights: Path) -> Path:
    """Write what GraphRouter reads, from an artifact's tensors; returns its YAML."""
    torch = importlib.import_module("torch")
    tensors = importlib.import_module("safetensors.torch").load_file(weights)
    labels: list[str] = order["labels"]
    performance = tensors["performance"].tolist()
    with (home / "routing.jsonl").open("w", encoding="utf-8") as file:
        for at, scores in enumerate(performance):
            for model, score in zip(labels, scores, strict=True):
                row = {"query": f"q{at}", "embedding_id": at, "model_name": model, "performance": score}
                file.write(json.dumps(row) + "\n")
    torch.save(tensors["queries"], home / "queries.pt")
    state = {key[len("state.") :]: value for key, value in tensors.items() if key.startswith("state.")}
    torch.save(state, home / "model.pt")
    told = zip(labels, tensors["llms"].tolist(), strict=True)
    return _config(
        home,
        {
            "data_path": _data(home),
            "model_path": dict.fromkeys(("load_model_path", "save_model_path"), str(home / "model.pt")),
            "llm_data": {model: {"embedding": numbers} for model, numbers in told},
            "hparam": {"hidden_dim": int(order["params"]["hidden_dim"])},
        },
    )


def trial(home: Path, order: Mapping[str, Any]) -> Path:
    """Write the least that LLMRouter's routers ask of a config, so that what they say is about themselves."""
    torch = importlib.import_module("torch")
    labels: Sequence[str] = order["labels"]
    rows = [
        {"query": f"q{at}", "embedding_id": at, "model_name": model, "performance": float(at % len(labels) == of)}
        for at in range(2 * len(labels))
        for of, model in enumerate(labels)
    ]
    (home / "routing.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    torch.save(torch.eye(2 * len(labels)), home / "queries.pt")
    llms = {model: {"model": model, "size": f"{at + 1}B"} for at, model in enumerate(labels)}
    (home / "llms.json").write_text(json.dumps(llms), encoding="utf-8")
    data = {**_data(home), "llm_data": str(home / "llms.json"), "routing_data_test": str(home / "routing.jsonl")}
    paths = dict.fromkeys(("ini_model_path", "load_model_path", "save_model_path"), str(home / "model.pt"))
    hparam = TRIAL_HPARAM.get(order["strategy"], {})
    return _config(
        home,
        {"data_path": data, "model_path": {**paths, **TRIAL_PATHS}, "hparam": dict(hparam), "llm_data": llms},
    )


def _data(home: Path) -> dict[str, str]:
    return {"routing_data_train": str(home / "routing.jsonl"), "query_embedding_data": str(home / "queries.pt")}


def _config(home: Path, config: Mapping[str, Any]) -> Path:
    path = home / "config.yaml"
    path.write_text(importlib.import_module("yaml").safe_dump(dict(config)), encoding="utf-8")
    return path


def die_with_parent() -> None:
    """End when the proxy does, `kill -9` included."""
    with suppress(AttributeError, OSError):  # not Linux: the end of standard input must do
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def confine(opening: Path) -> None:
    """Refuse network and programs from now on, and open pickles with the importer's list alone."""
    spec = importlib.util.spec_from_file_location("routeiq_opening", opening)
    assert spec is not None
    assert spec.loader is not None
    importer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(importer)
    pickle.load = importer.load_pickle
    pickle.loads = importer.load_pickled

    def refuse(event: str, _arguments: object) -> None:
        if event in _REFUSED:
            raise PermissionError("routers in the worker process have no network")
        if event.startswith(_NO_PROGRAMS):
            raise PermissionError("routers in the worker process start no programs")

    sys.addaudithook(refuse)


def versions() -> dict[str, str]:
    """Return what is hosted."""
    found = {}
    for name in ("llmrouter-lib", "torch", "torch-geometric", "scikit-learn"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def answer(routers: Routers, order: Mapping[str, Any]) -> dict[str, Any]:
    """Do what the proxy asks, unless it has given up waiting."""
    told = {"seq": order["seq"]}
    if order.get("deadline", float("inf")) < time.monotonic():
        return {**told, "late": True}
    try:
        if order["do"] == "route":
            return {**told, "model": routers.route(order)}
        if order["do"] == "load":
            routers.load(order)
        else:
            routers.drop(order["router"])
    except BaseException as failed:  # noqa: BLE001  LLMRouter's own error, SystemExit included, is what is told
        # What a router says of a prompt may quote it, and would come into logs.
        said = _place(failed) if order["do"] == "route" else failed
        return {**told, "error": f"{type(failed).__name__}: {said}"[:2_000]}
    return {**told, "done": True}


def _place(failed: BaseException) -> str:
    frames = traceback.extract_tb(failed.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "no traceback"


def _read(pipe: IO[bytes], orders: queue.Queue[dict[str, Any]], leave: Callable[[], None]) -> None:
    """Queue what comes, so that the pipe never fills while a router computes; at its end, end."""
    with suppress(Exception):
        while (order := read_frame(pipe)) is not None:
            orders.put(order)
    leave()


def main(workdir: Path, opening: Path) -> None:
    """Serve until the end of standard input."""
    die_with_parent()
    given, told = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    orders: queue.Queue[dict[str, Any]] = queue.Queue()

    def leave() -> None:
        shutil.rmtree(workdir, ignore_errors=True)
        os._exit(0)

    threading.Thread(target=_read, args=(given, orders, leave), daemon=True).start()
    embedder = Embedder()
    try:
        importlib.import_module("llmrouter.models")
        importlib.import_module("torch").set_num_threads(1)
    except ImportError as absent:
        write_frame(told, {"ready": False, "missing": absent.name or str(absent), "error": str(absent)})
        sys.exit(1)
    embedder.install()
    confine(opening)
    routers = Routers(workdir, embedder)
    write_frame(told, {"ready": True, "versions": versions()})
    while True:
        write_frame(told, answer(routers, orders.get()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
