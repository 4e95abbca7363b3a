"""Hooks of schemathesis: generated requests name an installed model and ask for short answers.

Without them nearly every request would end at a model that is not found.
"""

from typing import Any

import schemathesis
from schemathesis import GenerationMode

MODEL = "lmx/guide"
LIMITS = {
    "/v1/chat/completions": "max_tokens",
    "/v1/completions": "max_tokens",
    "/v1/messages": "max_tokens",
    "/v1/responses": "max_output_tokens",
    "/v1/responses/compact": "max_output_tokens",
    "/api/v0/chat/completions": "max_tokens",
    "/api/v0/completions": "max_tokens",
    "/api/v1/chat": "max_output_tokens",
}
"""Names of the limit on tokens by route. Ollama's routes have it in `options`."""
TOKENS = 3


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Change a request before it is sent. Values of a wrong type stay as they are."""
    named = case.path_parameters.get("model_id")
    if isinstance(named, str) and len(named) % 2:
        case.path_parameters["model_id"] = MODEL
    body = case.body
    if not isinstance(body, dict):
        return
    for name in ("model", "name", "instance_id"):
        if isinstance(body.get(name), str):
            body[name] = MODEL
    if case.operation.path.startswith("/v1/messages") and case.meta.generation.mode == GenerationMode.POSITIVE:
        body["messages"] = [{"role": "user", "content": "x"}]  # the document does not describe blocks
    if limit := LIMITS.get(case.operation.path):
        shorten(body, limit)
    elif case.operation.path in ("/api/chat", "/api/generate"):
        body["options"] = {} if body.get("options") is None else body["options"]
        if isinstance(body["options"], dict):
            shorten(body["options"], "num_predict")


def shorten(fields: dict[str, Any], name: str) -> None:
    """Set the limit on tokens where it is missing or high."""
    given = fields.get(name)
    if given is None or (isinstance(given, int) and (given > TOKENS or given in (-1, -2))):
        fields[name] = TOKENS
