"""`/config/*` over HTTP against a running stock proxy: what is answered, what serves, who may ask."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.reload.configs import HOSTILE, agent, deployment, server, written
from tests.reload.conftest import Reloading
from tests.reload.test_sync import until

pytestmark = [pytest.mark.requirement("RLD-02", "RLD-20"), pytest.mark.usefixtures("reset")]

NOTHING: dict[str, list[str]] = {"added": [], "removed": [], "changed": [], "restart_required": [], "ignored": []}


def models(shared: Reloading, *more: Any) -> list[Any]:
    return [*shared.base["model_list"], *more]


def test_a_reload_adds_changes_and_removes(shared: Reloading) -> None:
    assert shared.ask("kept") == "kept answer"  # the first request registers callbacks of LiteLLM's own
    before = shared.control("facts")
    objects = shared.control("same objects")
    answer = shared.applied(
        model_list=[deployment("fake-model", "second answer"), shared.base["model_list"][1], deployment("new", "new")],
        agents=[agent("configured")],
        mcp_servers={"configured": server()},
        router_settings={"num_retries": 4, "model_group_alias": {"alias": "new"}, "fallbacks": [{"new": ["kept"]}]},
        litellm_settings={"drop_params": True},
        general_settings={"infer_model_from_keys": True},
    )
    assert answer["status"] == "applied"
    assert answer["generation"] > 1
    assert answer["synced_from_remote"] is False
    assert answer["diff"] == {
        **NOTHING,
        "added": [
            "model_list.new",
            "general_settings.infer_model_from_keys",
            "litellm_settings.drop_params",
            "agents.configured",
            "mcp_servers.configured",
            "router_settings.num_retries",
            "router_settings.model_group_alias",
            "router_settings.fallbacks",
        ],
        "changed": ["model_list.fake-model"],
    }
    assert [shared.ask(model) for model in ("fake-model", "kept", "new", "alias")] == [
        "second answer",
        "kept answer",
        "new",
        "new",
    ]
    after = shared.control("facts")
    assert after["models"] == ["fake-model", "kept", "new"]
    assert after["agents"] == ["configured"]
    assert after["servers"] == ["configured"]
    assert (after["num_retries"], after["drop_params"], after["infer_model_from_keys"]) == (4, True, True)
    assert shared.control("same objects")["kept"] == objects["kept"]
    assert shared.control("read config") == ["fake-model", "kept", "new"]
    listed = [entry["id"] for entry in shared.client.get("/v1/models").json()["data"]]
    assert {"new", "alias"} <= set(listed)

    shared.applied()
    back = shared.control("facts")
    assert {name: back[name] for name in back if name not in ("resident", "tasks", "prices")} == {
        name: before[name] for name in before if name not in ("resident", "tasks", "prices")
    }
    assert shared.ask("new") == "400"


def test_unchanged_is_no_generation(shared: Reloading) -> None:
    generation = shared.status()["generation"]
    answer = shared.reload().json()
    assert (answer["status"], answer["generation"], answer["diff"]) == ("unchanged", generation, NOTHING)


def test_a_dry_run_changes_nothing(shared: Reloading) -> None:
    generation = shared.status()["generation"]
    shared.change(model_list=models(shared, deployment("dry", "dry")))
    answer = shared.reload(dry_run=True).json()
    assert (answer["status"], answer["generation"]) == ("valid", generation)
    assert answer["diff"]["added"] == ["model_list.dry"]
    assert shared.ask("dry") == "400"
    assert shared.status()["generation"] == generation


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_configuration_leaves_the_old_one_serving(case: str, shared: Reloading) -> None:
    data, path, word = HOSTILE[case]
    before = shared.control("facts")
    generation = shared.status()["generation"]
    shared.write(data)
    response = shared.reload()
    assert response.status_code == 422, response.text
    detail = response.json()["detail"]
    assert (detail["error"], detail["path"]) == ("invalid_config", path)
    assert word in detail["message"]
    assert shared.ask("fake-model") == "first answer"
    status = shared.status()
    assert status["generation"] == generation
    assert word in status["last_error"]
    assert status["consecutive_failures"] >= 1
    after = shared.control("facts")
    assert (after["models"], after["agents"], after["servers"], after["callbacks"]) == (
        before["models"],
        before["agents"],
        before["servers"],
        before["callbacks"],
    )
    assert shared.proxy.process.poll() is None


def test_a_directory_or_a_missing_file_leaves_the_old_one_serving(shared: Reloading) -> None:
    path: Path = shared.proxy.config_path
    path.unlink()
    assert shared.reload().status_code == 502
    path.mkdir()
    response = shared.reload()
    path.rmdir()
    assert response.status_code == 422
    assert "directory" in response.text
    assert shared.ask("fake-model") == "first answer"


def test_a_second_reload_is_refused_while_one_runs(shared: Reloading) -> None:
    """A pipe in the place of the file holds the first one up until somebody writes to it."""
    path = shared.proxy.config_path
    data = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    with ThreadPoolExecutor(1) as pool, shared.proxy.client() as other:
        first = pool.submit(shared.reload)
        writer = pipe_with_a_reader(path)
        try:
            refused = [other.post(f"/config/{what}") for what in ("reload", "rollback")]
            assert [response.status_code for response in refused] == [409, 409]
            assert "is running" in refused[0].text
            assert shared.ask("fake-model", other) == "first answer"
        finally:
            os.write(writer, data)
            os.close(writer)
        assert first.result().json()["status"] == "unchanged"


def pipe_with_a_reader(path: Path) -> int:
    """Open a pipe for writing as soon as somebody reads it."""
    opened: list[int] = []

    def is_open() -> bool:
        with contextlib.suppress(OSError):
            opened.append(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        return bool(opened)

    until(is_open, "the reload has begun")
    return opened[0]


@pytest.mark.parametrize("master_key", [None, "sk-another-key-that-is-long-enough-0123456789"])
def test_the_master_key_needs_a_restart(master_key: str | None, shared: Reloading) -> None:
    general = {name: value for name, value in shared.base["general_settings"].items() if name != "master_key"}
    if master_key:
        general["master_key"] = master_key
    shared.write(written({**shared.base, "general_settings": general}))
    answer = shared.reload().json()
    assert answer["diff"]["restart_required"] == ["general_settings.master_key"]
    assert shared.status()["generation"]  # with the old key


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("litellm_settings", "callbacks", ["os.system"]),
        ("litellm_settings", "post_call_rules", "evil.module"),
        ("litellm_settings", "custom_provider_map", [{"provider": "x", "custom_handler": "evil.module"}]),
        ("router_settings", "plugins", ["evil.module"]),
        ("general_settings", "custom_auth", "evil.module"),
        ("routeiq", "database_url", "sqlite:///./other.db"),
        ("guardrails", None, [{"guardrail_name": "x", "litellm_params": {"guardrail": "evil.Guard", "mode": "x"}}]),
        ("prompts", None, []),
    ],
)
def test_what_would_import_code_is_not_hot(section: str, key: str | None, value: Any, shared: Reloading) -> None:
    evil = shared.proxy.workdir / "evil.py"
    evil.write_text("open('imported', 'w').close()\n")
    answer = shared.applied(**{section: value if key is None else {key: value}})
    assert answer["status"] == "unchanged"
    assert answer["diff"]["restart_required"] == [section if key is None else f"{section}.{key}"]
    assert not (shared.proxy.workdir / "imported").exists()


def test_what_was_added_at_run_time_stays(shared: Reloading) -> None:
    shared.control("add", name="runtime", answer="from the database")
    shared.applied(model_list=models(shared, deployment("another", "x")))
    assert shared.ask("runtime") == "from the database"
    shared.applied()
    assert shared.ask("runtime") == "from the database"


@pytest.mark.requirement("RTE-02")
def test_litellms_own_changes_do_not_lose_our_strategies(shared: Reloading) -> None:
    """It builds its selection anew with each change of its strategy, and a new Router knows nothing of ours."""
    patient = {"deadline_ms": 30_000}
    names = ["openai/large", "openai/small"]
    inside = {"strategy": "rules", "candidates": names, "default": names[0], "rules": [{"model": names[1]}], **patient}
    across = {"candidates": ["fake-model", "kept"], "default": "fake-model", "rules": [{"model": "kept"}], **patient}
    mixed = [deployment("mixed", name.removeprefix("openai/"), model=name) for name in names]
    aliases = {"auto": {"strategy": "rules", **across}}
    shared.applied(
        model_list=models(shared, *mixed),
        agents=[agent("configured")],
        mcp_servers={"configured": server()},
        routeiq={"routing": {"aliases": aliases, "groups": {"mixed": inside}}},
    )

    def ours() -> bool:
        listed = [each["id"] for each in shared.client.get("/v1/models").json()["data"]]
        answers = {shared.ask("mixed") for _ in range(6)}
        return answers == {"small"} and shared.ask("auto") == "kept answer" and "auto" in listed

    until(ours, "the strategies of the new configuration")
    for step in (
        {"do": "update settings", "settings": {"routing_strategy": "least-busy"}},
        {"do": "update settings", "settings": {"routing_strategy": "simple-shuffle", "model_group_alias": {}}},
        {"do": "replace router", "whole": True},
        {"do": "replace router", "whole": False},
    ):
        shared.control(**step)
        until(ours, f"our strategies after {step}")
    facts = shared.control("facts")
    assert (facts["agents"], facts["servers"]) == (["configured"], ["configured"])


def test_cooldowns_survive(shared: Reloading) -> None:
    shared.control("cool down", id="kept")
    shared.applied(model_list=models(shared, deployment("another", "x")))
    assert "kept" in shared.control("cooling")


def test_litellms_own_changes_do_not_lose_ours(shared: Reloading) -> None:
    shared.applied(
        model_list=models(shared, deployment("ours", "still here")),
        router_settings={"fallbacks": [{"ours": ["kept"]}]},
    )
    shared.control("update settings", settings={"num_retries": 7, "routing_strategy": "least-busy"})
    assert shared.ask("ours") == "still here"
    answer = shared.applied(
        model_list=models(shared, deployment("ours", "still here"), deployment("more", "more")),
        router_settings={"fallbacks": [{"ours": ["kept"]}]},
    )
    assert answer["diff"]["added"] == ["model_list.more"]
    facts = shared.control("facts")
    assert (facts["num_retries"], facts["routing_strategy"]) == (7, "least-busy")
    assert facts["fallbacks"] == [{"ours": ["kept"]}]
    shared.control("update settings", settings={"num_retries": 2, "routing_strategy": "simple-shuffle"})


@pytest.mark.parametrize("whole", [True, False])
def test_a_router_that_litellm_replaced_has_ours_again(whole: bool, shared: Reloading) -> None:
    shared.applied(model_list=models(shared, deployment("ours", "still here")), router_settings={"num_retries": 5})
    shared.control("replace router", whole=whole)

    def ours() -> bool:
        facts = shared.control("facts")
        return (facts["num_retries"], sorted(facts["models"])) == (5, ["fake-model", "kept", "ours"])

    until(ours, "the new Router has ours")
    assert shared.ask("ours") == "still here"


def test_rollback_pins_what_it_left(shared: Reloading) -> None:
    shared.applied(model_list=models(shared, deployment("bad-idea", "x")))
    rolled = shared.client.post("/config/rollback").raise_for_status().json()
    assert rolled["diff"]["removed"] == ["model_list.bad-idea"]
    assert shared.ask("bad-idea") == "400"
    assert shared.reload().json()["status"] == "pinned"
    assert shared.ask("bad-idea") == "400"
    assert "rolled back" in shared.status()["rejected_reason"]
    assert shared.reload(force_sync=True).json()["status"] == "applied"
    assert shared.ask("bad-idea") == "x"


def test_a_generation_that_an_older_version_stored_is_returned_to(shared: Reloading) -> None:
    """It kept `routing`, `a2a` and `mcp` whole; now each of their settings is compared by itself."""

    def settings(model: str, access: str) -> dict[str, Any]:
        rules = {"strategy": "rules", "candidates": ["fake-model", "kept"], "rules": [{"model": model}]}
        alias = {**rules, "default": "fake-model", "deadline_ms": 30_000}
        return {"routing": {"aliases": {"auto": alias}}, "a2a": {"default_access": access}}

    def access() -> str:
        return str(shared.client.get("/router/info").json()["features"]["a2a"]["default_access"])

    shared.control("older form")
    stored = shared.applied(routeiq=settings("kept", "litellm"))
    assert (shared.ask("auto"), access()) == ("kept answer", "litellm")
    shared.client.post("/config/rollback").raise_for_status()
    assert (shared.ask("auto"), access()) == ("400", "deny")
    assert shared.reload().json()["status"] == "pinned"

    shared.applied(routeiq=settings("fake-model", "deny"))
    assert (shared.ask("auto"), access()) == ("first answer", "deny")
    rolled = shared.client.post("/config/rollback", json={"generation": stored["generation"]})
    diff = rolled.raise_for_status().json()["diff"]
    assert (diff["changed"], diff["restart_required"]) == (
        ["routeiq.routing.aliases", "routeiq.a2a.default_access"],
        [],
    )
    assert (shared.ask("auto"), access()) == ("kept answer", "litellm")


def test_history_tells_names_and_no_values(shared: Reloading) -> None:
    shared.applied(model_list=models(shared, deployment("with-secret", "x", api_key="sk-a-secret-of-the-provider")))
    response = shared.client.get("/config/history")
    assert "sk-a-secret-of-the-provider" not in response.text
    newest = response.json()["generations"][0]
    assert newest["current"] is True
    assert newest["diff"]["added"] == ["model_list.with-secret"]
    assert b"sk-a-secret-of-the-provider" not in (shared.proxy.workdir / "routeiq.db").read_bytes()
    audit = shared.client.get("/routeiq/audit", params={"object_id": str(newest["generation"])}).json()["entries"]
    assert [entry["action"] for entry in audit] == ["config.reload"]


@pytest.mark.parametrize(("body", "status"), [({"force": True}, 422), ("{", 400), ({"dry_run": "perhaps"}, 422)])
def test_a_wrong_body_is_named(body: Any, status: int, shared: Reloading) -> None:
    content = body if isinstance(body, str) else None
    response = shared.client.post("/config/reload", content=content, json=None if content else body)
    assert response.status_code == status


@pytest.mark.parametrize("generation", [10_000, 0])
def test_rollback_to_nowhere(generation: int, shared: Reloading) -> None:
    response = shared.client.post("/config/rollback", json={"generation": generation})
    assert response.status_code == (404 if generation else 422)


ADMIN_ONLY = [
    ("POST", "/config/reload"),
    ("POST", "/config/rollback"),
    ("GET", "/config/history"),
    ("POST", "/router/reload"),
]


@pytest.mark.parametrize(("method", "path"), ADMIN_ONLY)
def test_only_admins_reload(method: str, path: str, shared: Reloading) -> None:
    key = shared.proxy.add_key(user_id="nobody-special")
    with shared.proxy.client(key) as user, shared.proxy.client(None) as nobody:
        assert user.request(method, path).status_code == 403
        assert nobody.request(method, path).status_code == 401
        assert user.request(method, path, content=b"{").status_code == 403


@pytest.mark.requirement("RLD-03", "RLD-08")
def test_every_key_reads_the_status_and_only_admins_the_places(shared: Reloading) -> None:
    shared.write(b"model_list: [")
    shared.reload()
    with shared.proxy.client(shared.proxy.add_key(user_id="reader")) as user, shared.proxy.client(None) as nobody:
        told = user.get("/config/sync/status")
        assert told.json()["source"] == {"type": "file", "remote": False}
        assert str(shared.proxy.workdir) not in told.text
        assert "last_error" not in told.json()
        assert told.json()["consecutive_failures"] == 1
        assert user.get("/hot-reload/status").json().keys() == told.json().keys()
        assert nobody.get("/config/sync/status").status_code == 401
    full = shared.status()
    assert full["source"]["path"] == str(shared.proxy.config_path)
    assert "not YAML" in full["last_error"]
    assert [worker["generation"] for worker in full["workers"]] == [full["generation"]]


@pytest.mark.requirement("RLD-04")
def test_router_info_tells_the_generation(shared: Reloading) -> None:
    feature = shared.client.get("/router/info").json()["features"]["reload"]
    assert feature["state"] == "ready"
    assert feature["generation"] == shared.status()["generation"]
    assert [worker["generation"] for worker in feature["workers"]] == [feature["generation"]]
    assert "last_reload" in feature


def test_strategies_can_be_asked_for(shared: Reloading) -> None:
    answer = shared.client.post("/router/reload", json={"strategy": None}).json()
    assert (answer["status"], answer["reloaded"], answer["errors"]) == ("success", [], [])
    assert shared.client.post("/router/reload", json={"strategy": "nobody"}).status_code == 404


def test_the_routes_are_in_the_openapi_document(shared: Reloading) -> None:
    paths = shared.client.get("/openapi.json").json()["paths"]
    assert {"/config/reload", "/config/rollback", "/config/history", "/config/sync/status", "/router/reload"} <= set(
        paths
    )
    body = paths["/config/reload"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"force_sync", "dry_run"}
