"""Configurations in S3 and GCS: small requests while nothing changes, and errors that say what to do."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from routeiq_plugin.errors import InvalidConfig, MissingExtra, SettingsError, SourceUnreachable
from routeiq_plugin.reload.content import Content
from routeiq_plugin.reload.objects import open_source
from routeiq_plugin.reload.snapshot import keys_of, shown
from routeiq_plugin.reload.sources import Fetched, Source
from routeiq_plugin.reload.workshop import Reading, Rules, Workshop
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


PADDING = b"\n# " + b"x" * 20_000


def including(*entries: str) -> bytes:
    return b"model_list: []\ninclude: [" + ", ".join(entries).encode() + b"]" + PADDING


async def whole(source: Source, workshop: Workshop, etag: str | None = None) -> tuple[Reading, Fetched] | None:
    """Do what a reload does with what a source holds."""
    fetched = await source.fetch(etag)
    if fetched is None:
        return None
    reading = await workshop.read(fetched.documents, fetched.include, Rules(False, Content(()), (), (), ()))
    return reading, fetched


@pytest.fixture
def files(store: Store) -> Iterator[dict[str, bytes]]:
    """The first object includes one beside it, which includes one that is found beside the first (LiteLLM's rule)."""
    contents = {
        KEY: including("parts/models.yaml"),
        "proxy/parts/models.yaml": b"agents: []\ninclude: [shared.yaml]" + PADDING,
        "proxy/shared.yaml": b"router_settings: {num_retries: 1}" + PADDING,
    }
    for key, data in contents.items():
        store.put(data, key)
    store.recorder.calls.clear()
    yield contents
    for key in contents:
        with contextlib.suppress(Exception):
            store.delete(key)


@pytest_asyncio.fixture
async def workshop() -> AsyncIterator[Workshop]:
    made = Workshop()
    yield made
    await made.aclose()


@pytest.mark.requirement("RLD-20")
async def test_an_unchanged_set_of_objects_costs_a_small_request_for_each(
    source: Source, store: Store, files: dict[str, bytes], workshop: Workshop
) -> None:
    first = await whole(source, workshop)
    assert first is not None
    reading, fetched = first
    assert [document.location for document in reading.documents] == list(files)
    assert reading.content.document() == {"router_settings": {"num_retries": 1}}
    assert store.recorder.bodies(1_000) == len(files)
    store.recorder.calls.clear()
    polls = 5
    for _ in range(polls):
        assert await whole(source, workshop, fetched.etag) is None
    assert store.recorder.bodies(1_000) == 0
    asked_for = len(files) + 1  # `proxy/parts/shared.yaml` would come before the one beside the first, if it were there
    assert len(store.recorder.calls) == polls * asked_for
    assert fetched.etag is not None
    assert KEY not in (shown(fetched.etag) or "")


@pytest.mark.requirement("RLD-20")
@pytest.mark.parametrize("changed", [KEY, "proxy/parts/models.yaml", "proxy/shared.yaml"])
async def test_a_change_of_any_object_of_a_set_is_noticed(
    changed: str, source: Source, store: Store, files: dict[str, bytes], workshop: Workshop
) -> None:
    first = await whole(source, workshop)
    assert first is not None
    store.put(b"general_settings: {completion_model: x}\n" + files[changed], changed)
    store.recorder.calls.clear()
    second = await whole(source, workshop, first[1].etag)
    assert second is not None
    assert second[0].content.document()["general_settings"] == {"completion_model": "x"}
    assert store.recorder.bodies(1_000) == len(files)  # what changed is fetched once, as is the rest
    assert await whole(source, workshop, second[1].etag) is None


@pytest.mark.requirement("RLD-20")
async def test_an_included_object_that_is_missing_is_waited_for(
    source: Source, store: Store, files: dict[str, bytes], workshop: Workshop
) -> None:
    first = await whole(source, workshop)
    assert first is not None
    store.delete("proxy/shared.yaml")
    fetched = await source.fetch(first[1].etag)
    assert fetched is not None
    with pytest.raises(InvalidConfig, match=r"shared.yaml: there is no such object"):
        await workshop.read(fetched.documents, fetched.include, Rules(False, Content(()), (), (), ()))
    assert await source.fetch(fetched.etag) is None  # what was refused is not fetched again until it changes
    store.put(b"router_settings: {num_retries: 2}", "proxy/parts/shared.yaml")
    again = await whole(source, workshop, fetched.etag)
    store.delete("proxy/parts/shared.yaml")
    assert again is not None
    assert again[0].content.document() == {"router_settings": {"num_retries": 2}}


@pytest.mark.requirement("RLD-20")
async def test_too_much_to_include_is_refused_and_looked_at_again(
    source: Source, store: Store, files: dict[str, bytes], workshop: Workshop
) -> None:
    store.put(b"#" + b"x" * (9 * 1024 * 1024), "proxy/parts/models.yaml")
    store.put(including("parts/models.yaml", "shared.yaml"))
    store.put(b"#" + b"x" * (9 * 1024 * 1024), "proxy/shared.yaml")
    fetched = await source.fetch(None)
    assert fetched is not None
    with pytest.raises(InvalidConfig, match="16 MiB"):  # together
        await workshop.read(fetched.documents, fetched.include, Rules(False, Content(()), (), (), ()))
    store.put(b"x" * (17 * 1024 * 1024), "proxy/shared.yaml")
    fetched = await source.fetch(None)
    assert fetched is not None
    with pytest.raises(InvalidConfig, match="16 MiB"):  # alone: it is not even read
        await fetched.include("shared.yaml", KEY)
    store.put(files["proxy/shared.yaml"], "proxy/shared.yaml")
    assert await source.fetch(fetched.etag) is not None
    store.put(including(*(f"{number}.yaml" for number in range(101))))
    fetched = await source.fetch(None)
    assert fetched is not None
    store.recorder.calls.clear()
    with pytest.raises(InvalidConfig, match="more than 100"):
        await workshop.read(fetched.documents, fetched.include, Rules(False, Content(()), (), (), ()))
    assert store.recorder.calls == []


@pytest.mark.parametrize("running", ["gcs"], indirect=True)
async def test_polls_of_an_unchanged_gcs_object_are_answered_304(source: Source, store: Store) -> None:
    """The emulator answers them with a few hundred bytes; in front of it is what Google documents."""
    first = await source.fetch(None)
    assert first is not None
    assert first.etag is not None
    assert [status for *_, status, _ in store.recorder.calls] == [200, 200]  # its generation, and that one's bytes
    assert store.recorder.bodies(1_000) == 1
    store.recorder.calls.clear()
    store.recorder.compares = True
    try:
        polls = 20
        for _ in range(polls):
            assert await source.fetch(first.etag) is None
    finally:
        store.recorder.compares = False
    assert len(store.recorder.calls) == polls
    for method, path, status, length in store.recorder.calls:
        assert (method, status, length) == ("GET", 304, 0)
        assert f"ifGenerationNotMatch={first.etag}" in path


@pytest.mark.parametrize(
    ("entry", "declared_in", "keys"),
    [
        ("b.yaml", "a/main.yaml", ["a/b.yaml"]),
        ("./sub//b.yaml", "a/main.yaml", ["a/sub/b.yaml"]),
        ("b.yaml", "a/sub/more.yaml", ["a/sub/b.yaml", "a/b.yaml"]),
        ("../b.yaml", "a/sub/more.yaml", ["a/b.yaml"]),
        ("b.yaml", "main.yaml", ["b.yaml"]),
    ],
)
def test_an_include_names_objects_beside(entry: str, declared_in: str, keys: list[str]) -> None:
    assert keys_of(entry, declared_in, "main.yaml" if "/" not in declared_in else "a/main.yaml") == keys


@pytest.mark.parametrize(
    "entry",
    [
        "../b.yaml",
        "sub/../../b.yaml",
        "/etc/passwd",
        "/proxy/b.yaml",
        "s3://other/b.yaml",
        "gs://other/b.yaml",
        "https://elsewhere/b.yaml",
        "..\\b.yaml",
        "a\nb.yaml",
        " ",
        ".",
        "..",
        "sub/..",
    ],
)
def test_an_include_never_leaves_its_place(entry: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        keys_of(entry, KEY, KEY)
    assert refused.value.path == "include"
