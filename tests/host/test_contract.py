"""Every LiteLLM internal that `host/` names is there, and one that is not is told with the supported range."""

from __future__ import annotations

import ast
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

from routeiq_plugin.errors import IncompatibleHost
from routeiq_plugin.host import contract
from routeiq_plugin.host.contract import NEWEST_TESTED, OLDEST_SUPPORTED, SEAMS, Seam

pytestmark = pytest.mark.requirement("PKG-02")

HOST = Path(contract.__file__).parent
NOTHING_YET = (
    "prisma_client",
    "master_key",
    "public_agent_groups",
    "public_mcp_servers",
    "user_custom_auth",
    "llm_router",
    "user_config_file_path",
)
"""Names that a process without a running proxy has, and that hold None there."""


@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: seam.label)
def test_the_seam_is_there(seam: Seam) -> None:
    assert contract.missing(seam) is None
    assert contract.resolve(seam) is not None or seam.name in NOTHING_YET


def test_every_seam_is_there_at_once() -> None:
    contract.verify()


@pytest.mark.parametrize(
    ("seam", "words"),
    [
        (Seam("litellm.proxy.no_such_module", "thing"), "litellm.proxy.no_such_module.thing"),
        (Seam("litellm.proxy.proxy_server", "no_such_thing"), "litellm.proxy.proxy_server.no_such_thing"),
        (Seam("litellm.proxy.proxy_server", "app.no_such_thing"), "litellm.proxy.proxy_server.app.no_such_thing"),
        (Seam("litellm.proxy.proxy_server", "proxy_shutdown_event", ("colour",)), "no parameter colour"),
    ],
)
def test_a_missing_seam_is_told_with_the_supported_range(
    monkeypatch: pytest.MonkeyPatch, seam: Seam, words: str
) -> None:
    monkeypatch.setattr(contract, "SEAMS", (*SEAMS, seam))
    with pytest.raises(IncompatibleHost) as refused:
        contract.verify()
    for part in (words, OLDEST_SUPPORTED, NEWEST_TESTED, version("litellm")):
        assert part in str(refused.value)


def test_a_seam_of_a_newer_version_costs_its_feature_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "SEAMS", (Seam("litellm", "no_such_thing", since="999"),))
    contract.verify()


def test_a_seam_may_have_had_another_name() -> None:
    seam = Seam("litellm.constants", "no_such_thing", formerly="REDACTED_BY_LITELM_STRING")
    assert contract.missing(seam) is None
    assert contract.resolve(seam) == "REDACTED_BY_LITELM"


def test_the_installed_litellm_is_one_that_we_support() -> None:
    assert Version(contract.litellm_version()) >= Version(OLDEST_SUPPORTED)


@pytest.mark.parametrize("path", sorted(HOST.glob("*.py")), ids=lambda path: path.name)
def test_every_import_of_litellm_is_a_seam(path: Path) -> None:
    named = {(seam.module, seam.name.split(".")[0]) for seam in SEAMS}
    modules = {module for module, _ in named}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("litellm"):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                assert (node.module, alias.name) in named or whole in modules, f"{path.name} imports {whole}"
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "litellm":
                    assert alias.name in modules, f"{path.name} imports {alias.name}"
