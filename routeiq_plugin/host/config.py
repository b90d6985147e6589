"""What LiteLLM's loaded config says to us: our section, the keys that seal, and the address that clients use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request

from routeiq_plugin.host.process import proxy_server
from routeiq_plugin.settings import SECTION


def section() -> Mapping[str, Any] | None:
    """Return the raw `routeiq:` section, `os.environ/` values resolved by LiteLLM."""
    found: Mapping[str, Any] | None = proxy_server().proxy_config.get_config_state().get(SECTION)
    return found


def config_path() -> str | None:
    """Return the file that LiteLLM booted from; None when it was a bucket."""
    if os.environ.get("LITELLM_CONFIG_BUCKET_NAME"):
        return None
    path: str | None = proxy_server().user_config_file_path
    return path


def declared_master_key() -> str | None:
    """Return the master key that LiteLLM will use once its config is loaded."""
    general = proxy_server().proxy_config.get_config_state().get("general_settings") or {}
    return general.get("master_key") or os.environ.get("LITELLM_MASTER_KEY")


def key_header() -> str | None:
    """Return the header in which callers send their key, in lower case, when the operator chose one."""
    chosen = proxy_server().general_settings.get("litellm_key_header_name")
    return str(chosen).lower() if chosen else None


def root_path() -> str:
    """Return LiteLLM's `SERVER_ROOT_PATH`, '' for none: what its well-known paths have between name and object."""
    return os.environ.get("SERVER_ROOT_PATH", "").rstrip("/")


def callback_base(public_url: str | None) -> str | None:
    """Return the address that was configured for this proxy, without trailing slash; None where none was."""
    configured = (public_url or os.environ.get("PROXY_BASE_URL") or "").rstrip("/")
    root_path = os.environ.get("SERVER_ROOT_PATH", "").rstrip("/")
    if not configured or not root_path or urlsplit(configured).path.endswith(root_path):
        return configured or None
    return configured + root_path


def base_url(request: Request, public_url: str | None) -> str:
    """Return the address under which this caller reaches the proxy, without trailing slash.

    `public_url` first, then LiteLLM's `PROXY_BASE_URL`, else what the request itself says: that last one comes
    from the Host header, so it goes back to its sender only and is never stored or cached.
    """
    root_path = str(request.scope.get("root_path", "")).rstrip("/")
    configured = public_url or os.environ.get("PROXY_BASE_URL")
    base = (configured or f"{request.url.scheme}://{request.url.netloc}").rstrip("/")
    return base if not root_path or urlsplit(base).path.endswith(root_path) else base + root_path
