"""Who is calling: LiteLLM's own `user_api_key_auth`, on our paths too, and what LiteLLM says they were granted."""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from litellm.proxy._types import LitellmUserRoles, ProxyException, user_api_key_has_admin_view
from litellm.proxy.agent_endpoints.auth import agent_permission_handler
from litellm.proxy.agent_endpoints.auth.agent_permission_handler import AgentRequestHandler, UnrestrictedAgentAccess
from litellm.proxy.auth.ip_address_utils import IPAddressUtils
from litellm.proxy.auth.user_api_key_auth import user_api_key_auth
from litellm.proxy.common_utils.rbac_utils import check_feature_access_for_user
from starlette.requests import Request

from routeiq_plugin.errors import Forbidden, Unauthenticated
from routeiq_plugin.host.agents import stable_id
from routeiq_plugin.host.app import replay
from routeiq_plugin.host.mcp_grants import McpGrants, mcp_grants
from routeiq_plugin.host.process import has_own_database, proxy_server

ANY_KEY: Final = "/v1/agents"
"""A path that LiteLLM opens to every role; ours that LiteLLM does not know are authenticated as this one."""

_NOBODY_KNOWS_THE_KEY: Final = "no_db_connection"
"""LiteLLM's error type for an unknown key when there is no database to look it up in (status 400)."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What one holder, a key or a team, was given: agents, and groups whose agents come with them."""

    agent_ids: frozenset[str]
    groups: frozenset[str] = frozenset()

    def covers(self, agent_id: str, groups: Collection[str]) -> bool:
        """Tell whether the agent is given, by id or as a member of a group."""
        return agent_id in self.agent_ids or not self.groups.isdisjoint(groups)


@dataclass(frozen=True, slots=True)
class AgentGrants:
    """What a caller's key and team were given. An agent is theirs when each holder that was given any has it."""

    holders: tuple[Grant, ...] = ()

    @property
    def unrestricted(self) -> bool:
        """No grant was made anywhere; stock LiteLLM reads that as every agent."""
        return not self.holders

    def cover(self, agent_id: str, groups: Collection[str] = ()) -> bool:
        """Tell whether an agent, member of these access groups, is granted."""
        return bool(self.holders) and all(holder.covers(agent_id, groups) for holder in self.holders)


NOTHING: Final = AgentGrants((Grant(frozenset()),))
"""No agent at all, which is not the same as no grant."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller; `identity` is LiteLLM's own object and only `host/` looks inside."""

    identity: Any
    user_id: str | None
    team_id: str | None
    role: str
    is_admin: bool
    has_admin_view: bool
    is_internal: bool = True
    """Calls from inside, as LiteLLM tells: servers may be closed to callers from the internet."""

    @property
    def actor(self) -> str:
        """Who, for `created_by` and the audit trail; LiteLLM's word where it does not know."""
        return self.user_id or "unknown"

    @property
    def key_hash(self) -> str:
        """Hash of the key as LiteLLM logs it, '' for none."""
        return str(getattr(self.identity, "api_key", None) or "")

    async def agent_grants(self) -> AgentGrants:
        """Tell which agents this caller's key and team may reach.

        With a database of its own LiteLLM knows the teams and groups, so it is asked. Without one it forgets a team's
        grants and the groups, so what its auth object carries of them is read here, under the same rules. Keys that
        belong to an agent have more rules still; LiteLLM is always asked about those.
        """
        if not has_own_database() and not getattr(self.identity, "agent_id", None):
            declared = _declared_grants(self.identity)
            denied = declared.unrestricted and not self.is_admin and _denies_by_default()
            return NOTHING if denied else declared
        access = await AgentRequestHandler.resolve_agent_access(user_api_key_auth=self.identity)
        if isinstance(access, UnrestrictedAgentAccess):
            return AgentGrants()
        return AgentGrants((Grant(frozenset(access.agent_ids)),))

    async def mcp_grants(self) -> McpGrants:
        """Tell which MCP servers and tools this caller's key and team may reach, under LiteLLM's rules.

        As for agents: LiteLLM is asked where it has a database, else what the auth object carries is read here.
        """
        return await mcp_grants(self.identity)

    @property
    def is_restricted(self) -> bool:
        """Tell whether the key is confined to some routes: LiteLLM shows such keys less of a server."""
        return bool(getattr(self.identity, "allowed_routes", None))

    async def require_feature(self, name: str) -> None:
        """Apply LiteLLM's `disable_<feature>_for_internal_users` switches; raises LiteLLM's 403."""
        await check_feature_access_for_user(user_api_key_dict=self.identity, feature_name=name)

    def require_admin(self, message: str, *, wrapped: bool = True) -> None:
        """Refuse all but proxy admins, in LiteLLM's words and shape: `{"detail": {"error": ...}}`, or bare text."""
        if not self.is_admin:
            text = f"{message} Your role={self.identity.user_role}"
            raise Forbidden({"error": text} if wrapped else text)

    def require_role(self, message: str) -> None:
        """Refuse all but proxy admins, in words of LiteLLM's that do not tell the caller's role."""
        if not self.is_admin:
            raise Forbidden({"error": message})


def _denies_by_default() -> bool:
    """Read LiteLLM's `agent_access_default_deny`, which releases before 1.108 do not have."""
    flag = getattr(agent_permission_handler, "agent_access_default_deny", None)
    return flag is not None and bool(flag())


def _declared_grants(identity: Any) -> AgentGrants:
    """Read what the auth object itself says of the key and of its team."""
    key = _grant(identity.object_permission, identity.access_group_ids)
    team = _grant(identity.team_object_permission) if identity.team_id else None
    return AgentGrants(tuple(grant for grant in (key, team) if grant is not None))


def _grant(permission: Any, unified: Collection[str] | None = None) -> Grant | None:
    """Read one holder's grants; None when it was given none, which is no limit.

    `unified` access groups are rows of LiteLLM's database: without one they hold nothing, and are a limit all the same.
    """
    agents = frozenset(stable_id(each) for each in getattr(permission, "agents", None) or ())
    groups = frozenset(getattr(permission, "agent_access_groups", None) or ())
    return Grant(agents, groups) if agents or groups or unified else None


def caller_of(identity: Any, *, is_internal: bool = True) -> Caller:
    """Describe LiteLLM's auth object in our terms."""
    role = getattr(identity.user_role, "value", identity.user_role)
    return Caller(
        identity=identity,
        user_id=identity.user_id,
        team_id=identity.team_id,
        role=str(role or "unknown"),
        is_admin=role == LitellmUserRoles.PROXY_ADMIN.value,
        has_admin_view=bool(user_api_key_has_admin_view(identity)),
        is_internal=is_internal,
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
    return caller_of(identity, is_internal=is_internal(request))


async def recognised(request: Request, *, path: str) -> Caller | None:
    """Authenticate as `authenticate` does; None for a key that nobody knows, or none, which stock may know better."""
    try:
        return await authenticate(request, path=path)
    except Unauthenticated:
        return None
    except ProxyException as refused:
        if str(refused.code) == "401":
            return None
        raise


async def names_a_key(request: Request) -> bool:
    """Tell whether the request holds anything in a header that may carry a key."""
    return any((await _credentials(request)).values())


def is_internal(request: Request) -> bool:
    """Tell whether a request comes from a network that LiteLLM holds for internal (`mcp_internal_ip_ranges`)."""
    settings = proxy_server().general_settings
    networks = IPAddressUtils.parse_internal_networks(settings.get("mcp_internal_ip_ranges"))
    return bool(IPAddressUtils.is_internal_ip(IPAddressUtils.get_mcp_client_ip(request), networks))


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
