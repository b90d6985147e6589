"""A wrong setting stops the boot and says which; a feature that is off is off."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.a2a import permissions
from tests.a2a import registry as agents
from tests.conftest import ProxyFactory
from tests.support.proxy import ANSWER, MODEL, ProxyDiedError

WRONG: Final[dict[str, Any]] = {
    "colour": "blue",
    "database_url": "mysql://user:hunter2@host/x",
    "outbound": {"allowed_hosts": ["https://host/"], "timeout_seconds": "soon"},
    "a2a": {"default_access": "allow", "breaker": {"failures": "many"}},
}
PATHS: Final = (
    "routeiq.colour",
    "routeiq.database_url",
    "routeiq.outbound.allowed_hosts.0",
    "routeiq.outbound.timeout_seconds",
    "routeiq.a2a.default_access",
    "routeiq.a2a.breaker.failures",
)


@pytest.mark.requirement("PKG-01")
@pytest.mark.parametrize(
    ("section", "paths"),
    [
        (WRONG, PATHS),
        ("on", ("routeiq: must be a mapping",)),
    ],
    ids=["values", "no mapping"],
)
def test_a_wrong_setting_stops_the_boot(own_proxy: ProxyFactory, section: Any, paths: tuple[str, ...]) -> None:
    with pytest.raises(ProxyDiedError) as died, own_proxy(config={"routeiq": section}):
        pytest.fail("it started")
    assert died.value.returncode != 0
    assert [path for path in paths if path not in died.value.log] == []
    assert "hunter2" not in died.value.log


@pytest.mark.requirement("PKG-01", "RLD-04")
def test_a_feature_that_is_off_leaves_its_routes_to_stock(own_proxy: ProxyFactory) -> None:
    with own_proxy(config={"routeiq": {"a2a": {"enabled": False}}}) as proxy, proxy.client() as client:
        told = agents.info(proxy)
        assert told["features"]["a2a"] == {"state": "off"}
        owned = set(told["routes"]["owned"])
        assert owned & permissions.TABLE.keys() == {"GET /routeiq/audit", "GET /router/info"}
        assert client.get("/v1/agents").json() == []
        assert client.post("/v1/agents", json=agents.body()).status_code == 500, "stock, without its database"
        assert client.get("/a2a/agents").status_code == 405, "to stock that is an agent, to be called by POST"
        chat = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
        assert client.post("/v1/chat/completions", json=chat).json()["choices"][0]["message"]["content"] == ANSWER
        assert proxy.stop() in (0, -15)
        assert proxy.log().count("routeiq: stopped") == 1
