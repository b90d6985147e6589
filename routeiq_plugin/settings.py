"""The `routeiq:` section of litellm_config.yaml: every key, its default and its check; nothing else is read."""

from __future__ import annotations

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
    """The tool gateway (planned)."""

    enabled: bool = True
    stdio: bool = False
    pin_tools: bool = False
    max_concurrent_per_server: int = Field(default=32, ge=1)


class RoutingSettings(Section):
    """Model routing (planned)."""

    enabled: bool = True
    aliases: Mapping[str, Mapping[str, Any]] = {}


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

    @model_validator(mode="after")
    def _refuse_what_is_planned(self) -> Self:
        """A setting of a feature that this version lacks stops the boot: silence would look like success."""
        for path, given, planned in (
            ("mcp", self.mcp.model_copy(update={"enabled": True}), MCPSettings()),
            ("routing", self.routing.model_copy(update={"enabled": True}), RoutingSettings()),
        ):
            if given != planned:
                raise ValueError(f"{SECTION}.{path} is not available in this version, remove it")
        return self


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
