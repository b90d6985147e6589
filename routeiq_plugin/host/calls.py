"""LiteLLM's own machinery around one call of an agent: limits, budgets, guardrails, and one event at its end.

What `invoke_agent_a2a` of LiteLLM does for the two methods that it logs is done here for every method. Hooks and events
see A2A 0.3 shapes, which is what LiteLLM's guardrail translation reads, whatever the client and the agent speak.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, Self

import litellm
from fastapi import HTTPException
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER
from litellm.proxy._types import ProxyException
from litellm.proxy.common_request_processing import ProxyBaseLLMRequestProcessing
from litellm.proxy.litellm_pre_call_utils import get_chain_id_from_headers
from litellm.proxy.utils import unified_guardrail
from starlette.requests import Request

from routeiq_plugin.host import budgets
from routeiq_plugin.host.auth import Caller
from routeiq_plugin.host.call_views import (
    CLIENT_LEFT,
    Answer,
    Boundary,
    CallFailed,
    Json,
    Shown,
    StreamEvent,
    Usage,
    result_of,
    shown_of,
    status_of,
    withheld,
)
from routeiq_plugin.host.process import proxy_server

CALL_TYPE: Final = "asend_message"
PROVIDER: Final = "a2a_agent"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is called, as LiteLLM logs it; `hidden_headers` (lower case) are the caller's secrets."""

    agent_id: str
    agent_name: str
    guardrails: tuple[str, ...] = ()
    hidden_headers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LoggedKey:
    """A caller's key as LiteLLM logs it."""

    hash: str
    alias: str | None


def require_trace_id(request: Request, agent_id: str) -> None:
    """Apply `require_trace_id_on_calls_to_agent`, in LiteLLM's words."""
    if not get_chain_id_from_headers(dict(request.headers)):
        raise HTTPException(400, f"Agent '{agent_id}' requires x-litellm-trace-id header on all inbound requests.")


def key_of(caller: Caller) -> LoggedKey:
    """Tell a caller's key by its hash: LiteLLM's auth object holds nothing else of it."""
    return LoggedKey(caller.identity.api_key or "", caller.identity.key_alias or None)


def count_tokens(text: str) -> int:
    """Count with LiteLLM's tokenizer; takes milliseconds for long texts, so not on the loop."""
    return int(litellm.token_counter(text=text)) if text else 0


class HostedCall:
    """A call that LiteLLM let through; `begin` makes one, and exactly one of `succeed` and `fail` ends it."""

    def __init__(self, identity: Any, data: Json, logging: Any, rpc_id: Any) -> None:
        self._identity = identity
        self._data = data
        self._logging = logging
        self._rpc_id = rpc_id
        # The rate limiter keeps what it took in a context variable, and must find it where the call ends.
        self._context = contextvars.copy_context()

    @classmethod
    async def begin(cls, caller: Caller, request: Request, subject: Subject, rpc: Json) -> Self:
        """Run LiteLLM's checks and hooks; `rpc` is the JSON-RPC request in 0.3 shape, with what callers may add to it.

        Raises LiteLLM's own refusal (`HTTPException`, `ProxyException`), whose failure event is sent by then.
        """
        module = proxy_server()
        identity = _invoking(caller.identity, subject.agent_id)
        processor = ProxyBaseLLMRequestProcessing(data=_data(subject, rpc))
        try:
            await budgets.require(identity)
            data, logging = await processor.common_processing_pre_call_logic(
                request=_loggable(request, subject),
                general_settings=module.general_settings,
                user_api_key_dict=identity,
                proxy_logging_obj=module.proxy_logging_obj,
                proxy_config=module.proxy_config,
                route_type=CALL_TYPE,
                version=module.version,
            )
        except Exception as refused:
            raise await _refusal(refused, processor.data, identity, subject) from refused
        _describe(logging, subject)
        return cls(identity, data, logging, rpc.get("id"))

    @property
    def params(self) -> Json:
        """Params of the request after the hooks, in 0.3 shape."""
        params = self._data.get("params")
        return params if isinstance(params, dict) else {}

    @property
    def trace_id(self) -> str | None:
        """Trace that LiteLLM put the call into, for the agent to go on with."""
        trace = self._data.get("litellm_trace_id") or getattr(self._logging, "litellm_trace_id", None)
        return str(trace) if trace else None

    @property
    def has_token_limit(self) -> bool:
        """Tell whether any limit of the caller's counts tokens, so that they must be counted."""
        return any(getattr(self._identity, name) not in (None, {}) for name in _token_limits(self._identity.__class__))

    # Hooks

    @property
    def moderates(self) -> bool:
        """Tell whether any callback may judge the request while the agent works."""
        found = capabilities()
        return bool(found.has_guardrail or found.has_moderation_override)

    async def moderate(self) -> None:
        """Run the hooks that judge the request while the agent works; raises `CallFailed` when one refuses."""
        try:
            await self._hooks.during_call_hook(data=self._data, user_api_key_dict=self._identity, call_type=CALL_TYPE)
        except Exception as refused:
            raise withheld(refused) from refused

    async def answered(self, result: Json) -> Json:
        """Show an answer's result to the hooks; returns it as they leave it, raises `CallFailed` when one refuses."""
        try:
            changed = await self._hooks.post_call_success_hook(
                data=self._data, response=Answer(id=self._rpc_id, result=result), user_api_key_dict=self._identity
            )
        except Exception as refused:
            raise withheld(refused) from refused
        return result_of(changed if isinstance(changed, Mapping) else changed.model_dump())

    @property
    def watches_streams(self) -> bool:
        """Tell whether any callback looks at events of streams; otherwise they need not be shown."""
        found = capabilities()
        return bool(found.iterator_overrides or found.has_streaming_chunk_override or found.has_guardrail)

    def event(self, result: Json, origin: Any) -> StreamEvent:
        """Build what the hooks see of one event."""
        return StreamEvent(self._rpc_id, result, origin)

    async def streamed(self, events: AsyncIterator[StreamEvent]) -> AsyncGenerator[Shown, None]:
        """Pass events through the hooks, each as soon as they let it out.

        Raises what the agent's side raises, and `CallFailed` when a hook refuses.
        """
        source = Boundary(self._masked(events))
        guarded = self._hooks.async_post_call_streaming_iterator_hook(
            response=source, user_api_key_dict=self._identity, request_data=self._data
        )
        try:
            async for event in guarded:
                changed = await self._hooks.async_post_call_streaming_hook(
                    data=self._data, response=event, user_api_key_dict=self._identity, str_so_far=""
                )
                yield shown_of(event, changed)
        except Exception as refused:
            if refused is source.failure or isinstance(refused, CallFailed):
                raise
            raise withheld(refused) from refused
        finally:
            await guarded.aclose()

    async def _masked(self, events: AsyncIterator[StreamEvent]) -> AsyncGenerator[StreamEvent, None]:
        """Let guardrails with `mask_response_content` rewrite each event by itself.

        LiteLLM's own streaming of unified guardrails drops what they rewrite: it only stops streams.
        """
        maskers = [each for each in capabilities().resolved_callbacks if _masks_answers(each)]
        async for event in events:
            for masker in maskers:
                # Whether it runs for this call and where in the event texts are is LiteLLM's to decide.
                self._data["guardrail_to_apply"] = masker
                answer = Answer(id=self._rpc_id, result=event["result"])
                await unified_guardrail.async_post_call_success_hook(
                    data=self._data, response=answer, user_api_key_dict=self._identity
                )
            yield event

    # The end

    async def release(self) -> None:
        """Give back the caller's place among concurrent requests; what is given back already stays so."""
        hooks = self._hooks
        release = getattr(hooks, "arelease_max_parallel_requests_on_disconnect", None) or (
            hooks._arelease_max_parallel_requests_on_disconnect
        )
        await asyncio.get_running_loop().create_task(release(self._identity), context=self._context)

    def succeed(self, result: Json, *, cost: float, usage: Usage | None = None, client_left: bool = False) -> None:
        """Send the success event, in LiteLLM's own queue; `cost` in dollars."""
        details = self._logging.model_call_details
        details["response_cost"] = cost
        if usage is not None:
            tokens = litellm.Usage(
                prompt_tokens=usage.prompt,
                completion_tokens=usage.completion,
                total_tokens=usage.prompt + usage.completion,
            )
            details["usage"] = details["combined_usage_object"] = tokens
        if client_left:
            self._mark_client_left()
        answer = Answer(id=self._rpc_id, result=result)
        answer._hidden_params["response_cost"] = cost
        self._enqueue(
            self._logging.dispatch_success_handlers(
                answer,
                start_time=self._logging.start_time,
                end_time=datetime.now(),
                cache_hit=None,
                prefer_async_handlers=True,
            )
        )

    async def fail(self, failure: CallFailed) -> None:
        """Send the failure event and run the failure hooks, which release limits and reservations."""
        await asyncio.get_running_loop().create_task(self._fail(failure), context=self._context)

    def fail_later(self, failure: CallFailed) -> None:
        """Do what `fail` does in LiteLLM's own queue, where nothing may be awaited any more."""
        if failure.status_code == CLIENT_LEFT:
            self._mark_client_left()
        self._enqueue(self._fail(failure))

    async def _fail(self, failure: CallFailed) -> None:
        await self._logging.dispatch_failure_handlers(failure, "", prefer_async_handlers=True)
        await self._hooks.post_call_failure_hook(
            request_data=self._data, original_exception=failure, user_api_key_dict=self._identity
        )

    def _mark_client_left(self) -> None:
        litellm_params = self._logging.model_call_details.setdefault("litellm_params", {})
        for holder in (litellm_params, self._logging.model_call_details, self._data):
            holder["metadata"] = {**(holder.get("metadata") or {}), "client_disconnected": True}

    def _enqueue(self, work: Any) -> None:
        self._context.run(GLOBAL_LOGGING_WORKER.ensure_initialized_and_enqueue, work)

    @property
    def _hooks(self) -> Any:
        return proxy_server().proxy_logging_obj


@cache
def _token_limits(identity: Any) -> tuple[str, ...]:
    return tuple(name for name in identity.model_fields if "tpm_limit" in name)


def capabilities() -> Any:
    """Return what LiteLLM knows of the configured callbacks."""
    hooks = type(proxy_server().proxy_logging_obj)
    look = getattr(hooks, "callback_capabilities", None) or hooks._callback_capabilities
    return look()


def _masks_answers(callback: Any) -> bool:
    return (
        getattr(callback, "mask_response_content", False) is True
        and "apply_guardrail" in type(callback).__dict__
        and not getattr(callback, "use_native_lifecycle_hooks", False)
    )


def _invoking(identity: Any, agent_id: str) -> Any:
    """Say whose agent is called, on a copy: LiteLLM caches the original across requests."""
    if "invoked_agent_id" not in type(identity).model_fields:  # since 1.104
        return identity
    return identity.model_copy(update={"invoked_agent_id": agent_id})


def _data(subject: Subject, rpc: Json) -> Json:
    """Lay the request out as LiteLLM's own handler does."""
    model = f"{PROVIDER}/{subject.agent_name}"
    metadata = {
        "agent_id": subject.agent_id,
        "model_group": model,
        "model_info": {"id": subject.agent_id},
    }
    asked = rpc.get("guardrails")
    named = [name for name in asked if isinstance(name, str | dict)] if isinstance(asked, list) else []
    guardrails = named + [name for name in subject.guardrails if name not in named]
    return {
        **{name: value for name, value in rpc.items() if name != "guardrails"},
        "metadata": metadata,
        "agent_id": subject.agent_id,
        "model": model,
        "custom_llm_provider": PROVIDER,
        **({"guardrails": guardrails} if guardrails else {}),
    }


def _loggable(request: Request, subject: Subject) -> Request:
    """Show LiteLLM the request without query string (some clients send keys there) and without secret headers."""
    scope = dict(request.scope)
    scope["path"] = f"{str(scope.get('root_path', '')).rstrip('/')}/a2a/{subject.agent_id}"
    scope["raw_path"] = scope["path"].encode()
    scope["query_string"] = b""
    scope["headers"] = [
        (name, value)
        for name, value in scope["headers"]
        if name.decode("latin-1").lower() not in subject.hidden_headers and not name.lower().startswith(b"x-a2a-")
    ]
    return Request(scope, request.receive)


def _describe(logging: Any, subject: Subject) -> None:
    details = logging.model_call_details
    logging.custom_llm_provider = details["custom_llm_provider"] = PROVIDER
    details["agent_id"] = subject.agent_id
    details["call_type"] = logging.call_type


async def _refusal(refused: Exception, data: Json, identity: Any, subject: Subject) -> Exception:
    """Send the failure event of a call that LiteLLM's checks or hooks refused, and say how it is answered."""
    logging = data.get("litellm_logging_obj")
    hooks = proxy_server().proxy_logging_obj
    if logging is not None:
        _describe(logging, subject)
        logging.model_call_details["response_cost"] = 0.0
        await logging.dispatch_failure_handlers(refused, "", prefer_async_handlers=True)
    transformed = await hooks.post_call_failure_hook(
        request_data=data, original_exception=refused, user_api_key_dict=identity
    )
    if isinstance(transformed, HTTPException):
        return transformed
    if isinstance(refused, HTTPException | ProxyException):
        return refused
    return HTTPException(status_of(refused), detail=str(getattr(refused, "message", None) or refused))
