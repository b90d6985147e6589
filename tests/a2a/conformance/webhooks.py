"""Push notification configurations: sections 3.1.7 to 3.1.10, and capabilities that an agent lacks (3.3.4)."""

from __future__ import annotations

import secrets
from typing import Any, Final

from tests.a2a.conformance.peers import Answer, Peer, Wire
from tests.a2a.conformance.table import MODERN, check, each
from tests.a2a.conformance.tasks import NOBODYS, asked

URL: Final = "http://127.0.0.1:9/hook"


def config_of(peer: Peer, answer: Answer) -> dict[str, Any]:
    """Return the configuration of an answer."""
    assert answer.error is None, f"{answer.error}: {answer.message}"
    found: dict[str, Any] = answer.result["pushNotificationConfig"] if peer.is_legacy else answer.result
    return found


def configs_of(peer: Peer, answer: Answer) -> list[dict[str, Any]]:
    """Return the configurations of a list."""
    assert answer.error is None, f"{answer.error}: {answer.message}"
    if peer.is_legacy:
        return [each["pushNotificationConfig"] for each in answer.result]
    return list(answer.result.get("configs") or ())


@check("3.1.7")
def a_webhook_is_registered_and_read_back(peer: Peer) -> None:
    task, push_id = asked(peer)["id"], secrets.token_hex(4)
    answer = peer.webhook(task, id=push_id, url=URL, token="secret")
    assert config_of(peer, answer)["url"] == URL
    assert config_of(peer, answer)["id"] == push_id
    assert answer.result["taskId"] == task
    read = peer.of_webhook("GetTaskPushNotificationConfig", task, push_id)
    assert (config_of(peer, read)["id"], config_of(peer, read)["url"]) == (push_id, URL)


@check("3.1.9")
def webhooks_are_listed(peer: Peer) -> None:
    task = asked(peer)["id"]
    ids = sorted(secrets.token_hex(4) for _ in range(2))
    for push_id in ids:
        assert peer.webhook(task, id=push_id, url=URL).error is None
    listed = configs_of(peer, peer.of_webhook("ListTaskPushNotificationConfigs", task))
    assert sorted(each["id"] for each in listed) == ids


@check("3.1.9")
def a_task_without_webhooks_lists_none(peer: Peer) -> None:
    assert configs_of(peer, peer.of_webhook("ListTaskPushNotificationConfigs", asked(peer)["id"])) == []


@check("3.1.10", bare_fails={Wire.LEGACY: "answers without a result"})
def a_webhook_is_deleted(peer: Peer) -> None:
    task, push_id = asked(peer)["id"], secrets.token_hex(4)
    peer.webhook(task, id=push_id, url=URL)
    assert peer.of_webhook("DeleteTaskPushNotificationConfig", task, push_id).error is None
    assert peer.of_webhook("GetTaskPushNotificationConfig", task, push_id).error is not None
    assert configs_of(peer, peer.of_webhook("ListTaskPushNotificationConfigs", task)) == []


@check("3.1.10", MODERN)
def deleting_twice_is_no_error(peer: Peer) -> None:
    task, push_id = asked(peer)["id"], secrets.token_hex(4)
    peer.webhook(task, id=push_id, url=URL)
    for _ in range(2):
        assert peer.of_webhook("DeleteTaskPushNotificationConfig", task, push_id).error is None


@check("3.1.8")
def a_webhook_of_nobody_is_not_found(peer: Peer) -> None:
    read = peer.of_webhook("GetTaskPushNotificationConfig", asked(peer)["id"], "nobody's")
    assert read.error in ("task not found", "internal") if peer.is_legacy else read.error == "task not found"


@check("3.1.7")
def a_webhook_again_under_its_id_replaces_it(peer: Peer) -> None:
    task, push_id = asked(peer)["id"], secrets.token_hex(4)
    peer.webhook(task, id=push_id, url=URL)
    peer.webhook(task, id=push_id, url=f"{URL}/2")
    (only,) = configs_of(peer, peer.of_webhook("ListTaskPushNotificationConfigs", task))
    assert only["url"] == f"{URL}/2"


@check("3.1.7")
def a_webhook_may_come_with_the_message(peer: Peer) -> None:
    push_id = secrets.token_hex(4)
    key = "pushNotificationConfig" if peer.is_legacy else "taskPushNotificationConfig"
    task = peer.send("ask:hello", configuration={key: {"id": push_id, "url": URL}}).task
    (only,) = configs_of(peer, peer.of_webhook("ListTaskPushNotificationConfigs", task["id"]))
    assert (only["id"], only["url"]) == (push_id, URL)


@check("3.1.7")
def a_webhook_of_a_task_of_nobody_is_not_found(peer: Peer) -> None:
    assert peer.webhook(NOBODYS, url=URL).error == "task not found"


@check("3.1.7", (Wire.JSONRPC, Wire.LEGACY))
def a_webhook_without_an_address_is_invalid(peer: Peer) -> None:
    assert peer.webhook(asked(peer)["id"]).error == "invalid params"


# What an agent cannot


def _refused(method: str, error: str) -> Any:
    def run(peer: Peer) -> None:
        if method == "CreateTaskPushNotificationConfig":
            answer = peer.webhook(asked(peer)["id"], url=URL)
        elif method.endswith("TaskPushNotificationConfig") or method.endswith("Configs"):
            answer = peer.of_webhook(method, asked(peer)["id"], "x")
        elif method == "SendStreamingMessage":
            answer = peer.stream()
        elif method == "SubscribeToTask":
            answer = peer.call(method, {"id": asked(peer)["id"]})
        else:
            answer = peer.call(method, {})
        assert answer.error == error

    return run


each(
    "3.3.4",
    "push notifications that the agent has not",
    {
        method: _refused(method, "push not supported")
        for method in (
            "CreateTaskPushNotificationConfig",
            "GetTaskPushNotificationConfig",
            "ListTaskPushNotificationConfigs",
            "DeleteTaskPushNotificationConfig",
        )
    },
    agent="plain",
    bare_fails={Wire.LEGACY: "calls it an unsupported operation, or an internal error"},
)
each(
    "3.3.4",
    "streams that the agent has not",
    {method: _refused(method, "unsupported operation") for method in ("SendStreamingMessage", "SubscribeToTask")},
    agent="plain",
    bare_fails={Wire.LEGACY: "calls it an internal error, or finds no task"},
)
each(
    "3.1.11",
    "an extended card that the agent has not",
    {"GetExtendedAgentCard": _refused("GetExtendedAgentCard", "unsupported operation")},
    MODERN,
    agent="plain",
)
each(
    "0.3 7.10",
    "an extended card that the agent has not",
    {"0.3": _refused("GetExtendedAgentCard", "extended card not configured")},
    (Wire.LEGACY,),
    agent="plain",
    bare_fails={Wire.LEGACY: "calls it an internal error"},
)


@check("3.1.1", agent="plain")
def an_agent_without_capabilities_answers_all_the_same(peer: Peer) -> None:
    assert peer.send().task["id"]
