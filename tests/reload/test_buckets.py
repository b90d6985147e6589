"""Configurations in S3 and GCS: small requests while nothing changes, and errors that say what to do."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from routeiq_plugin.errors import InvalidConfig, MissingExtra, SettingsError, SourceUnreachable
from routeiq_plugin.reload.objects import open_source
from routeiq_plugin.reload.sources import Source
from routeiq_plugin.settings import ReloadSettings
from tests.reload.buckets import BUCKET, KEY, STORES, Store

pytestmark = [
    pytest.mark.requirement("RLD-06", "RLD-07"),
    # Of the stores' own servers and clients, which are not under test here.
    pytest.mark.filterwarnings("ignore"),
]

CONFIG = b"model_list: []\n# " + b"x" * 20_000
OTHER = b"model_list: [] \n# " + b"y" * 20_000


@pytest.fixture(scope="module", params=list(STORES))
def running(request: pytest.FixtureRequest) -> Iterator[Store]:
    with STORES[request.param]() as store:
        yield store


@pytest.fixture
def store(running: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name, value in running.env.items():
        monkeypatch.setenv(name, value)
    running.put(CONFIG)
    running.recorder.calls.clear()
    yield running
    running.recorder.refuse = None


@pytest_asyncio.fixture
async def source(store: Store) -> AsyncIterator[Source]:
    opened = open_source(ReloadSettings(source=store.source, endpoint_url=store.recorder.url), None)
    yield opened
    await opened.aclose()


async def test_polls_of_an_unchanged_object_fetch_one_body(source: Source, store: Store) -> None:
    first = await source.fetch(None)
    assert first is not None
    assert first.documents[0].data == CONFIG
    polls = 20
    for _ in range(polls):
        assert await source.fetch(first.etag) is None
    assert store.recorder.bodies(1_000) == 1
    assert sum(1 for call in store.recorder.calls) <= polls + 2
    store.put(OTHER)
    second = await source.fetch(first.etag)
    assert second is not None
    assert second.documents[0].data == OTHER
    assert second.etag != first.etag
    assert await source.fetch(second.etag) is None
    assert store.recorder.bodies(1_000) == 2


@pytest.mark.parametrize(("status", "word"), [(403, "access is denied"), (401, "access is denied"), (500, "HTTP 500")])
async def test_revoked_permissions_and_failures_are_told(status: int, word: str, source: Source, store: Store) -> None:
    first = await source.fetch(None)
    assert first is not None
    store.recorder.refuse = status
    with pytest.raises(SourceUnreachable, match=word):
        await source.fetch(first.etag)
    store.recorder.refuse = None
    assert await source.fetch(first.etag) is None


async def test_a_deleted_object_is_told(source: Source, store: Store) -> None:
    first = await source.fetch(None)
    assert first is not None
    store.delete()
    with pytest.raises(SourceUnreachable, match="no such object"):
        await source.fetch(first.etag)


async def test_a_store_that_is_down_is_told(store: Store) -> None:
    source = open_source(ReloadSettings(source=store.source, endpoint_url="http://127.0.0.1:9"), None)
    with pytest.raises(SourceUnreachable, match="does not answer"):
        await source.fetch(None)
    await source.aclose()


async def test_a_huge_object_is_not_read(source: Source, store: Store) -> None:
    store.put(b"x" * (17 * 1024 * 1024))
    with pytest.raises(InvalidConfig, match="16 MiB"):
        await source.fetch(None)


async def test_a_missing_extra_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    source = open_source(ReloadSettings(source="s3://bucket/key"), None)
    with pytest.raises(MissingExtra, match=r"pip install 'routeiq-plugin\[s3\]'"):
        await source.fetch(None)


def test_auto_is_litellms_own_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_CONFIG_BUCKET_NAME", BUCKET)
    monkeypatch.setenv("LITELLM_CONFIG_BUCKET_OBJECT_KEY", KEY)
    assert open_source(ReloadSettings(source="auto"), None).name == f"s3://{BUCKET}/{KEY}"
    monkeypatch.setenv("LITELLM_CONFIG_BUCKET_TYPE", "gcs")
    assert open_source(ReloadSettings(source="auto"), None).name == f"gs://{BUCKET}/{KEY}"
    monkeypatch.delenv("LITELLM_CONFIG_BUCKET_NAME")
    assert open_source(ReloadSettings(source="auto"), "/etc/config.yaml").name == "/etc/config.yaml"
    with pytest.raises(SettingsError):
        open_source(ReloadSettings(), None)
