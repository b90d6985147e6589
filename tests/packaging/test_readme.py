"""README's commands are found by the extractor that CI uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import REPOSITORY

EXTRACTOR = REPOSITORY / "scripts" / "readme_command.py"

README = """
# Title
<!-- ci: start -->
```bash
pip install .
litellm --config litellm_config.yaml
```

<!-- ci: twice -->
```bash
one
```
<!-- ci: twice -->

```bash
two
```
<!-- ci: other -->
```yaml
no: shell
```
"""


def extract(name: str, readme: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXTRACTOR), name, str(readme)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def test_the_named_block_is_printed_verbatim(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(README)
    found = extract("start", readme)
    assert (found.returncode, found.stdout) == (0, "pip install .\nlitellm --config litellm_config.yaml\n")


@pytest.mark.parametrize(("name", "count"), [("missing", 0), ("twice", 2), ("other", 0)])
def test_anything_but_one_block_is_an_error(tmp_path: Path, name: str, count: int) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(README)
    found = extract(name, readme)
    assert found.returncode == 2
    assert f"found {count}" in found.stderr


@pytest.mark.requirement("PKG-01")
@pytest.mark.parametrize(("name", "program"), [("start", "litellm --config"), ("test", "pytest")])
def test_our_readme_has_both_commands(name: str, program: str) -> None:
    found = extract(name, REPOSITORY / "README.md")
    assert found.returncode == 0, found.stderr
    assert program in found.stdout
