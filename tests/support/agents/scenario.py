"""What an echo agent does for a message, whatever its protocol generation; both virtualenvs import this.

hello            a task: working, two artifact chunks, completed with the message "echo: hello"
gate:hello       the same, each event held until released at the gate "hello"
reply:hello      a bare message instead of a task
ask:hello        a task that ends in input-required
fail:hello       a task that fails
crash:hello      the agent raises in the middle of the task
bulk:1000000     one artifact chunk of so many characters
refuse:hello     a task that the agent rejects
login:hello      a task that ends in auth-required
parts:hello      an artifact of text, data, bytes and a URL, with metadata and a name, then completed
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """The events of an agent, in the words of neither protocol generation."""

    SUBMITTED = "submitted"
    WORKING = "working"
    CHUNK = "chunk"
    COMPLETED = "completed"
    FAILED = "failed"
    INPUT_REQUIRED = "input_required"
    REJECTED = "rejected"
    AUTH_REQUIRED = "auth_required"
    PARTS = "parts"
    REPLY = "reply"
    CRASH = "crash"


@dataclass(frozen=True)
class Step:
    """One event; `append` and `last` are a chunk's place in its artifact."""

    kind: Kind
    text: str = ""
    append: bool = False
    last: bool = False


@dataclass(frozen=True)
class Scenario:
    """What to emit, in order; with a gate, each event waits until one is released at the gate of that name."""

    steps: tuple[Step, ...]
    gate: str | None


@dataclass(frozen=True)
class Options:
    """How an agent is started; travels as one JSON argument."""

    name: str = "echo"
    port: int = 0
    compat: bool = False
    """1.x only: serve 0.3 on the same URL too."""
    gate: bool = False
    """Hold the events of every message, at the gate named like the whole text."""
    require: dict[str, str] | None = None
    """Headers that a JSON-RPC request must carry exactly, or it is answered 401."""
    redirect_to: str | None = None
    """Answer everything with a 302 to this URL."""
    advertised_url: str | None = None
    """The URL that the card names, when it is not the agent's own."""
    rest: bool = False
    """1.x only: serve HTTP+JSON below the same URL too, although the card names one binding alone."""
    binding: str = "JSONRPC"
    """1.x only: what the card names."""
    plain: bool = False
    """Stream nothing, notify nobody, and have no extended card."""
    extension: str | None = None
    """1.x only: URI of an extension without which the agent answers nothing."""

    def to_json(self) -> str:
        """Write the argument."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Options:
        """Read the argument."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**fields)


def scenario_for(message: str, *, always_gate: bool = False) -> Scenario:
    """Decide what the agent does for the text of a message."""
    command, _, rest = message.partition(":")
    gate = rest if command == "gate" else message if always_gate else None
    begin = (Step(Kind.SUBMITTED), Step(Kind.WORKING, "working on it"))
    match command:
        case "reply":
            steps: tuple[Step, ...] = (Step(Kind.REPLY, f"echo: {rest}"),)
        case "ask":
            steps = (*begin, Step(Kind.INPUT_REQUIRED, f"more about {rest}?"))
        case "fail":
            steps = (*begin, Step(Kind.FAILED, f"cannot {rest}"))
        case "refuse":
            steps = (*begin, Step(Kind.REJECTED, f"will not {rest}"))
        case "login":
            steps = (*begin, Step(Kind.AUTH_REQUIRED, f"who asks for {rest}?"))
        case "parts":
            steps = (*begin, Step(Kind.PARTS, rest), Step(Kind.COMPLETED, "done"))
        case "crash":
            steps = (*begin, Step(Kind.CRASH, rest))
        case "bulk":
            steps = (*begin, Step(Kind.CHUNK, "x" * int(rest), last=True), Step(Kind.COMPLETED, "done"))
        case "gate":
            steps = _echo(begin, rest)
        case _:
            steps = _echo(begin, message)
    return Scenario(steps, gate)


def _echo(begin: tuple[Step, ...], text: str) -> tuple[Step, ...]:
    return (
        *begin,
        Step(Kind.CHUNK, "echo: "),
        Step(Kind.CHUNK, text, append=True, last=True),
        Step(Kind.COMPLETED, f"echo: {text}"),
    )
