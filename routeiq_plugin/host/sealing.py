"""Secrets at rest, sealed with LiteLLM's own salt-key functions so that keys are managed in one place."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Callable, Collection
from typing import Final

from litellm.proxy.common_utils import encrypt_decrypt_utils as litellm_sealing

from routeiq_plugin.errors import CannotOpen, Unavailable
from routeiq_plugin.host.config import declared_master_key

_FINGERPRINT_CONTEXT: Final = b"routeiq-sealing"
_AES_GCM: Final = "v2:gcm:"
"""How LiteLLM marks values of its `aes-256-gcm` setting; older ones carry no mark."""


def salt_key() -> str | None:
    """Return the key that LiteLLM seals with now (it renamed the function in 1.104)."""
    lookup = getattr(litellm_sealing, "get_salt_key", None) or litellm_sealing._get_salt_key
    key: str | None = lookup()
    return key


class SaltKeySealer:
    """Seals with `LITELLM_SALT_KEY`, or with the master key where that is unset; looked up at each use."""

    def __init__(self, key: Callable[[], str | None] = salt_key) -> None:
        self._lookup = key

    @property
    def key_id(self) -> str:
        """Fingerprint of the key: tells that it changed, and nothing else about it."""
        return hmac.new(self._key().encode(), _FINGERPRINT_CONTEXT, hashlib.sha256).hexdigest()[:16]

    def seal(self, plain: str) -> str:
        """Encrypt in LiteLLM's format (its `encryption_algorithm` setting decides which)."""
        return str(litellm_sealing.encrypt_value_helper(value=plain, new_encryption_key=self._key()))

    def open(self, sealed: str) -> str:
        """Decrypt; raises `CannotOpen` for another key or a damaged value."""
        key = self._key()
        try:
            if sealed.startswith(_AES_GCM):
                return str(litellm_sealing._decrypt_aes_gcm(value=sealed, signing_key=key))
            return str(litellm_sealing.decrypt_value(value=base64.urlsafe_b64decode(sealed), signing_key=key))
        except Exception as failure:  # base64, nacl and AES-GCM each raise a type of their own
            raise CannotOpen from failure

    def _key(self) -> str:
        key = self._lookup()
        if not key:
            raise Unavailable("No sealing key: set LITELLM_SALT_KEY, or general_settings.master_key", retry_after=60)
        return key


def names_of_secrets(more: Collection[str | None]) -> frozenset[str]:
    """Name the variables that hold the master key, the salt key or one of `more`, whatever they are called."""
    secrets = {value for value in (declared_master_key(), salt_key(), *more) if value}
    return frozenset(name for name, value in os.environ.items() if value in secrets)
