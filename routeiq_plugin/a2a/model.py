"""An agent as the gateway sees it: one of ours, or one that LiteLLM's config or database declares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from routeiq_plugin.host.agents import ACCESS_GROUPS
from routeiq_plugin.store.agents import AgentRecord

LIMITS: Final = ("tpm_limit", "rpm_limit", "session_tpm_limit", "session_rpm_limit")
"""Rate limits that LiteLLM's limiter enforces on the mirrored agent."""


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent; `fields` are those of LiteLLM's `AgentResponse`, secrets in the clear."""

    fields: Mapping[str, Any]
    version: int | None
    """Ours: counts writes, and is the `ETag`. LiteLLM's own agents have none."""
    is_public: bool = False
    unreadable: bool = False
    """Its secrets were sealed with another key, so it cannot be called until they are set again."""

    @classmethod
    def of(cls, record: AgentRecord) -> Self:
        """View a stored row."""
        fields: dict[str, Any] = {
            "agent_id": record.agent_id,
            "agent_name": record.agent_name,
            "agent_card_params": dict(record.card),
            "litellm_params": dict(record.litellm_params),
            "static_headers": dict(record.static_headers),
            "kill_switch": None if record.kill_switch is None else dict(record.kill_switch),
            "extra_headers": list(record.extra_headers),
            "access_group_ids": list(record.access_group_ids),
            "object_permission": None if record.object_permission is None else dict(record.object_permission),
            **{limit: getattr(record, limit) for limit in LIMITS},
            "enabled": record.enabled,
            "execution_mode": record.execution_mode,
            "spend": 0.0,
            "created_at": record.created_at,
            "updated_at": record.updated_at,
            "created_by": record.created_by,
            "updated_by": record.updated_by,
        }
        return cls(fields, version=record.version, is_public=record.is_public, unreadable=record.unreadable)

    @property
    def agent_id(self) -> str:
        """Identity; never changes."""
        return str(self.fields["agent_id"])

    @property
    def name(self) -> str:
        """Unique, and as good as the id in every path."""
        return str(self.fields["agent_name"])

    @property
    def is_ours(self) -> bool:
        """Tell whether our store holds it, so that our routes may change it."""
        return self.version is not None

    @property
    def card(self) -> Mapping[str, Any]:
        """Agent card as registered, the backend's address included: for admins and the relay only."""
        return self.fields.get("agent_card_params") or {}

    @property
    def litellm_params(self) -> Mapping[str, Any]:
        """LiteLLM's parameters of the agent, secrets in the clear."""
        return self.fields.get("litellm_params") or {}

    @property
    def access_groups(self) -> frozenset[str]:
        """Agent access groups that it is a member of: who holds one of them may call it.

        Not `access_group_ids`: those bound what the agent itself may reach when it calls with a key of its own.
        """
        return frozenset(self.litellm_params.get(ACCESS_GROUPS) or ())

    @property
    def backend_url(self) -> str | None:
        """Where the backend lives, or None for an agent that LiteLLM's completion bridge serves."""
        url = self.card.get("url")
        if url:
            return str(url)
        interfaces = self.card.get("supportedInterfaces") or ()
        return next((str(each["url"]) for each in interfaces if isinstance(each, Mapping) and each.get("url")), None)

    @property
    def is_bridged(self) -> bool:
        """Tell whether LiteLLM's completion bridge speaks for the agent."""
        return bool(self.litellm_params.get("custom_llm_provider"))

    @property
    def fingerprint(self) -> str:
        """Tell one configuration of the agent from the next."""
        if self.version is not None:
            return str(self.version)
        return json.dumps(dict(self.card), sort_keys=True, default=str)

    @property
    def etag(self) -> str | None:
        """Entity tag of this version (RFC 9110 8.8.3)."""
        return None if self.version is None else f'"{self.version}"'
