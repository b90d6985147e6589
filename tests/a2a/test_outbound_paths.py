"""No path of the agents leads to an address that the operator did not open: 0 connections at a canary listener."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx
import pytest

from tests.a2a import guarded as guarded_proxy
from tests.a2a.calls import Registered, answers, error_of, granted, registered, sending, text_of
from tests.a2a.registry import path, unique
from tests.a2a.scripted import Scripted
from tests.conftest import ProxyFactory
from tests.support.proxy import Proxy

Body = dict[str, Any]

URLS: Final = (
    "http://127.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.0.0.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST.:{port}/",
    "http://ip6-localhost:{port}/",
    "http://localhost.localdomain:{port}/",
    "http://loopback.test:{port}/",
    "http://loopback-six.test:{port}/",
    "http://mapped.test:{port}/",
    "http://private.test:{port}/",
    "http://metadata.test:{port}/",
    "http://no-such-name.test:{port}/",
    "http://169.254.169.254/",
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "http://[::ffff:169.254.169.254]/",
    "http://[fd00:ec2::254]/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://100.100.100.200/",
    "http://10.0.0.1/",
    "http://192.168.0.1/",
    "http://100.64.0.1/",
    "http://user:password@127.0.0.1:{port}/",
    "http://agents.example.com@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@agents.example.com/",
    "http://127.0.0.1:{port}#@agents.example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/",
    "unix:///var/run/docker.sock",
)
"""Addresses that are not open in `guarded`, in the spellings that have fooled gateways."""


def _card(**changes: Any) -> Body:
    return {"agent_card_params": {"name": "canary", **changes}}


FIELDS: Final[Mapping[str, Callable[[str], Body]]] = {
    "agent_card_params.url": lambda url: _card(url=url),
    "agent_card_params.supportedInterfaces.1.url": lambda url: _card(
        supportedInterfaces=[
            {"url": "http://93.184.216.34/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
        ]
    ),
    "agent_card_params.additionalInterfaces.0.url": lambda url: _card(
        additionalInterfaces=[{"url": url, "transport": "JSONRPC"}]
    ),
    "litellm_params.api_base": lambda url: _card() | {"litellm_params": {"api_base": url}},
    "litellm_params.base_url": lambda url: _card() | {"litellm_params": {"base_url": url}},
    "kill_switch.url": lambda url: _card() | {"kill_switch": {"url": url, "method": "POST"}},
}
"""Every place of a registration that holds a URL which somebody will call."""


@pytest.mark.requirement("A2A-02", "A2A-04", "A2A-05")
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("url", URLS)
def test_no_field_takes_an_address_that_is_not_open(
    guarded: Proxy, script: Scripted, canary: Scripted, field: str, url: str
) -> None:
    refused = FIELDS[field](url.format(port=canary.port))
    admin = guarded_proxy.client(guarded)
    with registered(guarded, script.card("good"), admin=admin) as agent, guarded_proxy.client(guarded) as client:
        before = client.get(path(agent.agent_id)).json()
        for answer in (
            client.post("/v1/agents", json={"agent_name": unique(), **refused}),
            client.post("/a2a/agents", json={"agent_name": unique(), **refused}),
            client.put(path(agent.agent_id), json={"agent_name": agent.name, **refused}),
            client.patch(path(agent.agent_id), json=refused),
            client.patch(path(agent.agent_id, "/a2a/agents"), json=refused),
        ):
            assert _names(field, answer), answer.text
        assert client.get(path(agent.agent_id)).json() == before
    assert canary.connections == 0


def _names(field: str, answer: httpx.Response) -> bool:
    """Tell whether the refusal names the field; LiteLLM's own types are the first to refuse some kill switches."""
    detail = answer.json()["detail"]
    if answer.status_code == 422:
        return [".".join(each["loc"][1:]) for each in detail] == [field]
    return answer.status_code == 400 and detail.startswith(f"{field}: ")


@pytest.mark.requirement("A2A-02")
def test_an_open_host_is_open_on_its_port_alone(guarded: Proxy, script: Scripted, canary: Scripted) -> None:
    admin = guarded_proxy.client(guarded)
    with registered(guarded, script.card("good"), admin=admin) as agent, guarded_proxy.client(guarded) as client:
        [answer] = answers(client.post(agent.url, json=sending("hello")))
        assert text_of(answer) == "well behaved"
        refused = client.post(
            "/v1/agents", json={"agent_name": unique(), **_card(url=f"http://127.0.0.1:{canary.port}/")}
        )
        assert refused.status_code == 400
        assert "routeiq.outbound.allowed_hosts" in refused.json()["detail"]
    assert canary.connections == 0


@pytest.mark.requirement("A2A-08")
def test_an_agent_of_the_config_is_not_called_where_it_may_not_be(guarded: Proxy, canary: Scripted) -> None:
    """Nobody registered it with us, so the check at the connection is the only one."""
    with guarded_proxy.client(guarded) as admin:
        ids = {each["agent_name"]: each["agent_id"] for each in admin.get("/v1/agents").json()}
        for name, url in guarded_proxy.forbidden(canary).items():
            key = guarded.add_key(object_permission={"agents": [ids[name]]})
            with guarded_proxy.client(guarded, key) as user:
                for stream in (False, True):
                    response = user.post(path(name, "/a2a"), json=sending("hello", stream=stream, call_id="mine"))
                    assert response.status_code == 200, (url, response.text)
                    message = error_of(response, "mine")["message"]
                    assert "not one that this gateway calls" in message or url.startswith("file:"), (url, message)
                    assert "127.0.0.1" not in response.text, (url, response.text)
                    assert str(canary.port) not in response.text, (url, response.text)
                assert user.get("/v1/agents?health_check=true").json() == []
    assert canary.connections == 0


@contextmanager
def _callable(guarded: Proxy, card: Body) -> Iterator[tuple[Registered, httpx.Client]]:
    """Register an agent, with a user who may call it."""
    with (
        registered(guarded, card, admin=guarded_proxy.client(guarded)) as agent,
        guarded_proxy.client(guarded, granted(guarded, agent)) as user,
    ):
        yield agent, user


@pytest.mark.requirement("A2A-02", "A2A-08")
def test_a_name_that_changes_after_its_registration_is_refused_at_the_call(guarded: Proxy, canary: Scripted) -> None:
    """DNS rebinding: public when it is registered, loopback when it is called."""
    card = {"name": "rebinding", "url": f"http://{guarded_proxy.REBINDING.format(unique())}:{canary.port}/"}
    with _callable(guarded, card) as (agent, user):
        for stream in (False, True):
            response = user.post(agent.url, json=sending("hello", stream=stream, call_id="mine"))
            assert response.status_code == 200
            assert "not one that this gateway calls" in error_of(response, "mine")["message"]
            assert "rebind" not in response.text
        assert user.get("/v1/agents?health_check=true").json() == []
    assert canary.connections == 0


@pytest.mark.requirement("A2A-08", "A2A-10")
@pytest.mark.parametrize("way", ["redirect", "card-redirect"])
@pytest.mark.parametrize("stream", [False, True], ids=["send", "stream"])
def test_a_redirect_is_not_followed(
    guarded: Proxy, script: Scripted, canary: Scripted, *, way: str, stream: bool
) -> None:
    with _callable(guarded, script.card(way)) as (agent, user):
        response = user.post(agent.url, json=sending("hello", stream=stream, call_id="mine"))
        assert response.status_code == 200
        if way == "redirect":
            assert "302" in error_of(response, "mine")["message"]
        assert user.get("/v1/agents?health_check=true").status_code == 200
    assert script.seen(way, "POST" if way == "redirect" else "GET")
    assert canary.connections == 0


@pytest.mark.requirement("A2A-08")
def test_a_backends_own_card_cannot_lead_elsewhere(guarded: Proxy, script: Scripted, canary: Scripted) -> None:
    """Its interfaces name another host: only their path is taken over, on the origin that was registered."""
    with _callable(guarded, {"name": "led", "url": script.url("card-elsewhere")}) as (agent, user):
        [answer] = answers(user.post(agent.url, json=sending("hello")))
    assert text_of(answer) == "well behaved"
    assert canary.connections == 0


@pytest.mark.requirement("A2A-02")
def test_nothing_private_is_open_by_default(own_proxy: ProxyFactory, canary: Scripted) -> None:
    with own_proxy(config={}) as proxy, proxy.client() as admin:
        for url in URLS:
            body = {"agent_name": unique(), **_card(url=url.format(port=canary.port))}
            answer = admin.post("/v1/agents", json=body)
            assert answer.status_code == 400, (url, answer.text)
            assert answer.json()["detail"].startswith("agent_card_params.url: "), (url, answer.text)
        assert admin.get("/v1/agents").json() == []
    assert canary.connections == 0
