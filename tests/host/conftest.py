from __future__ import annotations

from types import ModuleType

import pytest

from tests.host import installed


@pytest.fixture(scope="session", autouse=True)
def proxy_server() -> ModuleType:
    """LiteLLM's proxy module, in this process."""
    return installed.proxy_server()
