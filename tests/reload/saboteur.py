"""A LiteLLM callback that a test names in its config: plays LiteLLM's own part, counts, and breaks reloads on command.

It is copied beside the proxy's config, adds `POST /test/control`, and is no part of what is shipped.
"""

import asyncio
import gc
import hashlib
import json
import os
import signal
from dataclasses import replace
from typing import Any

import litellm
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy import proxy_server
from litellm.types.router import Deployment
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from routeiq_plugin.reload.journal import Journal
from routeiq_plugin.routing import service
from routeiq_plugin.store.generations import GenerationStore, Proposal

armed: dict[str, str] = {}


class Saboteur(CustomLogger):  # type: ignore[misc]  # LiteLLM is not followed by mypy, see pyproject.toml
    """Does nothing as a callback."""


def strike(step: str) -> None:
    if armed.get("step") != step:
        return
    armed.pop("step")
    if armed["how"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise RuntimeError(f"injected at {step}")


class Struck:
    """A prepared change that breaks before or after it was switched."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.name = inner.name

    def commit(self) -> None:
        strike(f"before {self.name}")
        self._inner.commit()
        strike(f"after {self.name}")

    def rollback(self) -> None:
        self._inner.rollback()


stock_commit = Journal.commit
stock_apply = GenerationStore.apply


def commit(self: Journal, changes: Any) -> None:
    stock_commit(self, [Struck(change) for change in changes])


def in_an_older_form(content: str) -> str:
    """Put together what the first versions did not take apart."""
    lines: list[str] = []
    whole: dict[str, dict[str, Any]] = {}
    for line in content.split("\n"):
        section, key, value = json.loads(line)
        part, _, name = key.partition(".")
        if section == "routeiq" and name and part in ("a2a", "mcp", "routing"):
            whole.setdefault(part, {})[name] = value
        else:
            lines.append(line)
    return "\n".join([*lines, *(json.dumps(["routeiq", part, value]) for part, value in whole.items())])


async def apply(self: GenerationStore, worker: str, generation: int, proposal: Proposal) -> Any:
    strike("before record")
    if armed.pop("older form", None):
        content = in_an_older_form(proposal.content)
        proposal = replace(proposal, content=content, hash=hashlib.sha256(content.encode()).hexdigest())
    at = await stock_apply(self, worker, generation, proposal)
    strike("after record")
    return at


# No worker looks for changed artifacts by itself here: one that has them was told.
service.RELOAD_SECONDS = 86_400.0  # type: ignore[misc]
Journal.commit = commit  # type: ignore[method-assign]
GenerationStore.apply = apply  # type: ignore[method-assign]


def facts() -> dict[str, Any]:
    gc.collect()
    router = proxy_server.llm_router
    with open("/proc/self/statm", encoding="ascii") as statm:
        resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    names = ("callbacks", "success_callback", "failure_callback", "_async_success_callback", "input_callback")
    return {
        "callbacks": {name: len(getattr(litellm, name)) for name in names},
        "tasks": len(asyncio.all_tasks()),
        "resident": resident,
        "prices": len(litellm.model_cost),
        "deployment_names": len(router.deployment_names),
        "models": [model["model_name"] for model in router.model_list],
        "num_retries": router.num_retries,
        "routing_strategy": router.routing_strategy,
        "fallbacks": router.fallbacks,
        "drop_params": litellm.drop_params,
        "infer_model_from_keys": proxy_server.general_settings.get("infer_model_from_keys"),
        "agents": [agent.agent_name for agent in proxy_server_agents()],
        "servers": proxy_server_servers(),
    }


def proxy_server_agents() -> Any:
    from litellm.proxy.agent_endpoints.agent_registry import global_agent_registry

    return global_agent_registry.agent_list


def proxy_server_servers() -> list[str]:
    from litellm.proxy._experimental.mcp_server.mcp_server_manager import global_mcp_server_manager

    return sorted(server.server_name for server in global_mcp_server_manager.config_mcp_servers.values())


async def control(request: Request) -> JSONResponse:
    asked = await request.json()
    match asked["do"]:
        case "arm":
            armed.update(step=asked["step"], how=asked["how"])
        case "older form":
            armed["older form"] = "once"
        case "add":
            proxy_server.llm_router.add_deployment(
                Deployment(
                    model_name=asked["name"],
                    litellm_params={"model": "openai/fake", "api_key": "x", "mock_response": asked["answer"]},
                    model_info={"id": f"db-{asked['name']}", "db_model": True},
                )
            )
        case "replace router":
            config = await proxy_server.proxy_config.get_config(config_file_path=proxy_server.user_config_file_path)
            proxy_server.llm_router = litellm.Router(model_list=config["model_list"] if asked["whole"] else [])
        case "update settings":
            proxy_server.llm_router.update_settings(**asked["settings"])
        case "cool down":
            router = proxy_server.llm_router
            router.cooldown_cache.add_deployment_to_cooldown(asked["id"], Exception("x"), 500, 60.0)
        case "cooling":
            from litellm.router_utils.cooldown_handlers import async_get_cooldown_deployments

            found = await async_get_cooldown_deployments(
                litellm_router_instance=proxy_server.llm_router, parent_otel_span=None
            )
            return JSONResponse(found)
        case "read config":
            config = await proxy_server.proxy_config.get_config(config_file_path=proxy_server.user_config_file_path)
            return JSONResponse([model["model_name"] for model in config["model_list"]])
        case "same objects":
            router = proxy_server.llm_router
            return JSONResponse({model["model_info"]["id"]: id(model) for model in router.model_list})
    return JSONResponse(facts())


proxy_server.app.router.routes.insert(0, Route("/test/control", control, methods=["POST"]))
hook = Saboteur()
