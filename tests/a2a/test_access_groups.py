"""Who may do what with an agent: the one rule, tried on every combination, and access groups without any database."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import httpx
import pytest

from routeiq_plugin.a2a.access import Action, DefaultAccess, decide
from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.host.auth import AgentGrants, Caller, Grant
from tests.a2a import registry as agents
from tests.a2a.calls import sending
from tests.conftest import PLUGIN_CONFIG, ProxyFactory
from tests.support.proxy import Proxy, merge

pytestmark = pytest.mark.requirement("A2A-13")

# The rule

HOLDERS: Final[Sequence[Grant | None]] = (
    None,
    Grant(frozenset({"it"})),
    Grant(frozenset({"another"})),
    Grant(frozenset(), frozenset({"its group"})),
    Grant(frozenset(), frozenset({"another group"})),
    Grant(frozenset({"another"}), frozenset({"its group"})),
    Grant(frozenset({"it"}), frozenset({"another group"})),
    Grant(frozenset({"another"}), frozenset({"another group"})),
)
"""What a key or a team may have been given; None is nothing at all."""

COVERING: Final = frozenset({1, 3, 5, 6})
"""Which of them reach an agent "it" in "its group"."""

DEFAULTS: Final[Sequence[DefaultAccess]] = ("deny", "litellm")
ROLES: Final = ("user", "viewer", "admin")


def _caller(role: str) -> Caller:
    return Caller(
        identity=SimpleNamespace(user_role=role),
        user_id="u",
        team_id="t",
        role=role,
        is_admin=role == "admin",
        has_admin_view=role in ("admin", "viewer"),
    )


def _agent(*, public: bool) -> Agent:
    fields = {"agent_id": "it", "agent_name": "It", "litellm_params": {"agent_access_groups": ["its group"]}}
    return Agent(fields, version=1, is_public=public)


def _decided(  # the rule once more, in the words of DESIGN 5 and of stock
    role: str, key: int, team: int, action: Action, default: DefaultAccess, *, public: bool
) -> bool:
    if action is Action.ANALYSE:
        public, default = False, "deny"
    if role == "admin" or public:
        return True
    if role == "viewer" and action is not Action.INVOKE:
        return True
    limits = [holder for holder in (key, team) if holder != 0]
    if limits:
        return all(holder in COVERING for holder in limits)
    return default == "litellm" and action is not Action.LIST


def test_every_combination_of_role_key_team_publicity_action_and_default() -> None:
    tried = 0
    for role, key, team, action, default, public in itertools.product(
        ROLES, range(len(HOLDERS)), range(len(HOLDERS)), Action, DEFAULTS, (False, True)
    ):
        grants = AgentGrants(tuple(holder for holder in (HOLDERS[key], HOLDERS[team]) if holder is not None))
        expected = _decided(role, key, team, action, default, public=public)
        found = decide(_caller(role), grants, _agent(public=public), action, default)
        assert found is expected, (role, HOLDERS[key], HOLDERS[team], action, default, public)
        tried += 1
    assert tried == 3 * 8 * 8 * len(Action) * 2 * 2


def test_another_holder_never_widens_what_a_caller_reaches() -> None:
    for key, team, action in itertools.product(HOLDERS[1:], HOLDERS[1:], Action):
        assert key is not None
        assert team is not None
        both = decide(_caller("user"), AgentGrants((key, team)), _agent(public=False), action, "deny")
        alone = decide(_caller("user"), AgentGrants((key,)), _agent(public=False), action, "deny")
        assert alone or not both


def test_more_in_one_hand_never_narrows() -> None:
    for held in HOLDERS[1:]:
        assert held is not None
        more = Grant(held.agent_ids | {"it"}, held.groups | {"a third group"})
        for action in Action:
            assert decide(_caller("user"), AgentGrants((more,)), _agent(public=False), action, "deny")


# Over HTTP, LiteLLM without a database


@dataclass(frozen=True)
class World:
    """Two agents in two groups and one in none, by name."""

    proxy: Proxy
    ids: Mapping[str, str]

    def key(self, **fields: Any) -> str:
        """Create a key; `agents` in its grants are names of this world."""
        for name in ("object_permission", "team_object_permission"):
            if name in fields:
                named = fields[name].get("agents", ())
                fields[name] = {**fields[name], "agents": [self.ids[each] for each in named]}
        return self.proxy.add_key(**fields)


@pytest.fixture(scope="module")
def world(proxy: Proxy) -> Iterator[World]:
    with proxy.client() as admin:
        made = {
            name: admin.post(
                "/v1/agents",
                json=agents.body(f"{agents.unique()}-{name}", litellm_params={"agent_access_groups": groups}),
            ).json()
            for name, groups in {"red": ["group-red"], "blue": ["group-blue", "group-any"], "none": []}.items()
        }
        yield World(proxy, {name: agent["agent_id"] for name, agent in made.items()})
        for agent in made.values():
            assert admin.delete(agents.path(agent["agent_id"])).status_code == 200


CASES: Final[Mapping[str, tuple[Mapping[str, Any], set[str]]]] = {
    "nothing": ({}, set()),
    "a team without grants": ({"team_id": "t"}, set()),
    "a group in the key's object permission": ({"object_permission": {"agent_access_groups": ["group-red"]}}, {"red"}),
    "a unified group, which only LiteLLM's database knows": ({"access_group_ids": ["group-blue"]}, set()),
    "a unified group and an agent": (
        {"access_group_ids": ["group-blue"], "object_permission": {"agents": ["red"]}},
        {"red"},
    ),
    "two groups": ({"object_permission": {"agent_access_groups": ["group-any", "group-red"]}}, {"red", "blue"}),
    "a group that nobody is in": ({"object_permission": {"agent_access_groups": ["group-green"]}}, set()),
    "a group and an agent": (
        {"object_permission": {"agents": ["none"], "agent_access_groups": ["group-red"]}},
        {"red", "none"},
    ),
    "the team's group": (
        {"team_id": "t", "team_object_permission": {"agent_access_groups": ["group-red"]}},
        {"red"},
    ),
    "the team's agents": ({"team_id": "t", "team_object_permission": {"agents": ["blue", "none"]}}, {"blue", "none"}),
    "key and team, both have it": (
        {
            "team_id": "t",
            "object_permission": {"agents": ["red", "blue"]},
            "team_object_permission": {"agent_access_groups": ["group-blue"]},
        },
        {"blue"},
    ),
    "key and team, nothing in common": (
        {
            "team_id": "t",
            "object_permission": {"agents": ["red"]},
            "team_object_permission": {"agents": ["blue"]},
        },
        set(),
    ),
    "the team's grants of a key without a team": ({"team_object_permission": {"agents": ["red"]}}, set()),
}


@pytest.mark.parametrize("case", CASES)
def test_grants_decide_alike_in_every_place(world: World, case: str) -> None:
    fields, expected = CASES[case]
    with world.proxy.client(world.key(**fields)) as client:
        ours = {agent_id: name for name, agent_id in world.ids.items()}
        listed = {ours[each["agent_id"]] for each in client.get("/v1/agents").json() if each["agent_id"] in ours}
        assert listed == expected
        for name, agent_id in world.ids.items():
            status = 200 if name in expected else 403
            assert client.get(agents.path(agent_id)).status_code == status
            assert client.get(f"/a2a/{agent_id}/.well-known/agent-card.json").status_code == status
            assert (
                client.post(f"/a2a/{agent_id}", json={"jsonrpc": "2.0", "id": 1, "method": "no"}).status_code == status
            )
            assert _may_chat(client, agent_id) is (name in expected)
        assert _models(client) & _names(world) <= {f"a2a/{_name(world, name)}" for name in expected}


def test_a_public_agent_is_open_to_a_key_that_was_given_others(world: World, proxy: Proxy) -> None:
    with proxy.client() as admin, proxy.client(world.key(object_permission={"agents": ["red"]})) as client:
        agent = admin.post("/v1/agents", json=agents.body()).json()
        assert not _may_chat(client, agent["agent_id"])
        assert admin.post(f"/v1/agents/{agent['agent_id']}/make_public").status_code == 200
        assert _may_chat(client, agent["agent_id"])
        assert client.get(agents.path(agent["agent_id"])).status_code == 200
        assert client.post(f"/a2a/{agent['agent_id']}", json=sending("hello")).status_code == 200
        assert admin.delete(agents.path(agent["agent_id"])).status_code == 200


@pytest.mark.parametrize("groups", [None, ["group-red"], 5, "group-red", [5]])
def test_access_group_ids_of_an_agent_let_nobody_in(proxy: Proxy, groups: Any) -> None:
    params = {} if groups is None else {"agent_access_groups": groups}
    body = agents.body(access_group_ids=["group-red"], litellm_params=params)
    key = proxy.add_key(object_permission={"agent_access_groups": ["group-red"]}, access_group_ids=["group-red"])
    with proxy.client() as admin, proxy.client(key) as client:
        answer = admin.post("/v1/agents", json=body)
        if groups not in (None, ["group-red"]):
            assert answer.status_code == 422
            assert answer.json()["detail"][0]["loc"] == ["body", "litellm_params", "agent_access_groups"]
            return
        agent_id = answer.json()["agent_id"]
        assert client.get(agents.path(agent_id)).status_code == (403 if groups is None else 200)
        assert admin.get(agents.path(agent_id)).json()["access_group_ids"] == ["group-red"]
        assert admin.delete(agents.path(agent_id)).status_code == 200


def test_access_group_ids_bound_what_the_agent_itself_reaches(world: World, proxy: Proxy) -> None:
    with proxy.client() as admin:
        free, bound = (
            admin.post("/v1/agents", json=agents.body(access_group_ids=groups)).json()["agent_id"]
            for groups in ([], ["a group of LiteLLM's database"])
        )
        for caller, status in ((free, 200), (bound, 403)):
            with proxy.client(world.key(agent_id=caller, object_permission={"agents": ["red"]})) as client:
                assert client.get(agents.path(world.ids["red"])).status_code == status
                assert client.post(f"/a2a/{world.ids['red']}", json={}).status_code == status
        for each in (free, bound):
            assert admin.delete(agents.path(each)).status_code == 200


def test_litellms_default_deny_is_kept_where_its_rule_is(own_proxy: ProxyFactory) -> None:
    config = merge(
        PLUGIN_CONFIG,
        {
            "routeiq": {"a2a": {"default_access": "litellm"}},
            "general_settings": {"agent_access_default_deny": True},
        },
    )
    with own_proxy(config=config) as proxy, proxy.client() as admin, proxy.client(proxy.add_key()) as client:
        agent_id = admin.post("/v1/agents", json=agents.body()).json()["agent_id"]
        assert client.get(agents.path(agent_id)).status_code == 403
        assert client.post(f"/a2a/{agent_id}", json={}).status_code == 403
        assert admin.post(f"/a2a/{agent_id}", json={}).status_code == 200


def _may_chat(client: httpx.Client, agent_id: str) -> bool:
    """Ask as a chat model; its backend answers nobody, so that who may is told from the kind of failure."""
    chat = {"model": f"a2a/{agent_id}", "messages": [{"role": "user", "content": "hello"}]}
    response = client.post("/v1/chat/completions", json=chat)
    assert response.status_code != 200, response.text
    return response.status_code != 403


def _models(client: httpx.Client) -> set[str]:
    """Name every model that LiteLLM's listings show; `/v2/model/info` needs a database of its own and answers 500."""
    groups, models = client.get("/model_group/info"), client.get("/v1/models")
    assert [each.status_code for each in (groups, models)] == [200, 200]
    return {*(each["model_group"] for each in groups.json()["data"]), *(each["id"] for each in models.json()["data"])}


def _name(world: World, name: str) -> str:
    with world.proxy.client() as admin:
        return str(admin.get(agents.path(world.ids[name])).json()["agent_name"])


def _names(world: World) -> set[str]:
    return {f"a2a/{_name(world, name)}" for name in world.ids}
