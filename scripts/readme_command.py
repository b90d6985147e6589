"""Print the command block of README.md that a comment names: `<!-- ci: test -->`, then a fenced bash block.

    python scripts/readme_command.py test [README.md]

What CI runs is thereby what the reader is told to run. Exit code 2 when the block is missing or there are several.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def command(text: str, name: str) -> str:
    """Return the block named `name`; raises `ValueError` unless there is exactly one."""
    pattern = rf"^<!-- *ci: *{re.escape(name)} *-->[ \t]*\n\s*^```bash[ \t]*\n(.*?)^```[ \t]*$"
    blocks: list[str] = re.findall(pattern, text, flags=re.MULTILINE | re.DOTALL)
    if len(blocks) != 1:
        raise ValueError(f"expected one bash block after '<!-- ci: {name} -->', found {len(blocks)}")
    return blocks[0]


def main(arguments: list[str]) -> int:
    """Print the block."""
    name, path = arguments[0], Path(arguments[1] if len(arguments) > 1 else "README.md")
    try:
        print(command(path.read_text(encoding="utf-8"), name), end="")
    except ValueError as problem:
        print(f"{path}: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
