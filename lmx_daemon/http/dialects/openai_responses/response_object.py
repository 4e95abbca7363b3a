"""The response object: what every answer, and the first and last event of every stream, contain."""

import secrets
from collections.abc import Sequence
from typing import Any

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.events import Usage
from lmx_daemon.http.dialects.openai_responses.bodies import Object, ResponsesBody

CONTEXT = "context_length_exceeded"
ERROR_CODES = {CONTEXT: CONTEXT, "queue_full": "rate_limit_exceeded"}
"""Codes by which agents recognise an error; all others are "server_error"."""


def new_response_id(request_id: str) -> str:
    """Return the id of a new response. It is unique although a client may send the same request id again."""
    return f"resp_{request_id}_{secrets.token_hex(8)}"


def request_id_of(response_id: str) -> str:
    """Return the id of the request that computes a response."""
    return response_id.removeprefix("resp_").rpartition("_")[0]


class ResponseFrame:
    """The fields of a response that its body decides."""

    def __init__(self, identity: str, model: str, created_at: int, body: ResponsesBody) -> None:
        self.id, self.model, self.created_at = identity, model, created_at
        self.stored = body.store is not False
        """Whether the answer can be read again by its id. False once it could not be stored."""
        self._body = body

    def object(
        self,
        status: str,
        output: Sequence[Object],
        *,
        usage: Usage | None = None,
        completed_at: int | None = None,
        incomplete: str | None = None,
        error: LmxError | None = None,
    ) -> Object:
        """Return the response object in one state of its life."""
        optional = {"usage": None if usage is None else usage_of(usage), "user": self._body.user}
        found = {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "completed_at": completed_at,
            "status": status,
            "error": None
            if error is None
            else {"code": ERROR_CODES.get(error.code, "server_error"), "message": error.message},
            "incomplete_details": None if incomplete is None else {"reason": incomplete},
            "model": self.model,
            "output": list(output),
            "store": self.stored,
            "background": False,
            **self._echo(),
        }
        # OpenAI's schema allows no null in these two.
        return found | {name: value for name, value in optional.items() if value is not None}

    def _echo(self) -> Object:
        """Return the fields that repeat the body, with OpenAI's defaults for those that it does not set."""
        body = self._body
        reasoning = body.reasoning
        return {
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "reasoning": {
                "effort": None if reasoning is None else reasoning.effort,
                "summary": None if reasoning is None else reasoning.summary,
            },
            "temperature": body.temperature,
            "text": {"format": (body.text.format if body.text else None) or {"type": "text"}},
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [],
            "top_p": body.top_p,
            "top_logprobs": body.top_logprobs or 0,
            "truncation": body.truncation or "disabled",
            "metadata": body.metadata or {},
        }


def usage_of(usage: Usage) -> Object:
    """Return token counts. The prefix cache does not count what it writes, so that figure is 0."""
    found: dict[str, Any] = {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    return found
