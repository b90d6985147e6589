"""Whose a login is: the user's, or the key's where no user stands behind it."""

from __future__ import annotations

import hashlib
from typing import Final

from routeiq_plugin.host.auth import Caller

GATEWAY: Final = ""
"""Owner of what the gateway holds for itself."""
_LONGEST: Final = 200


def owner_of(caller: Caller) -> str:
    """Return what a caller's logins are stored under; the same for every key of one user."""
    owner = f"user:{caller.user_id}" if caller.user_id else f"key:{caller.key_hash}"
    return owner if len(owner) <= _LONGEST else user_digest(owner)


def owner_of_user(user_id: str) -> str:
    """Return the same for a user that an admin names."""
    owner = f"user:{user_id}"
    return owner if len(owner) <= _LONGEST else user_digest(owner)


def user_digest(owner: str) -> str:
    """Shorten what a database would not index."""
    return "sha256:" + hashlib.sha256(owner.encode(errors="surrogatepass")).hexdigest()


def digest(secret: str) -> str:
    """Return what a state, a code or a cookie is known by: who reads the database cannot present it."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
