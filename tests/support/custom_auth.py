"""Custom auth for LiteLLM, copied into a proxy's directory: the keys of keys.json beside it, read anew on each call.

Virtual keys need a database of LiteLLM's; this gives tests keys with teams, models and grants without one. It only says
who a key is: LiteLLM's own checks stay on through the two flags that `tests.support.proxy` sets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from litellm.proxy._types import LiteLLM_ObjectPermissionTable, UserAPIKeyAuth

KEYS: Final = Path(__file__).with_name("keys.json")
GRANTS: Final = ("object_permission", "team_object_permission", "end_user_object_permission")


async def user_api_key_auth(request: Request, api_key: str) -> UserAPIKeyAuth:
    """Return who `api_key` is; raises for a missing or unknown key, which LiteLLM answers with 401."""
    fields = json.loads(KEYS.read_text()).get(api_key)
    if fields is None:
        raise ValueError("Authentication Error, no such key")
    return UserAPIKeyAuth(api_key=api_key, **_with_grants(fields))


def _with_grants(fields: Mapping[str, Any]) -> dict[str, Any]:
    known = dict(fields)
    for name in GRANTS:
        if known.get(name) is not None:
            grant = {"object_permission_id": f"{name}-of-test", **known[name]}
            known[name] = LiteLLM_ObjectPermissionTable(**grant)
            known.setdefault(f"{name}_id", grant["object_permission_id"])
    return known
