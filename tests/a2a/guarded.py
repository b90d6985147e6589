"""A proxy whose outbound guard is as narrow as an operator's, with agents in its config that try to pass it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from tests.a2a.scripted import Scripted
from tests.support import processes
from tests.support.proxy import Proxy

KEY_HEADER: Final = "X-Our-Key"
"""`general_settings.litellm_key_header_name`: callers send their key here and nowhere else."""

RELAYED: Final = "relayed from the config"
BRIDGED: Final = "bridged from the config"
BRIDGE_ANSWER: Final = "from LiteLLM's bridge"

REBINDING: Final = "rebind-{}.test"
"""Resolves to a public address once, and to loopback ever after."""
NAMES: Final[Mapping[str, str]] = {
    "loopback.test": "127.0.0.1",
    "loopback-six.test": "::1",
    "mapped.test": "::ffff:127.0.0.1",
    "private.test": "10.1.2.3",
    "metadata.test": "169.254.169.254",
}
"""What the proxy's resolver answers; the machine itself knows none of them."""

_RESOLVER: Final = """
    import socket

    NAMES = {names!r}
    real, asked = socket.getaddrinfo, set()

    def getaddrinfo(host, port, *arguments, **options):
        name = host.decode() if isinstance(host, bytes) else host
        if not (isinstance(name, str) and name.endswith(".test")):
            return real(host, port, *arguments, **options)
        address = NAMES.get(name)
        if name.startswith("rebind-"):
            address = "127.0.0.1" if name in asked else "93.184.216.34"
            asked.add(name)
        if address is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        end = (address, port, 0, 0) if ":" in address else (address, port)
        return [(family, socket.SOCK_STREAM, 6, "", end)]

    socket.getaddrinfo = getaddrinfo
"""


def forbidden(canary: Scripted) -> Mapping[str, str]:
    """Name the agents of the config that lead to the canary, each with its URL."""
    return {
        "config canary": f"http://127.0.0.1:{canary.port}/agent",
        "config canary as integer": f"http://2130706433:{canary.port}/agent",
        "config canary in hex": f"http://0x7f000001:{canary.port}/agent",
        "config canary mapped": f"http://[::ffff:127.0.0.1]:{canary.port}/agent",
        "config canary by name": f"http://localhost:{canary.port}/agent",
        "config canary by resolver": f"http://loopback.test:{canary.port}/agent",
        "config metadata": "http://169.254.169.254/latest/meta-data/",
        "config metadata by name": "http://metadata.test/latest/meta-data/",
        "config file": "file:///etc/passwd",
    }


def options(workdir: Path, script: Scripted, canary: Scripted) -> dict[str, Any]:
    """Options of `start_proxy`."""
    modules = workdir / "modules"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(textwrap.dedent(_RESOLVER).format(names=dict(NAMES)))
    script.redirect_to = f"{canary.origin}/stolen"
    bridge = {"custom_llm_provider": "openai", "model": "fake", "api_key": "fake", "mock_response": BRIDGE_ANSWER}
    agents = [
        {"agent_name": RELAYED, "agent_card_params": {"name": "Relayed", "url": script.url("good")}},
        {"agent_name": BRIDGED, "agent_card_params": {"name": "Bridged"}, "litellm_params": bridge},
        *(
            {"agent_name": name, "agent_card_params": {"name": name, "url": url}}
            for name, url in forbidden(canary).items()
        ),
    ]
    outbound = {"allowed_hosts": [f"127.0.0.1:{script.port}"], "timeout_seconds": 1, "max_response_mb": 1}
    return {
        "config": {
            "routeiq": {"outbound": outbound},
            "agents": agents,
            "general_settings": {"litellm_key_header_name": KEY_HEADER},
        },
        "env": {"PYTHONPATH": f"{modules}:{processes.import_root()}"},
    }


def client(proxy: Proxy, key: str | None = None) -> httpx.Client:
    """Return a client with `key` (default: the master key) in the header of this proxy."""
    return proxy.client(None, headers={KEY_HEADER: f"Bearer {key or proxy.master_key}"})
