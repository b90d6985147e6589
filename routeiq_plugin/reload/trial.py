"""The trial process: reads configurations that nobody vouched for, and really builds what is new in them.

`python -m routeiq_plugin.reload.trial` speaks frames over its standard streams: 8 bytes of length, then JSON lines.
Each request is served by a fork with limits of its own, which ends afterwards: nothing of a bad configuration stays,
and the proxy that asked never held it. It ends when its input does.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import struct
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from routeiq_plugin.errors import InvalidConfig, SettingsError
from routeiq_plugin.reload.content import Content, Entry, explode, model_name_of
from routeiq_plugin.reload.documents import MAX_BYTES, MAX_INCLUDES, Document, included, load, merge
from routeiq_plugin.reload.rules import SECRETS, Kind, check_references, kind_of, references
from routeiq_plugin.settings import SECTION, parse

LENGTH: Final = struct.Struct(">Q")
MEMORY_BYTES: Final = 1024 * 1024 * 1024
"""What one request may allocate beyond what the process holds already."""
CPU_SECONDS: Final = 60

Request = Mapping[str, Any]
Lines = Iterable[str]


def read(request: Request) -> Lines:
    """Parse, merge and check a configuration; the first line holds facts, the others its pieces.

    `{"need": [[entry, declared in]]}` asks for included documents first. Raises `InvalidConfig`.
    """
    documents = _documents(request["documents"])
    if sum(len(document.data) for document in documents) > MAX_BYTES:
        raise InvalidConfig("", f"larger than {MAX_BYTES // 1024**2} MiB")
    located = {(entry, declared_in): location for entry, declared_in, location in request["located"]}
    missing = [pair for document in documents for pair in _includes(document) if pair not in located]
    if missing:
        if len(documents) + len(missing) > MAX_INCLUDES:
            raise InvalidConfig("include", f"more than {MAX_INCLUDES} files")
        return [json.dumps({"need": missing})]
    document = merge(documents, lambda entry, declared_in: located[entry, declared_in])
    content = explode(document)
    boot = Content(tuple(map(Entry.read, request["boot"])))
    facts: dict[str, list[str]] = {"ignored": [], "restart_required": []}
    if request["remote"]:
        named = {name for name, value in document.items() if value is not None}
        content = _over_boot(content, boot, named, request["sections"], facts)
    elif request["check"] and document.get("model_list") is None:
        _require_models(boot)
    if request["check"]:
        _check(content, boot, request)
    return [json.dumps(facts), *(entry.line for entry in content.entries)]


def build(request: Request) -> Lines:
    """Build new and changed deployments and take router settings over, with LiteLLM's own code."""
    os.environ.update(request["environment"])
    from routeiq_plugin.host import staged_router
    from routeiq_plugin.host.environment import resolved

    staged = staged_router.StagedRouter(staged_router.trial_router())
    entries = [Entry.read(line) for line in request["pieces"]]
    deployments = [(entry.path, resolved(entry.value)) for entry in entries if entry.section == "model_list"]
    settings = {entry.key: resolved(entry.value) for entry in entries if entry.section == "router_settings"}
    try:
        for path, deployment in deployments:
            _require_params(path, deployment)
        for _ in staged.steps((), deployments, settings):
            pass
        staged.commit()
    except staged_router.DeploymentRefused as refused:
        raise InvalidConfig(refused.key, refused.reason) from None
    except staged_router.SettingsRefused as refused:
        raise InvalidConfig("router_settings", str(refused)) from None
    return ["{}"]


def _documents(given: Sequence[Mapping[str, str]]) -> list[Document]:
    return [Document(each["location"], base64.b64decode(each["data"])) for each in given]


def _includes(document: Document) -> list[tuple[str, str]]:
    if b"include" not in document.data:
        return []
    return [(entry, document.location) for entry in included(load(document))]


def _over_boot(
    content: Content, boot: Content, named: Collection[str], sections: Sequence[str], facts: dict[str, list[str]]
) -> Content:
    """Lay the hot pieces of another source over the boot file, which keeps the sections that it does not name."""
    hot = []
    for entry in content.entries:
        kind = kind_of(entry, sections)
        if kind is Kind.HOT:
            hot.append(entry)
        elif boot.lines.get(entry.id) != entry.line:
            facts["ignored" if kind is Kind.ROOT else "restart_required"].append(entry.path)
    taken = {entry.id for entry in hot}
    kept = [
        entry
        for entry in boot.entries
        if entry.id not in taken and (entry.section not in named or kind_of(entry, sections) is not Kind.HOT)
    ]
    return Content((*kept, *hot))


def _require_models(boot: Content) -> None:
    if any(True for _ in boot.section("model_list")):
        raise InvalidConfig("model_list", "is missing, so every model would go; write `model_list: []` to mean that")


def _check(content: Content, boot: Content, request: Request) -> None:
    root = [entry for entry in boot.entries if kind_of(entry, ()) is Kind.ROOT]
    secrets = {*SECRETS, *request["secrets"], *(name for entry in root for name in references(entry.value))}
    allowed: set[str] | None = None
    if request["remote"]:
        allowed = {name for entry in boot.entries for name in references(entry.value)} | set(request["allowlist"])
    for entry in content.entries:
        if boot.lines.get(entry.id) == entry.line:
            continue  # it serves already
        kind = kind_of(entry, request["sections"])
        if kind is Kind.HOT:
            check_references(entry, secrets, allowed)
        if entry.section == "model_list":
            _require_params(entry.path, entry.value)
    section = Content(tuple(content.section(SECTION))).document().get(SECTION, {})
    try:
        settings = parse(_without_references(section))
    except SettingsError as wrong:
        raise InvalidConfig(SECTION, str(wrong)) from None
    _require_free_names(settings.routing.aliases, content)


def _require_free_names(aliases: Collection[str], content: Content) -> None:
    """Refuse an alias with the name of a model of the same configuration: one of them could not be asked for."""
    models = {model_name_of(entry.key) for entry in content.section("model_list")}
    for entry in content.section("router_settings"):
        if entry.key == "model_group_alias" and isinstance(entry.value, Mapping):
            models |= set(entry.value)
    for name in aliases:
        if name in models:
            raise InvalidConfig(f"{SECTION}.routing.aliases.{name}", "a model of this configuration has that name")


def _without_references(section: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out what is an `os.environ/` reference: its value is not known here."""
    return {key: value for key, value in section.items() if not any(True for _ in references(value))}


def _require_params(path: str, deployment: Mapping[str, Any]) -> None:
    params = deployment.get("litellm_params")
    if not isinstance(params, Mapping):
        raise InvalidConfig(f"{path}.litellm_params", "is required and must be a mapping")
    if not isinstance(params.get("model"), str):
        raise InvalidConfig(f"{path}.litellm_params.model", "is required and must be text")
    if not isinstance(deployment.get("model_info", {}), Mapping | None):
        raise InvalidConfig(f"{path}.model_info", "must be a mapping")


_OPERATIONS: Final[Mapping[str, Callable[[Request], Lines]]] = {"read": read, "build": build}


def answer(request: Request) -> bytes:
    """Serve one request; an invalid configuration is an answer too."""
    try:
        lines = _OPERATIONS[request["operation"]](request)
        return "\n".join(("{}", *lines)).encode()
    except InvalidConfig as invalid:
        return json.dumps({"path": invalid.path, "message": invalid.message}).encode()


def _in_a_fork(request: Request) -> bytes:
    """Serve one request in a process that ends with it."""
    with tempfile.TemporaryFile() as result:
        child = os.fork()
        if child == 0:  # pragma: no cover  another process
            status = 1
            try:
                _limit()
                result.write(answer(request))
                result.flush()
                status = 0
            except MemoryError:
                status = 2
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        if status != 0:
            reason = "needs more memory or time than a configuration may"
            return json.dumps({"path": "", "message": f"{reason} (status {status})"}).encode()
        result.seek(0)
        return result.read()


def _limit() -> None:
    used = 0
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return  # no such file on this system, and no limit then
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))


def main() -> None:
    """Serve requests until the input ends."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not reach the frames
    while True:
        head = requests.read(LENGTH.size)
        if len(head) < LENGTH.size:
            return
        request = json.loads(requests.read(LENGTH.unpack(head)[0]))
        if request["operation"] == "build":
            import routeiq_plugin.host.staged_router  # noqa: F401  once, so that the next fork finds it
        told = _in_a_fork(request)
        answers.write(LENGTH.pack(len(told)) + told)
        answers.flush()


if __name__ == "__main__":
    main()
