"""Names that nothing registered may have, because they are words of the gateway's own paths."""

from __future__ import annotations

from typing import Final

RESERVED_NAMES: Final = frozenset(
    {
        "agents",
        "servers",
        "tools",
        "resources",
        "prompts",
        "enabled",
        "proxy",
        "health",
        "oauth",
        "import",
        "register",
        "submissions",
        "make_public",
        "identity",
        "access_groups",
        "registry",
    }
)
"""Path words of the gateway, in lower case: an agent or server of that name could not be addressed."""
