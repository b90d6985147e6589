"""Secrets are sealed in LiteLLM's own format, under LiteLLM's own choice of key."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from routeiq_plugin.errors import CannotOpen, Unavailable

pytestmark = pytest.mark.requirement("PKG-02")

SALT = "sk-salt-of-this-test"


@pytest.fixture(params=["xsalsa20-poly1305", "aes-256-gcm"])
def algorithm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, proxy_server: ModuleType) -> str:
    """Each value of LiteLLM's `general_settings.encryption_algorithm` in turn."""
    name: str = request.param
    monkeypatch.setitem(proxy_server.general_settings, "encryption_algorithm", name)
    return name


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """LiteLLM's own functions, with a salt key in the environment."""
    from litellm.proxy.common_utils import encrypt_decrypt_utils

    monkeypatch.setenv("LITELLM_SALT_KEY", SALT)
    return encrypt_decrypt_utils


def sealer(key: str | None = SALT) -> Any:
    from routeiq_plugin.host.sealing import SaltKeySealer

    return SaltKeySealer(lambda: key)


@pytest.mark.parametrize("plain", ["secret", "", "日本語 \U0001f511", "x" * 100_000, '{"a": "b\\n"}'])
def test_what_is_sealed_opens_again(algorithm: str, plain: str) -> None:
    sealed = sealer().seal(plain)
    assert sealed != plain
    assert plain == "" or plain not in sealed
    assert sealer().open(sealed) == plain


def test_litellm_opens_what_we_seal_and_we_what_it_seals(algorithm: str, litellm: Any) -> None:
    assert litellm.decrypt_value_helper(value=sealer().seal("secret"), key="test") == "secret"
    assert sealer().open(litellm.encrypt_value_helper(value="secret")) == "secret"


@pytest.mark.parametrize("damage", [lambda text: text[:-8], lambda text: text[:20] + text[24:], lambda _: "plain"])
def test_damage_and_another_key_are_told(algorithm: str, damage: Any) -> None:
    sealed = sealer().seal("secret")
    with pytest.raises(CannotOpen):
        sealer().open(damage(sealed))
    with pytest.raises(CannotOpen):
        sealer("sk-another").open(sealed)


def test_values_sealed_before_the_algorithm_changed_still_open(
    monkeypatch: pytest.MonkeyPatch, proxy_server: ModuleType
) -> None:
    sealed = {}
    for name in ("xsalsa20-poly1305", "aes-256-gcm"):
        monkeypatch.setitem(proxy_server.general_settings, "encryption_algorithm", name)
        sealed[name] = sealer().seal("secret")
    assert {name: sealer().open(value) for name, value in sealed.items()} == dict.fromkeys(sealed, "secret")


def test_the_key_is_the_salt_key_else_the_master_key(
    monkeypatch: pytest.MonkeyPatch, proxy_server: ModuleType, litellm: Any
) -> None:
    from routeiq_plugin.host.sealing import SaltKeySealer

    monkeypatch.setattr(proxy_server, "master_key", "sk-master")
    assert SaltKeySealer().key_id == sealer(SALT).key_id
    monkeypatch.delenv("LITELLM_SALT_KEY")
    assert SaltKeySealer().key_id == sealer("sk-master").key_id
    monkeypatch.setattr(proxy_server, "master_key", None)
    with pytest.raises(Unavailable):
        SaltKeySealer().seal("secret")


def test_the_fingerprint_tells_keys_apart_and_nothing_else() -> None:
    assert sealer().key_id == sealer().key_id
    assert sealer().key_id != sealer("sk-another").key_id
    assert SALT not in sealer().key_id
    assert len(sealer().key_id) == 16
