"""A thread stays on the model that began it, where the alias says so."""

from __future__ import annotations

import uuid

import pytest

from tests.routing.provider import said
from tests.routing.world import Routed, answerer, talk

pytestmark = pytest.mark.requirement("RTE-20")


def fresh(text: str) -> str:
    """A text that no other test has said."""
    return f"{text} {uuid.uuid4().hex}"


def test_the_second_turn_stays(here: Routed) -> None:
    opening = fresh("prove it")
    assert answerer(here.ask("ruled", opening)) == "large"
    response = here.ask("ruled", messages=talk(opening, "done", "was ist das und wie ist es"))
    assert answerer(response) == "large"
    assert answerer(here.ask("loose", messages=talk(opening, "done", "was ist das und wie ist es"))) == "middle"


def test_round_robin_stays_too(here: Routed) -> None:
    opening = fresh("hello")
    first = answerer(here.ask("turns", opening))
    for _ in range(4):
        response = here.ask("turns", messages=talk(opening, "hi", "and now?"))
        assert answerer(response) == first
    assert response.headers["x-routeiq-cause"] in ("sticky", "strategy")


def test_a_session_stays(here: Routed) -> None:
    session = {"x-litellm-session-id": uuid.uuid4().hex}
    first = answerer(here.ask("turns", "hello", headers=session))
    assert {answerer(here.ask("turns", f"turn {at}", headers=session)) for at in range(4)} == {first}


def test_somebody_elses_session_is_another(here: Routed) -> None:
    session = {"x-litellm-session-id": uuid.uuid4().hex}
    keys = [here.proxy.add_key() for _ in range(3)]
    assert {answerer(here.ask("turns", "hello", key, headers=session)) for key in keys} == {"large", "middle", "small"}


def test_a_response_is_continued_where_it_began(here: Routed) -> None:
    for text, model in (("prove it", "large"), ("was ist das und wie ist es", "middle")):
        first = here.post("/v1/responses", model="ruled", input=text)
        assert said(model) in first.text
        second = here.post("/v1/responses", model="ruled", input="and now?", previous_response_id=first.json()["id"])
        assert second.status_code == 200, second.text
        assert said(model) in second.text
        assert second.headers["x-routeiq-cause"] == "sticky"


def test_a_thread_moves_when_its_model_cannot_go_on(here: Routed) -> None:
    opening = fresh("hello")
    assert answerer(here.ask("ruled", opening)) == "small"
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
    turns = [*talk(opening, "hi"), {"role": "user", "content": image}]
    assert answerer(here.ask("ruled", messages=turns)) == "large"


@pytest.mark.parametrize(("mood", "cause"), [("late", "deadline"), ("broken", "strategy failed")])
def test_a_thread_that_began_with_a_mishap_goes_on_with_the_choice(here: Routed, mood: str, cause: str) -> None:
    opening = fresh("hello")
    first = here.ask("moody", opening, headers={"x-mood": mood})
    assert (answerer(first), first.headers["x-routeiq-cause"]) == ("middle", cause)
    second = here.ask("moody", messages=talk(opening, "hi", "and now?"))
    assert (answerer(second), second.headers["x-routeiq-cause"]) == ("large", "strategy")
    session = {"x-litellm-session-id": uuid.uuid4().hex}
    assert answerer(here.ask("moody", "hello", headers={**session, "x-mood": mood})) == "middle"
    assert answerer(here.ask("moody", "and now?", headers=session)) == "large"


@pytest.mark.parametrize("mood", ["late", "broken"])
def test_a_mishap_later_on_leaves_a_thread_where_it_is(here: Routed, mood: str) -> None:
    opening = fresh("hello")
    assert answerer(here.ask("moody", opening)) == "large"
    for turn in ("and now?", "and then?"):
        response = here.ask("moody", messages=talk(opening, "hi", turn), headers={"x-mood": mood})
        assert (answerer(response), response.headers["x-routeiq-cause"]) == ("large", "sticky")


def test_a_response_is_continued_where_it_is_kept_even_after_a_mishap(here: Routed) -> None:
    with here.proxy.client(headers={"x-mood": "late"}) as client:
        first = client.post("/v1/responses", json={"model": "moody", "input": "hello"})
    assert said("middle") in first.text
    second = here.post("/v1/responses", model="moody", input="and now?", previous_response_id=first.json()["id"])
    assert said("middle") in second.text
    assert second.headers["x-routeiq-cause"] == "sticky"
