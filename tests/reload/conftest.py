"""A running proxy whose configuration tests change, and the hand that changes it."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.reload.configs import deployment, written
from tests.support.proxy import PLUGIN, Proxy, running_proxy

SABOTEUR = Path(__file__).with_name("saboteur.py")


@dataclass(frozen=True)
class Reloading:
    """A proxy and its configuration file."""

    proxy: Proxy
    client: httpx.Client
    base: Mapping[str, Any]

    def write(self, data: bytes) -> None:
        """Replace the file in one step."""
        path = self.proxy.config_path
        partial = path.with_suffix(f".{secrets.token_hex(4)}")
        partial.write_bytes(data)
        os.replace(partial, path)

    def change(self, **changes: Any) -> None:
        """Write the base configuration with changes merged in; None takes a key out."""
        self.write(written(self.base, **changes))

    def reload(self, **body: Any) -> httpx.Response:
        """Ask for a reload."""
        return self.client.post("/config/reload", json=body)

    def applied(self, **changes: Any) -> dict[str, Any]:
        """Write and reload; the answer must be a 200."""
        self.change(**changes)
        response = self.reload()
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def ask(self, model: str, client: httpx.Client | None = None) -> str:
        """Chat with a model: its answer, or the status of the refusal."""
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        response = (client or self.client).post("/v1/chat/completions", json=body)
        if response.status_code != 200:
            return str(response.status_code)
        return str(response.json()["choices"][0]["message"]["content"])

    def status(self) -> dict[str, Any]:
        """Read the sync status as an admin."""
        answer: dict[str, Any] = self.client.get("/config/sync/status").raise_for_status().json()
        return answer

    def control(self, do: str, **asked: Any) -> Any:
        """Let the saboteur act; without anything to do it tells facts."""
        return self.client.post("/test/control", json={"do": do, **asked}).raise_for_status().json()


@contextmanager
def reloading(workdir: Path, *, config: Mapping[str, Any] | None = None, **options: Any) -> Iterator[Reloading]:
    """Start a proxy that has the saboteur beside the plugin."""
    workdir.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(SABOTEUR, workdir / "saboteur.py")
    settings = {
        "model_list": [deployment("fake-model", "first answer"), deployment("kept", "kept answer", model_id="kept")],
        "litellm_settings": {"callbacks": [PLUGIN, "saboteur.hook"]},
        "routeiq": {"outbound": {"allowed_hosts": ["127.0.0.1"]}},
        **(config or {}),
    }
    with running_proxy(workdir, config=settings, **options) as proxy, proxy.client() as client:
        yield Reloading(proxy, client, proxy.launch.config)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reloading]:
    """One proxy for the tests of a module."""
    with reloading(tmp_path_factory.mktemp("reload")) as running:
        yield running


@pytest.fixture
def reset(shared: Reloading) -> Iterator[Callable[[], None]]:
    """Put the configuration back to what the proxy booted with, before and after a test."""

    def back() -> None:
        shared.write(written(shared.base))
        shared.reload(force_sync=True).raise_for_status()

    back()
    yield back
    back()
