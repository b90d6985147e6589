"""The SDK's client transports, except that what a backend answers in JSON-RPC errors is kept as it came."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from typing import Any, Final, NoReturn

from a2a.client import Client, ClientConfig, ClientFactory
from a2a.client.client import ClientCallContext
from a2a.client.errors import A2AClientError
from a2a.client.interceptors import AfterArgs, BeforeArgs, ClientCallInterceptor
from a2a.client.transports.base import ClientTransport
from a2a.client.transports.jsonrpc import JsonRpcTransport
from a2a.client.transports.rest import RestTransport
from a2a.compat.v0_3.jsonrpc_transport import CompatJsonRpcTransport
from a2a.compat.v0_3.rest_transport import CompatRestTransport
from a2a.compat.v0_3.versions import is_legacy_version
from a2a.types.a2a_pb2 import AgentCard, StreamResponse
from a2a.utils.constants import PROTOCOL_VERSION_CURRENT, TransportProtocol
from a2a.utils.errors import InvalidParamsError

from routeiq_plugin.a2a.refusals import Refusal, keeping

_IN_PATHS: Final = ("id", "task_id")
"""Fields of requests that HTTP+JSON writes into a path."""
_RESERVED: Final = ("#", "%", "/", "?", "\\")


class FaithfulTransport(JsonRpcTransport):
    """JSON-RPC of 1.0."""

    def _create_jsonrpc_error(self, error_dict: dict[str, Any]) -> Exception:
        return _kept(super()._create_jsonrpc_error(error_dict), error_dict)

    async def _send_request(self, payload: dict[str, Any], context: ClientCallContext | None = None) -> dict[str, Any]:
        try:
            return await super()._send_request(payload, context)
        except A2AClientError as failure:
            self._raise_what_the_body_says(failure)
            raise

    async def _send_stream_request(
        self, rpc_request_payload: dict[str, Any], context: ClientCallContext | None = None
    ) -> AsyncGenerator[StreamResponse]:
        try:
            async for event in super()._send_stream_request(rpc_request_payload, context):
                yield event
        except A2AClientError as failure:
            self._raise_what_the_body_says(failure)
            raise

    def _raise_what_the_body_says(self, failure: A2AClientError) -> None:
        """Raise the JSON-RPC error that came under an HTTP error status, as some servers send them."""
        refusal = _in_body(failure.__cause__)
        if refusal is not None:
            raise self._create_jsonrpc_error(refusal.rendered()) from failure


class FaithfulLegacyTransport(CompatJsonRpcTransport):
    """JSON-RPC of 0.3."""

    def _create_jsonrpc_error(self, error_dict: dict[str, Any]) -> Exception:
        return _kept(super()._create_jsonrpc_error(error_dict), error_dict)

    def _handle_http_error(self, e: Any) -> NoReturn:
        refusal = _in_body(e)
        if refusal is not None:
            raise self._create_jsonrpc_error(refusal.rendered()) from e
        super()._handle_http_error(e)


class Confined(ClientCallInterceptor):
    """Keeps a call where its agent is: the tenant is the card's word, and an id no way to another path.

    HTTP+JSON writes both into paths as they come, while what a caller may name was looked up by the id alone.
    """

    def __init__(self) -> None:
        self.binding: TransportProtocol | None = None

    async def before(self, args: BeforeArgs) -> None:
        """Drop the caller's tenant, in whose place the SDK puts the card's; raises `InvalidParamsError` for an id."""
        args.input.ClearField("tenant")
        for name in _IN_PATHS if self.binding == TransportProtocol.HTTP_JSON else ():
            value = str(getattr(args.input, name, ""))
            if value in (".", "..") or any(each in value for each in _RESERVED):
                raise InvalidParamsError(message=f"{name}: of this agent no id has any of {' '.join(_RESERVED)}")

    async def after(self, args: AfterArgs) -> None:
        """Leave answers as they are."""


_TRANSPORTS: Final[
    Mapping[TransportProtocol, tuple[Callable[..., ClientTransport], Callable[..., ClientTransport]]]
] = {
    TransportProtocol.JSONRPC: (FaithfulTransport, FaithfulLegacyTransport),
    TransportProtocol.HTTP_JSON: (RestTransport, CompatRestTransport),
}
"""What speaks 1.0, and what speaks 0.3."""


def client(config: ClientConfig, card: AgentCard) -> Client:
    """Make the SDK's client of a card's agent, confined, with our JSON-RPC transports."""
    confined = Confined()
    made = ClientFactory(config)
    for binding in _TRANSPORTS:
        made.register(binding, partial(_transport, confined, binding))
    return made.create(card, [confined])


def _transport(
    confined: Confined, binding: TransportProtocol, card: AgentCard, url: str, config: ClientConfig
) -> ClientTransport:
    """Make the transport that the SDK has chosen, and tell who confines it."""
    confined.binding = binding
    modern, legacy = _TRANSPORTS[binding]
    transport = legacy if is_legacy_version(_version(card, url, binding)) else modern
    return transport(config.httpx_client, card, url, is_shared_httpx=True)


def _version(card: AgentCard, url: str, binding: TransportProtocol) -> str:
    """Choose the version to speak as the SDK does."""
    best = ClientFactory._find_best_interface(list(card.supported_interfaces), protocol_bindings=[binding], url=url)
    return best.protocol_version if best is not None else PROTOCOL_VERSION_CURRENT


def _kept(error: Exception, raw: object) -> Exception:
    refusal = Refusal.read(raw)
    return error if refusal is None else keeping(error, refusal)


def _in_body(error: object) -> Refusal | None:
    response = getattr(error, "response", None)
    if response is None:
        return None
    try:
        body = response.json()
    except Exception:  # noqa: BLE001  not read, or not JSON: then it says nothing
        return None
    return Refusal.read(body.get("error")) if isinstance(body, dict) else None
