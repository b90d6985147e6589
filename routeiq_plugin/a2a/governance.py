"""Governance of one call: LiteLLM's limits and hooks before it, its price, and one event and one record at its end."""

from __future__ import annotations

import asyncio
import copy
import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, Final, Self

from starlette.requests import Request
from starlette.responses import Response

from routeiq_plugin.a2a.model import Agent
from routeiq_plugin.a2a.outcomes import INVALID, LEFT, CallLog, Failure, Prices
from routeiq_plugin.a2a.records import CallRecorder
from routeiq_plugin.host import call_views, calls
from routeiq_plugin.host.auth import Caller
from routeiq_plugin.host.behind import Followed
from routeiq_plugin.host.config import key_header
from routeiq_plugin.outbound.headers import CREDENTIALS

CALL: Final = "routeiq.a2a.call"
"""Key of the ASGI scope, and of the SDK's call state, under which the governed call travels."""

V1_NAMES: Final[Mapping[str, str]] = {
    "message/send": "SendMessage",
    "message/stream": "SendStreamingMessage",
    "tasks/get": "GetTask",
    "tasks/list": "ListTasks",
    "tasks/cancel": "CancelTask",
    "tasks/resubscribe": "SubscribeToTask",
    "tasks/pushNotificationConfig/set": "CreateTaskPushNotificationConfig",
    "tasks/pushNotificationConfig/get": "GetTaskPushNotificationConfig",
    "tasks/pushNotificationConfig/list": "ListTaskPushNotificationConfigs",
    "tasks/pushNotificationConfig/delete": "DeleteTaskPushNotificationConfig",
    "agent/getAuthenticatedExtendedCard": "GetExtendedAgentCard",
}
"""Method of A2A 0.3 to that of 1.0."""
V03_NAMES: Final[Mapping[str, str]] = {name: old for old, name in V1_NAMES.items()}
MESSAGES: Final = frozenset({"SendMessage", "SendStreamingMessage"})
"""What says something to an agent, and costs: the rest asks after what was said."""

_FOR_LITELLM: Final = ("guardrails", "tags", "litellm_trace_id", "litellm_session_id")
"""What a caller may add to the params for LiteLLM, as on stock; agents do not see it."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """A call as its caller wrote it."""

    method: str
    """1.0 name."""
    is_v03: bool
    params: Any
    call_id: str | int | None = None
    extras: Mapping[str, Any] | None = None
    """What the caller adds for LiteLLM: guardrails, tags, trace and session ids."""

    @classmethod
    def of_jsonrpc(cls, call: Mapping[str, Any]) -> Self | None:
        """Read a JSON-RPC request of either version; None where it names no method that A2A has."""
        method = call.get("method")
        if not isinstance(method, str) or not (method in V1_NAMES or method in V03_NAMES):
            return None
        call_id = call.get("id")
        params = call.get("params")
        inner = params if isinstance(params, Mapping) else {}
        return cls(
            method=V1_NAMES.get(method, method),
            is_v03=method in V1_NAMES,
            params={} if params is None else params,
            call_id=call_id if isinstance(call_id, str | int) and not isinstance(call_id, bool) else None,
            extras={name: inner[name] for name in _FOR_LITELLM if name in inner},
        )


async def govern(
    recorder: CallRecorder, caller: Caller, agent: Agent, request: Request, invocation: Invocation
) -> GovernedCall:
    """Let LiteLLM check a call before its agent hears of it; the caller of this ends it with `sealed` or `fail`.

    Raises LiteLLM's own refusal, which goes out with its status and in its shape; its event and record are sent.
    """
    if agent.litellm_params.get("require_trace_id_on_calls_to_agent"):
        calls.require_trace_id(request, agent.agent_id)
    shapes = await _shapes()
    is_message = invocation.method in MESSAGES
    params = (
        shapes.message_params(invocation.params, is_v03=invocation.is_v03)
        if is_message
        else shapes.task_params(invocation.params)
    )
    rpc = {
        **(invocation.extras or {}),
        "jsonrpc": "2.0",
        "id": invocation.call_id,
        "method": V03_NAMES[invocation.method],
        "params": params or {},
    }
    log = CallLog(recorder, caller, agent, invocation.method)
    before = copy.deepcopy(params) if is_message else None
    try:
        hosted = await calls.HostedCall.begin(caller, request, _subject(agent), rpc)
    except Exception:
        log.write("refused")
        raise
    call = GovernedCall(hosted, log, Prices.of(agent.litellm_params), before)
    call.counts_tokens = is_message and (
        call.prices.counts_tokens
        or hosted.has_token_limit
        or any(agent.fields.get(name) is not None for name in ("tpm_limit", "session_tpm_limit"))
    )
    return call


class GovernedCall:
    """A call that may go on: its agent's answers pass through here, and it ends exactly once."""

    def __init__(
        self, hosted: calls.HostedCall, log: CallLog, prices: Prices, before: Mapping[str, Any] | None
    ) -> None:
        self.hosted = hosted
        self.prices = prices
        self.counts_tokens = False
        self._log = log
        self._before = before
        self._open = True
        self._said: list[str] = []
        self._last: Callable[[], Mapping[str, Any]] = dict
        self._answered = False
        self._conclude: Callable[[], None] | None = None

    @property
    def revised_message(self) -> Any | None:
        """The message as the hooks changed it, in 0.3 shape; None where they left it alone."""
        if self._before is None:
            return None
        message = self.hosted.params.get("message")
        return None if message == self._before.get("message") else message

    @property
    def trace(self) -> Mapping[str, str]:
        """Header by which the agent goes on with the trace that LiteLLM put the call into."""
        trace_id = self.hosted.trace_id
        return {"x-litellm-trace-id": trace_id} if trace_id else {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """End the call with what stopped it before its agent was asked; leaves the error to the caller."""
        if isinstance(error, Exception):
            await self.fail(Failure.of(error))
        elif error is not None:
            self.abandon()
        if error is not None:
            self.settle()

    def heard(self, result: Callable[[], Mapping[str, Any]], said: str = "") -> None:
        """Note an answer or an event of the agent: how to render it in 0.3 shape, and what it says if tokens count."""
        self._answered = True
        self._last = result
        if said:
            self._said.append(said)

    def succeed(self) -> None:
        """End the call well; its event waits for `settle`, behind the answer."""
        self._succeed(client_left=False)

    async def fail(self, failure: Failure) -> None:
        """End the call badly; its event is sent and what it took of limits and budgets is back before this returns."""
        if self._ends():
            self._log.write(failure.kind)
            await self.hosted.fail(failure.told)

    def abandon(self) -> None:
        """End a call whose caller left; what the agent had answered by then counts."""
        if self._open and self._answered:
            self._succeed(client_left=True)
        elif self._ends():
            self._log.write(LEFT.kind, client_left=True)
            self.hosted.fail_later(LEFT.told)

    async def sealed(self, response: Response) -> Response:
        """Return the response so that the call ends with it: one that the agent never heard of was invalid."""
        if response.status_code == call_views.CLIENT_LEFT:
            self.abandon()
        elif self._open and not hasattr(response, "body_iterator"):
            await self.fail(INVALID)
        return Followed(response, self._close)

    def settle(self) -> None:
        """Send the event of a call that ended well, if it waits: LiteLLM's logging must not delay the answer."""
        conclude, self._conclude = self._conclude, None
        if conclude is not None:
            conclude()

    def _close(self) -> None:
        self.abandon()
        self.settle()

    def _ends(self) -> bool:
        was_open, self._open = self._open, False
        return was_open

    def _succeed(self, *, client_left: bool) -> None:
        if not self._ends():
            return
        if self.counts_tokens:
            self._conclude = partial(self._count_later, client_left)
            return
        cost = self._record(None, client_left=client_left)
        self._conclude = partial(self._tell, cost, None, client_left=client_left)

    def _count_later(self, client_left: bool) -> None:
        counting = asyncio.get_running_loop().create_task(self._count(client_left))
        _counting.add(counting)
        counting.add_done_callback(_counting.discard)

    async def _count(self, client_left: bool) -> None:
        asked = _text(self.hosted.params.get("message"))
        usage = await asyncio.to_thread(
            lambda: call_views.Usage(calls.count_tokens(asked), calls.count_tokens("".join(self._said)))
        )
        self._tell(self._record(usage, client_left=client_left), usage, client_left=client_left)

    def _record(self, usage: call_views.Usage | None, *, client_left: bool) -> float:
        cost = self.prices.cost(usage) if self._log.method in MESSAGES else 0.0
        self._log.write(None, client_left=client_left, spend=cost, usage=usage)
        return cost

    def _tell(self, cost: float, usage: call_views.Usage | None, *, client_left: bool) -> None:
        self.hosted.succeed(dict(self._last()), cost=cost, usage=usage, client_left=client_left)


_counting: Final[set[asyncio.Task[None]]] = set()
"""The loop itself keeps no task alive."""


async def counted() -> None:
    """Wait for the calls whose tokens are still being counted: their records come with that."""
    await asyncio.gather(*_counting, return_exceptions=True)


def _subject(agent: Agent) -> calls.Subject:
    configured = agent.litellm_params.get("guardrails") or ()
    names = (configured,) if isinstance(configured, str) else tuple(configured)
    passed_on = {str(name).lower() for name in agent.fields.get("extra_headers") or ()}
    secret = CREDENTIALS | {"x-litellm-api-key"} | {name for name in passed_on if not name.startswith("x-litellm-")}
    key = key_header()
    return calls.Subject(agent.agent_id, agent.name, names, secret | {key} if key else secret)


def _text(message: Any) -> str:
    parts = message.get("parts") or () if isinstance(message, Mapping) else ()
    return " ".join(str(part["text"]) for part in parts if isinstance(part, Mapping) and part.get("text"))


async def _shapes() -> ModuleType:
    """The SDK takes half a second to load, too long for the loop."""
    name = "routeiq_plugin.a2a.shapes"
    loaded: ModuleType | None = sys.modules.get(name)
    return loaded if loaded is not None else await asyncio.to_thread(importlib.import_module, name)
