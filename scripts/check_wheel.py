"""Compare a wheel with the source tree: every file of the package is in it, nothing else is, and it is pure Python.

python scripts/check_wheel.py dist/routeiq_plugin-*.whl routeiq_plugin
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

LEFT_OUT = ("__pycache__",)


def main(wheel: Path, package: Path) -> int:
    """Print the differences; returns 1 when there are any."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        tags = archive.read(metadata).decode()
    source = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and not set(LEFT_OUT) & set(path.parts)
    }
    problems = [f"missing from the wheel: {name}" for name in sorted(source - packed)]
    problems += [f"not in the tree: {name}" for name in sorted(packed - source)]
    if "Root-Is-Purelib: true" not in tags or "Tag: py3-none-any" not in tags:
        problems.append(f"not a pure Python wheel:\n{tags}")
    print("\n".join(problems) or f"{wheel.name}: {len(packed)} files, as in the tree, py3-none-any")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]).resolve()))
