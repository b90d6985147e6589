"""An interpreter with a little llmrouter and a little torch: what the worker process needs of them, and mischief."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

_TORCH: Final = """
float32 = "float32"
def tensor(numbers, dtype): return list(numbers)
def set_num_threads(count): pass
"""

_UTILS: Final = """
def get_longformer_embedding(texts): raise OSError("Longformer is not on this machine")
"""

_ROUTER: Final = """
import os, pickle, signal, socket, subprocess, time
from llmrouter.utils import get_longformer_embedding

class AutomixRouter:
    def __init__(self, config):
        if config.endswith("broken"):
            raise OSError("own words: no such model on this machine")

    def route_single(self, query):
        text = query["text"] if "text" in query else query["query"]
        print("noise on standard output", text)
        if text == "sleep":
            time.sleep(60)
        if text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "fail":
            raise RuntimeError("the secret prompt")
        if text == "nothing":
            return {"query": text}
        if text == "env":
            return {"model_name": " ".join(sorted(os.environ))}
        if text == "connect":
            socket.create_connection(("127.0.0.1", 9))
        if text == "spawn":
            subprocess.Popen(["true"])
        if text.startswith("open "):
            pickle.load(open(text[5:], "rb"))
        return {"model_name": "large" if get_longformer_embedding(text)[0] > 0 else "small"}
"""


def interpreter(directory: Path, *, complete: bool = True) -> Path:
    """Write a `python` that finds the stand-ins; not complete: one that has no llmrouter at all."""
    site = directory / "site"
    home = site / "llmrouter" / "models" / "automix"
    home.mkdir(parents=True)
    (site / "torch.py").write_text(_TORCH)
    for package in (site / "llmrouter", home.parent, home):
        (package / "__init__.py").write_text("")
    (site / "llmrouter" / "utils.py").write_text(_UTILS)
    (home / "router.py").write_text(_ROUTER)
    path = directory / "python"
    start = (
        f"import runpy, sys; sys.path.insert(0, {str(site)!r}); "
        "sys.argv[:] = sys.argv[2:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    whole = f'#!/bin/sh\nexec {sys.executable} -I -S -c "{start}" "$@"\n'
    bare = f'#!/bin/sh\nshift\nexec {sys.executable} -I -S "$@"\n'
    path.write_text(whole if complete else bare)
    path.chmod(0o755)
    return path
