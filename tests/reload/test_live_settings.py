"""Settings of `routeiq:` taken over by a running proxy: whole, at once, in every worker, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from routeiq_plugin.routing.artifact import Manifest
from tests.reload.configs import agent, deployment
from tests.reload.conftest import Reloading, reloading
from tests.reload.test_sync import until
from tests.routing import world
from tests.routing.test_artifacts import retensored
from tests.store import parts
from tests.support.workers import one_client_each

pytestmark = [pytest.mark.requirement("RLD-20"), pytest.mark.timeout(900)]

CALLS_OF_EACH: Final = 5
PATIENT: Final = {"deadline_ms": world.PATIENT_MS}
ALIAS: Final = {"strategy": "rules", "candidates": ["fake-model", "kept"], "default": "fake-model", **PATIENT}


@dataclass(frozen=True)
class Both(Reloading):
    """A proxy of two workers, with a connection to each."""

    each: tuple[httpx.Client, httpx.Client]

    @property
    def in_turn(self) -> Sequence[httpx.Client]:
        """Both, several times: what is chosen by chance comes out differently."""
        return self.each * CALLS_OF_EACH


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with reloading(tmp_path_factory.mktemp("live"), workers=2) as running:
        until(lambda: len(running.status()["workers"]) == 2, "both workers have signed on")
        with one_client_each(running.proxy) as each:
            yield Both(running.proxy, running.client, running.base, each)


def routing(**aliases: Any) -> dict[str, Any]:
    return {"routing": {"aliases": aliases}}


def chosen(model: str) -> dict[str, Any]:
    return {**ALIAS, "rules": [{"model": model}]}


def everywhere(shared: Reloading, generation: int) -> None:
    until(lambda: {each["generation"] for each in shared.status()["workers"]} == {generation}, "both workers follow")


def answers(both: Both, model: str) -> set[str]:
    """Ask both workers."""
    return {both.ask(model, client) for client in both.in_turn}


def test_an_alias_comes_changes_and_goes(two_workers: Both) -> None:
    shared = two_workers
    assert answers(shared, "auto") == {"400"}
    added = shared.applied(routeiq=routing(auto=chosen("kept")))
    assert added["diff"]["added"] == ["routeiq.routing.aliases"]
    assert added["diff"]["restart_required"] == []
    everywhere(shared, added["generation"])
    assert answers(shared, "auto") == {"kept answer"}
    assert "auto" in [each["id"] for each in shared.client.get("/v1/models").json()["data"]]
    asked = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    assert shared.client.post("/v1/chat/completions", json=asked).headers["x-routeiq-model"] == "kept"

    changed = shared.applied(routeiq=routing(auto=chosen("fake-model")))
    assert changed["diff"]["changed"] == ["routeiq.routing.aliases"]
    everywhere(shared, changed["generation"])
    assert answers(shared, "auto") == {"first answer"}

    removed = shared.applied()
    everywhere(shared, removed["generation"])
    assert answers(shared, "auto") == {"400"}
    assert "auto" not in [each["id"] for each in shared.client.get("/v1/models").json()["data"]]


def test_an_alias_becomes_a_plain_one_of_the_same_model(two_workers: Both) -> None:
    shared = two_workers
    everywhere(shared, shared.applied(routeiq=routing(auto=chosen("kept")))["generation"])
    assert answers(shared, "auto") == {"kept answer"}
    plain = shared.applied(router_settings={"model_group_alias": {"auto": ALIAS["default"]}})
    everywhere(shared, plain["generation"])
    assert answers(shared, "auto") == {"first answer"}
    everywhere(shared, shared.applied(routeiq=routing(auto=chosen("kept")))["generation"])
    assert answers(shared, "auto") == {"kept answer"}
    everywhere(shared, shared.applied()["generation"])
    assert answers(shared, "auto") == {"400"}


def test_an_alias_is_there_while_plain_ones_change(two_workers: Both) -> None:
    """Asked at once: it would be there again a second later."""
    shared = two_workers
    shared.applied(routeiq=routing(auto=chosen("kept")))
    for plain in ("one", "two", "three"):
        shared.applied(routeiq=routing(auto=chosen("kept")), router_settings={"model_group_alias": {plain: "kept"}})
        listed = {each["id"] for each in shared.client.get("/v1/models").json()["data"]}
        assert listed & {"auto", "one", "two", "three"} == {"auto", plain}
    shared.applied()


@pytest.mark.parametrize(
    ("alias", "path"),
    [
        ({**ALIAS, "strategy": "nonsense"}, "routeiq.routing.aliases"),
        ({**ALIAS, "strategy": "llmrouter-knn", "artifact": "/nowhere"}, "routeiq.routing.aliases"),
        ({**ALIAS, "colour": 1}, "routeiq"),
    ],
)
def test_an_alias_that_cannot_serve_changes_nothing(alias: dict[str, Any], path: str, two_workers: Both) -> None:
    shared = two_workers
    good = shared.applied(routeiq=routing(auto=chosen("kept")))
    shared.change(model_list=[deployment("other", "other"), *shared.base["model_list"]], routeiq=routing(auto=alias))
    response = shared.reload()
    assert response.status_code == 422, response.text
    assert response.json()["detail"]["path"] == path
    assert shared.status()["generation"] == good["generation"]
    assert shared.ask("auto") == "kept answer"
    assert shared.ask("other") == "400"


def test_a_refused_reload_leaves_prices_and_callbacks(tmp_path: Path) -> None:
    def kept(price: float) -> list[dict[str, Any]]:
        return [deployment("kept", "kept answer", model_id="kept", input_cost_per_token=price)]

    with reloading(tmp_path, config={"model_list": [deployment("fake-model", "first answer"), *kept(1e-6)]}) as shared:
        before = cost(shared), shared.control("facts")["callbacks"]
        shared.change(
            model_list=[deployment("fake-model", "first answer"), *kept(5e-3)],
            router_settings={"routing_strategy": "least-busy"},
            routeiq=routing(auto={**ALIAS, "strategy": "llmrouter-knn", "artifact": "/nowhere"}),
        )
        assert shared.reload().status_code == 422
        assert (cost(shared), shared.control("facts")["callbacks"]) == before


def cost(shared: Reloading) -> str:
    body = {"model": "kept", "messages": [{"role": "user", "content": "hi"}]}
    told: str = shared.client.post("/v1/chat/completions", json=body).headers["x-litellm-response-cost"]
    return told


def test_an_artifact_that_fails_its_self_test_changes_nothing(two_workers: Both, tmp_path: Path) -> None:
    shared = two_workers
    world.train(tmp_path)
    retensored(tmp_path, lambda tensors: tensors.update(qualities=1 - tensors["qualities"]))
    good = shared.applied(routeiq=routing(auto=chosen("kept")))
    names = list(world.PRICES)
    broken = {"strategy": "quality", "artifact": str(tmp_path), "candidates": names, "default": names[0], **PATIENT}
    shared.change(
        model_list=[*shared.base["model_list"], *(deployment(name, name) for name in names)],
        routeiq=routing(auto=chosen("fake-model"), broken=broken),
    )
    response = shared.reload()
    assert response.status_code == 422, response.text
    assert response.json()["detail"]["path"] == "routeiq.routing.aliases"
    assert "self-test" in response.json()["detail"]["message"]
    assert "self-test" in shared.status()["last_error"]
    assert shared.status()["generation"] == good["generation"]
    assert [shared.ask(model) for model in ("auto", "broken", names[0])] == ["kept answer", "400", "400"]


def test_an_alias_with_the_name_of_a_model_is_refused(two_workers: Both) -> None:
    two_workers.change(routeiq=routing(kept={**chosen("fake-model"), "candidates": ["fake-model"]}))
    response = two_workers.reload()
    assert response.status_code == 422, response.text
    assert response.json()["detail"]["path"] == "routeiq.routing.aliases.kept"


def test_a_fault_half_way_puts_the_former_settings_back(tmp_path: Path) -> None:
    with reloading(tmp_path, config={"routeiq": routing(auto=chosen("kept"))}) as shared:
        assert shared.ask("auto") == "kept answer"
        more = {"more": chosen("fake-model"), "auto": chosen("fake-model")}
        shared.change(routeiq={**routing(**more), "a2a": {"default_access": "litellm"}})
        for step in ("after routeiq.a2a.default_access", "after routeiq.routing.aliases", "before record"):
            shared.control("arm", step=step, how="raise")
            assert shared.reload().status_code == 503
            assert (shared.ask("auto"), shared.ask("more")) == ("kept answer", "400")
            assert facts(shared)["default_access"] == "deny"
        assert shared.reload().json()["status"] == "applied"
        assert (shared.ask("auto"), shared.ask("more")) == ("first answer", "first answer")
        assert facts(shared)["default_access"] == "litellm"


def facts(shared: Reloading) -> dict[str, Any]:
    found: dict[str, Any] = shared.client.get("/router/info").json()["features"]["a2a"]
    return {**found, **(found.get("facts") or {})}


@pytest.mark.requirement("RTE-02")
def test_the_strategy_inside_a_group_comes_changes_and_goes(two_workers: Both) -> None:
    """Without one LiteLLM shuffles the two models of the group."""
    shared = two_workers
    mixed = [deployment("mixed", name, model=f"openai/{name}") for name in ("large", "small")]
    models = [*shared.base["model_list"], *mixed]

    def apply(model: str | None) -> None:
        names = ["openai/large", "openai/small"]
        rules = {"strategy": "rules", "candidates": names, "default": names[0], "rules": [{"model": model}], **PATIENT}
        section = {} if model is None else {"routing": {"groups": {"mixed": rules}}}
        answer = shared.applied(model_list=models, routeiq=section)
        assert answer["diff"]["restart_required"] == []
        everywhere(shared, answer["generation"])

    apply(None)
    until(lambda: answers(shared, "mixed") == {"large", "small"}, "LiteLLM's own choice")
    for model in ("small", "large"):
        apply(f"openai/{model}")
        until(lambda: asked_for(shared)["arms"]["-"]["ready"], "the strategy inside the group")
        until(partial(chooses, shared, model), "each worker's choice")
        assert answers(shared, "mixed") == {model}
    apply(None)
    until(lambda: answers(shared, "mixed") == {"large", "small"}, "LiteLLM's own choice again")
    assert "mixed" not in shared.client.get("/router/info").json()["features"]["routing"].get("groups", {})


def asked_for(shared: Both) -> dict[str, Any]:
    found: dict[str, Any] = shared.client.get("/router/info").json()["features"]["routing"]["groups"]["mixed"]
    return found


def chooses(shared: Both, model: str) -> bool:
    return answers(shared, "mixed") == {model}


def statuses(both: Both, method: str, path: str, body: Any = None, key: str | None = None) -> list[int]:
    """Ask both workers."""
    headers = {"Authorization": f"Bearer {key or both.proxy.master_key}"}
    return [client.request(method, path, json=body, headers=headers).status_code for client in both.in_turn]


def registered(shared: Both, name: str) -> str:
    created = shared.client.post("/v1/agents", json=agent(name)).raise_for_status().json()
    path = f"/v1/agents/{created['agent_id']}"
    until(lambda: set(statuses(shared, "GET", path)) == {200}, "both workers know the agent")
    return str(created["agent_id"])


@pytest.mark.requirement("A2A-22")
def test_who_reaches_an_agent_without_a_grant_changes_at_once(two_workers: Both) -> None:
    shared = two_workers
    of_store = registered(shared, "stored")
    key = shared.proxy.add_key(user_id="without-grants")
    call = {"jsonrpc": "2.0", "id": 1, "method": "no/such"}

    def reached() -> set[int]:
        return {
            *statuses(shared, "GET", f"/v1/agents/{of_store}", key=key),
            *statuses(shared, "POST", f"/a2a/{of_store}", call, key=key),
        }

    hidden = reached()
    assert hidden <= {403, 404}
    for access, expected in (("litellm", {200}), ("deny", hidden), ("litellm", {200})):
        answer = shared.applied(routeiq={"a2a": {"default_access": access}})
        assert answer["diff"]["restart_required"] == []
        everywhere(shared, answer["generation"])
        assert reached() == expected
    everywhere(shared, shared.applied()["generation"])
    assert reached() == hidden  # `deny` is what the boot file means


@pytest.mark.requirement("A2A-22")
def test_when_an_agents_calls_are_cut_off_changes_at_once(two_workers: Both) -> None:
    shared = two_workers
    parts_of = [{"kind": "text", "text": "hi"}]
    said = {"kind": "message", "messageId": "1", "role": "user", "parts": parts_of}
    call = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": said}}

    def refusals(of_agent: str) -> int:
        """Calls of ten that were cut off; nobody listens where the agent is said to be."""
        found = statuses(shared, "POST", f"/a2a/{of_agent}", call)
        assert set(found) <= {200, 503}  # 200 holds the JSON-RPC error of a call that was made
        return found.count(503)

    tolerant = {"failures": 100, "cooldown_seconds": 3600}
    strict = {"failures": 1, "cooldown_seconds": 3600}
    for number, (rule, refused) in enumerate(((tolerant, {0}), (strict, {2 * (CALLS_OF_EACH - 1)}), (tolerant, {0}))):
        answer = shared.applied(routeiq={"a2a": {"breaker": rule}})
        assert answer["diff"]["restart_required"] == []
        everywhere(shared, answer["generation"])
        # Each of the two workers made one call under the strict rule.
        assert refusals(registered(shared, f"silent-{number}")) in refused
    shared.applied()


def test_what_needs_a_restart_is_named_one_by_one(two_workers: Both) -> None:
    shared = two_workers
    answer = shared.applied(
        agents=[agent("for-the-settings")],
        routeiq={"a2a": {"enabled": False, "default_access": "litellm"}, "mcp": {"pin_tools": True, "stdio": True}},
    )
    assert sorted(answer["diff"]["restart_required"]) == ["routeiq.a2a.enabled", "routeiq.mcp.stdio"]
    assert {"routeiq.a2a.default_access", "routeiq.mcp.pin_tools"} <= {
        *answer["diff"]["added"],
        *answer["diff"]["changed"],
    }
    everywhere(shared, answer["generation"])
    shared.applied()


@pytest.mark.requirement("RLD-05")
def test_both_workers_load_an_artifact_that_one_was_asked_to(two_workers: Both, tmp_path: Path) -> None:
    """No worker looks by itself here, see the saboteur."""
    shared = two_workers
    first = learning(shared, tmp_path, "first")
    assert artifacts(shared) == {first.id}
    second = world.train(tmp_path, name="second")
    told = shared.client.post("/router/reload", json={"strategy": "learned"}).json()
    assert told["reloaded"] == [{"strategy": "learned", "arms": {"learned/-": "loaded"}}]
    until(lambda: artifacts(shared) == {second.id}, "both workers have the second")


@pytest.mark.requirement("RLD-01")
def test_a_reload_while_the_store_is_away_tells_what_was_done(two_workers: Both, tmp_path: Path) -> None:
    shared = two_workers
    third = learning(shared, tmp_path, "third")
    fourth = world.train(tmp_path, name="fourth")
    with parts.outage(f"sqlite:///{shared.proxy.workdir}/routeiq.db"):
        answer = shared.client.post("/router/reload", json={"strategy": "learned"})
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert told["status"] == "partial"
        assert told["reloaded"] == [{"strategy": "learned", "arms": {"learned/-": "loaded"}}]
        assert [error["strategy"] for error in told["errors"]] == ["learned"]
        assert told["errors"][0]["error"].startswith("The other workers were not told: ")
        assert artifacts(shared) <= {third.id, fourth.id}
        until(lambda: following(shared) == {False}, "both workers have noticed")
    # The one that is told of nothing, since it follows again only after a pause, must look by itself.
    until(lambda: shared.client.post("/router/reload").json()["status"] == "success", "the store is there again")
    until(lambda: artifacts(shared) == {fourth.id}, "both workers have the fourth")


def learning(shared: Reloading, path: Path, name: str) -> Manifest:
    """Train an artifact, and let both workers route the alias `learned` by it."""
    trained = world.train(path, name=name)
    names = list(world.PRICES)
    learned = {"strategy": "quality", "artifact": str(path), "candidates": names, "default": names[0], **PATIENT}
    applied = shared.applied(
        model_list=[*shared.base["model_list"], *(deployment(name, name) for name in names)],
        routeiq=routing(learned=learned),
    )
    everywhere(shared, applied["generation"])
    return trained


def following(both: Both) -> set[bool]:
    """Ask both workers whether they hear of each other."""
    told = [client.get("/router/info").raise_for_status().json() for client in both.each]
    return {bool(each["database"]["followed"]) for each in told}


def artifacts(both: Both) -> set[str]:
    """Ask both workers."""
    body = {"model": "learned", "messages": [{"role": "user", "content": "hi"}]}
    return {client.post("/v1/chat/completions", json=body).headers["x-routeiq-artifact"] for client in both.each}
