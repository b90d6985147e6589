"""Who is calling: LiteLLM's own `user_api_key_auth`, on our paths too, and what LiteLLM says they were granted."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from litellm.proxy._types import LitellmUserRoles, ProxyException, user_api_key_has_admin_view
from litellm.proxy.agent_endpoints.auth.agent_permission_handler import AgentRequestHandler, UnrestrictedAgentAccess
from litellm.proxy.auth.user_api_key_auth import user_api_key_auth
from litellm.proxy.common_utils.rbac_utils import check_feature_access_for_user
from starlette.requests import Request

from routeiq_plugin.errors import Forbidden, Unauthenticated
from routeiq_plugin.host.app import replay

ANY_KEY: Final = "/v1/agents"
"""A path that LiteLLM opens to every role; ours that LiteLLM does not know are authenticated as this one."""

_NOBODY_KNOWS_THE_KEY: Final = "no_db_connection"
"""LiteLLM's error type for an unknown key when there is no database to look it up in (status 400)."""


@dataclass(frozen=True, slots=True)
class AgentGrants:
    """The agents that LiteLLM's key, team and access-group rules give to a caller."""

    unrestricted: bool
    """No grant was made anywhere; stock LiteLLM reads that as every agent."""
    agent_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller; `identity` is LiteLLM's own object and only `host/` looks inside."""

    identity: Any
    user_id: str | None
    team_id: str | None
    role: str
    is_admin: bool
    has_admin_view: bool

    @property
    def actor(self) -> str:
        """Who, for `created_by` and the audit trail; LiteLLM's word where it does not know."""
        return self.user_id or "unknown"

    async def agent_grants(self) -> AgentGrants:
        """Ask LiteLLM which agents this caller's key and team may reach."""
        access = await AgentRequestHandler.resolve_agent_access(user_api_key_auth=self.identity)
        if isinstance(access, UnrestrictedAgentAccess):
            return AgentGrants(unrestricted=True, agent_ids=frozenset())
        return AgentGrants(unrestricted=False, agent_ids=frozenset(access.agent_ids))

    async def require_feature(self, name: str) -> None:
        """Apply LiteLLM's `disable_<feature>_for_internal_users` switches; raises LiteLLM's 403."""
        await check_feature_access_for_user(user_api_key_dict=self.identity, feature_name=name)

    def require_admin(self, message: str) -> None:
        """Refuse all but proxy admins, in LiteLLM's words and shape: `{"detail": {"error": ...}}`."""
        if not self.is_admin:
            raise Forbidden({"error": f"{message} Your role={self.identity.user_role}"})


def caller_of(identity: Any) -> Caller:
    """Describe LiteLLM's auth object in our terms."""
    role = getattr(identity.user_role, "value", identity.user_role)
    return Caller(
        identity=identity,
        user_id=identity.user_id,
        team_id=identity.team_id,
        role=str(role or "unknown"),
        is_admin=role == LitellmUserRoles.PROXY_ADMIN.value,
        has_admin_view=bool(user_api_key_has_admin_view(identity)),
    )


async def authenticate(request: Request, *, path: str | None = None, body: Mapping[str, Any] | None = None) -> Caller:
    """Authenticate and run LiteLLM's own checks (key, team, budget, allowed routes).

    LiteLLM refuses non-admin keys on paths that it does not know, so those are presented as `path`; its decision
    is made on the ASGI path, never on the Host header. `body` is what its checks may read of the request.

    Raises:
        Unauthenticated: the key is missing, or nobody knows it.
        ProxyException: LiteLLM's own refusal; its handlers render it.
    """
    presented = _presented(request, path, body or {})
    try:
        identity = await user_api_key_auth(request=presented, **await _credentials(presented))
    except ProxyException as refused:
        if refused.type == _NOBODY_KNOWS_THE_KEY and refused.code == "400":
            raise Unauthenticated("Authentication Error, Invalid proxy server token passed") from None
        raise
    return caller_of(identity)


def _presented(request: Request, path: str | None, body: Mapping[str, Any]) -> Request:
    scope = dict(request.scope)
    if path is not None:
        scope["path"] = str(scope.get("root_path", "")).rstrip("/") + path
        scope["raw_path"] = scope["path"].encode()
    scope["headers"] = [
        (name, value) for name, value in scope["headers"] if name not in (b"content-type", b"content-length")
    ] + [(b"content-type", b"application/json")]
    return Request(scope, replay(json.dumps(body).encode(), request.receive))


async def _credentials(request: Request) -> dict[str, Any]:
    """Read each key header that LiteLLM declares, so that one it adds tomorrow is honoured too."""
    return {name: await scheme(request) for name, scheme in _key_schemes()}


@cache
def _key_schemes() -> tuple[tuple[str, Any], ...]:
    parameters = inspect.signature(user_api_key_auth).parameters
    return tuple(
        (name, parameter.default.dependency)
        for name, parameter in parameters.items()
        if getattr(parameter.default, "dependency", None) is not None
    )
