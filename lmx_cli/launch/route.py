"""One small request over the route that an agent uses, so that a fault shows before the agent starts."""

from typing import Any

import httpx2
import msgspec

from lmx_cli.launch.agents import Agent, AgentRoute
from lmx_cli.launch.target import AgentTarget
from lmx_daemon.contract.errors import LmxError

SECONDS = 120.0
"""Time limit. The model is loaded before the request."""


def body_of(route: AgentRoute, model: str) -> dict[str, Any]:
    """Return the body of a request for one short answer."""
    if route == "/v1/responses":
        return {"model": model, "input": "Hello", "max_output_tokens": 16, "store": False}
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}


async def check_route(agent: Agent, target: AgentTarget) -> None:
    """Send the request. Raises LmxError if the server does not answer it."""
    url = target.address + agent.route
    headers = {"authorization": f"Bearer {target.key}"}
    try:
        async with httpx2.AsyncClient(timeout=SECONDS, trust_env=False, headers=headers) as client:
            response = await client.post(url, json=body_of(agent.route, target.model))
    except httpx2.HTTPError as error:
        raise LmxError(f"{url} does not answer: {error or type(error).__name__}", hint="see: lmx status") from error
    if response.status_code != 200:
        raise _refusal(url, response.status_code, response.content)


def _refusal(url: str, status: int, content: bytes) -> LmxError:
    """Return the error of an answer, with the hint of the server if it has one."""
    try:
        error = msgspec.json.decode(content)["error"]
        message, hint = str(error["message"]), error.get("hint")
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError):
        message, hint = content[:200].decode(errors="replace"), None
    if status == 401:
        hint = "set LMX_API_KEY to the key of the daemon"
    return LmxError(f"{url} answered {status}: {message}", hint=hint if isinstance(hint, str) else None)
