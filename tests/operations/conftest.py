from __future__ import annotations

from pathlib import Path

import pytest

from tests.host.installed import proxy_server
from tests.operations.commands import GOOD, Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An operator's directory with a good config, and no database yet."""
    proxy_server()
    made = Home(tmp_path)
    made.configure(GOOD)
    return made
