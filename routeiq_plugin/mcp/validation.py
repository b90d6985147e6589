"""Arguments against a tool's input schema, before the server hears of them."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Mapping
from typing import Any, Final

from routeiq_plugin.errors import InvalidRequest

MAX_KEPT: Final = 1_000
"""Compiled schemas of one worker."""
LONGEST_MESSAGE: Final = 500


class Schemas:
    """Compiles each schema once.

    What costs without bound is left to the server, which checks for itself: regular expressions, which it chose and a
    caller feeds. References lead nowhere outside the schema, and a schema that is wrong checks nothing.
    """

    def __init__(self) -> None:
        self._compiled: dict[int, tuple[Mapping[str, Any], Any]] = {}

    async def check(self, tool: str, schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
        """Raise `InvalidRequest` naming the first wrong argument; `schema` is the one object of a listed tool."""
        validator = await self._validator(schema)
        if validator is None:
            return
        try:
            error = _best(validator.iter_errors(dict(arguments)))
        except Exception:  # noqa: BLE001  unresolvable references and whatever else a server's schema can provoke
            return
        if error is not None:
            raise _refusal(tool, error)

    async def _validator(self, schema: Mapping[str, Any]) -> Any:
        known = self._compiled.get(id(schema))
        if known is not None and known[0] is schema:
            return known[1]
        if "jsonschema" not in sys.modules:
            await asyncio.to_thread(importlib.import_module, "jsonschema")
        if len(self._compiled) >= MAX_KEPT:
            self._compiled.clear()
        validator = _compiled(schema)
        self._compiled[id(schema)] = (schema, validator)
        return validator


def _compiled(schema: Mapping[str, Any]) -> Any:
    from jsonschema import Draft202012Validator, validators
    from referencing import Registry

    try:
        base = validators.validator_for(schema, default=Draft202012Validator)
        base.check_schema(schema)
    except Exception:  # noqa: BLE001  the server's schema, not the caller's fault
        return None
    unchecked = dict.fromkeys(("pattern", "patternProperties", "propertyNames", "format"), _pass)
    if _mentions(schema, "patternProperties"):
        unchecked |= dict.fromkeys(("additionalProperties", "unevaluatedProperties"), _pass)
    kind = validators.extend(base, unchecked)
    # An explicit registry: the default one would fetch references over the network.
    return kind(schema, registry=Registry())


def _mentions(schema: Any, keyword: str) -> bool:
    if isinstance(schema, Mapping):
        return keyword in schema or any(_mentions(each, keyword) for each in schema.values())
    return isinstance(schema, list) and any(_mentions(each, keyword) for each in schema)


def _pass(*_: Any) -> None:
    return None


def _best(errors: Any) -> Any:
    from jsonschema.exceptions import best_match

    return best_match(errors)


def _refusal(tool: str, error: Any) -> InvalidRequest:
    path = "arguments" + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in error.absolute_path)
    missing = error.validator == "required" and isinstance(error.instance, Mapping)
    field = next((name for name in error.validator_value if name not in error.instance), None) if missing else None
    return InvalidRequest(
        {
            "error": "missing_parameter" if field else "invalid_arguments",
            "message": f"Tool {tool}: {path}: {error.message[:LONGEST_MESSAGE]}",
            "field": f"{path}.{field}" if field else path,
        }
    )
