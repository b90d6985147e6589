"""Who a worker is to the others: its machine, its process, and when it began, for process ids come back."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Identity:
    """One run of one worker."""

    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def name(self) -> str:
        """What the store knows it by."""
        return f"{self.host}/{self.pid}/{self.run}"

    def is_dead(self, name: str) -> bool:
        """Tell of another worker that it is known to have ended; of another machine's nothing is known."""
        host, _, rest = name.rpartition("/")[0].rpartition("/")
        if name == self.name or host != self.host or not rest.isdigit():
            return False
        return int(rest) == self.pid or not _runs(int(rest))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
