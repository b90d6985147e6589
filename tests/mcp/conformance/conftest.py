"""The reference server, directly and behind a gateway of two workers, and the suite that judges both."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping

import pytest

from tests.mcp import servers
from tests.mcp.conformance.reference.generations import SESSIONS, STATELESS
from tests.mcp.conformance.shim import shim
from tests.mcp.conformance.suite import CannotInstallError, Suite, install
from tests.mcp.relayed import Relayed
from tests.support.proxy import Proxy


@pytest.fixture(scope="package")
def reference() -> Iterator[str]:
    """URL of the reference server."""
    with servers.module_server("tests.mcp.conformance.reference") as url:
        yield url


@pytest.fixture(scope="package")
def relayed(relaying: Proxy, reference: str) -> Iterator[Relayed]:
    """The reference server, registered by our API at a stock proxy of two workers."""
    with relaying.client() as client:
        yield Relayed(relaying, servers.created(client, "reference", reference))


@pytest.fixture(scope="package")
def through_gateway(relayed: Relayed) -> Iterator[str]:
    """URL of the relay for a client that cannot send a key."""
    with shim(relayed.proxy.port, relayed.key()) as port:
        yield f"http://127.0.0.1:{port}{relayed.path}"


@pytest.fixture(scope="package")
def reference_servers(relayed: Relayed) -> Iterator[Mapping[str, Relayed]]:
    """The reference server, and two that speak one generation each, at one proxy; by name."""
    module = "tests.mcp.conformance.reference"
    with (
        servers.module_server(module, SESSIONS) as with_sessions,
        servers.module_server(module, STATELESS) as stateless,
        relayed.proxy.client() as client,
    ):
        yield {
            "reference": relayed,
            "with_sessions": Relayed(relayed.proxy, servers.created(client, "with_sessions", with_sessions)),
            "stateless": Relayed(relayed.proxy, servers.created(client, "stateless", stateless)),
        }


@pytest.fixture(scope="package")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """The official suite; skips where npm cannot install it."""
    directory = tmp_path_factory.mktemp("suite")
    try:
        yield install(directory)
    except CannotInstallError as reason:
        pytest.skip(str(reason))
    finally:
        shutil.rmtree(directory)  # a quarter of a gigabyte
