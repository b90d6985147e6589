"""The proxy's end of the trial process: started when first needed, ended when nobody asked for a while."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from routeiq_plugin.errors import InvalidConfig, Unavailable
from routeiq_plugin.reload.content import Content, Entry, pieces_of
from routeiq_plugin.reload.documents import MAX_BYTES, Document
from routeiq_plugin.reload.pace import breathe
from routeiq_plugin.reload.rules import references
from routeiq_plugin.reload.sources import Include
from routeiq_plugin.reload.trial import LENGTH

IDLE_SECONDS: Final = 300.0
PATIENCE_SECONDS: Final = 120.0
"""Longest time for one request, the import of LiteLLM on a busy machine included."""
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "PYTHONPYCACHEPREFIX", "VIRTUAL_ENV")
"""Of the proxy's environment: its secrets are not among them."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a configuration is checked against."""

    remote: bool
    boot: Content
    sections: Sequence[str]
    secrets: Sequence[str]
    allowlist: Sequence[str]
    check: bool = True
    """False reads a configuration that serves already."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A configuration that was read and checked, and every document that it was read from."""

    content: Content
    documents: Sequence[Document]
    ignored: Sequence[str]
    restart_required: Sequence[str]


class Workshop:
    """One trial process of one worker; requests queue."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._ending: asyncio.Task[None] | None = None

    async def read(self, documents: Sequence[Document], include: Include, rules: Rules) -> Reading:
        """Parse, merge and check; raises `InvalidConfig` and `Unavailable`."""
        known = list(documents)
        located: list[tuple[str, str, str]] = []
        while True:
            lines = await self._ask(_reading(known, located, rules))
            facts = json.loads(lines[1])
            if "need" not in facts:
                break
            for entry, declared_in in facts["need"]:
                document = await include(entry, declared_in)
                located.append((entry, declared_in, document.location))
                if all(each.location != document.location for each in known):
                    known.append(document)
                if sum(len(each.data) for each in known) > MAX_BYTES:
                    raise InvalidConfig("", f"larger than {MAX_BYTES // 1024**2} MiB")
        return Reading(await entries(lines[2:]), known, facts["ignored"], facts["restart_required"])

    async def build(self, pieces: Sequence[Entry]) -> None:
        """Build deployments and router settings; raises `InvalidConfig` and `Unavailable`."""
        if not pieces:
            return
        names = {name for entry in pieces for name in references(entry.value)}
        await self._ask(
            {
                "operation": "build",
                "pieces": [entry.line for entry in pieces],
                "environment": {name: os.environ[name] for name in names if name in os.environ},
            }
        )

    async def aclose(self) -> None:
        """End the process."""
        if self._ending is not None:
            self._ending.cancel()
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _ask(self, request: Mapping[str, Any]) -> list[str]:
        payload = await asyncio.to_thread(_encoded, request)
        async with self._turn:
            try:
                told = await asyncio.wait_for(self._exchange(payload), PATIENCE_SECONDS)
            except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
                await self.aclose()
                raise Unavailable(f"The trial process did not answer ({type(error).__name__})") from error
            except asyncio.CancelledError:
                await self.aclose()  # its answer would be taken for the next one's
                raise
            self._end_later()
        lines = told.decode().split("\n")
        failed = json.loads(lines[0])
        if failed:
            raise InvalidConfig(failed["path"], failed["message"])
        return lines

    async def _exchange(self, payload: bytes) -> bytes:
        process = await self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(payload)
        await process.stdin.drain()
        (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
        return await process.stdout.readexactly(length)

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # what lies in the proxy's directory is not for this process
                "-m",
                "routeiq_plugin.reload.trial",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={**environment, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONUTF8": "1"},
            )
        return self._process

    def _end_later(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
        self._ending = asyncio.create_task(self._end_when_idle())

    async def _end_when_idle(self) -> None:
        await asyncio.sleep(IDLE_SECONDS)
        async with self._turn:
            process, self._process = self._process, None  # who asks while it ends has another one
        if process is not None and process.stdin is not None:
            process.stdin.close()
            await process.wait()


async def entries(lines: Sequence[str]) -> Content:
    """Read the pieces of a configuration in slices."""
    read: list[Entry] = []
    for position, line in enumerate(lines):
        read += pieces_of(line)
        if position % 50 == 49:
            await breathe()
    return Content(tuple(read))


def _reading(documents: Sequence[Document], located: Sequence[tuple[str, str, str]], rules: Rules) -> Mapping[str, Any]:
    return {
        "operation": "read",
        "documents": documents,
        "located": located,
        "remote": rules.remote,
        "check": rules.check,
        "boot": [entry.line for entry in rules.boot.entries],
        "sections": list(rules.sections),
        "secrets": list(rules.secrets),
        "allowlist": list(rules.allowlist),
    }


def _encoded(request: Mapping[str, Any]) -> bytes:
    documents = [
        {"location": each.location, "data": base64.b64encode(each.data).decode()}
        for each in request.get("documents", ())
    ]
    body = json.dumps({**request, "documents": documents}).encode()
    return LENGTH.pack(len(body)) + body
