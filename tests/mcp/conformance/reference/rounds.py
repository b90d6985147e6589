"""Tools and a prompt that answer with questions, round by round (2026-07-28, SEP-2322)."""

from __future__ import annotations

from typing import Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolRequestParams,
    ClientCapabilities,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    GetPromptRequestParams,
    GetPromptResult,
    InputRequiredResult,
    InputResponses,
    ListRootsRequest,
    ListRootsResult,
    MissingRequiredClientCapabilityErrorData,
    PromptMessage,
    RequestParams,
    SamplingCapability,
    SamplingMessage,
    TextContent,
)

from tests.mcp.conformance.reference.parts import Answer, Context, Tools, said, text_of
from tests.mcp.conformance.reference.schemas import text


def _form(message: str, schema: dict[str, Any]) -> ElicitRequest:
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def _sample(question: str) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=question))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=100))


_NAME: Final = _form("What is your name?", text("name"))
_CONFIRM: Final = _form(
    "Please confirm", {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
)
_ROOTS: Final = ListRootsRequest(params=RequestParams())


def _ask(state: str | None = None, **questions: Any) -> InputRequiredResult:
    return InputRequiredResult(input_requests=questions, request_state=state)


def _filled(responses: InputResponses | None, name: str) -> dict[str, Any] | None:
    heard = (responses or {}).get(name)
    return dict(heard.content or {}) if isinstance(heard, ElicitResult) and heard.action == "accept" else None


async def _asks_user(context: Context, params: CallToolRequestParams) -> Answer:
    filled = _filled(params.input_responses, "user_name")
    return _ask(user_name=_NAME) if filled is None else said(f"Hello, {filled.get('name')}!")


async def _asks_model(context: Context, params: CallToolRequestParams) -> Answer:
    heard = (params.input_responses or {}).get("capital_question")
    if heard is None:
        return _ask(capital_question=_sample("What is the capital of France?"))
    return said(text_of(getattr(heard, "content", None)))


async def _asks_roots(context: Context, params: CallToolRequestParams) -> Answer:
    heard = (params.input_responses or {}).get("client_roots")
    if not isinstance(heard, ListRootsResult):
        return _ask(client_roots=_ROOTS)
    return said(", ".join(str(each.uri) for each in heard.roots))


async def _keeps_state(context: Context, params: CallToolRequestParams) -> Answer:
    if params.request_state != "asked" or _filled(params.input_responses, "confirm") is None:
        return _ask("asked", confirm=_CONFIRM)
    return said("state-ok")


async def _asks_all_at_once(context: Context, params: CallToolRequestParams) -> Answer:
    heard = params.input_responses or {}
    if params.request_state != "asked" or not {"user_name", "greeting", "client_roots"} <= heard.keys():
        return _ask("asked", user_name=_NAME, greeting=_sample("Generate a greeting"), client_roots=_ROOTS)
    return said("All answers are here.")


async def _asks_in_turn(context: Context, params: CallToolRequestParams) -> Answer:
    if params.request_state == "second" and (colour := _filled(params.input_responses, "step2")) is not None:
        return said(f"You like {colour.get('color')}.")
    if params.request_state == "first" and _filled(params.input_responses, "step1") is not None:
        return _ask("second", step2=_form("Step 2: What is your favorite color?", text("color")))
    return _ask("first", step1=_form("Step 1: What is your name?", text("name")))


async def _asks_what_the_client_can(context: Context, params: CallToolRequestParams) -> Answer:
    can = context.session.client_capabilities
    questions: dict[str, Any] = {}
    if can is not None and can.elicitation is not None:
        questions["user_name"] = _NAME
    if can is not None and can.sampling is not None:
        questions["greeting"] = _sample("Generate a greeting")
    if not questions or (params.input_responses or {}).keys() >= questions.keys():
        return said("Nothing to ask.")
    return _ask(**questions)


async def _needs_sampling(context: Context, params: CallToolRequestParams) -> Answer:
    can = context.session.client_capabilities
    if can is None or can.sampling is None:
        needed = ClientCapabilities(sampling=SamplingCapability())
        data = MissingRequiredClientCapabilityErrorData(required_capabilities=needed)
        raise MCPError(
            code=MISSING_REQUIRED_CLIENT_CAPABILITY,
            message="this tool needs sampling",
            data=data.model_dump(by_alias=True, mode="json", exclude_none=True),
        )
    return await _asks_model(context, params)


TOOLS: Final[Tools] = {
    "test_input_required_result_elicitation": _asks_user,
    "test_input_required_result_sampling": _asks_model,
    "test_input_required_result_list_roots": _asks_roots,
    "test_input_required_result_request_state": _keeps_state,
    "test_input_required_result_tampered_state": _keeps_state,
    "test_input_required_result_multiple_inputs": _asks_all_at_once,
    "test_input_required_result_multi_round": _asks_in_turn,
    "test_input_required_result_capabilities": _asks_what_the_client_can,
    "test_streaming_elicitation": _asks_user,
    "test_missing_capability": _needs_sampling,
}


async def prompt(context: Context, params: GetPromptRequestParams) -> GetPromptResult | InputRequiredResult:
    """Answer `test_input_required_result_prompt`."""
    filled = _filled(params.input_responses, "user_context")
    if filled is None:
        return _ask(user_context=_form("What context should the prompt use?", text("context")))
    content = TextContent(type="text", text=f"With context: {filled.get('context')}")
    return GetPromptResult(messages=[PromptMessage(role="user", content=content)])
