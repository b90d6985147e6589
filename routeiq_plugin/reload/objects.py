"""A configuration in S3 or Google Cloud Storage: each of its objects is sent only if it is another one than we have.

The clients are those of `s3fs` and `gcsfs`, on the thread where fsspec runs its own event loop: what they import and
load takes hundreds of milliseconds.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from routeiq_plugin.errors import InvalidConfig, MissingExtra, NoSuchObject, SettingsError, SourceUnreachable
from routeiq_plugin.reload.documents import MAX_BYTES
from routeiq_plugin.reload.snapshot import Snapshot
from routeiq_plugin.reload.sources import Fetched, FileSource, Source
from routeiq_plugin.settings import ReloadSettings

_Read = tuple[bytes, str] | None

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 30.0


class Bucket(Protocol):
    """One store of objects. Both calls run on a thread and may block; they raise `SourceUnreachable`."""

    def open(self) -> None:
        """Import and build the client; raises `MissingExtra`."""
        ...

    def read(self, bucket: str, key: str, etag: str | None) -> tuple[bytes, str] | None:
        """Return an object and its tag, None when its tag is `etag`."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class ObjectSource:
    """An object that holds a configuration; `include:` names objects beside it."""

    remote: Final = True

    def __init__(self, kind: str, bucket: str, key: str, client: Bucket) -> None:
        self._kind = kind
        self._bucket = bucket
        self._key = key
        self._client = client
        self._opened = False

    @property
    def name(self) -> str:
        """Its URL."""
        return f"{self._kind}://{self._bucket}/{self._key}"

    async def fetch(self, etag: str | None) -> Fetched | None:
        """Ask for the object, and those that it included, unless each is what it was."""
        snapshot = Snapshot(self._key, self._read)
        return snapshot if await snapshot.look(etag) else None

    def facts(self) -> Mapping[str, Any]:
        """Describe it."""
        return {"type": self._kind, "bucket": self._bucket, "key": self._key}

    async def aclose(self) -> None:
        """Close the client."""
        if self._opened:
            await asyncio.to_thread(self._client.close)

    async def _read(self, key: str, etag: str | None) -> tuple[bytes, str] | None:
        if not self._opened:
            await asyncio.to_thread(self._client.open)
            self._opened = True
        found = await asyncio.to_thread(self._client.read, self._bucket, key, etag)
        if found is not None and len(found[0]) > MAX_BYTES:
            raise InvalidConfig("", f"larger than {MAX_BYTES // 1024**2} MiB")
        return found


class S3:
    """S3 and what speaks its protocol; credentials come from where boto looks for them."""

    def __init__(self, endpoint_url: str | None) -> None:
        self._endpoint_url = endpoint_url
        self._files: Any = None

    def open(self) -> None:
        """Build the client."""
        fsspec = _imported("fsspec", "s3")
        _imported("s3fs", "s3")
        self._files = fsspec.filesystem(
            "s3",
            skip_instance_cache=True,
            endpoint_url=self._endpoint_url,
            config_kwargs={
                "connect_timeout": CONNECT_SECONDS,
                "read_timeout": READ_SECONDS,
                "retries": {"max_attempts": 1},
            },
        )

    def read(self, bucket: str, key: str, etag: str | None) -> tuple[bytes, str] | None:
        """Send one GET with `If-None-Match`."""
        return _on_its_loop(self._files, lambda: self._get(bucket, key, etag))

    async def _get(self, bucket: str, key: str, etag: str | None) -> tuple[bytes, str] | None:
        from botocore.exceptions import BotoCoreError, ClientError

        condition = {} if etag is None else {"IfNoneMatch": etag}
        try:
            await self._files.set_session()
            client = await self._files.get_s3(bucket)
            answer = await client.get_object(Bucket=bucket, Key=key, **condition)
            async with answer["Body"] as body:
                data: bytes = b"" if answer["ContentLength"] > MAX_BYTES else await body.read()
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status == 304:
                return None
            raise _refusal("S3", status) from error
        except (BotoCoreError, OSError, TimeoutError) as error:
            raise SourceUnreachable(f"S3 does not answer ({type(error).__name__})") from error
        if answer["ContentLength"] > MAX_BYTES:
            raise InvalidConfig("", f"larger than {MAX_BYTES // 1024**2} MiB")
        return data, str(answer["ETag"])

    def close(self) -> None:
        """Close the session of the client."""
        _close(self._files, self._files._s3)


class GCS:
    """Google Cloud Storage; credentials are Google's default ones, `STORAGE_EMULATOR_HOST` needs none."""

    def __init__(self, endpoint_url: str | None) -> None:
        self._endpoint_url = endpoint_url
        self._files: Any = None

    def open(self) -> None:
        """Build the client."""
        # The experimental part of gcsfs opens a gRPC channel beside the HTTP one, which we do not use.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        fsspec = _imported("fsspec", "gcs")
        _imported("gcsfs", "gcs")
        options: dict[str, Any] = {} if self._endpoint_url is None else {"endpoint_url": self._endpoint_url}
        emulated = self._endpoint_url or os.environ.get("STORAGE_EMULATOR_HOST")
        if emulated and urlsplit(emulated).hostname not in ("storage.googleapis.com",):
            options["token"] = "anon"  # noqa: S105  the name of gcsfs for no credentials
        self._files = fsspec.filesystem("gcs", skip_instance_cache=True, timeout=READ_SECONDS, **options)

    def read(self, bucket: str, key: str, etag: str | None) -> tuple[bytes, str] | None:
        """Ask for the object's generation, a small request, and for its bytes only when that is another one."""
        return _on_its_loop(self._files, lambda: self._get(bucket, key, etag))

    async def _get(self, bucket: str, key: str, etag: str | None) -> tuple[bytes, str] | None:
        import aiohttp

        condition = {} if etag is None else {"ifGenerationNotMatch": etag}
        try:
            status, _, about = await self._send(bucket, key, fields="generation,size", **condition)
            if status == 304:
                return None
            generation = str(about["generation"])
            if generation == etag:
                return None
            if int(about.get("size", 0)) > MAX_BYTES:
                raise InvalidConfig("", f"larger than {MAX_BYTES // 1024**2} MiB")
            _, data, _ = await self._send(bucket, key, alt="media", generation=generation)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SourceUnreachable(f"GCS does not answer ({type(error).__name__})") from error
        return data, generation

    async def _send(self, bucket: str, key: str, **parameters: str) -> tuple[int, bytes, Mapping[str, Any]]:
        files = self._files
        await files._set_session()
        path = files._format_path("b/{}/o/{}", (bucket, key))
        headers = files._get_headers(None)
        async with files.session.get(path, params=parameters, headers=headers) as answer:
            if answer.status >= 400:
                raise _refusal("GCS", answer.status)
            data = await answer.read()
        return answer.status, data, json.loads(data) if "fields" in parameters and data else {}

    def close(self) -> None:
        """Close the session of the client."""
        _close(self._files, self._files._session)


def open_source(settings: ReloadSettings, boot_path: str | None) -> Source:
    """Choose the source that the settings name; `auto` is the bucket that LiteLLM itself boots from.

    Raises `SettingsError`. Nothing is imported or asked yet.
    """
    named = settings.source
    if named == "auto":
        named = _litellms_bucket()
    if named is None:
        if boot_path is None:
            raise SettingsError("routeiq.reload.source is wrong: the proxy booted without a file; name a source")
        return FileSource(boot_path)
    parts = urlsplit(named)
    key = parts.path.lstrip("/")
    if parts.scheme == "s3":
        return ObjectSource("s3", parts.netloc, key, S3(settings.endpoint_url))
    if parts.scheme in ("gs", "gcs"):
        return ObjectSource("gs", parts.netloc, key, GCS(settings.endpoint_url))
    return FileSource(named.removeprefix("file://"), remote=True)


def _litellms_bucket() -> str | None:
    bucket = os.environ.get("LITELLM_CONFIG_BUCKET_NAME")
    if not bucket:
        return None
    scheme = "gs" if os.environ.get("LITELLM_CONFIG_BUCKET_TYPE") == "gcs" else "s3"
    return f"{scheme}://{bucket}/{os.environ.get('LITELLM_CONFIG_BUCKET_OBJECT_KEY', '')}"


def _imported(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingExtra(module, extra) from None


def _on_its_loop(files: Any, work: Callable[[], Awaitable[_Read]]) -> _Read:
    from fsspec.asyn import sync

    result: _Read = sync(files.loop, work)
    return result


def _close(files: Any, session: Any) -> None:
    if session is not None:
        type(files).close_session(files.loop, session)


def _refusal(store: str, status: Any) -> SourceUnreachable:
    if status == 404:
        return NoSuchObject(f"{store}: there is no such object")
    if status in (401, 403):
        return SourceUnreachable(f"{store}: access is denied (HTTP {status})")
    return SourceUnreachable(f"{store} answered HTTP {status}")
