"""The package as an importer meets it."""

from __future__ import annotations

import importlib.resources
import subprocess
import sys

import pytest

import routeiq_plugin
from tests.support import processes

pytestmark = pytest.mark.requirement("PKG-01")

HEAVY = ("litellm", "sqlalchemy", "sqlmodel", "alembic", "a2a", "mcp", "fastapi", "httpx")

PROBE = f"""
import sys
import routeiq_plugin
print(",".join(name for name in {HEAVY!r} if name in sys.modules))
"""

ATTACHED = """
import sys
import routeiq_plugin
dir(routeiq_plugin), routeiq_plugin.__version__
print(",".join(name for name in ("_plugin", "gateway", "host") if f"routeiq_plugin.{name}" in sys.modules))
"""


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=processes.clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_all_is_what_is_exported() -> None:
    defined = {name for name in vars(routeiq_plugin) if not name.startswith("_")}
    imported = {"annotations", "TYPE_CHECKING", "Any"}
    submodules = {name for name in defined if f"routeiq_plugin.{name}" in sys.modules}
    lazy = {"plugin", "Strategy", "RouteIQStrategy"}
    assert set(routeiq_plugin.__all__) == (defined - imported - submodules) | lazy | {"__version__"}
    assert len(routeiq_plugin.__all__) == len(set(routeiq_plugin.__all__))


def test_every_exported_name_exists() -> None:
    # `plugin` is resolved by LiteLLM alone: here it would mount routes into this process.
    missing = [name for name in routeiq_plugin.__all__ if name != "plugin" and not hasattr(routeiq_plugin, name)]
    assert missing == []
    assert callable(routeiq_plugin.__getattr__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = routeiq_plugin.no_such_name


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert run(PROBE) == ""


def test_importing_the_package_mounts_nothing() -> None:
    assert run(ATTACHED) == ""


def test_the_package_is_typed() -> None:
    assert importlib.resources.files(routeiq_plugin).joinpath("py.typed").is_file()
