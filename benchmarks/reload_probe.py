"""A LiteLLM callback for `benchmarks/reload.py`: times the stages of a reload and each of its steps on the event loop.

A step is what runs between two awaits that give way. Its CPU time on this thread is counted, not the wall clock: on a
machine that is shared the clock also counts what others do. What Python's collector of garbage took of it is told
apart: it comes when enough objects were made by anybody, in whatever step runs then.
"""

import gc
import threading
import time
from typing import Any

from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy import proxy_server
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from routeiq_plugin.reload import service
from routeiq_plugin.reload.application import Application
from routeiq_plugin.reload.journal import Journal
from routeiq_plugin.reload.workshop import Workshop
from routeiq_plugin.store.generations import GenerationStore

seen: dict[str, Any] = {}
stages: dict[str, float] = {}


collector = {"began": 0.0, "ms": 0.0}


def collected(phase: str, _: dict[str, int]) -> None:
    """Add up what the collector takes of the event loop's thread; called by Python."""
    if threading.current_thread() is not threading.main_thread():
        return
    if phase == "start":
        collector["began"] = time.thread_time()
    else:
        collector["ms"] += (time.thread_time() - collector["began"]) * 1000


gc.callbacks.append(collected)


class Probe(CustomLogger):  # type: ignore[misc]  # LiteLLM is not followed by mypy, see pyproject.toml
    """Does nothing as a callback."""


class Steps:
    """A coroutine whose every step is timed, whatever event loop drives it."""

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Any:
        steps = self._coroutine.__await__()
        send, value = steps.send, None
        while True:
            began, before = time.thread_time(), collector["ms"]
            try:
                waited = send(value)
            except StopIteration as ended:
                return ended.value
            finally:
                spent = (time.thread_time() - began) * 1000
                ours = spent - (collector["ms"] - before)
                seen["longest reload step ms"] = max(spent, seen.get("longest reload step ms", 0.0))
                seen["longest without collector ms"] = max(ours, seen.get("longest without collector ms", 0.0))
            try:
                value = yield waited
                send = steps.send
            except BaseException as error:  # noqa: BLE001  handed on to the coroutine
                send, value = steps.throw, error


def timed(owner: Any, name: str, stage: str) -> None:
    """Add up how long a coroutine function takes."""
    stock = getattr(owner, name)

    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return await stock(*args, **kwargs)
        finally:
            stages[stage] = stages.get(stage, 0.0) + time.perf_counter() - began

    setattr(owner, name, wrapped)


timed(Workshop, "read", "parse and validate")
timed(Workshop, "build", "trial build")
timed(Application, "_stage", "stage")
timed(GenerationStore, "apply", "record")

stock_commit = Journal.commit


def commit(self: Journal, changes: Any) -> None:
    """Time the exchange, which is one step."""
    began = time.perf_counter()
    stock_commit(self, changes)
    stages["commit"] = time.perf_counter() - began


Journal.commit = commit  # type: ignore[method-assign]

stock_reload = service.Reloader.reload


async def reload(self: Any, order: Any) -> Any:
    """Time every step."""
    began = time.perf_counter()
    try:
        return await Steps(stock_reload(self, order))
    finally:
        seen["seconds"] = time.perf_counter() - began


service.Reloader.reload = reload  # type: ignore[method-assign]


async def control(request: Request) -> JSONResponse:
    """Start or stop a measurement."""
    if (await request.json())["do"] == "start":
        seen.clear()
        stages.clear()
    return JSONResponse({**seen, "stages": stages})


proxy_server.app.router.routes.insert(0, Route("/benchmark/probe", control, methods=["POST"]))
hook = Probe()
