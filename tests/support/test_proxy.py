"""The harness's own ground: a stock proxy whose custom auth leaves LiteLLM's checks on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.proxy import ANSWER, MODEL, Proxy, ProxyDiedError, merge, start_proxy

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}


def chat(proxy: Proxy, key: str | None) -> tuple[int, str]:
    with proxy.client(key) as client:
        answer = client.post("/v1/chat/completions", json=CHAT)
    return answer.status_code, answer.text


def test_the_master_key_is_an_administrator(stock: Proxy) -> None:
    status, text = chat(stock, stock.master_key)
    assert (status, ANSWER in text) == (200, True)


@pytest.mark.parametrize("key", [None, "sk-unknown", "not-even-a-key"])
def test_a_missing_or_unknown_key_is_401(stock: Proxy, key: str | None) -> None:
    assert chat(stock, key)[0] == 401


def test_a_key_added_while_it_runs_works_within_its_models(stock: Proxy) -> None:
    assert chat(stock, stock.add_key(models=[MODEL]))[0] == 200
    assert chat(stock, stock.add_key(models=["another"]))[0] == 403


def test_litellm_checks_routes_and_roles_of_custom_keys(stock: Proxy) -> None:
    with stock.client(stock.add_key(allowed_routes=["/v1/models"])) as client:
        assert client.get("/v1/models").status_code == 200
        assert client.get("/v1/agents").status_code == 403
    with stock.client(stock.add_key()) as client:
        assert client.post("/key/generate", json={}).status_code in (401, 403)


def test_a_proxy_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ProxyDiedError) as died:
        start_proxy(tmp_path, plugin=False, config={"litellm_settings": {"callbacks": ["no_such_module.callback"]}})
    assert died.value.returncode != 0
    assert "no_such_module" in died.value.log


def test_overrides_are_merged_deeply() -> None:
    merged = merge({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [2]}, "e": {}})
    assert merged == {"a": {"b": 1, "c": [2]}, "d": 1, "e": {}}
