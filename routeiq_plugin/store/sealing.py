"""Sealing: how secrets look at rest, and what it means when they cannot be opened again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol, cast

from routeiq_plugin.errors import CannotOpen, InvalidRequest


class Sealer(Protocol):
    """Authenticated encryption under one key; the one in use is LiteLLM's salt key."""

    @property
    def key_id(self) -> str:
        """Short fingerprint of the key, safe to store and to show: the key cannot be had from it."""
        ...

    def seal(self, plain: str) -> str:
        """Return text that only a holder of the key can read."""
        ...

    def open(self, sealed: str) -> str:
        """Return what was sealed; raises `CannotOpen` for another key and for damage."""
        ...


def seal_mapping(sealer: Sealer, value: Mapping[str, Any] | None) -> str | None:
    """Seal a mapping as JSON; None stays None. Raises `InvalidRequest` for what JSON cannot hold."""
    if value is None:
        return None
    try:
        plain = json.dumps(dict(value), separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        # The error's text may quote the value, which is a secret: it is neither shown nor chained.
        raise InvalidRequest(f"a secret field holds something other than JSON ({type(error).__name__})") from None
    return sealer.seal(plain)


def open_mapping(sealer: Sealer, sealed: str | None) -> Mapping[str, Any] | None:
    """Return the mapping that `seal_mapping` sealed; raises `CannotOpen`."""
    if sealed is None:
        return None
    try:
        value = json.loads(sealer.open(sealed))
    except ValueError:
        raise CannotOpen from None
    if not isinstance(value, dict):
        raise CannotOpen
    return cast("dict[str, Any]", value)
