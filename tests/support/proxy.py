"""A stock `litellm --config` process, with or without the plugin, driven over its public port and its signals."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from tests.support import processes

PLUGIN: Final = "routeiq_plugin.plugin"
MODEL: Final = "fake-model"
ANSWER: Final = "mock answer"

START_TIMEOUT: Final = 240.0
"""Seconds; a start takes 12-20 s of CPU per worker, and the machine may be shared."""

STOP_TIMEOUT: Final = 60.0
_TAIL_LINES: Final = 60
_STARTED: Final = "Application startup complete."
"""What uvicorn logs once per worker whose lifespan has begun; the port alone answers when the first worker is up."""

_MASTER: Final = "<master>"
_CONFIG: Final = "litellm_config.yaml"
_KEYS: Final = "keys.json"
_LOG: Final = "proxy.log"


class ProxyDiedError(Exception):
    """The process ended before it was ready; `log` is everything that it said, `returncode` how it ended."""

    def __init__(self, returncode: int, log: str) -> None:
        super().__init__(f"litellm ended with {returncode}; its last lines:\n{_tail(log)}")
        self.returncode = returncode
        self.log = log


@dataclass(frozen=True)
class Launch:
    """Everything needed to start the same proxy again."""

    config: Mapping[str, Any]
    env: Mapping[str, str]
    workers: int
    master_key: str


@dataclass(frozen=True)
class Proxy:
    """A running proxy."""

    base_url: str
    port: int
    master_key: str
    workdir: Path
    launch: Launch = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False)
    log_start: int = field(repr=False, default=0)
    """Where this run's lines begin in proxy.log, in bytes: a restart appends."""

    @property
    def pid(self) -> int:
        """Process id of the parent; it leads its own process group, workers included."""
        return self.process.pid

    @property
    def config_path(self) -> Path:
        """The file that `--config` names."""
        return self.workdir / _CONFIG

    def client(self, key: str | None = _MASTER, **options: Any) -> httpx.Client:
        """Return an HTTP client with `key` as bearer (default: the master key; None: no key); close it after use."""
        return httpx.Client(**self._client_options(key, options))

    def async_client(self, key: str | None = _MASTER, **options: Any) -> httpx.AsyncClient:
        """Return the asynchronous twin of `client`."""
        return httpx.AsyncClient(**self._client_options(key, options))

    def add_key(
        self,
        *,
        key: str | None = None,
        user_role: str = "internal_user",
        object_permission: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> str:
        """Create a key, known to every worker at once, and return it; needs the custom auth of `start_proxy`.

        `fields` are those of LiteLLM's `UserAPIKeyAuth`: user_id, team_id, models, allowed_routes, access_group_ids,
        team_object_permission and so on. `object_permission` holds grants, for instance {"agents": [ids],
        "agent_access_groups": [names], "mcp_servers": [ids]}.
        """
        key = key or f"sk-{secrets.token_hex(24)}"
        owner = {"user_id": f"user-{key[-6:]}", "user_role": user_role, "object_permission": object_permission}
        path = self.workdir / _KEYS
        _write_atomically(path, json.dumps(json.loads(path.read_text()) | {key: owner | fields}))
        return key

    def stop(self, timeout: float = STOP_TIMEOUT) -> int:
        """Send SIGTERM to the parent, wait for all workers, and return the exit code; raises `StillRunningError`."""
        returncode = processes.terminate(self.process, timeout)
        processes.wait_until(lambda: processes.group_is_gone(self.pid), timeout, "end of the proxy's workers")
        return returncode

    def kill(self) -> None:
        """SIGKILL the parent and every worker; nothing of them gets a last word."""
        processes.kill_group(self.process)

    def restart(self, *, config: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None) -> Proxy:
        """Start again on the same directory, port, keys and config (plus these changes), stopping first if needed."""
        if self.process.poll() is None:
            self.stop()
        launch = replace(
            self.launch,
            config=merge(self.launch.config, config or {}),
            env={**self.launch.env, **(env or {})},
        )
        return _launch(self.workdir, launch, self.port)

    def wait_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Return when every worker serves; raises `ProxyDiedError` with the log, or `TimeoutError`."""
        deadline = time.monotonic() + timeout
        processes.wait_until(
            self._all_started, timeout, f"start of {self.launch.workers} worker(s)\n{_tail(self.log())}"
        )
        with self.client(None) as client:
            processes.wait_until(
                lambda: self._is_alive(client),
                max(1.0, deadline - time.monotonic()),
                f"liveliness\n{_tail(self.log())}",
            )

    def wait_exit(self, timeout: float = START_TIMEOUT) -> int:
        """Wait for a process that is expected to end by itself, and return its exit code."""
        return self.process.wait(timeout)

    def log(self) -> str:
        """Everything that this run has written so far, standard output and error in one."""
        with (self.workdir / _LOG).open("rb") as file:
            file.seek(self.log_start)
            return file.read().decode(errors="replace")

    def worker_pids(self) -> list[int]:
        """Process ids that serve requests: the children of the parent, or the parent itself when it has no workers."""
        if self.launch.workers == 1:
            return [self.pid]
        return sorted(int(line.split("[")[1].split("]")[0]) for line in self.log().splitlines() if _SERVING in line)

    def _all_started(self) -> bool:
        self._check_running()
        return self.log().count(_STARTED) >= self.launch.workers

    def _is_alive(self, client: httpx.Client) -> bool:
        self._check_running()
        try:
            return client.get("/health/liveliness").status_code == 200
        except httpx.TransportError:
            return False

    def _check_running(self) -> None:
        returncode = self.process.poll()
        if returncode is not None:
            raise ProxyDiedError(returncode, self.log())

    def _client_options(self, key: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
        bearer = self.master_key if key == _MASTER else key
        headers = dict(options.get("headers", {}))
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        return {"base_url": self.base_url, "timeout": 60.0, "trust_env": False, **options, "headers": headers}


_SERVING: Final = "Started server process ["


def start_proxy(
    workdir: Path,
    *,
    config: Mapping[str, Any] | None = None,
    workers: int = 1,
    env: Mapping[str, str] | None = None,
    plugin: bool = True,
    custom_auth: bool = True,
    wait_ready: bool = True,
    port: int | None = None,
    master_key: str | None = None,
) -> Proxy:
    """Write a config into `workdir` and start the stock `litellm` of this virtualenv on it.

    `config` is merged into the base config (mappings deeply, everything else replaces). With `custom_auth` the keys of
    `Proxy.add_key` work, under LiteLLM's own common checks; without it LiteLLM knows the master key alone. Raises
    `ProxyDiedError` when it ends before it is ready. The caller ends it; `running_proxy` does so by itself.
    """
    master_key = master_key or f"sk-{secrets.token_hex(24)}"
    base = _base_config(master_key, plugin=plugin, custom_auth=custom_auth)
    salt = {"LITELLM_SALT_KEY": f"sk-{secrets.token_hex(24)}"}
    launch = Launch(
        config=merge(base, config or {}), env={**salt, **(env or {})}, workers=workers, master_key=master_key
    )
    workdir.mkdir(parents=True, exist_ok=True)
    if custom_auth:
        shutil.copyfile(Path(__file__).with_name("custom_auth.py"), workdir / "custom_auth.py")
        administrator = {"user_id": "default_user_id", "user_role": "proxy_admin"}
        _write_atomically(workdir / _KEYS, json.dumps({master_key: administrator}))
    return _launch(workdir, launch, port or processes.free_port(), wait_ready=wait_ready)


@contextmanager
def running_proxy(workdir: Path, **options: Any) -> Iterator[Proxy]:
    """`start_proxy` whose process and workers are gone at the end, whatever happened."""
    proxy = start_proxy(workdir, **options)
    try:
        yield proxy
    finally:
        proxy.kill()


def inspected(workdir: Path) -> str:
    """Put `tests.support.inspection` into a proxy's directory; returns the callback to name in its config."""
    shutil.copyfile(Path(__file__).with_name("inspection.py"), workdir / "inspection.py")
    return "inspection.inspection"


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge mappings deeply; any other value of `changes` replaces that of `base`."""
    merged = dict(base)
    for name, value in changes.items():
        old = merged.get(name)
        merged[name] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _base_config(master_key: str, *, plugin: bool, custom_auth: bool) -> dict[str, Any]:
    model = {"model": "openai/fake", "api_key": "fake", "mock_response": ANSWER}
    config: dict[str, Any] = {
        "model_list": [{"model_name": MODEL, "litellm_params": model}],
        "general_settings": {"master_key": master_key},
        "litellm_settings": {"callbacks": [PLUGIN] if plugin else []},
    }
    if custom_auth:
        # Without both flags LiteLLM skips its own checks, and every permission test passes for the wrong reason.
        config["general_settings"] |= {
            "custom_auth": "custom_auth.user_api_key_auth",
            "custom_auth_run_common_checks": True,
        }
        config["litellm_settings"] |= {"enable_post_custom_auth_checks": True}
    return config


def _launch(workdir: Path, launch: Launch, port: int, *, wait_ready: bool = True) -> Proxy:
    config = workdir / _CONFIG
    config.write_text(yaml.safe_dump(dict(launch.config), sort_keys=False))
    log = workdir / _LOG
    log_start = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            _command(config, port, launch.workers),
            cwd=workdir,
            env=_environment(workdir, launch.env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    proxy = Proxy(f"http://127.0.0.1:{port}", port, launch.master_key, workdir, launch, process, log_start)
    if wait_ready:
        try:
            proxy.wait_ready()
        except BaseException:
            proxy.kill()
            raise
    return proxy


def _command(config: Path, port: int, workers: int) -> list[str]:
    binary = Path(sys.prefix) / "bin" / "litellm"
    command = [str(binary), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    return command if workers == 1 else [*command, "--num_workers", str(workers)]


def _environment(workdir: Path, extra: Mapping[str, str]) -> dict[str, str]:
    own = {
        "HOME": str(workdir),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "OTEL_SDK_DISABLED": "true",
        # uvicorn closes a connection that is idle for 5 s, on a busy machine just as a test sends its next request
        "KEEPALIVE_TIMEOUT": "120",
        # uvicorn kills a worker that takes 5 s to answer, which on a busy machine is every one that is still starting
        "TIMEOUT_WORKER_HEALTHCHECK": "120",
    }
    return processes.clean_environment(own | dict(extra))


def _write_atomically(path: Path, text: str) -> None:
    """Replace in one step: a reader sees the old content or the new, never a part."""
    partial = path.with_suffix(f".{secrets.token_hex(4)}")
    partial.write_text(text)
    os.replace(partial, path)


def _tail(log: str) -> str:
    return "\n".join(log.splitlines()[-_TAIL_LINES:])
