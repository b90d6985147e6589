"""Reading configurations: caps, places in messages, includes, references, and what is hot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from routeiq_plugin.errors import InvalidConfig, SourceUnreachable
from routeiq_plugin.reload import workshop as trial_process
from routeiq_plugin.reload.content import Content, Entry, compare, explode
from routeiq_plugin.reload.documents import Document, digest
from routeiq_plugin.reload.sources import FileSource, capture
from routeiq_plugin.reload.workshop import Reading, Rules, Workshop
from tests.reload.configs import HOSTILE, deployment, written

pytestmark = pytest.mark.requirement("RLD-02", "RLD-20")

BOOT = explode(
    {
        "model_list": [deployment("fake-model", "one", api_key="os.environ/OPENAI_KEY")],
        "general_settings": {"master_key": "os.environ/PROXY_KEY", "completion_model": "fake-model"},
        "litellm_settings": {"callbacks": ["routeiq_plugin.plugin"], "drop_params": False},
        "routeiq": {"database_url": "sqlite:///./here.db"},
    }
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def workshop() -> AsyncIterator[Workshop]:
    made = Workshop()
    yield made
    await made.aclose()


async def read(workshop: Workshop, data: bytes, *, remote: bool = False, boot: Content = BOOT, **rules: Any) -> Reading:
    async def none(entry: str, declared_in: str) -> Document:
        raise AssertionError((entry, declared_in))

    given = Rules(remote, boot, (), ("ROOT_KEY",), rules.pop("allowlist", ()), **rules)
    return await workshop.read([Document("/config.yaml", data)], none, given)


async def test_who_asks_while_the_idle_process_ends_has_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_process, "IDLE_SECONDS", 0.0)
    made = Workshop()
    for _ in range(3):
        assert (await read(made, written({"model_list": [deployment("m", "x")]}))).content.entries
    await made.aclose()


BUILT_LATER = frozenset(
    {
        "unknown provider",
        "wrong type of a parameter",
        "an unknown routing strategy",
        "an agent without a card",
        "a broken MCP server",
    }
)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", [name for name in HOSTILE if name not in BUILT_LATER])
async def test_a_hostile_configuration_is_refused_with_its_place(case: str, workshop: Workshop, tmp_path: Path) -> None:
    data, path, word = HOSTILE[case]
    (tmp_path / "config.yaml").write_bytes(data)
    with pytest.raises(InvalidConfig) as refused:
        await read_file(workshop, str(tmp_path / "config.yaml"))
    assert refused.value.path == path
    assert word in refused.value.message


async def read_file(workshop: Workshop, path: str) -> None:
    fetched = await FileSource(path).fetch(None)
    assert fetched is not None
    await read(workshop, fetched.documents[0].data)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "case", sorted({"unknown provider", "wrong type of a parameter", "an unknown routing strategy"})
)
async def test_what_litellm_cannot_build_is_found_in_the_trial(case: str, workshop: Workshop) -> None:
    data, path, word = HOSTILE[case]
    reading = await read(workshop, data)
    with pytest.raises(InvalidConfig) as refused:
        await workshop.build([e for e in reading.content.entries if e.section in ("model_list", "router_settings")])
    assert refused.value.path == path
    assert word in refused.value.message
    good = await read(workshop, written({"model_list": [deployment("x", "y")]}))
    await workshop.build(list(good.content.section("model_list")))


@pytest.mark.asyncio(loop_scope="module")
async def test_a_remote_source_cannot_say_what_is_the_boot_files(workshop: Workshop) -> None:
    remote = {
        "model_list": [deployment("other", "two")],
        "general_settings": {"master_key": "sk-stolen", "completion_model": "other", "alerting": ["slack"]},
        "litellm_settings": {"callbacks": ["evil.module"], "post_call_rules": "evil.rule", "drop_params": True},
        "routeiq": {"database_url": "sqlite:///./elsewhere.db", "reload": {"watch": True}},
        "environment_variables": {"PATH": "/evil"},
    }
    reading = await read(workshop, written(remote), remote=True)
    assert sorted(reading.ignored) == [
        "environment_variables",
        "general_settings.master_key",
        "litellm_settings.callbacks",
        "litellm_settings.post_call_rules",
        "routeiq.database_url",
        "routeiq.reload",
    ]
    assert reading.restart_required == ["general_settings.alerting"]
    assert reading.content.document() == {
        "model_list": [deployment("other", "two")],
        "general_settings": {"master_key": "os.environ/PROXY_KEY", "completion_model": "other"},
        "litellm_settings": {"callbacks": ["routeiq_plugin.plugin"], "drop_params": True},
        "routeiq": {"database_url": "sqlite:///./here.db"},
    }


@pytest.mark.asyncio(loop_scope="module")
async def test_a_section_that_a_remote_source_leaves_out_stays(workshop: Workshop) -> None:
    reading = await read(workshop, b"router_settings: {num_retries: 1}\nmodel_list:\n", remote=True)
    assert reading.content.document()["model_list"] == BOOT.document()["model_list"]
    emptied = await read(workshop, b"model_list: []\n", remote=True)
    assert "model_list" not in emptied.content.document()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("reference", "allowed"),
    [
        ("os.environ/OPENAI_KEY", True),  # the boot file refers to it
        ("os.environ/LISTED", True),
        ("os.environ/OTHER", False),
        ("os.environ/PROXY_KEY", False),  # a root key of the boot file
        ("os.environ/ROOT_KEY", False),  # holds a secret of the proxy under a name of its own
        ("oidc/env/OTHER", False),
        ("oidc/file//etc/passwd", False),
    ],
)
async def test_a_remote_source_refers_to_known_variables_only(
    reference: str, allowed: bool, workshop: Workshop
) -> None:
    config = written({"model_list": [deployment("x", "y", api_base=reference)]})
    if allowed:
        await read(workshop, config, remote=True, allowlist=("LISTED",))
        return
    with pytest.raises(InvalidConfig) as refused:
        await read(workshop, config, remote=True, allowlist=("LISTED",))
    assert refused.value.path == "model_list.x"


@pytest.mark.asyncio(loop_scope="module")
async def test_includes_follow_litellms_rules(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    models = [{"model_name": name, "litellm_params": {"model": f"openai/{name}"}} for name in "ab"]
    main = {"include": ["sub/more.yaml"], "model_list": models[:1], "router_settings": {"num_retries": 1}}
    more = {
        "include": ["beside.yaml", "main.yaml"],
        "model_list": models[1:],
        "router_settings": {"timeout": 5},
    }
    (tmp_path / "main.yaml").write_bytes(written(main))
    (tmp_path / "sub" / "more.yaml").write_bytes(written(more))
    (tmp_path / "sub" / "beside.yaml").write_text("agents: []\n")
    source = FileSource(str(tmp_path / "main.yaml"))
    fetched = await source.fetch(None)
    assert fetched is not None
    reading = await workshop.read(fetched.documents, fetched.include, Rules(False, Content(()), (), (), ()))
    document = reading.content.document()
    assert [each["model_name"] for each in document["model_list"]] == ["a", "b"]
    assert document["router_settings"] == {"timeout": 5}
    captured = capture(str(tmp_path / "main.yaml"))
    assert digest(captured.documents) == digest(reading.documents)


async def test_a_file_that_is_not_there_is_unreachable_and_a_directory_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreachable):
        await FileSource(str(tmp_path / "missing.yaml")).fetch(None)
    with pytest.raises(InvalidConfig, match="directory"):
        await FileSource(str(tmp_path)).fetch(None)


def test_the_same_configuration_has_the_same_hash_however_it_is_written() -> None:
    one: Mapping[str, Any] = {"model_list": [deployment("x", "y")], "agents": []}
    assert explode(one).hash == explode(dict(one)).hash
    assert explode(one).hash != explode({"model_list": [deployment("x", "z")]}).hash


async def test_what_did_not_change_is_in_no_list() -> None:
    before = explode({"model_list": [deployment("a", "1", model_id="a"), deployment("b", "1", model_id="b")]})
    after = explode({"model_list": [deployment("b", "2", model_id="b"), deployment("c", "1", model_id="c")]})
    changes = await compare(before.lines, after.lines)
    assert [entry.key for entry in changes.added] == ["c#c"]
    assert [entry.key for entry in changes.changed] == ["b#b"]
    assert changes.removed == (("model_list", "a#a"),)


def test_a_text_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidConfig):
        Entry.of("router_settings", "timeout", float("nan"))
    assert Entry.read(Entry.of("", "x", {"a": [1]}).line).value == {"a": [1]}
