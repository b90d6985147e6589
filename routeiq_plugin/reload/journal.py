"""Several prepared changes switched as one: all of them, or what was there before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from routeiq_plugin.appliers import Prepared

OnFault = Callable[[str, BaseException], None]


class Journal:
    """What has been switched, so that it can be switched back. Nothing here awaits: no request sees a part of it."""

    def __init__(self, on_fault: OnFault) -> None:
        self._on_fault = on_fault
        self._done: list[Prepared] = []

    def commit(self, changes: Sequence[Prepared]) -> None:
        """Switch all; when one fails those before it are switched back, and its error is raised."""
        try:
            for change in changes:
                self._done.append(change)
                change.commit()
        except BaseException:
            self.rollback()
            raise

    def rollback(self) -> None:
        """Switch back, last first; one that fails is told and does not keep the others from it."""
        while self._done:
            change = self._done.pop()
            try:
                change.rollback()
            except Exception as error:  # noqa: BLE001  recorded; the others must be switched back
                self._on_fault(f"putting back {change.name}", error)
