"""The worker process by itself, with stand-ins for llmrouter and torch: tests/llmrouter has the real ones."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from routeiq_plugin.errors import Unavailable
from routeiq_plugin.routing.worker import process as worker
from routeiq_plugin.routing.worker.process import Patience, WorkerProcess
from tests.routing.worker_stand_in import interpreter
from tests.support import processes

pytestmark = pytest.mark.requirement("RTE-01")

ORDER: Final = {"strategy": "llmrouter-automix", "labels": ["small", "large"], "config": "/fine", "vector": [1.0]}
BROKEN: Final = {**ORDER, "config": "/broken"}
QUICK: Final = Patience(backoff=0.05, longest_backoff=0.2, stuck=0.5)
LONG: Final = 30.0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[WorkerProcess]:
    made = WorkerProcess(str(interpreter(tmp_path)), QUICK)
    made.load("one", ORDER)
    try:
        yield made
    finally:
        made.close()


def ask(made: WorkerProcess, text: str = "hello", first: float = 1.0, seconds: float = LONG) -> str:
    return made.route("one", text, [first, 0.0], seconds)


def pid_of(made: WorkerProcess) -> int:
    pid = made.facts()["pid"]
    assert isinstance(pid, int)
    return pid


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_vector_of_the_proxy_decides_and_prints_do_no_harm(running: WorkerProcess) -> None:
    assert [ask(running, first=first) for first in (1.0, -1.0, 1.0)] == ["large", "small", "large"]
    assert running.reason is None


def test_several_routers_share_the_process(running: WorkerProcess) -> None:
    pid = pid_of(running)
    running.load("two", ORDER)
    assert running.route("two", "hello", [-1.0], LONG) == "small"
    running.drop("two")
    with pytest.raises(Unavailable, match="KeyError"):
        running.route("two", "hello", [-1.0], LONG)
    assert pid_of(running) == pid


def test_what_cannot_be_constructed_tells_its_own_words(running: WorkerProcess) -> None:
    with pytest.raises(Unavailable, match="OSError: own words: no such model on this machine"):
        running.load("two", BROKEN)
    assert ask(running) == "large"


def test_a_failure_on_a_prompt_does_not_quote_it(running: WorkerProcess) -> None:
    with pytest.raises(Unavailable, match=r"RuntimeError: router\.py:\d+") as failed:
        ask(running, "fail")
    assert "secret" not in str(failed.value)
    with pytest.raises(Unavailable, match="ValueError"):
        ask(running, "nothing")


def test_it_knows_no_secret_and_reaches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")  # before it starts
    running: WorkerProcess = request.getfixturevalue("running")
    of_the_shell = {"LC_CTYPE", "PWD", "OLDPWD", "SHLVL", "_"}
    assert set(ask(running, "env").split()) <= {*worker.PASSED_ON, *worker.OWN, *of_the_shell}
    for mischief in ("connect", "spawn"):
        with pytest.raises(Unavailable, match="PermissionError"):
            ask(running, mischief)
    evil = tmp_path / "evil.pkl"
    evil.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "canary").encode() + b"'\ntR.")
    with pytest.raises(Unavailable, match="UnpicklingError"):
        ask(running, f"open {evil}")
    harmless = tmp_path / "fine.pkl"
    harmless.write_bytes(pickle.dumps({"a": 1.0}))
    assert ask(running, f"open {harmless}") == "large"
    assert not (tmp_path / "canary").exists()


def test_it_comes_back_with_its_routers_after_it_died(running: WorkerProcess) -> None:
    before = pid_of(running)
    with pytest.raises(Unavailable, match="ended with -9"):
        ask(running, "die")
    processes.wait_until(lambda: running.reason is None, LONG, "restart of the worker process")
    assert pid_of(running) != before
    assert ask(running, first=-1.0) == "small"
    assert running.facts()["ends"] == 1


def test_one_that_is_stuck_is_ended_and_replaced(running: WorkerProcess) -> None:
    before = pid_of(running)

    def replaced() -> bool:
        with contextlib.suppress(TimeoutError, Unavailable):
            ask(running, seconds=0.01)
        return running.facts()["pid"] not in (before, None) and running.reason is None

    with ThreadPoolExecutor(1) as pool:
        sleeping = pool.submit(ask, running, "sleep")
        processes.wait_until(lambda: running.facts()["open_questions"] == 1, LONG, "the question")
        processes.wait_until(replaced, LONG, "replacement of the stuck process")
        with pytest.raises(Unavailable, match="ended with -9"):
            sleeping.result(LONG)
    assert not alive(before)
    assert ask(running) == "large"


def test_questions_that_nobody_answers_are_bounded(tmp_path: Path) -> None:
    made = WorkerProcess(str(interpreter(tmp_path)), Patience(stuck=60))
    made.load("one", ORDER)
    pid = pid_of(made)
    try:
        os.kill(pid, signal.SIGSTOP)
        for _ in range(worker.MAX_PENDING):
            with pytest.raises(TimeoutError):
                ask(made, "hello " * 2_000, seconds=0.001)
        with pytest.raises(Unavailable, match="questions open"):
            ask(made, seconds=0.001)
        os.kill(pid, signal.SIGCONT)
        processes.wait_until(lambda: made.facts()["open_questions"] == 0, LONG, "answers")
        assert ask(made) == "large"
    finally:
        made.close()
    assert not alive(pid)


@pytest.mark.parametrize(
    ("there", "told"), [(True, "pip install llmrouter-lib"), (False, "cannot be started: No such file")]
)
def test_an_interpreter_that_will_not_do_is_told(tmp_path: Path, there: bool, told: str) -> None:
    python = interpreter(tmp_path, complete=False) if there else tmp_path / "nowhere"
    made = WorkerProcess(str(python), QUICK)
    try:
        with pytest.raises(Unavailable, match=told):
            made.load("one", ORDER)
    finally:
        made.close()


def test_after_closing_nothing_is_left_and_nothing_starts(running: WorkerProcess) -> None:
    pid = pid_of(running)
    running.close()
    assert not alive(pid)
    with pytest.raises(Unavailable):
        ask(running)
    with pytest.raises(Unavailable):
        running.load("two", ORDER)


PARENT: Final = """
import sys, os, signal
from routeiq_plugin.routing.worker.process import WorkerProcess
made = WorkerProcess(sys.argv[1])
made.load("one", {"strategy": "llmrouter-automix", "labels": ["a"], "config": "/fine", "vector": [1.0]})
print(made.facts()["pid"], flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_does_not_outlive_its_parent(tmp_path: Path, how: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(interpreter(tmp_path))],
        env=processes.clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.send_signal(how)
        parent.wait(LONG)
        processes.wait_until(lambda: not alive(child), LONG, "end of the worker process")
