"""`POST /routeiq/routing/explain`: a decision with everything that led to it."""

from __future__ import annotations

import json
from typing import Any

from routeiq_plugin.errors import InvalidFields, MalformedBody, NotFound
from routeiq_plugin.routing.service import Routing


def parse(body: bytes) -> dict[str, Any]:
    """Read a request body as a client would send it to a model; raises `MalformedBody` or `InvalidFields`."""
    try:
        data = json.loads(body)
    except ValueError as wrong:
        raise MalformedBody(f"The request body is not JSON: {wrong}") from None
    if not isinstance(data, dict):
        raise InvalidFields.of("", "must be a JSON object")
    if not isinstance(data.get("model"), str):
        raise InvalidFields.of("model", "name an alias of routeiq.routing.aliases")
    return data


async def explanation(routing: Routing, data: dict[str, Any], identity: Any) -> dict[str, Any]:
    """Decide and tell why; raises `NotFound` for a model that is no alias."""
    considered = await routing.explain(data["model"], data, identity)
    if considered is None:
        raise NotFound({"error": f"{data['model']} is no alias of routeiq.routing.aliases"})
    decision = considered.decision
    return {
        **decision.logged(),
        "fallbacks": list(decision.fallbacks),
        "candidates": [
            {
                "model": each.model,
                "score": decision.scores.get(each.model),
                "input_cost_per_token": each.input_price,
                "output_cost_per_token": each.output_price,
                "latency_seconds": each.latency_seconds,
            }
            for each in considered.candidates
        ],
        "left_out": {
            "not_permitted": list(considered.forbidden),
            "not_configured": list(considered.missing),
            "resting": list(considered.resting),
            **{f"no {what}": list(models) for what, models in considered.filters.items()},
        },
    }
