"""LiteLLM's lists of what is public: what its config or database says, and what we put in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import litellm


class PublicNames:
    """One of them, such as `litellm.public_agent_groups`.

    Only the list in memory is ours to change: LiteLLM's own routes would rewrite the config file.
    """

    def __init__(self, attribute: str, translate: Callable[[str], str] = str) -> None:
        """`translate` turns what LiteLLM's config says into today's ids."""
        self._attribute = attribute
        self._translate = translate
        self._written: list[str] | None = None
        self._declared: tuple[str, ...] = ()

    def declared(self) -> tuple[str, ...]:
        """List what LiteLLM itself says, also while our list stands there."""
        current = getattr(litellm, self._attribute)
        if current is not self._written or current is None:  # LiteLLM rebinds the name when it (re)loads
            self._declared = tuple(self._translate(each) for each in current or ())
        return self._declared

    def put(self, ids: Iterable[str]) -> None:
        """Let LiteLLM's other features see these as public."""
        self.declared()
        self._written = list(ids)
        setattr(litellm, self._attribute, self._written)

    @property
    def holds(self) -> bool:
        """Tell whether our list still stands there."""
        return self._written is not None and getattr(litellm, self._attribute) is self._written
