"""Secrets at rest, sealed with LiteLLM's own salt-key functions so that keys are managed in one place."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from litellm.proxy.common_utils.encrypt_decrypt_utils import (
    decrypt_if_encrypted_with,
    encrypt_value_helper,
    get_salt_key,
)

from routeiq_plugin.errors import CannotOpen, Unavailable

_FINGERPRINT_CONTEXT: Final = b"routeiq-sealing"


class SaltKeySealer:
    """Seals with `LITELLM_SALT_KEY`, or with the master key where that is unset; looked up at each use."""

    def __init__(self, key: Callable[[], str | None] = get_salt_key) -> None:
        self._lookup = key

    @property
    def key_id(self) -> str:
        """Fingerprint of the key: tells that it changed, and nothing else about it."""
        return hmac.new(self._key().encode(), _FINGERPRINT_CONTEXT, hashlib.sha256).hexdigest()[:16]

    def seal(self, plain: str) -> str:
        """Encrypt in LiteLLM's format (its `encryption_algorithm` setting decides which)."""
        return str(encrypt_value_helper(value=plain, new_encryption_key=self._key()))

    def open(self, sealed: str) -> str:
        """Decrypt; raises `CannotOpen` for another key or a damaged value."""
        plain = decrypt_if_encrypted_with(value=sealed, signing_key=self._key())
        if plain is None:
            raise CannotOpen("sealed with another key, or damaged")
        return str(plain)

    def _key(self) -> str:
        key = self._lookup()
        if not key:
            raise Unavailable("No sealing key: set LITELLM_SALT_KEY, or general_settings.master_key", retry_after=60)
        return key
