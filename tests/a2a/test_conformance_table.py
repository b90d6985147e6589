"""The gateway does what the specification says, wherever the agent behind it does and where that one does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from tests.a2a.calls import granted, registered
from tests.a2a.conformance import cards, envelopes, streams, tasks, webhooks
from tests.a2a.conformance.peers import Peer, Wire
from tests.a2a.conformance.table import CHECKS, Check, Kind
from tests.support.backends import Backend, Version, agent
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.requirement("A2A-21"), pytest.mark.requirement("A2A-20")]

PARTS: Final = (cards, envelopes, streams, tasks, webhooks)
"""Importing them fills the table."""

RELAYED: Final = frozenset(part.__name__ for part in (streams, tasks, webhooks))
"""What an agent has its part in; the rest never reaches it."""

OF_1_0_ALONE: Final[dict[str, str]] = {
    "listing": "0.3 has no list of tasks",
    "a filter that means nothing": "0.3 has no list of tasks",
    "a message to a finished task": "the agent's own word for it, invalid params, is kept",
    "streaming to a finished task": "the agent's own word for it, invalid params, is kept",
    "subscribing to a finished task": "the agent's own word for it, invalid params, is kept",
    "a part that the agent cannot read": "this agent reads everything",
}
"""Beginnings of checks that an agent of 0.3 cannot pass, and why."""

NATIVE: Final[dict[Wire, Version]] = {Wire.JSONRPC: "1.0", Wire.REST: "1.0", Wire.LEGACY: "0.3"}
"""Which agent speaks a wire without being asked to."""

PeerOf = Callable[[Wire, Kind, Version], tuple[Peer, Peer]]


@pytest.fixture(scope="module")
def peers(reachable: Proxy) -> Iterator[PeerOf]:
    """The bare agent and the gateway in front of it, for a wire, a kind of agent and the version that it speaks."""
    with ExitStack() as stack:
        agents: dict[tuple[Kind, Version], tuple[Backend, str, str]] = {}
        http = stack.enter_context(reachable.client(None))

        def served(kind: Kind, version: Version) -> tuple[Backend, str, str]:
            if (kind, version) not in agents:
                extension = envelopes.EXTENSION if kind == "extended" else None
                backend = stack.enter_context(
                    agent(version, rest=version != "0.3", plain=kind == "plain", extension=extension)
                )
                ours = stack.enter_context(registered(reachable, backend.card()))
                agents[kind, version] = backend, ours.url, granted(reachable, ours)
            return agents[kind, version]

        def of(wire: Wire, kind: Kind, version: Version) -> tuple[Peer, Peer]:
            backend, url, key = served(kind, version)
            return Peer(http, backend.url, wire), Peer(http, url, wire, {"Authorization": f"Bearer {key}"})

        yield of


@pytest.mark.parametrize(
    ("check", "wire"),
    [pytest.param(check, wire, id=f"{check.name} [{wire}]") for check in CHECKS for wire in check.wires],
)
def test_the_gateway_does_what_the_specification_says(peers: PeerOf, check: Check, wire: Wire) -> None:
    bare, gateway = peers(wire, check.agent, NATIVE[wire])
    check.run(gateway)
    failed = _failure(check, bare)
    known = check.bare_fails.get(wire)
    assert (failed is None) == (known is None), f"the bare agent: {failed}; the table: {known}"


@pytest.mark.parametrize(
    ("check", "wire"),
    [
        pytest.param(check, wire, id=f"{check.name} [{wire}]")
        for check in CHECKS
        for wire in check.wires
        if check.run.__module__ in RELAYED and check.agent != "extended"
        if wire is Wire.LEGACY or not check.name.startswith(tuple(OF_1_0_ALONE))
    ],
)
def test_the_same_holds_in_front_of_an_agent_of_the_other_version(peers: PeerOf, check: Check, wire: Wire) -> None:
    _, gateway = peers(wire, check.agent, "0.3" if NATIVE[wire] == "1.0" else "1.0")
    check.run(gateway)


def _failure(check: Check, peer: Peer) -> str | None:
    try:
        check.run(peer)
    except (AssertionError, KeyError) as failed:
        return repr(failed)
    return None
