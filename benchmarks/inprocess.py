"""What the plugin costs inside one process, where a microsecond shows: imports, route test, hooks, whole requests.

`python -m benchmarks.inprocess CONFIG PAIRS`, run by `overhead.py` in an empty directory, prints one line of JSON. It
runs LiteLLM's own lifespan on CONFIG, so the plugin comes in as it does in production, and calls the ASGI app directly.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks import processes

MARK: Final = "in process: "
BLOCK: Final = 20
"""Requests per measurement of a pair; long enough for the clock, short enough for the machine's mood to be the same."""

_CALLS: Final = 20_000
_REPEATS: Final = 7
_WARM_UP: Final = 60
_LOGGED_SECONDS: Final = 2.0
"""When LiteLLM has logged a request; it does so in the background and offers nothing to wait for."""

_TRAILING_SECONDS: Final = 0.05
"""LiteLLM logs after it has answered; sleeping costs no CPU, and what runs meanwhile is counted."""


@dataclass(frozen=True)
class ImportCost:
    """What importing the plugin adds to a process that has imported LiteLLM's proxy."""

    cpu_ms: float
    resident_mib: float
    modules: dict[str, int]
    """How many modules came in, by top-level package."""


@dataclass
class Hook:
    """One method of ours that LiteLLM calls for a request."""

    calls: int
    """Per request."""
    microseconds: float = 0.0
    """Per call, the least of several runs; generators are counted and not timed."""


@dataclass
class Result:
    """Everything that this process found."""

    imports: ImportCost
    match_us: dict[str, float] = field(default_factory=dict)
    """Per call of `OwnedRoutes.matches`, by path."""
    hooks: dict[str, dict[str, Hook]] = field(default_factory=dict)
    """By kind of request, then by method."""
    request_ms: list[float] = field(default_factory=list)
    """CPU of a chat request without the plugin, by pair."""
    added_ms: list[float] = field(default_factory=list)
    """What the plugin added to it, by pair."""


Recorded = tuple[int, tuple[Any, ...], dict[str, Any]]


class InProcess:
    """The running app and our entries in it."""

    def __init__(self, app: Any, key: str, model: str) -> None:
        litellm: Any = importlib.import_module("litellm")
        from routeiq_plugin._plugin import RouteIQ
        from routeiq_plugin.host.app import OwnedRoutes

        self._app = app
        self._key = key
        self._model = model
        self.owned: Any = next(route for route in app.router.routes if isinstance(route, OwnedRoutes))
        self.plugin: Any = next(callback for callback in litellm.callbacks if isinstance(callback, RouteIQ))
        self._places: list[list[Any]] = [app.router.routes]
        self._places += [held for held in vars(litellm).values() if isinstance(held, list) and self.plugin in held]

    async def chat(self, *, stream: bool = False) -> None:
        """Make one chat request; raises unless it is answered with 200."""
        body = {"model": self._model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        status = await _asgi(self._app, "/v1/chat/completions", self._key, json.dumps(body).encode())
        if status != 200:
            raise RuntimeError(f"unexpected status {status}")

    @contextmanager
    def without_plugin(self) -> Iterator[None]:
        """Take our route entry and our callback out of LiteLLM's lists, and put them back where they were."""
        taken = [(held, index, held[index]) for held in self._places for index in _indices(held, self)]
        for held, index, _ in reversed(taken):
            del held[index]
        try:
            yield
        finally:
            for held, index, entry in taken:
                held.insert(index, entry)


def _indices(held: list[Any], here: InProcess) -> list[int]:
    return [index for index, entry in enumerate(held) if entry is here.plugin or entry is here.owned]


async def _asgi(app: Any, path: str, key: str, body: bytes) -> int:
    said = False
    status = 0

    async def receive() -> dict[str, Any]:
        nonlocal said
        if said:
            await asyncio.Event().wait()
        said = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    headers = [
        (b"host", b"bench"),
        (b"authorization", f"Bearer {key}".encode()),
        (b"content-type", b"application/json"),
    ]
    await app(_scope("POST", path, [*headers, (b"content-length", str(len(body)).encode())]), receive, send)
    return status


def _scope(method: str, path: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }


def import_cost() -> ImportCost:
    """Import the plugin's composition root; LiteLLM's proxy must be there already."""
    gc.collect()
    known, resident, cpu = set(sys.modules), processes.resident_mib(os.getpid()), time.process_time()
    importlib.import_module("routeiq_plugin._plugin")
    spent = time.process_time() - cpu
    added = Counter(name.partition(".")[0] for name in set(sys.modules) - known)
    return ImportCost(spent * 1e3, processes.resident_mib(os.getpid()) - resident, dict(added.most_common()))


def match_cost(owned: Any, path: str) -> float:
    """Time our route test for a path that is not ours, in microseconds per call."""
    scope = _scope("POST", path, [])

    def once() -> None:
        for _ in range(_CALLS):
            owned.matches(scope)

    return min(_timed(once) for _ in range(_REPEATS)) / _CALLS * 1e6


async def hook_costs(here: InProcess, *, stream: bool) -> dict[str, Hook]:
    """Find which of our methods LiteLLM calls for a request, and time each with the arguments that it got."""
    recorded = await _recorded(here, stream=stream)
    return {name: await _timed_hook(here.plugin, name, calls) for name, calls in sorted(recorded.items())}


async def _recorded(here: InProcess, *, stream: bool) -> dict[str, Recorded]:
    seen: dict[str, Recorded] = {}
    names = [name for name in dir(type(here.plugin)) if not name.startswith("__")]
    methods = {name: getattr(here.plugin, name) for name in names if callable(getattr(here.plugin, name))}
    for name, method in methods.items():
        setattr(here.plugin, name, _recording(name, method, seen))
    await asyncio.sleep(_LOGGED_SECONDS)
    seen.clear()  # what the request before still had to log
    try:
        await here.chat(stream=stream)
        await asyncio.sleep(_LOGGED_SECONDS)
    finally:
        for name in methods:
            delattr(here.plugin, name)
    return seen


def _recording(name: str, method: Callable[..., Any], seen: dict[str, Recorded]) -> Callable[..., Any]:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen[name] = (seen[name][0] + 1 if name in seen else 1, args, kwargs)

    def plain(*args: Any, **kwargs: Any) -> Any:
        note(args, kwargs)
        return method(*args, **kwargs)

    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        note(args, kwargs)
        return await method(*args, **kwargs)

    return coroutine if inspect.iscoroutinefunction(method) else plain


async def _timed_hook(plugin: Any, name: str, recorded: Recorded) -> Hook:
    calls, args, kwargs = recorded
    method = getattr(plugin, name)
    if inspect.isasyncgenfunction(method):
        return Hook(calls)
    times = []
    for _ in range(_REPEATS):
        before = time.perf_counter()
        await _repeat(method, args, kwargs)
        times.append(time.perf_counter() - before)
    return Hook(calls, min(times) / _CALLS * 1e6)


async def _repeat(method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if inspect.iscoroutinefunction(method):
        for _ in range(_CALLS):
            await method(*args, **kwargs)
    else:
        for _ in range(_CALLS):
            method(*args, **kwargs)


def _timed(work: Callable[[], None]) -> float:
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


async def pairs(here: InProcess, count: int) -> Iterator[tuple[float, float]]:
    """Measure blocks of chat requests without and with the plugin in turn; CPU milliseconds per request."""
    for _ in range(_WARM_UP):
        await here.chat()
    measured = []
    for index in range(count):
        if index % 2:
            with_plugin, without = await _block(here.chat), await _block_without(here)
        else:
            without, with_plugin = await _block_without(here), await _block(here.chat)
        measured.append((without, with_plugin))
    return iter(measured)


async def _block_without(here: InProcess) -> float:
    with here.without_plugin():
        return await _block(here.chat)


async def _block(chat: Callable[[], Awaitable[None]]) -> float:
    await chat()  # whatever LiteLLM caches by its list of callbacks is built now
    gc.collect()
    before = time.process_time()
    for _ in range(BLOCK):
        await chat()
    await asyncio.sleep(_TRAILING_SECONDS)
    return (time.process_time() - before) / BLOCK * 1e3


async def measure(path: str, config: Mapping[str, Any], count: int) -> Result:
    """Run LiteLLM's lifespan on the config at `path`, and measure."""
    os.environ["WORKER_CONFIG"] = path
    app = importlib.import_module("litellm.proxy.proxy_server").app
    result = Result(import_cost())
    logging.disable(logging.INFO)
    async with app.router.lifespan_context(app):
        here = InProcess(app, config["general_settings"]["master_key"], config["model_list"][0]["model_name"])
        await here.chat()
        for other in ("/v1/chat/completions", "/health/liveliness", "/v1/models"):
            result.match_us[other] = match_cost(here.owned, other)
        result.hooks = {
            "chat": await hook_costs(here, stream=False),
            "stream": await hook_costs(here, stream=True),
        }
        for without, with_plugin in await pairs(here, count):
            result.request_ms.append(without)
            result.added_ms.append(with_plugin - without)
    return result


def main() -> None:
    """Measure, and print the result."""
    path, count = sys.argv[1:]
    result = asyncio.run(measure(path, yaml.safe_load(Path(path).read_text()), int(count)))
    print(MARK + json.dumps(asdict(result)), flush=True)


if __name__ == "__main__":
    main()
