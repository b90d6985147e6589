"""Fixtures that every test may ask for; processes start when first needed and end with the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.backends import VERSIONS, Backend, Version, agent
from tests.support.proxy import Proxy, running_proxy
from tests.support.scheduling import ByDirectory
from tests.support.traceability import Traceability

LOOPBACK: Final = "127.0.0.1"

PLUGIN_CONFIG: Final[Mapping[str, Any]] = {"routeiq": {"outbound": {"allowed_hosts": [LOOPBACK]}}}
"""The test agents live on loopback, which the guard refuses unless it is named."""

BackendOf = Callable[[Version], Backend]
ProxyFactory = Callable[..., AbstractContextManager[Proxy]]


def pytest_configure(config: pytest.Config) -> None:
    """Watch which requirement each test proves."""
    config.pluginmanager.register(Traceability(config), "traceability")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByDirectory:
    """Give each directory of tests to one process: its tests share proxies, which take long to start."""
    return ByDirectory(config, log)


@pytest.fixture(scope="session")
def traceability(pytestconfig: pytest.Config) -> Traceability:
    """What is known so far of requirements and their tests."""
    plugin = pytestconfig.pluginmanager.get_plugin("traceability")
    assert isinstance(plugin, Traceability)
    return plugin


@pytest.fixture(scope="session")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The stock proxy with the plugin, on SQLite, custom auth under LiteLLM's checks; shared, so clean up after you."""
    with running_proxy(tmp_path_factory.mktemp("proxy"), config=PLUGIN_CONFIG) as running:
        yield running


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The same proxy without the plugin."""
    with running_proxy(tmp_path_factory.mktemp("stock"), plugin=False) as running:
        yield running


@pytest.fixture
def own_proxy(tmp_path: Path) -> ProxyFactory:
    """A proxy that a test may break: `with own_proxy(workers=2) as proxy`; the options are those of `start_proxy`."""

    def start(**options: Any) -> AbstractContextManager[Proxy]:
        return running_proxy(options.pop("workdir", tmp_path), **{"config": PLUGIN_CONFIG, **options})

    return start


@pytest.fixture(scope="session")
def admin(proxy: Proxy) -> str:
    """The master key of `proxy`."""
    return proxy.master_key


@pytest.fixture(scope="session")
def user_key(proxy: Proxy) -> str:
    """An internal user's key without any grant."""
    return proxy.add_key(user_id="user-without-grants")


@pytest.fixture(scope="session")
def viewer_key(proxy: Proxy) -> str:
    """A key that may look at everything of the proxy's administration and change nothing."""
    return proxy.add_key(user_id="viewer", user_role="proxy_admin_viewer")


@pytest.fixture(scope="session")
def backend_of() -> Iterator[BackendOf]:
    """Shared agents, one per version, each started when first asked for: `backend_of("0.3").url`."""
    running: dict[Version, Backend] = {}
    with ExitStack() as stack:

        def start(version: Version) -> Backend:
            if version not in running:
                running[version] = stack.enter_context(agent(version))
            return running[version]

        yield start


@pytest.fixture(params=VERSIONS)
def backend(request: pytest.FixtureRequest, backend_of: BackendOf) -> Backend:
    """Each kind of shared agent in turn: 1.0 only, both, 0.3 only."""
    version: Version = request.param
    return backend_of(version)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of an empty database on a real PostgreSQL server."""
    from tests.support.postgres import postgres

    with postgres() as url:
        yield url
