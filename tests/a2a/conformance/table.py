"""The table: each check says what a paragraph of the specification asks, in which bindings, and of which agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from tests.a2a.conformance.peers import Peer, Wire

Kind = Literal["full", "plain", "extended"]
"""An agent with every capability, one with none, one that asks for an extension."""

Run = Callable[[Peer], None]

JSONRPC: Final = (Wire.JSONRPC, Wire.LEGACY)
MODERN: Final = (Wire.JSONRPC, Wire.REST)
ALL: Final = tuple(Wire)

CHECKS: Final[list[Check]] = []


@dataclass(frozen=True)
class Check:
    """What a client does and what it must see; `run` fails by an `AssertionError`."""

    section: str
    name: str
    run: Run = field(repr=False)
    wires: tuple[Wire, ...]
    agent: Kind
    bare_fails: Mapping[Wire, str]
    """Where the SDK's own agent does not do what the specification says, and how."""


def check(
    section: str,
    wires: tuple[Wire, ...] = ALL,
    *,
    agent: Kind = "full",
    bare_fails: Mapping[Wire, str] | None = None,
) -> Callable[[Run], Run]:
    """Put a function into the table; `section` is of the A2A specification 1.0 unless it says otherwise."""

    def add(run: Run) -> Run:
        CHECKS.append(Check(section, run.__name__.replace("_", " "), run, wires, agent, bare_fails or {}))
        return run

    return add


def each(
    section: str,
    name: str,
    runs: Mapping[str, Run],
    wires: tuple[Wire, ...] = ALL,
    *,
    agent: Kind = "full",
    bare_fails: Mapping[Wire, str] | None = None,
    bare_fails_at: Mapping[str, Mapping[Wire, str]] | None = None,
) -> None:
    """Put several of one sort into the table; `bare_fails_at` is by their own names."""
    for case, run in runs.items():
        failing = {**(bare_fails or {}), **(bare_fails_at or {}).get(case, {})}
        CHECKS.append(Check(section, f"{name}: {case}", run, wires, agent, failing))
