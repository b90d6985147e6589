"""The proxy's side of the worker process: starts it, asks it, and does without it while it is away.

One thread keeps the process, from each start to its end, and reads its answers; one writes; one empties its standard
error. Nobody waits longer than he said, and no more than `MAX_PENDING` questions are open at a time.
"""

from __future__ import annotations

import itertools
import logging
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from routeiq_plugin.errors import Unavailable
from routeiq_plugin.routing.importing import opening
from routeiq_plugin.routing.worker import host

logger = logging.getLogger(__name__)

MAX_PENDING: Final = 16
"""Questions that have no answer yet, those included whose asker has gone."""
KEPT_LINES: Final = 20
_LINE_CHARS: Final = 500
PASSED_ON: Final = ("PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE")
"""Of the proxy's environment: nothing that is a secret."""
OWN: Final = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",  # else LiteLLM, which LLMRouter imports, looks for .env files
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds."""

    start: float = 240.0
    """Until llmrouter-lib is imported: a minute on a busy machine."""
    load: float = 120.0
    backoff: float = 1.0
    """Before the first restart; doubled for each that follows soon."""
    longest_backoff: float = 60.0
    steady: float = 60.0
    """After so long alive, the next restart is the first again."""
    stuck: float = 10.0
    """A process that leaves a prompt unanswered for so long is ended, by the next one that comes."""


@dataclass(slots=True)
class _Run:
    """One life of the process."""

    process: subprocess.Popen[bytes]
    workdir: Path
    outbox: queue.SimpleQueue[Mapping[str, Any] | None] = field(default_factory=queue.SimpleQueue)
    said: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    """Last lines of its standard error before it was ready; later ones might hold a prompt and are dropped."""
    versions: Mapping[str, str] = field(default_factory=dict)
    ready: bool = False


@dataclass(frozen=True, slots=True)
class _Question:
    overdue: float
    """When a process that has not answered is taken for stuck."""
    answer: Future[Mapping[str, Any]] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class _Router:
    order: Mapping[str, Any]
    weights: bytes | None


class WorkerProcess:
    """Hosts routers in a process of an interpreter that has llmrouter-lib; safe among threads.

    It starts with the first router, and again after every end, with all of them, until closed.
    """

    def __init__(self, python: str, patience: Patience | None = None) -> None:
        self.python = python
        self._patience = patience or Patience()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._routers: dict[str, _Router] = {}
        self._questions: dict[int, _Question] = {}
        self._numbers = itertools.count(1)
        self._run: _Run | None = None
        self._keeper: threading.Thread | None = None
        self._closing = threading.Event()
        self._ends = 0
        self._reason: str | None = "the worker process has not started"

    # For strategies

    def load(self, router: str, order: Mapping[str, Any], weights: bytes | None = None) -> None:
        """Construct a router in the process, now and after each restart; blocks, a minute for the first.

        Raises:
            Unavailable: the process does not start, or LLMRouter cannot construct the router; in its own words.
        """
        self._wait_ready()
        known = _Router(order, weights)
        question = self._ask(lambda run: _loading(router, known, run), self._patience.load)
        try:
            self._answered(question, self._patience.load)
        except TimeoutError:
            raise Unavailable(f"LLMRouter takes more than {self._patience.load:.0f} s to construct it") from None
        with self._lock:
            self._routers[router] = known

    def route(self, router: str, text: str, vector: Sequence[float], seconds: float) -> str:
        """Return the model that a router names; raises `TimeoutError`, or `Unavailable` with the reason."""
        asked = {
            "do": "route",
            "router": router,
            "text": text,
            "vector": vector,
            "deadline": time.monotonic() + seconds,
        }
        return str(self._answered(self._ask(lambda _run: asked, self._patience.stuck), seconds)["model"])

    def drop(self, router: str) -> None:
        """Forget a router; waits for nothing."""
        with self._lock:
            if self._routers.pop(router, None) is not None and self._run is not None and self._run.ready:
                self._run.outbox.put({"do": "drop", "router": router, "seq": next(self._numbers)})

    @property
    def reason(self) -> str | None:
        """Why it cannot be asked now; None while it can."""
        return self._reason

    def facts(self) -> Mapping[str, Any]:
        """Tell how it is doing."""
        with self._lock:
            run = self._run
            return {
                "pid": run.process.pid if run else None,
                "ready": bool(run and run.ready),
                "versions": dict(run.versions) if run else {},
                "ends": self._ends,
                "open_questions": len(self._questions),
                "reason": self._reason,
            }

    def close(self) -> None:
        """End the process, and everybody's waiting for it."""
        with self._changed:
            self._closing.set()
            run, keeper = self._run, self._keeper
            self._changed.notify_all()
        if run is not None:
            run.process.kill()
        if keeper is not None:
            keeper.join(5)

    # Questions

    def _wait_ready(self) -> None:
        with self._changed:
            if self._keeper is None and not self._closing.is_set():
                self._reason = "the worker process is starting"
                self._keeper = threading.Thread(target=self._keep, name="routeiq worker", daemon=True)
                self._keeper.start()
            ends = self._ends
            self._changed.wait_for(
                lambda: self._closing.is_set() or self._ends > ends or (self._run is not None and self._run.ready),
                self._patience.start,
            )
            if self._run is None or not self._run.ready:
                raise Unavailable(self._reason or "the worker process does not start")

    def _ask(self, message: Callable[[_Run], Mapping[str, Any]], overdue: float) -> _Question:
        with self._lock:
            run = self._run
            if run is None or not run.ready or self._closing.is_set():
                raise Unavailable(self._reason or "the worker process is not ready")
            now = time.monotonic()
            if any(question.overdue < now for question in self._questions.values()):
                logger.warning("routeiq: the worker process is stuck, and is ended")
                run.process.kill()
                raise Unavailable("the worker process is stuck")
            if len(self._questions) >= MAX_PENDING:
                raise Unavailable(f"the worker process has {MAX_PENDING} questions open")
            number, question = next(self._numbers), _Question(now + overdue)
            run.outbox.put({**message(run), "seq": number})
            self._questions[number] = question
            return question

    def _answered(self, question: _Question, seconds: float) -> Mapping[str, Any]:
        answer = question.answer.result(seconds)
        if "error" in answer:
            raise Unavailable(str(answer["error"]))
        if answer.get("late"):
            raise TimeoutError
        return answer

    # The process

    def _keep(self) -> None:
        delay = self._patience.backoff
        while not self._closing.is_set():
            began = time.monotonic()
            reason = self._live()
            with self._changed:
                self._run, self._reason = None, reason
                self._ends += 1
                left, self._questions = self._questions, {}
                self._changed.notify_all()
            for question in left.values():
                question.answer.set_exception(Unavailable(reason))
            if self._closing.is_set():
                return
            if time.monotonic() - began > self._patience.steady:
                delay = self._patience.backoff
            logger.warning("routeiq: %s; it starts again in %.0f s", reason, delay)
            self._closing.wait(delay)
            delay = min(2 * delay, self._patience.longest_backoff)

    def _live(self) -> str:
        """Start the process and serve until it ends; returns why it did."""
        workdir = Path(tempfile.mkdtemp(prefix="routeiq-worker-"))
        try:
            process = _spawn(self.python, workdir)
        except OSError as wrong:
            shutil.rmtree(workdir, ignore_errors=True)
            return f"{self.python} cannot be started: {wrong.strerror}"
        run = _Run(process, workdir)
        with self._lock:
            self._run = run
            if self._closing.is_set():
                process.kill()
        helpers = [threading.Thread(target=each, args=(run,), daemon=True) for each in (_write, _listen)]
        for helper in helpers:
            helper.start()
        try:
            return self._served(run)
        except ValueError as wrong:
            return f"the worker process said what is no answer: {wrong}"
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
            run.outbox.put(None)
            shutil.rmtree(workdir, ignore_errors=True)

    def _served(self, run: _Run) -> str:
        pipe = run.process.stdout
        assert pipe is not None
        patience = threading.Timer(self._patience.start, run.process.kill)
        patience.daemon = True
        patience.start()
        try:
            first = host.read_frame(pipe)
        finally:
            patience.cancel()
        if first is None:
            return f"the worker process ended with {run.process.wait()} before it was ready: {' / '.join(run.said)}"
        if not first.get("ready"):
            return _missing(self.python, first)
        self._begin(run, first)
        while (answer := host.read_frame(pipe)) is not None:
            with self._lock:
                question = self._questions.pop(answer.get("seq", 0), None)
            if question is not None:
                question.answer.set_result(answer)
        return f"the worker process ended with {run.process.wait()}"

    def _begin(self, run: _Run, first: Mapping[str, Any]) -> None:
        """Announce that questions may come, after ordering the routers of the process before."""
        with self._changed:
            for router, known in self._routers.items():
                number, question = next(self._numbers), _Question(time.monotonic() + self._patience.load)
                run.outbox.put({**_loading(router, known, run), "seq": number})
                self._questions[number] = question
            run.versions, run.ready = first.get("versions", {}), True
            self._reason = None
            self._changed.notify_all()


def _loading(router: str, known: _Router, run: _Run) -> Mapping[str, Any]:
    message = {**known.order, "do": "load", "router": router}
    if known.weights is not None:
        path = run.workdir / f"{router}.safetensors"
        path.write_bytes(known.weights)
        message["weights"] = str(path)
    return message


def _missing(python: str, first: Mapping[str, Any]) -> str:
    return (
        f"{python} cannot import llmrouter-lib ({str(first.get('error'))[:_LINE_CHARS]}); "
        f"run: {python} -m pip install llmrouter-lib, or name another interpreter in routing.worker_python"
    )


def _spawn(python: str, workdir: Path) -> subprocess.Popen[bytes]:
    passed = {name: value for name in PASSED_ON if (value := os.environ.get(name)) is not None}
    return subprocess.Popen(  # noqa: S603  our own script, and an interpreter that the operator named
        [python, "-I", host.__file__, str(workdir), opening.__file__],
        cwd=workdir,
        env={**OWN, **passed},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _write(run: _Run) -> None:
    pipe = run.process.stdin
    assert pipe is not None
    with suppress(OSError, ValueError):  # it has ended, which its keeper sees
        while (message := run.outbox.get()) is not None:
            host.write_frame(pipe, message)
    with suppress(OSError):
        pipe.close()


def _listen(run: _Run) -> None:
    pipe = run.process.stderr
    assert pipe is not None
    with suppress(OSError, ValueError), pipe:
        while line := pipe.readline(_LINE_CHARS):
            if not run.ready:
                run.said.append(line.decode(errors="replace").strip())
