"""A real authorization server and a real MCP server behind it, both of the mcp SDK, as one process on two ports.

`with oauth_server() as upstream`: `upstream.url` is the MCP server, `upstream.issuer` its authorization server, which
asks nobody: whoever the cookie `as-user` names has logged in and consents. `Knobs` say how it misbehaves.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qsl

from tests.support import peers, processes
from tests.support.peers import ask

SCOPE: Final = "tools"
USER_COOKIE: Final = "as-user"
MACHINE_ID: Final = "the-gateway"
MACHINE_SECRET: Final = "canary-client-secret"
WHO: Final = "whoami"
"""The one tool: tells whose token was shown."""


@dataclass(frozen=True)
class Knobs:
    """How it behaves; all as they should be by default."""

    down: bool = False
    """The authorization server answers 503 to everything."""
    refuse_refresh: bool = False
    deny: bool = False
    """The user does not consent."""
    issuer_in_answer: str | None = None
    """What `iss` says (RFC 9207); None for the truth, "" for nothing."""
    access_seconds: int = 3600
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Replaces members of the RFC 8414 document; None removes one."""
    protected_resource: Mapping[str, Any] = field(default_factory=dict)
    """The same for the RFC 9728 document."""
    register_status: int = 0
    """Answers registrations with this status; 0 registers."""
    slow_token_seconds: float = 0.0
    """How long a token request takes."""


@dataclass(frozen=True)
class Upstream:
    """The running pair."""

    issuer: str
    url: str
    """Of the MCP server."""
    ports: tuple[int, int]
    process: subprocess.Popen[bytes] = field(repr=False)

    def turn(self, **knobs: Any) -> None:
        """Turn knobs; those that are not named are as they should be."""
        ask("POST", f"{self.issuer}/_knobs", json=asdict(replace(Knobs(), **knobs)))

    def seen(self) -> dict[str, Any]:
        """What came so far: `registrations`, `authorizations`, `token_requests`, `issued`, `calls`, `revoked`."""
        found: dict[str, Any] = ask("GET", f"{self.issuer}/_seen")
        return found

    def revoke_all(self) -> None:
        """Forget every access token, as a server does that was restarted: refresh tokens stay."""
        ask("POST", f"{self.issuer}/_revoke")

    def stop(self) -> None:
        """End both; their ports refuse connections afterwards."""
        peers.stop(self.process)


@contextmanager
def oauth_server() -> Iterator[Upstream]:
    """Run the pair."""
    upstream = start((processes.free_port(), processes.free_port()))
    try:
        yield upstream
    finally:
        upstream.stop()


def start(ports: tuple[int, int]) -> Upstream:
    """Start the pair and return when both listen; the caller stops it."""
    command = [sys.executable, "-m", "tests.support.oauth_server", json.dumps(ports)]
    process, greeting = peers.start(command, "authorization server")
    return Upstream(**greeting, ports=ports, process=process)


# What runs in the process: nothing above needs the SDK.

_user: ContextVar[str] = ContextVar("user", default="nobody")


def _main(ports: tuple[int, int]) -> None:
    asyncio.run(_serve(*ports))


async def _serve(as_port: int, rs_port: int) -> None:
    import uvicorn
    from mcp.server.auth.middleware.auth_context import get_access_token
    from mcp.server.auth.provider import ProviderTokenVerifier
    from mcp.server.auth.routes import create_auth_routes
    from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
    from mcp.server.mcpserver import MCPServer
    from starlette.applications import Starlette

    issuer, url = f"http://127.0.0.1:{as_port}", f"http://127.0.0.1:{rs_port}/mcp"
    provider = _provider(issuer, url)
    state: _State = provider.state
    registration = ClientRegistrationOptions(enabled=True, valid_scopes=[SCOPE, "more"], default_scopes=[SCOPE])
    settings = AuthSettings.model_validate(
        {
            "issuer_url": issuer,
            "resource_server_url": url,
            "required_scopes": [SCOPE],
            "validate_token_resource": True,
        }
    )
    routes = create_auth_routes(provider, settings.issuer_url, None, registration, RevocationOptions(enabled=True))
    server = MCPServer("protected", token_verifier=ProviderTokenVerifier(provider), auth=settings)

    @server.tool(name=WHO)
    def whoami() -> str:
        token = get_access_token()
        return str(token.subject if token is not None else None)

    front = _Front(Starlette(routes=routes), state, provider)
    behind = _Recorded(server.streamable_http_app(), state)
    servers = [
        uvicorn.Server(uvicorn.Config(front, "127.0.0.1", as_port, log_level="warning", lifespan="off")),
        uvicorn.Server(uvicorn.Config(behind, "127.0.0.1", rs_port, log_level="warning", lifespan="on")),
    ]
    running = [asyncio.create_task(each.serve()) for each in servers]
    while not all(each.started for each in servers):  # noqa: ASYNC110  uvicorn has no event
        await asyncio.sleep(0.01)
    print(json.dumps({"issuer": issuer, "url": url}), flush=True)
    await asyncio.to_thread(sys.stdin.read)  # ends with whoever started us, however that one ended
    for each in servers:
        each.should_exit = True
    await asyncio.gather(*running)


class _State:
    def __init__(self) -> None:
        self.knobs = Knobs()
        self.seen: dict[str, list[Any]] = {
            name: [] for name in ("registrations", "authorizations", "token_requests", "issued", "calls", "revoked")
        }


def _provider(issuer: str, resource: str) -> Any:
    from mcp.server.auth.provider import (
        AccessToken,
        AuthorizationCode,
        AuthorizationParams,
        AuthorizeError,
        RefreshToken,
        TokenError,
        construct_redirect_uri,
    )
    from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

    class Provider:
        def __init__(self) -> None:
            self.state = _State()
            self.clients = {
                MACHINE_ID: OAuthClientInformationFull(client_id=MACHINE_ID, client_secret=MACHINE_SECRET, scope=SCOPE)
            }
            self.codes: dict[str, AuthorizationCode] = {}
            self.access: dict[str, AccessToken] = {}
            self.refresh: dict[str, RefreshToken] = {}

        async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
            return self.clients.get(client_id)

        async def register_client(self, client_info: OAuthClientInformationFull) -> None:
            self.clients[client_info.client_id] = client_info
            self.state.seen["registrations"].append(client_info.model_dump(mode="json"))

        async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
            self.state.seen["authorizations"].append(params.model_dump(mode="json"))
            knobs = self.state.knobs
            iss = {"iss": issuer if knobs.issuer_in_answer is None else knobs.issuer_in_answer or None}
            if knobs.deny:
                raise AuthorizeError("access_denied", "the user said no")
            code = f"code-{secrets.token_hex(20)}"
            self.codes[code] = AuthorizationCode(
                code=code,
                scopes=params.scopes or [SCOPE],
                expires_at=time.time() + 60,
                client_id=client.client_id,
                code_challenge=params.code_challenge,
                redirect_uri=params.redirect_uri,
                redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
                resource=params.resource,
                subject=_user.get(),
            )
            return construct_redirect_uri(str(params.redirect_uri), code=code, state=params.state, **iss)

        async def load_authorization_code(
            self, client: OAuthClientInformationFull, authorization_code: str
        ) -> AuthorizationCode | None:
            return self.codes.get(authorization_code)

        async def exchange_authorization_code(
            self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
        ) -> OAuthToken:
            del self.codes[authorization_code.code]
            return self.issue(
                client.client_id, authorization_code.scopes, authorization_code.resource, authorization_code.subject
            )

        async def load_refresh_token(
            self, client: OAuthClientInformationFull, refresh_token: str
        ) -> RefreshToken | None:
            return self.refresh.get(refresh_token)

        async def exchange_refresh_token(
            self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
        ) -> OAuthToken:
            if self.state.knobs.refuse_refresh:
                raise TokenError("invalid_grant", "no more")
            del self.refresh[refresh_token.token]
            return self.issue(client.client_id, scopes, refresh_token.resource, refresh_token.subject)

        async def load_access_token(self, token: str) -> AccessToken | None:
            return self.access.get(token)

        async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
            self.state.seen["revoked"].append(token.token)
            self.access.pop(token.token, None)
            self.refresh.pop(token.token, None)

        def issue(
            self, client_id: str, scopes: list[str], for_resource: str | None, subject: str | None, again: bool = True
        ) -> OAuthToken:
            seconds = self.state.knobs.access_seconds
            access = f"canary-access-{secrets.token_hex(20)}"
            refresh = f"canary-refresh-{secrets.token_hex(20)}" if again else None
            self.access[access] = AccessToken(
                token=access,
                client_id=client_id,
                scopes=scopes,
                expires_at=int(time.time() + seconds),
                resource=for_resource,
                subject=subject,
            )
            if refresh is not None:
                self.refresh[refresh] = RefreshToken(
                    token=refresh, client_id=client_id, scopes=scopes, resource=for_resource, subject=subject
                )
            self.state.seen["issued"].append({"access": access, "refresh": refresh, "subject": subject})
            return OAuthToken(access_token=access, refresh_token=refresh, expires_in=seconds, scope=" ".join(scopes))

    return Provider()


class _Front:
    """The authorization server with its knobs."""

    def __init__(self, app: Any, state: _State, provider: Any) -> None:
        self._app = app
        self._state = state
        self._provider = provider

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.requests import Request

        request = Request(scope, receive)
        answer = await self._control(request)
        if answer is None:
            body = await request.body()
            answer = await self._instead(request, body)
            receive = _replay(body)
        if answer is not None:
            await answer(scope, receive, send)
            return
        _user.set(request.cookies.get(USER_COOKIE, "nobody"))
        await self._app(scope, receive, send)

    async def _control(self, request: Any) -> Any:
        from starlette.responses import JSONResponse

        path = request.url.path
        if path == "/_knobs":
            self._state.knobs = Knobs(**await request.json())
        elif path == "/_revoke":
            self._provider.access.clear()
        elif path == "/_seen":
            return JSONResponse(self._state.seen)
        else:
            return None
        return JSONResponse({})

    async def _instead(self, request: Any, body: bytes) -> Any:
        from starlette.responses import JSONResponse

        knobs, path = self._state.knobs, request.url.path
        if knobs.down:
            return JSONResponse({"error": "down"}, 503)
        if path == "/.well-known/oauth-authorization-server":
            return JSONResponse(self._metadata(str(request.base_url).rstrip("/")))
        if path == "/register" and knobs.register_status:
            return JSONResponse({"error": "no"}, knobs.register_status)
        return await self._token(request, body) if path == "/token" else None

    async def _token(self, request: Any, body: bytes) -> Any:
        from starlette.responses import JSONResponse

        form = dict(parse_qsl(body.decode()))
        proof = "basic" if request.headers.get("authorization", "").startswith("Basic ") else "post"
        self._state.seen["token_requests"].append(form | {"_proof": proof})
        await asyncio.sleep(self._state.knobs.slow_token_seconds)
        if form.get("grant_type") != "client_credentials":
            return None
        basic = "Basic " + b64encode(f"{MACHINE_ID}:{MACHINE_SECRET}".encode()).decode()
        if request.headers.get("authorization") != basic and form.get("client_secret") != MACHINE_SECRET:
            return JSONResponse({"error": "invalid_client"}, 401)
        token = self._provider.issue(MACHINE_ID, [SCOPE], form.get("resource"), "machine", again=False)
        return JSONResponse(token.model_dump(exclude_none=True))

    def _metadata(self, issuer: str) -> dict[str, Any]:
        document = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "registration_endpoint": f"{issuer}/register",
            "revocation_endpoint": f"{issuer}/revoke",
            "scopes_supported": [SCOPE, "more"],
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        } | dict(self._state.knobs.metadata)
        return {name: value for name, value in document.items() if value is not None}


class _Recorded:
    """The MCP server, and which credentials came to it."""

    def __init__(self, app: Any, state: _State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.requests import Request
        from starlette.responses import JSONResponse

        changed = self._state.knobs.protected_resource
        if scope["type"] == "http":
            request = Request(scope)
            if request.url.path == "/mcp":
                self._state.seen["calls"].append(dict(request.headers))
            elif changed and "oauth-protected-resource" in request.url.path:
                await JSONResponse(dict(changed))(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _replay(body: bytes) -> Any:
    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


if __name__ == "__main__":
    _main(tuple(json.loads(sys.argv[1])))
