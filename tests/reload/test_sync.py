"""A proxy that follows an object in S3 or GCS, through outages of it, rollbacks and restarts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.reload.buckets import KEY, STORES, Store
from tests.reload.configs import deployment, written
from tests.reload.conftest import Reloading, reloading
from tests.support import processes

pytestmark = [
    pytest.mark.requirement("RLD-06", "RLD-07", "RLD-08", "RLD-20"),
    pytest.mark.filterwarnings("ignore"),  # of the stores' own servers, which are not under test here
]


def until(check: Callable[[], Any], what: str, seconds: float = 240.0) -> None:
    """Ask until the answer is true."""
    processes.wait_until(lambda: bool(check()), seconds, what)


def remote(*models: dict[str, Any]) -> bytes:
    return (
        written(
            {
                "model_list": list(models),
                "general_settings": {"master_key": "sk-not-the-boot-files"},
                "litellm_settings": {"callbacks": ["evil.module"]},
            }
        )
        + b"# "
        + b"padding " * 2_000
    )


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", list(STORES))
def test_a_proxy_follows_its_object(kind: str, tmp_path: Path) -> None:
    with STORES[kind]() as store:
        store.put(remote(deployment("from-bucket", "one")))
        settings = {
            "reload": {"source": store.source, "endpoint_url": store.recorder.url, "interval_seconds": 0.5},
        }
        store.recorder.refuse = 503
        with reloading(tmp_path, config={"routeiq": settings}, env=store.env) as shared:
            boots_on_its_own_file(shared)
            store.recorder.refuse = None
            follows(shared, store)
            generation = shared.status()["generation"]
            store.recorder.refuse = 503
            again = restarted_without_the_source(shared)
            try:
                until(lambda: again.ask("from-bucket") == "two", "the last good copy serves")
                until(lambda: again.status()["generation"] == generation, "the generation")
                assert again.client.get("/health/readiness").status_code == 200
                until(lambda: again.status()["serving"] == "stored_copy", "the status tells")
                store.recorder.refuse = None
                pinned = again.status()["rejected_reason"]
                assert "rolled back" in pinned
                store.put(remote(deployment("from-bucket", "four")))
                until(lambda: again.ask("from-bucket") == "four", "what changed after the rollback")
            finally:
                again.client.close()
                again.proxy.kill()


def serves(shared: Reloading, model: str, answer: str) -> bool:
    return shared.ask(model) == answer


def boots_on_its_own_file(shared: Reloading) -> None:
    """The bucket is away and there is no copy yet."""
    until(lambda: "HTTP 503" in (shared.status()["last_error"] or ""), "the outage is told")
    status = shared.status()
    assert (status["serving"], status["generation"], status["applied_hash"]) == ("boot_file", 0, None)
    assert status["consecutive_failures"] >= 1
    assert shared.ask("fake-model") == "first answer"
    assert shared.ask("from-bucket") == "400"
    assert shared.client.get("/health/readiness").status_code == 200
    assert shared.reload().status_code == 502


def follows_what_it_includes(shared: Reloading, store: Store) -> None:
    """Objects beside it, by one small request for each."""
    more, key = {"include": ["parts/models.yaml"]}, "proxy/parts/models.yaml"
    generation = shared.status()["generation"]
    store.put(written(more) + remote(deployment("from-bucket", "two")))
    until(lambda: "there is no such object" in (shared.status()["last_error"] or ""), "what is missing is told")
    assert shared.status()["generation"] == generation
    for answer in ("a", "b"):
        store.put(remote(deployment("included", answer)), key)
        until(partial(serves, shared, "included", answer), "an included object")
        until(lambda: shared.status()["serving"] == "source", "it is the source's word")
        assert shared.ask("from-bucket") == "two"
    assert shared.status()["source"]["objects"] == [KEY, key]
    with shared.proxy.client(shared.proxy.add_key(user_id="reader")) as user:
        assert "parts" not in user.get("/config/sync/status").text
    bodies, polled = store.recorder.bodies(10_000), len(store.recorder.calls)
    until(lambda: len(store.recorder.calls) >= polled + 8, "four more polls of both")
    assert store.recorder.bodies(10_000) == bodies


def follows(shared: Reloading, store: Store) -> None:
    until(lambda: shared.ask("from-bucket") == "one", "the object at the start")
    assert shared.ask("fake-model") == "400"  # of the boot file, whose models the object replaces
    until(lambda: shared.status()["etag"], "the tag of what is applied")
    status = shared.status()
    assert status["enabled"] is True
    assert status["source"]["type"] == store.source.partition(":")[0]
    quiet = store.recorder.bodies(10_000)
    polled = len(store.recorder.calls)
    until(lambda: len(store.recorder.calls) >= polled + 5, "five more polls")
    assert store.recorder.bodies(10_000) == quiet == 1

    store.put(remote(deployment("from-bucket", "two")))
    until(lambda: shared.ask("from-bucket") == "two", "a change")

    store.put(b"model_list: [" + b"x" * 20_000)
    until(lambda: shared.status()["rejected_etag"], "the refusal")
    bodies = store.recorder.bodies(10_000)
    polled = len(store.recorder.calls)
    until(lambda: len(store.recorder.calls) >= polled + 5, "five more polls")
    assert store.recorder.bodies(10_000) == bodies  # poisoned: not fetched again until it changes
    assert shared.ask("from-bucket") == "two"
    assert "not YAML" in shared.status()["last_error"]
    generation = shared.status()["generation"]

    store.recorder.refuse = 403
    until(lambda: "denied" in (shared.status()["last_error"] or ""), "revoked permissions")
    assert shared.reload(force_sync=True).status_code == 502
    store.recorder.refuse = None
    store.put(remote(deployment("from-bucket", "two")))
    until(lambda: shared.status()["consecutive_failures"] == 0, "it heals by itself")
    store.delete()
    until(lambda: "no such object" in (shared.status()["last_error"] or ""), "the deletion")
    assert shared.ask("from-bucket") == "two"
    assert shared.status()["generation"] == generation

    follows_what_it_includes(shared, store)

    store.put(remote(deployment("from-bucket", "three")))
    until(lambda: shared.ask("from-bucket") == "three", "it is there again")
    answer = shared.client.post("/config/rollback").raise_for_status().json()
    assert answer["status"] == "applied"
    assert shared.ask("from-bucket") == "two"
    polled = len(store.recorder.calls)
    until(lambda: len(store.recorder.calls) >= polled + 3, "three polls after the rollback")
    assert shared.ask("from-bucket") == "two"


def restarted_without_the_source(shared: Reloading) -> Reloading:
    proxy = shared.proxy.restart()
    return Reloading(proxy, proxy.client(), shared.base)


@pytest.mark.timeout(600)
@pytest.mark.requirement("RLD-20")
def test_a_watched_file_is_followed(tmp_path: Path) -> None:
    """In place, by a rename, by a Kubernetes swap of a symbolic link, and in a file that it includes."""
    with reloading(tmp_path, config={"routeiq": {"reload": {"watch": True}}}) as shared:
        path = shared.proxy.config_path
        path.write_bytes(written(shared.base, model_list=[deployment("written", "in place")]))
        until(lambda: shared.ask("written") == "in place", "an edit in place")
        shared.write(written(shared.base, model_list=[deployment("renamed", "over")]))
        until(lambda: shared.ask("renamed") == "over", "a rename")
        shared.write(b"model_list: [")
        until(lambda: "not YAML" in (shared.status()["last_error"] or ""), "a broken file is told")
        assert shared.ask("renamed") == "over"

        for name, answer in (("v1", "first"), ("v2", "second")):
            (tmp_path / name).mkdir()
            config = written(shared.base, model_list=[deployment("mapped", answer)])
            (tmp_path / name / "litellm_config.yaml").write_bytes(config)
        (tmp_path / "..data").symlink_to("v1")
        link = tmp_path / "link"
        link.symlink_to("..data/litellm_config.yaml")
        link.rename(path)
        until(lambda: shared.ask("mapped") == "first", "a link in the place of the file")
        (tmp_path / "..data_tmp").symlink_to("v2")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        until(lambda: shared.ask("mapped") == "second", "a swap of the link behind it")

        more = tmp_path / "models" / "more.yaml"
        more.parent.mkdir()
        more.write_bytes(written({"model_list": [deployment("included", "a")]}))
        shared.write(written({"include": ["models/more.yaml"], **shared.base}))
        until(lambda: shared.ask("included") == "a", "an include")
        more.write_bytes(written({"model_list": [deployment("included", "b")]}))
        until(lambda: shared.ask("included") == "b", "a change of the included file")
