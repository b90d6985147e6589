"""Our entry in LiteLLM's route table: what it matches, what it leaves alone, where its operations are documented."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette._utils import get_route_path
from starlette.requests import Request
from starlette.responses import JSONResponse

from routeiq_plugin.errors import NotFound, RouteIQError, Unauthenticated, Unavailable

pytestmark = pytest.mark.requirement("PKG-01")


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, proxy_server: ModuleType) -> FastAPI:
    """A small application in LiteLLM's place."""
    stock = FastAPI(title="stock", version="1")

    @stock.post("/things/{thing_id}")
    async def stock_thing(thing_id: str, request: Request) -> dict[str, Any]:
        return {"stock": thing_id, "body": (await request.body()).decode()}

    @stock.get("/elsewhere")
    async def elsewhere() -> dict[str, str]:
        return {"stock": "elsewhere"}

    monkeypatch.setattr(proxy_server, "app", stock)
    return stock


@pytest.fixture
def owned(app: FastAPI) -> Any:
    """Our routes, mounted in front of it."""
    from routeiq_plugin.host.app import LeaveToStock, OwnedRoutes, mount

    router = APIRouter()

    @router.post("/things/{thing_id}")
    async def thing(thing_id: str, request: Request) -> dict[str, Any]:
        match thing_id:
            case "stock":
                raise LeaveToStock
            case "by-name":
                raise LeaveToStock("/things/by id")
            case "missing":
                raise NotFound("no such thing")
            case "away":
                raise Unavailable("later", 2.2)
            case "who":
                raise Unauthenticated("who are you")
        return {"ours": thing_id, "body": (await request.body()).decode()}

    @router.get("/things/{thing_id}/card")
    async def card(thing_id: str) -> JSONResponse:
        return JSONResponse({"card": thing_id})

    @router.get("/{name}/end")
    async def named(name: str) -> JSONResponse:
        return JSONResponse({"named": name})

    mounted = OwnedRoutes([router])
    mount(mounted)
    return mounted


@pytest.fixture
def client(app: FastAPI, owned: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")


@pytest.mark.parametrize(
    ("thing", "status", "answer"),
    [
        ("x", 200, {"ours": "x", "body": "hello"}),
        ("stock", 200, {"stock": "stock", "body": "hello"}),
        ("by-name", 200, {"stock": "by id", "body": "hello"}),
        ("missing", 404, {"detail": "no such thing"}),
        ("away", 503, {"detail": "later"}),
    ],
)
async def test_ours_stocks_and_our_errors(client: httpx.AsyncClient, thing: str, status: int, answer: Any) -> None:
    response = await client.post(f"/things/{thing}", content="hello")
    assert (response.status_code, response.json()) == (status, answer)
    assert response.headers.get("Retry-After") == ("3" if status == 503 else None)


async def test_a_401_looks_like_litellms(client: httpx.AsyncClient) -> None:
    response = await client.post("/things/who")
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.json()["error"].keys() == {"message", "type", "param", "code"}


async def test_what_is_not_ours_is_stocks(client: httpx.AsyncClient) -> None:
    assert (await client.get("/elsewhere")).json() == {"stock": "elsewhere"}
    assert (await client.get("/things/x")).status_code == 405, "stock knows the path, with another method"
    assert (await client.get("/nowhere")).status_code == 404


async def test_a_body_that_is_too_large_is_refused(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from routeiq_plugin.host import app as host_app

    monkeypatch.setattr(host_app, "MAX_BODY_BYTES", 10)
    assert (await client.post("/things/x", content=b"x" * 10)).status_code == 200
    assert (await client.post("/things/x", content=b"x" * 11)).status_code == 413

    async def pieces() -> Any:
        for _ in range(11):
            yield b"x"

    assert (await client.post("/things/x", content=pieces())).status_code == 413, "without a declared length too"


def test_the_document_is_merged_once_however_often_it_is_asked_for(app: FastAPI, owned: Any) -> None:
    first = app.openapi()
    assert {"get"} == first["paths"]["/things/{thing_id}/card"].keys()
    assert "/elsewhere" in first["paths"]
    copy = repr(first)
    assert repr(app.openapi()) == copy
    app.openapi_schema = None
    assert repr(app.openapi()) == copy


async def test_a_path_that_begins_with_a_name_is_told_by_its_end(client: httpx.AsyncClient, owned: Any) -> None:
    assert (await client.get("/any/end")).json() == {"named": "any"}
    assert (await client.get("/elsewhere")).json() == {"stock": "elsewhere"}
    assert (await client.get("/any/end/more")).status_code == 404


def test_a_route_that_another_answers_is_told(app: FastAPI, owned: Any) -> None:
    from routeiq_plugin.host.app import shadowed

    assert shadowed(owned) == {}

    async def usurper() -> None: ...

    app.router.add_api_route("/things/{anything:path}", usurper, methods=["GET"])
    app.router.routes.insert(0, app.router.routes.pop())
    assert shadowed(owned) == {"GET /things/{thing_id}/card": "/things/{anything:path}"}
    app.router.routes.remove(owned)
    assert set(shadowed(owned)) == {"GET /things/{thing_id}/card", "POST /things/{thing_id}", "GET /{name}/end"}


@pytest.mark.parametrize("root", ["", "/", "/api", "/api/", "/a"])
@pytest.mark.parametrize("path", ["", "/", "/api", "/api/", "/api/v1", "/apiv1", "/v1/agents", "/a/api/x"])
def test_the_route_path_is_starlettes(root: str, path: str) -> None:
    from routeiq_plugin.host.app import route_path

    scope = {"type": "http", "path": path, "root_path": root}
    assert route_path(scope) == get_route_path(scope)


def test_every_error_has_a_status() -> None:
    from routeiq_plugin.host.app import error_response

    def family(error: type[RouteIQError]) -> Iterator[type[RouteIQError]]:
        yield error
        for child in error.__subclasses__():
            yield from family(child)

    for kind in family(RouteIQError):
        error = kind.__new__(kind)
        Exception.__init__(error, "x")
        vars(error).update(detail="x", retry_after=1.0, resource_metadata="https://x")
        assert 400 <= error_response(error).status_code < 600, kind
