"""Virtualenvs for packages that cannot share ours, each built once per machine, from the package index."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.support import processes


@cache
def python_with(name: str, requirements: Sequence[str]) -> Path:
    """Return the interpreter of a virtualenv with these packages (a tuple), which is built where there is none."""
    home = _cache_directory() / f"{name}-{_fingerprint(requirements)}"
    interpreter = home / "bin" / "python"
    complete = home / ".complete"
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (complete.exists() and interpreter.exists()):
            with suppress(FileNotFoundError):
                shutil.rmtree(home)
            _build(home, requirements)
            complete.touch()
    return interpreter


def environment() -> Mapping[str, str]:
    """Environment of a program in such a virtualenv: it reads our `tests`, and nothing else of ours."""
    return processes.clean_environment({"PYTHONPATH": str(processes.REPOSITORY)})


def _build(home: Path, requirements: Sequence[str]) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, stdin=subprocess.DEVNULL)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *requirements], check=True, stdin=subprocess.DEVNULL)


def _cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "routeiq-tests"


def _fingerprint(requirements: Sequence[str]) -> str:
    text = "\n".join((*requirements, sys.version, sys.base_prefix))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
