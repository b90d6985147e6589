"""Push notifications: the agent is given a callback of ours, and the client's own webhook stays with us."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from routeiq_plugin.errors import AddressRefused
from routeiq_plugin.host.headers import is_value
from routeiq_plugin.store.push import PushConfig, PushStore, Wire

if TYPE_CHECKING:
    from a2a.types.a2a_pb2 import TaskPushNotificationConfig

PATH: Final = "/routeiq/push/"
"""Below which agents call back."""

KEPT: Final = timedelta(days=30)
"""How long a configuration lives."""

LONGEST_ID: Final = 200
"""Characters of a configuration's or a task's id."""

MAX_PER_TASK: Final = 20
"""Configurations of one task."""

_NO_CALLBACK: Final = (
    "Push notifications need an address at which agents reach the gateway: set `routeiq.public_url` or PROXY_BASE_URL"
)


class AddressCheck(Protocol):
    """Decides which addresses may be called; `outbound.Guard` does."""

    async def check(self, url: str, field: str = "url") -> None:
        """Return, or raise `AddressRefused` naming `field`."""
        ...


@dataclass(frozen=True, slots=True)
class Registration:
    """A stored configuration, and what the agent is told in its place."""

    push_id: str
    shown: TaskPushNotificationConfig
    """The client's own, with the ids that were left out."""
    callback: TaskPushNotificationConfig


class PushConfigs:
    """Takes, shows and forgets clients' configurations; methods raise A2A errors and `Unavailable`."""

    def __init__(
        self, store: PushStore, guard: AddressCheck, base_url: Callable[[], str | None], now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._guard = guard
        self._base_url = base_url
        self._now = now

    @property
    def available(self) -> bool:
        """Whether agents can be told where to call back."""
        return self._base_url() is not None

    async def register(self, agent_id: str, asked: TaskPushNotificationConfig, wire: Wire, owner: str) -> Registration:
        """Store where `owner` wants to hear of `asked.task_id`, or of the task that is about to begin.

        The agent may be told `callback` afterwards: its first notification finds the row. Then `settle` or `withdraw`.
        """
        from a2a.types.a2a_pb2 import TaskPushNotificationConfig
        from a2a.utils.errors import PushNotificationNotSupportedError

        base = self._base_url()
        if base is None:
            raise PushNotificationNotSupportedError(message=_NO_CALLBACK)
        await self._check(asked)
        await self._room_for(agent_id, asked)
        token = secrets.token_urlsafe(32)
        config = PushConfig(
            push_id=push_id(token),
            agent_id=agent_id,
            task_id=asked.task_id or None,
            config_id=asked.id or asked.task_id,
            wire=wire,
            created_at=self._now(),
            url=asked.url,
            token=asked.token,
            scheme=asked.authentication.scheme,
            credentials=asked.authentication.credentials,
            owner=owner,
        )
        await self._store.put(config)
        callback = TaskPushNotificationConfig(
            id=config.config_id, task_id=asked.task_id, url=f"{base.rstrip('/')}{PATH}{token}"
        )
        return Registration(config.push_id, _shown(config), callback)

    async def settle(self, registration: Registration, task_id: str) -> None:
        """Let a configuration that the agent took replace the task's other one of its id."""
        await self._store.settle(registration.push_id, task_id, registration.callback.id or task_id, self._now())

    async def withdraw(self, push_id: str) -> None:
        """Forget a configuration that the agent did not take; the one it was to replace stays."""
        await self._store.remove(push_id)

    async def of_task(self, agent_id: str, task_id: str) -> Sequence[TaskPushNotificationConfig]:
        """Show a task's configurations as the client gave them."""
        return [_shown(config) for config in await self._store.of_task(agent_id, task_id)]

    async def remove(self, agent_id: str, task_id: str, config_id: str) -> None:
        """Forget a task's configuration of that id, if there is one."""
        await self._store.forget(agent_id, task_id, config_id)

    async def _check(self, asked: TaskPushNotificationConfig) -> None:
        from a2a.utils.errors import InvalidParamsError

        if not asked.url:
            raise InvalidParamsError(message="url: a push notification needs one")
        for name, value in (
            ("token", asked.token),
            ("authentication.scheme", asked.authentication.scheme),
            ("authentication.credentials", asked.authentication.credentials),
        ):
            if value and not is_value(value):
                raise InvalidParamsError(message=f"{name}: cannot be sent in a header")
        for name, value in (("id", asked.id), ("taskId", asked.task_id)):
            if len(value) > LONGEST_ID or not value.isprintable():
                raise InvalidParamsError(message=f"{name}: use at most {LONGEST_ID} printable characters")
        try:
            await self._guard.check(asked.url, "url")
        except AddressRefused as refused:
            raise InvalidParamsError(message=str(refused.detail)) from refused

    async def _room_for(self, agent_id: str, asked: TaskPushNotificationConfig) -> None:
        from a2a.utils.errors import InvalidParamsError

        if not asked.task_id:
            return
        known = {config.config_id for config in await self._store.of_task(agent_id, asked.task_id)}
        if len(known - {asked.id or asked.task_id}) >= MAX_PER_TASK:
            raise InvalidParamsError(message=f"A task may have {MAX_PER_TASK} push notification configurations")


def push_id(token: str) -> str:
    """Return what a callback's token is known by: who reads the database cannot call back."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _shown(config: PushConfig) -> Any:
    from a2a.types.a2a_pb2 import AuthenticationInfo, TaskPushNotificationConfig

    shown = TaskPushNotificationConfig(
        id=config.config_id, task_id=config.task_id or "", url=config.url, token=config.token
    )
    if config.scheme or config.credentials:
        shown.authentication.CopyFrom(AuthenticationInfo(scheme=config.scheme, credentials=config.credentials))
    return shown
