"""Where artifacts come from: a directory, s3:// or gs://; remote ones are kept on disk and fetched when they change."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from routeiq_plugin.errors import ArtifactRefused, MissingExtra, RouteIQError, Unavailable
from routeiq_plugin.routing import artifact
from routeiq_plugin.routing.artifact import MANIFEST, MAX_MANIFEST_BYTES, Artifact, parse_manifest

REMOTE: Final[Mapping[str, str]] = {"s3": "s3", "gs": "gcs"}
"""Schemes, and the extra that each needs."""
CACHE: Final = "ROUTEIQ_ARTIFACT_CACHE"
"""Environment variable: where fetched artifacts are kept; else in the system's temporary directory, per user."""
_PARTIAL: Final = "partial-"
_SIGNS: Final = ("ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "size")


@dataclass(frozen=True, slots=True)
class Fetched:
    """An artifact and what tells whether its source has changed."""

    artifact: Artifact
    etag: str


def is_remote(url: str) -> bool:
    """Tell whether this is a bucket's address rather than a path."""
    return "://" in url


def fetch(url: str, known: str | None = None) -> Fetched | None:
    """Read and verify the artifact at a path or URL; None when its source still says `known`.

    Blocks on disk and network. Raises `ArtifactRefused`, `MissingExtra`, or `Unavailable` when a bucket cannot be
    reached and nothing of it is on disk.
    """
    if is_remote(url):
        return _fetch_remote(url, known)
    directory = Path(url).resolve()  # once: a link that is turned to another version meanwhile must not mix the two
    etag = _local_etag(directory)
    return None if etag == known else Fetched(artifact.read(directory), etag)


def _local_etag(directory: Path) -> str:
    try:
        told = (directory / MANIFEST).stat()
    except OSError:
        return "absent"  # `read` says what is wrong
    return f"{told.st_ino}-{told.st_mtime_ns}-{told.st_size}"


def _fetch_remote(url: str, known: str | None) -> Fetched | None:
    base = url.rstrip("/")
    shelf = _shelf(base)
    try:
        system = _filesystem(base)
        etag = _etag(system.info(f"{base}/{MANIFEST}"))
        if etag == known:
            return None
        home = shelf / etag
        if not home.is_dir():
            _download(system, base, home)
    except RouteIQError:
        raise
    except Exception as away:  # each store's library has errors of its own
        kept = _newest(shelf)
        if known is not None or kept is None:
            raise Unavailable(f"{base} cannot be read: {type(away).__name__}", retry_after=60) from away
        home = kept
    return Fetched(artifact.read(home), home.name)


def _filesystem(base: str) -> Any:
    scheme = base.partition("://")[0]
    if scheme not in REMOTE:
        raise ArtifactRefused(f"{scheme}:// is not supported, use a path, {' or '.join(f'{s}://' for s in REMOTE)}")
    import fsspec

    try:
        # A listing kept from before would hide a new version.
        return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True, **_options(scheme))
    except ImportError:
        extra = REMOTE[scheme]
        raise MissingExtra("s3fs" if extra == "s3" else "gcsfs", extra) from None


def _options(scheme: str) -> Mapping[str, Any]:
    if scheme != "gs":
        return {}
    # The experimental part of gcsfs opens a gRPC channel beside the HTTP one, which we do not use.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    # An emulator has no credentials, and looking for some asks Google's metadata server.
    return {"token": "anon"} if os.environ.get("STORAGE_EMULATOR_HOST") else {}


def _etag(info: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps([str(info.get(sign)) for sign in _SIGNS]).encode()).hexdigest()


def _shelf(base: str) -> Path:
    """Return the directory of an address: below it, one directory per version."""
    chosen = os.environ.get(CACHE)
    root = Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"routeiq-artifacts-{os.getuid()}"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if root.stat().st_uid != os.getuid():
        raise ArtifactRefused(f"{root} belongs to somebody else; set {CACHE} to a directory of this process's user")
    shelf = root / hashlib.sha256(base.encode()).hexdigest()[:32]
    shelf.mkdir(exist_ok=True)
    return shelf


def _newest(shelf: Path) -> Path | None:
    versions = [path for path in shelf.iterdir() if not path.name.startswith(_PARTIAL)]
    return max(versions, key=lambda path: path.stat().st_mtime, default=None)


def _download(system: Any, base: str, home: Path) -> None:
    """Fetch beside its place and put it there whole: other workers do the same at the same time."""
    partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=home.parent))
    try:
        size = int(system.info(f"{base}/{MANIFEST}")["size"])
        if size > MAX_MANIFEST_BYTES:
            raise ArtifactRefused(f"{MANIFEST} exceeds {MAX_MANIFEST_BYTES // 1024} KiB")
        system.get_file(f"{base}/{MANIFEST}", str(partial / MANIFEST))
        for name, facts in parse_manifest((partial / MANIFEST).read_bytes()).files.items():
            if int(system.info(f"{base}/{name}")["size"]) != facts.bytes:
                raise ArtifactRefused(f"{name} has not the {facts.bytes} bytes that its manifest says")
            system.get_file(f"{base}/{name}", str(partial / name))
        artifact.read(partial)
        with suppress(OSError):  # another worker was faster, with the same bytes
            os.replace(partial, home)
        _prune(home)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _prune(newest: Path) -> None:
    """Keep the version that was just fetched and the one before."""
    others = [path for path in newest.parent.iterdir() if path != newest and not path.name.startswith(_PARTIAL)]
    for path in sorted(others, key=lambda path: path.stat().st_mtime)[:-1]:
        shutil.rmtree(path, ignore_errors=True)
