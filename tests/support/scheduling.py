"""Which tests run in one process when pytest-xdist spreads them over several."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling


class ByDirectory(LoadScopeScheduling):  # type: ignore[misc]  # no types in xdist
    """Keeps the tests of each directory below `tests/` together and in order."""

    def _split_scope(self, nodeid: str) -> str:
        return "/".join(nodeid.split("::", maxsplit=1)[0].split("/")[:2])
