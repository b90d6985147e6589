"""Background failures: logged once, counted always, the quietest forgotten first."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from routeiq_plugin.operations.faults import KEPT, Faults
from tests.a2a import registry as agents
from tests.conftest import ProxyFactory
from tests.support import processes

pytestmark = pytest.mark.requirement("RLD-04")

PATIENCE = 60.0
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Clock:
    """Advances a minute at each look."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now


def test_the_first_of_a_kind_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults(Clock())
    for text in ("first", "second"):
        faults.record("database", OSError(text))
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "routeiq: database: first")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], OSError)


def test_every_one_is_counted_and_the_last_is_told() -> None:
    faults = Faults(Clock())
    for text in ("first", "second", "third"):
        faults.record("database", OSError(text))
    (fault,) = faults.listed()
    assert (fault.where, fault.kind, fault.message, fault.count) == ("database", "OSError", "third", 3)
    assert (fault.first_at, fault.last_at) == (NOON + timedelta(minutes=1), NOON + timedelta(minutes=3))


def test_kinds_and_places_are_apart_and_the_most_recent_is_last() -> None:
    faults = Faults(Clock())
    faults.record("database", OSError())
    faults.record("database", ValueError())
    faults.record("following changes", ValueError())
    faults.record("database", OSError())
    assert [(fault.where, fault.kind) for fault in faults.listed()] == [
        ("database", "ValueError"),
        ("following changes", "ValueError"),
        ("database", "OSError"),
    ]
    assert faults.counts() == {"database": 3, "following changes": 1}


def test_only_so_many_kinds_are_remembered() -> None:
    faults = Faults(Clock())
    faults.record("loud", OSError())
    for number in range(KEPT):
        faults.record(f"place {number}", OSError())
        faults.record("loud", OSError())
    assert len(faults.listed()) == KEPT
    assert faults.counts()["loud"] == KEPT + 1
    assert "place 0" not in faults.counts()


def test_deliveries_that_fail_unexpectedly_are_counted_and_shown(own_proxy: ProxyFactory) -> None:
    where = "push notifications"
    with own_proxy() as proxy:
        with proxy.client() as admin:
            assert admin.get("/v1/agents").status_code == 200, "which waits for the database"
        with closing(sqlite3.connect(proxy.workdir / "routeiq.db")) as database, database:
            database.execute(
                "INSERT INTO routeiq_push_delivery (push_id, payload, attempts, due_at, created_at)"
                " VALUES ('x', '{}', 0, '9999 is no time', '9999 is no time')"
            )

        def counted() -> int:
            return int(agents.info(proxy, plain)["faults"].get(where, 0))

        plain = proxy.add_key()
        processes.wait_until(lambda: counted() >= 2, PATIENCE, "a second failure")
        (fault,) = [each for each in agents.info(proxy)["faults"] if each["where"] == where]
        assert fault["kind"] == "ValueError"
        assert fault["count"] >= 2
        assert proxy.log().count(f"routeiq: {where}: ") == 1, "it is logged once"
