"""The agent registry over HTTP, the same on SQLite and on PostgreSQL: LiteLLM's shapes, statuses and words."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from tests.a2a import registry as agents
from tests.a2a.conftest import Create
from tests.a2a.registry import KEYS, MARKER
from tests.support.proxy import Proxy

SPELLINGS: Final = ("/v1/agents", "/a2a/agents")


@pytest.fixture(params=SPELLINGS)
def base(request: pytest.FixtureRequest) -> str:
    """Each spelling of the registry's path in turn."""
    spelling: str = request.param
    return spelling


# Create, list, read


@pytest.mark.requirement("A2A-02", "PKG-02")
def test_create_answers_200_with_every_key_of_litellms_shape(client: httpx.Client, base: str) -> None:
    name = agents.unique()
    response = client.post(base, json=agents.body(name, tpm_limit=7))
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer.keys() >= KEYS
    assert (answer["agent_name"], answer["tpm_limit"], answer["rpm_limit"]) == (name, 7, None)
    assert answer["created_by"] == answer["updated_by"] == "default_user_id"
    assert answer["created_at"] == answer["updated_at"]
    assert response.headers["ETag"] == '"1"'
    assert client.delete(agents.path(answer["agent_id"], base)).status_code == 200


@pytest.mark.requirement("A2A-01")
def test_list_is_bare_and_holds_what_was_created(client: httpx.Client, create: Create, base: str) -> None:
    agent = create()
    listed = client.get(base)
    assert listed.status_code == 200
    assert isinstance(listed.json(), list)
    assert agent in listed.json()


@pytest.mark.requirement("A2A-01")
def test_list_ranks_by_the_words_of_a_query(client: httpx.Client, create: Create) -> None:
    word = agents.unique("zebrafish").replace("-", "")
    both = create(agent_card_params=agents.card(description=f"translates {word} invoices"))
    create(agent_card_params=agents.card(description="something else"))
    one = create(agent_card_params=agents.card(description=f"only {word}"))
    found = client.get("/v1/agents", params={"query": f"{word} invoices"}).json()
    assert [each["agent_id"] for each in found[:2]] == [both["agent_id"], one["agent_id"]]
    assert found[0]["search_score"] == 1.0
    assert len(client.get("/v1/agents", params={"query": word, "top_k": 1}).json()) == 1
    assert client.get("/v1/agents", params={"query": "", "top_k": 1}).status_code == 422
    assert client.get("/v1/agents", params={"query": word, "top_k": 0}).status_code == 422


@pytest.mark.requirement("A2A-01")
def test_health_check_leaves_out_agents_that_do_not_answer(client: httpx.Client, create: Create, proxy: Proxy) -> None:
    dead = create(url=agents.NOWHERE)
    alive = create(url=f"{proxy.base_url}/health/liveliness")
    without_backend = create(agent_card_params={})
    found = {each["agent_id"] for each in client.get("/v1/agents", params={"health_check": "true"}).json()}
    assert {alive["agent_id"], without_backend["agent_id"]} <= found
    assert dead["agent_id"] not in found


@pytest.mark.requirement("A2A-03")
def test_read_by_id_and_by_name_says_the_same(client: httpx.Client, create: Create, base: str) -> None:
    agent = create()
    by_id, by_name = (client.get(agents.path(agent[key], base)) for key in ("agent_id", "agent_name"))
    assert (by_id.status_code, by_name.status_code) == (200, 200)
    assert by_id.json() == by_name.json() == agent
    assert by_id.headers["ETag"] == by_name.headers["ETag"] == '"1"'


@pytest.mark.requirement("A2A-02")
def test_the_card_shows_the_gateway_as_its_interface_and_admins_the_backend(registry: Proxy, create: Create) -> None:
    agent = create()
    card = agent["agent_card_params"]
    assert card["url"] == agents.NOWHERE
    assert [each["url"] for each in card["supportedInterfaces"]] == [f"{registry.base_url}/a2a/{agent['agent_id']}"]
    assert card["security"] == [{"LiteLLMKey": []}]


# Change


@pytest.mark.requirement("A2A-04")
def test_put_replaces_everything_but_identity_and_creation(client: httpx.Client, create: Create, base: str) -> None:
    agent = create(tpm_limit=1, extra_headers=["x-a"], access_group_ids=["g"], enabled=False)
    name = agents.unique()
    response = client.put(agents.path(agent["agent_id"], base), json=agents.body(name, rpm_limit=2))
    assert response.status_code == 200, response.text
    new = response.json()
    assert new.keys() >= KEYS
    assert (new["agent_name"], new["tpm_limit"], new["rpm_limit"]) == (name, None, 2)
    assert (new["extra_headers"], new["access_group_ids"], new["enabled"]) == ([], [], True)
    assert [new[key] for key in ("agent_id", "created_at", "created_by")] == [
        agent[key] for key in ("agent_id", "created_at", "created_by")
    ]
    assert datetime.fromisoformat(new["updated_at"]) > datetime.fromisoformat(agent["updated_at"])
    assert response.headers["ETag"] == '"2"'
    assert client.get(agents.path(agent["agent_name"])).status_code == 404, "the old name is free"
    assert client.get(agents.path(name)).json() == new


@pytest.mark.requirement("A2A-04")
def test_put_without_a_card_merges_as_on_stock(client: httpx.Client, create: Create) -> None:
    agent = create(tpm_limit=1)
    response = client.put(
        agents.path(agent["agent_id"]), json={"agent_name": agent["agent_name"], "rpm_limit": 2}
    ).json()
    assert (response["tpm_limit"], response["rpm_limit"]) == (1, 2)
    assert response["agent_card_params"] == agent["agent_card_params"]


@pytest.mark.requirement("A2A-05")
def test_patch_merges(client: httpx.Client, create: Create, base: str) -> None:
    agent = create(tpm_limit=1, rpm_limit=2)
    response = client.patch(agents.path(agent["agent_name"], base), json={"rpm_limit": 3, "tpm_limit": None})
    assert response.status_code == 200, response.text
    new = response.json()
    moved = {"tpm_limit": None, "rpm_limit": 3, "updated_at": new["updated_at"]}
    assert new == agent | moved
    assert datetime.fromisoformat(new["updated_at"]) > datetime.fromisoformat(agent["updated_at"])


@pytest.mark.requirement("A2A-05")
def test_patch_renames(client: httpx.Client, create: Create) -> None:
    agent, name = create(), agents.unique("new name ")
    assert client.patch(agents.path(agent["agent_id"]), json={"agent_name": name}).status_code == 200
    assert client.get(agents.path(name)).json()["agent_id"] == agent["agent_id"]
    assert client.get(agents.path(agent["agent_name"])).status_code == 404


@pytest.mark.requirement("A2A-06")
def test_delete_says_so_and_forgets(client: httpx.Client, create: Create, base: str) -> None:
    agent = create()
    response = client.delete(agents.path(agent["agent_id"], base))
    assert response.status_code == 200
    assert response.json() == {"message": f"Agent {agent['agent_id']} deleted successfully"}
    assert client.get(agents.path(agent["agent_id"], base)).status_code == 404
    assert agent["agent_id"] not in {each["agent_id"] for each in client.get(base).json()}
    again = client.post(base, json=agents.body(agent["agent_name"]))
    assert again.status_code == 200, "the name is free"
    assert client.delete(agents.path(again.json()["agent_id"], base)).status_code == 200


@pytest.mark.requirement("A2A-03", "A2A-04", "A2A-05", "A2A-06")
@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("GET", "Agent with ID nobody not found"),
        ("PUT", "Agent with ID nobody not found"),
        ("PATCH", "Agent with ID nobody not found"),
        ("DELETE", "Agent with ID nobody not found in DB."),
    ],
)
def test_unknown_agents_are_404_in_litellms_words(client: httpx.Client, base: str, method: str, words: str) -> None:
    body = {"PUT": agents.body(), "PATCH": {"tpm_limit": 1}}.get(method)
    response = client.request(method, f"{base}/nobody", json=body)
    assert (response.status_code, response.json()) == (404, {"detail": words})


# Wrong requests

DEEP: Final = "[" * 300 + "]" * 300

WRONG: Final[dict[str, tuple[str, int, str]]] = {
    "no name": ('{"agent_card_params": {}}', 422, "agent_name"),
    "name of a wrong type": ('{"agent_name": 5}', 422, "agent_name"),
    "name is null": ('{"agent_name": null}', 422, "agent_name"),
    "limit of a wrong type": ('{"agent_name": "x", "tpm_limit": "many"}', 422, "tpm_limit"),
    "limit beyond 64 bits": ('{"agent_name": "x", "tpm_limit": 1000000000000000000000000}', 400, "too large"),
    "card of a wrong type": ('{"agent_name": "x", "agent_card_params": "card"}', 422, "agent_card_params"),
    "skills of a wrong type": ('{"agent_name": "x", "agent_card_params": {"skills": "s"}}', 422, "skills"),
    "kill switch without a URL": ('{"agent_name": "x", "kill_switch": {}}', 422, "kill_switch"),
    "headers of a wrong type": ('{"agent_name": "x", "static_headers": ["a"]}', 422, "static_headers"),
    "a header's name": ('{"agent_name": "x", "static_headers": {"a b": "c"}}', 422, "static_headers"),
    "a header that ends its line": ('{"agent_name": "x", "static_headers": {"a": "b\\r\\nc: d"}}', 422, "a"),
    "a header beyond ASCII": ('{"agent_name": "x", "static_headers": {"a": "\\u00e9"}}', 422, "static_headers"),
    "a key that ends its line": ('{"agent_name": "x", "litellm_params": {"api_key": "k\\n"}}', 422, "api_key"),
    "unknown field": ('{"agent_name": "x", "colour": 1}', 422, "colour"),
    "identity": ('{"agent_name": "x", "identity": {}}', 422, "identity"),
    "a list": ("[]", 422, "dictionary"),
    "null": ("null", 422, "dictionary"),
    "a string": ('"agent"', 422, "dictionary"),
    "nothing": ("", 400, "not valid JSON"),
    "half an object": ('{"agent_name": ', 400, "not valid JSON"),
    "not UTF-8": ('{"agent_name": "\udcff"}', 400, "UTF-8"),
    "not a number": ('{"agent_name": "x", "litellm_params": {"a": NaN}}', 400, "NaN"),
    "half a surrogate pair": ('{"agent_name": "x", "agent_card_params": {"name": "\\ud800"}}', 400, "surrogate"),
    "half a pair as a key": ('{"agent_name": "x", "litellm_params": {"\\ud800": 1}}', 400, "surrogate"),
    "too many digits": ('{"agent_name": "x", "litellm_params": {"a": ' + "1" * 5000 + "}}", 400, "numbers"),
    "too deep": ('{"agent_name": "x", "litellm_params": {"a": ' + DEEP + "}}", 400, "deeper"),
    "far too deep": ('{"agent_name": "x", "litellm_params": {"a": ' + DEEP * 400 + "}}", 400, "JSON"),
    "protocol version": (
        '{"agent_name": "x", "agent_card_params": {"protocolVersion": "9.9"}}',
        400,
        "Unsupported protocolVersion '9.9'. Supported versions: 0.3, 1.0.",
    ),
    "a URL that is none": ('{"agent_name": "x", "agent_card_params": {"url": "here"}}', 400, "agent_card_params.url"),
    "a URL of the metadata service": (
        '{"agent_name": "x", "agent_card_params": {"url": "http://169.254.169.254/"}}',
        400,
        "agent_card_params.url",
    ),
    "a URL with a password": (
        '{"agent_name": "x", "agent_card_params": {"url": "http://u:p@127.0.0.1/"}}',
        400,
        "agent_card_params.url",
    ),
    "another URL of the metadata service": (
        '{"agent_name": "x", "kill_switch": {"url": "http://169.254.169.254/"}}',
        400,
        "kill_switch.url",
    ),
    "and another": (
        '{"agent_name": "x", "litellm_params": {"api_base": "http://169.254.169.254/"}}',
        400,
        "litellm_params.api_base",
    ),
}


@pytest.mark.requirement("A2A-02")
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_registration_is_a_4xx_that_names_what_is_wrong(client: httpx.Client, case: str) -> None:
    body, status, words = WRONG[case]
    response = client.post(
        "/v1/agents", content=body.encode(errors="surrogateescape"), headers={"Content-Type": "application/json"}
    )
    assert response.status_code == status, response.text
    assert words in response.text
    assert client.get("/v1/agents/x").status_code == 404, "nothing was kept"


@pytest.mark.requirement("A2A-04", "A2A-05")
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"tpm_limit": "many"}, (422, "tpm_limit")),
        ({"colour": 1}, (422, "colour")),
        ({"agent_card_params": {"protocolVersion": "9.9"}}, (400, "Supported versions")),
        ({"agent_card_params": {"url": "http://169.254.169.254/"}}, (400, "agent_card_params.url")),
        ({"agent_name": "agents"}, (400, "path word")),
        ({"updated_at": "yesterday"}, (422, "updated_at")),
    ],
)
def test_a_wrong_change_changes_nothing(
    client: httpx.Client, create: Create, method: str, body: dict[str, Any], refusal: tuple[int, str]
) -> None:
    status, words = refusal
    agent = create(tpm_limit=1)
    sent = body if method == "PATCH" else {"agent_name": agent["agent_name"], **body}
    response = client.request(method, agents.path(agent["agent_id"]), json=sent)
    assert response.status_code == status, response.text
    assert words in response.text
    assert client.get(agents.path(agent["agent_id"])).json() == agent


@pytest.mark.requirement("A2A-02", "A2A-05")
def test_a_name_in_use_is_400_in_litellms_words(client: httpx.Client, create: Create, base: str) -> None:
    first, second = create(), create()
    taken = {"detail": f"Agent with name {first['agent_name']} already exists"}
    again = client.post(base, json=agents.body(first["agent_name"]))
    assert (again.status_code, again.json()) == (400, taken)
    renamed = client.patch(agents.path(second["agent_id"], base), json={"agent_name": first["agent_name"]})
    assert (renamed.status_code, renamed.json()) == (400, taken)
    posing = client.post(base, json=agents.body(first["agent_id"]))
    assert posing.status_code == 400, "an agent's id is not a name for another"


# Names


@pytest.mark.requirement("A2A-02")
@pytest.mark.parametrize(
    "name",
    ["agents", "Agents", "make_public", "registry", "a/b", ".", "..", "", " ", "line\nend", "x" * 257, "\u202eevil"],
)
def test_names_that_could_not_be_addressed_are_refused(client: httpx.Client, name: str) -> None:
    response = client.post("/v1/agents", json=agents.body() | {"agent_name": name})
    assert response.status_code == 400, response.text
    assert "agent_name" in response.text


@pytest.mark.requirement("A2A-02", "A2A-03", "A2A-06")
@pytest.mark.parametrize(
    "name",
    ["with space", "日本語 エージェント", "50%", "%2e%2e", "what?#here", "a+b&c=d", "dot.", "v1", "message", "x" * 256],
)
def test_other_names_are_as_good_as_ids(client: httpx.Client, create: Create, base: str, name: str) -> None:
    agent = create(name)
    assert client.get(agents.path(name, base)).json() == agent
    assert client.get(f"{base}/{quote(name, safe='+&=')}").json() == agent
    assert client.patch(agents.path(name, base), json={"tpm_limit": 4}).json()["tpm_limit"] == 4
    assert client.get(agents.path(name, "/a2a") + "/.well-known/agent-card.json").status_code == 200
    assert client.delete(agents.path(name, base)).status_code == 200


# Secrets that are not sent again


@pytest.mark.requirement("A2A-02", "A2A-04", "A2A-05")
def test_secrets_are_the_marker_in_every_answer(client: httpx.Client, create: Create) -> None:
    agent = create(
        litellm_params={"api_key": "s1", "model": "m", "nested": {"deep": [{"token": "s2", "region": "r"}]}},
        static_headers={"X-Secret": "s3"},
        kill_switch={
            "url": agents.NOWHERE,
            "auth": {"type": "basic", "username": "u", "password": "s4"},
            "headers": {"X-Switch": "s5"},
        },
    )
    assert agent["litellm_params"] == {
        "api_key": MARKER,
        "model": "m",
        "nested": {"deep": [{"token": MARKER, "region": "r"}]},
        "is_public": False,
    }
    assert agent["static_headers"] == {"X-Secret": MARKER}
    assert agent["kill_switch"]["auth"] == {"type": "basic", "username": "u", "password": MARKER}
    assert agent["kill_switch"]["headers"] == {"X-Switch": MARKER}


# Two writers


@pytest.mark.requirement("A2A-04", "A2A-05", "A2A-06")
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("if_match", "status"),
    [
        ('"1"', 412),
        ('"3"', 412),
        ('W/"1"', 412),
        ("seven", 400),
        ('"seven"', 400),
        ('"2"', 200),
        ('W/"2"', 200),
        ("*", 200),
    ],
)
def test_if_match_lets_only_the_current_version_be_changed(
    client: httpx.Client, create: Create, method: str, if_match: str, status: int
) -> None:
    agent = create()
    current = client.patch(agents.path(agent["agent_id"]), json={"tpm_limit": 1}).json()
    body = {"PUT": agents.body(agent["agent_name"]), "PATCH": {"rpm_limit": 5}}.get(method)
    response = client.request(method, agents.path(agent["agent_id"]), json=body, headers={"If-Match": if_match})
    assert response.status_code == status, response.text
    if status != 200:
        assert client.get(agents.path(agent["agent_id"])).json() == current


@pytest.mark.requirement("A2A-04", "A2A-05")
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_an_answer_that_is_stale_is_not_written_back(client: httpx.Client, create: Create, method: str) -> None:
    read = create()
    current = client.patch(agents.path(read["agent_id"]), json={"tpm_limit": 1}).json()
    stale = client.request(method, agents.path(read["agent_id"]), json=read | {"rpm_limit": 5})
    assert stale.status_code == 409, stale.text
    assert "updated_at" in stale.json()["detail"]
    assert client.get(agents.path(read["agent_id"])).json() == current
    fresh = client.request(method, agents.path(read["agent_id"]), json=current | {"rpm_limit": 5})
    assert fresh.status_code == 200, fresh.text
    assert (fresh.json()["tpm_limit"], fresh.json()["rpm_limit"]) == (1, 5)
