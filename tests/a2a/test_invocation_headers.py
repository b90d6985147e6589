"""What a backend sees of a caller: what was addressed to it, and never the key to the gateway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx
import pytest

from tests.a2a import guarded as guarded_proxy
from tests.a2a.calls import Registered, answers, error_of, granted, registered, sending, text_of
from tests.a2a.scripted import Scripted
from tests.conftest import BackendOf
from tests.support.backends import Backend
from tests.support.proxy import Proxy

KEY_HEADERS: Final = (
    "Authorization",
    "API-Key",
    "x-api-key",
    "x-goog-api-key",
    "Ocp-Apim-Subscription-Key",
    "x-litellm-api-key",
)
"""Where LiteLLM looks for a key."""

CREDENTIALS: Final = (*KEY_HEADERS, "Cookie", "Proxy-Authorization", "x-litellm-tags", "Sec-Fetch-Site")


@pytest.fixture
def backend(backend_of: BackendOf) -> Backend:
    return backend_of("1.0")


def seen(client: httpx.Client, backend: Backend, agent: Registered, headers: Mapping[str, str]) -> Mapping[str, str]:
    """Call and return the headers that arrived, after a look at everything the backend got for it."""
    before = len(backend.seen())
    [answer] = answers(client.post(agent.url, json=sending("hello"), headers=headers))
    assert text_of(answer) == "echo: hello"
    requests = backend.seen()[before:]
    assert requests[-1].method == "POST"
    return requests[-1].headers


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize("where", KEY_HEADERS)
def test_the_callers_key_never_arrives(proxy: Proxy, backend: Backend, where: str) -> None:
    """Not even when the agent allows the header: the allow-list is for the caller's own words, not for the key."""
    with registered(proxy, backend.card(), extra_headers=list(CREDENTIALS)) as agent:
        key = granted(proxy, agent)
        sent = {where: f"Bearer {key}" if where in ("Authorization", "x-litellm-api-key") else key}
        with proxy.client(None) as client:
            before = len(backend.seen())
            seen(client, backend, agent, sent | {"Cookie": f"token={key}"})
            for request in backend.seen()[before:]:
                assert not {name.lower() for name in CREDENTIALS} & request.headers.keys()
                assert key not in str(request)


@pytest.mark.requirement("A2A-08")
def test_a_key_header_that_the_operator_chose_never_arrives_either(guarded: Proxy, script: Scripted) -> None:
    admin = guarded_proxy.client(guarded)
    extra = [guarded_proxy.KEY_HEADER, "X-Other"]
    with registered(guarded, script.card("good"), admin=admin, extra_headers=extra) as agent:
        with guarded_proxy.client(guarded, granted(guarded, agent)) as user:
            [answer] = answers(user.post(agent.url, json=sending("hello"), headers={"X-Other": "told"}))
        assert text_of(answer) == "well behaved"
    arrived = script.seen("good")[-1]
    assert arrived["x-other"] == "told"
    assert guarded_proxy.KEY_HEADER.lower() not in arrived


@pytest.mark.requirement("A2A-08")
def test_without_an_allow_list_only_the_protocols_own_headers_pass(proxy: Proxy, backend: Backend) -> None:
    sent = {
        "X-Custom": "no",
        "X-Forwarded-For": "10.0.0.1",
        "Referer": "https://intranet.example.com/",
        "User-Agent": "somebody/1.0",
        "A2A-Extensions": "https://example.com/ext/v1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "vendor=1",
    }
    with registered(proxy, backend.card()) as agent, proxy.client() as client:
        arrived = seen(client, backend, agent, sent)
    assert arrived.keys().isdisjoint({"x-custom", "x-forwarded-for", "referer", "cookie"})
    assert arrived["user-agent"] == "routeiq-plugin"
    assert arrived["a2a-extensions"] == sent["A2A-Extensions"]
    assert arrived["traceparent"] == sent["traceparent"]
    assert arrived["tracestate"] == sent["tracestate"]
    assert arrived["a2a-version"] == "1.0"
    assert arrived["host"] == f"127.0.0.1:{backend.port}"


@pytest.mark.requirement("A2A-08")
def test_allowed_headers_pass_and_the_admins_win(proxy: Proxy, backend: Backend) -> None:
    fields: dict[str, Any] = {
        "extra_headers": ["X-Tenant", "x-region", "X-Fixed"],
        "static_headers": {"X-Fixed": "by the admin", "X-Static": "always"},
        "litellm_params": {"api_key": "key-of-the-backend"},
    }
    with registered(proxy, backend.card(), **fields) as agent, proxy.client() as client:
        arrived = seen(
            client, backend, agent, {"x-tenant": "acme", "X-REGION": "eu", "X-Fixed": "by the caller", "X-Other": "no"}
        )
    assert arrived["x-tenant"] == "acme"
    assert arrived["x-region"] == "eu"
    assert arrived["x-fixed"] == "by the admin"
    assert arrived["x-static"] == "always"
    assert arrived["authorization"] == "Bearer key-of-the-backend"
    assert "x-other" not in arrived


@pytest.mark.requirement("A2A-08")
@pytest.mark.parametrize("by", ["id", "name"])
def test_headers_addressed_to_the_agent_pass(proxy: Proxy, backend: Backend, by: str) -> None:
    """LiteLLM's convention: `x-a2a-<id or name>-<header>`."""
    with registered(proxy, backend.card()) as agent, registered(proxy, backend.card()) as other:
        prefix = f"X-A2A-{agent.agent_id if by == 'id' else agent.name.upper()}-"
        sent = {
            f"{prefix}Authorization": "Bearer of the caller at the backend",
            f"{prefix}X-Tenant": "acme",
            f"x-a2a-{other.name}-x-other": "not yours",
            prefix: "nothing",
        }
        with proxy.client(granted(proxy, agent)) as client:
            arrived = seen(client, backend, agent, sent)
    assert arrived["authorization"] == "Bearer of the caller at the backend"
    assert arrived["x-tenant"] == "acme"
    assert "x-other" not in arrived
    assert not [name for name in arrived if name.startswith("x-a2a-")]


@pytest.mark.requirement("A2A-08")
def test_nothing_that_frames_the_request_can_be_set_by_a_caller(proxy: Proxy, backend: Backend) -> None:
    framing = {
        "Host": "metadata.google.internal",
        "Content-Length": "3",
        "Content-Type": "text/evil",
        "Content-Encoding": "gzip",
        "Transfer-Encoding": "chunked",
        "Connection": "upgrade",
        "Upgrade": "h2c",
        "TE": "trailers",
        "Trailer": "X",
        "Expect": "100-continue",
        "Keep-Alive": "timeout=1",
        "Proxy-Connection": "close",
        "Accept-Encoding": "br",
        "A2A-Version": "0.3",
    }
    with registered(proxy, backend.card(), extra_headers=[*framing]) as agent, proxy.client() as client:
        sent = {f"x-a2a-{agent.name}-{name}": value for name, value in framing.items()}
        arrived = seen(client, backend, agent, sent)
    assert arrived["host"] == f"127.0.0.1:{backend.port}"
    assert (arrived["content-type"], arrived["a2a-version"]) == ("application/json", "1.0")
    assert arrived["accept-encoding"] == "identity"
    assert arrived.keys().isdisjoint(
        {"transfer-encoding", "content-encoding", "upgrade", "te", "trailer", "expect", "proxy-connection"}
    )


@pytest.mark.requirement("A2A-08")
def test_who_calls_is_the_gateways_word_alone(proxy: Proxy, backend: Backend) -> None:
    with registered(proxy, backend.card(), extra_headers=["X-LiteLLM-Team-Id", "X-LiteLLM-User-Id"]) as agent:
        key = granted(proxy, agent, user_id="alice")
        sent = {
            "X-LiteLLM-Team-Id": "forged",
            "X-LiteLLM-User-Id": "forged",
            f"x-a2a-{agent.name}-x-litellm-team-id": "forged",
            f"x-a2a-{agent.agent_id}-X-LiteLLM-User-Id": "forged",
            "x-litellm-trace-id": "trace-1",
        }
        with proxy.client(key) as client:
            arrived = seen(client, backend, agent, sent)
    assert arrived["x-litellm-user-id"] == "alice"
    assert arrived["x-litellm-agent-id"] == agent.agent_id
    assert arrived["x-litellm-trace-id"] == "trace-1"
    assert "x-litellm-team-id" not in arrived


@pytest.mark.requirement("A2A-08")
def test_a_header_that_cannot_be_sent_is_told_by_name(proxy: Proxy, backend: Backend) -> None:
    with registered(proxy, backend.card(), extra_headers=["X-Name"]) as agent, proxy.client() as client:
        response = client.post(agent.url, json=sending("hello"), headers={b"X-Name": "J\u00fcrgen".encode()})
        error = error_of(response)
        assert (response.status_code, error["code"]) == (400, -32602)
        assert "X-Name" in error["message"]
        assert "J" not in error["message"]


@pytest.fixture
def first_and_second(proxy: Proxy, script: Scripted) -> Iterator[tuple[Registered, httpx.Client, httpx.Client]]:
    """An agent that sets a cookie, and two users of it."""
    with (
        registered(proxy, script.card("good")) as agent,
        proxy.client(granted(proxy, agent)) as first,
        proxy.client(granted(proxy, agent)) as second,
    ):
        yield agent, first, second


@pytest.mark.requirement("A2A-08")
def test_a_cookie_of_the_backend_reaches_nobody(
    script: Scripted, first_and_second: tuple[Registered, httpx.Client, httpx.Client]
) -> None:
    agent, *users = first_and_second
    for user in (*users, users[0]):
        response = user.post(agent.url, json=sending("hello"))
        assert text_of(answers(response)[0]) == "well behaved"
        assert "set-cookie" not in response.headers
        assert "cookie" not in script.seen("good")[-1]
