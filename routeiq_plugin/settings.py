"""The `routeiq:` section of litellm_config.yaml: every key, its default and its check; nothing else is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from routeiq_plugin.errors import SettingsError

SECTION: Final = "routeiq"
"""The top-level key of litellm_config.yaml that holds everything below."""


def _database_url(value: str) -> str:
    scheme = urlsplit(value).scheme
    if scheme not in ("sqlite", "postgresql", "postgres"):
        raise ValueError("use sqlite:///path/to/file.db or postgresql://user:password@host/database")
    return value


def _public_url(value: str | None) -> str | None:
    if value is None:
        return None
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("use an absolute http(s) URL without query, for instance https://gateway.example.com")
    return value.rstrip("/")


def _source(value: str | None) -> str | None:
    if value in (None, "auto"):
        return value
    parts = urlsplit(str(value))
    if parts.scheme in ("s3", "gs", "gcs") and not (parts.netloc and parts.path.strip("/")):
        raise ValueError("name the bucket and the object: s3://bucket/key or gs://bucket/key")
    if parts.scheme not in ("", "file", "s3", "gs", "gcs"):
        raise ValueError("use a path, s3://bucket/key, gs://bucket/key or auto")
    return value


def _allowed_host(value: str) -> str:
    text = value.strip().lower()
    if not text or "://" in text or "@" in text or " " in text:
        raise ValueError("use a host, host:port, *.suffix or CIDR, without scheme or path")
    if "/" in text:
        ip_network(text, strict=False)
    return text


def _regex(value: str | None) -> str | None:
    if value is not None:
        try:
            re.compile(value)
        except re.error as wrong:
            raise ValueError(f"not a regular expression: {wrong}") from None
    return value


class Section(BaseModel):
    """A group of settings: immutable, and an unknown key is an error rather than a surprise."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OutboundSettings(Section):
    """What registered URLs may point at, and how long and how much we listen."""

    allowed_hosts: tuple[Annotated[str, AfterValidator(_allowed_host)], ...] = ()
    """Host, host:port, *.suffix or CIDR that may be private or loopback; metadata addresses never."""
    timeout_seconds: float = Field(default=60.0, gt=0, le=86_400)
    """Longest silence of a backend, in seconds; a stream that keeps sending may last longer."""
    max_response_mb: float = Field(default=16.0, gt=0, le=1024)
    """Largest backend answer, in MiB; event streams are bounded per event instead."""


class BreakerSettings(Section):
    """When a backend that keeps failing is left alone; each worker watches for itself."""

    failures: int = Field(default=5, ge=1)
    """In a row: unreachable, silent, or HTTP 5xx. An A2A error is an answer."""
    cooldown_seconds: float = Field(default=5.0, gt=0, le=3600)
    """Until the first trial; doubled with each that fails, up to 16 times this."""


class A2ASettings(Section):
    """The agent gateway."""

    enabled: bool = True
    default_access: Literal["deny", "litellm"] = "deny"
    """deny: admin, granted or public. litellm: stock's rule, where a key without any grant may invoke every agent."""
    breaker: BreakerSettings = BreakerSettings()


class MCPSettings(Section):
    """The tool gateway."""

    enabled: bool = True
    stdio: bool = False
    """Whether admins may register servers that this proxy starts as processes; LiteLLM's own switch must be on too."""
    pin_tools: bool = False
    """Whether a tool whose definition changed since an admin approved it is held back."""
    relay: bool = True
    """Whether `/mcp/{server}` of servers of ours passes everything on to the server itself; off, LiteLLM answers."""
    max_concurrent_per_server: int = Field(default=32, ge=1)
    """Requests that one worker has on their way to one server; the rest wait."""


class RuleCondition(Section):
    """What a prompt must be like; all that is given must hold, and nothing given holds always."""

    regex: Annotated[str | None, AfterValidator(_regex)] = None
    """Found anywhere in the text."""
    tag: str | None = None
    """One of the request's tags."""
    header: Mapping[str, str] = {}
    """Request headers, names in any case, each with the exact value."""
    min_chars: int | None = Field(default=None, ge=0)
    language: str | None = Field(default=None, pattern="^[a-z]{2}$")
    """ISO 639-1, guessed from the script and frequent words."""
    has_image: bool | None = None
    has_tools: bool | None = None


class Rule(Section):
    """One line of the strategy `rules`; the first whose condition holds names the model."""

    when: RuleCondition = RuleCondition()
    model: str


class Objective(Section):
    """What a quality-predicting strategy aims at: one of the two."""

    quality: float | None = Field(default=None, gt=0, le=1)
    """The least share of the best single model's quality, as calibrated when the artifact was trained."""
    cost_weight: float | None = Field(default=None, ge=0)
    """What one unit of quality is worth: predicted quality less this times the price relative to the dearest."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.quality is None) == (self.cost_weight is None):
            raise ValueError("give either quality or cost_weight")
        return self


class Arm(Section):
    """One arm of an experiment; what it does not say it takes from the alias."""

    name: str = Field(pattern="^[A-Za-z0-9_.-]{1,64}$")
    weight: float = Field(gt=0, allow_inf_nan=False)
    artifact: str | None = None
    strategy: str | None = None


class AliasSettings(Section):
    """A name that clients ask for, and how its model is chosen."""

    strategy: str
    artifact: str | None = None
    """A directory with manifest.json and *.safetensors: local path, s3:// or gs://."""
    candidates: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    """Model groups of this proxy."""
    default: str
    """When the strategy fails or is out of time; one of the candidates."""
    objective: Objective = Objective(quality=0.95)
    candidate_access: Literal["alias", "model"] = "alias"
    """alias: a grant on the alias covers its candidates. model: only those that key and team hold themselves."""
    deadline_ms: float | None = Field(default=None, gt=0, le=60_000)
    """Default: 20, 100 for rules, and 1000 for strategies in a worker process."""
    sticky: Literal["conversation", "none"] = "conversation"
    rules: tuple[Rule, ...] = ()
    arms: tuple[Arm, ...] = ()
    arms_by: Literal["user", "key", "session"] = "user"
    """Whose requests stay in one arm; where that is not known, the next of user, key, session."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.candidates)) < len(self.candidates):
            raise ValueError("candidates name a model twice")
        named = [("default", self.default), *((f"rules.{at}.model", rule.model) for at, rule in enumerate(self.rules))]
        for path, model in named:
            if model not in self.candidates:
                raise ValueError(f"{path} {model!r} is not one of the candidates")
        if len({arm.name for arm in self.arms}) < len(self.arms):
            raise ValueError("arms have a name twice")
        return self


def _alias_name(value: str) -> str:
    if not value or value != value.strip() or "," in value or value.startswith("a2a/"):
        raise ValueError("use a name without comma that does not begin with a2a/")
    return value


class RoutingSettings(Section):
    """Model routing: aliases that stand for several models."""

    enabled: bool = True
    aliases: Mapping[Annotated[str, AfterValidator(_alias_name)], AliasSettings] = {}
    worker_python: str | None = None
    """Interpreter of the worker process, one that has llmrouter-lib; default: the proxy's own."""
    groups: Mapping[str, AliasSettings] = {}
    """Model groups that mix models: candidates are `litellm_params.model` names of their deployments."""

    @model_validator(mode="after")
    def _no_chains(self) -> Self:
        for name, alias in self.aliases.items():
            for candidate in alias.candidates:
                if candidate in self.aliases:
                    raise ValueError(f"aliases.{name}.candidates: {candidate!r} is an alias itself")
        return self


class ReloadSettings(Section):
    """Hot reload and config sync; read from the boot file alone."""

    watch: bool = False
    """Reload when the boot file, or a file that it includes, changes."""
    source: Annotated[str | None, AfterValidator(_source)] = None
    """A whole LiteLLM config that is polled: path, s3://bucket/key, gs://bucket/key, or auto for LiteLLM's bucket."""
    endpoint_url: Annotated[str | None, AfterValidator(_public_url)] = None
    """Where S3 or GCS is, when it is not Amazon's or Google's."""
    interval_seconds: float = Field(default=30.0, gt=0, le=86_400)
    history: int = Field(default=20, ge=2, le=1000)
    """Generations that can be returned to."""
    env_allowlist: tuple[str, ...] = ()
    """Variables that the source may refer to beside those of the boot file."""


class Settings(Section):
    """All of `routeiq:`."""

    database_url: Annotated[str, AfterValidator(_database_url)] = "sqlite:///./routeiq.db"
    public_url: Annotated[str | None, AfterValidator(_public_url)] = None
    """What clients reach; else LiteLLM's PROXY_BASE_URL, else the request's own base, never stored."""
    outbound: OutboundSettings = OutboundSettings()
    a2a: A2ASettings = A2ASettings()
    mcp: MCPSettings = MCPSettings()
    routing: RoutingSettings = RoutingSettings()
    reload: ReloadSettings = ReloadSettings()


def parse(section: Mapping[str, Any] | None) -> Settings:
    """Validate the section; raises `SettingsError` naming the dotted path of every wrong key."""
    if section is not None and not isinstance(section, Mapping):
        raise SettingsError(f"{SECTION}: must be a mapping of settings, not {type(section).__name__}")
    try:
        return Settings.model_validate(dict(section or {}))
    except ValidationError as invalid:
        # Never "database_url: ...": LiteLLM's log filter takes what follows for a secret and hides the key's name too.
        lines = [
            f"{'.'.join((SECTION, *(str(part) for part in error['loc'])))} is wrong: {error['msg']}"
            for error in invalid.errors(include_input=False, include_url=False)
        ]
        raise SettingsError("; ".join(lines)) from None
