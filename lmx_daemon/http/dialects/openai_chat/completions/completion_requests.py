"""Translation of the bodies of /v1/completions to `contract.generation.requests.Generate`."""

from collections.abc import Sequence

from lmx_daemon.contract.errors import RequestError, UnsupportedError
from lmx_daemon.contract.generation.requests import Generate, Infill, Prompt, Text, Tokens
from lmx_daemon.http.context import RequestContext
from lmx_daemon.http.dialects.openai_chat.bodies import CompletionBody
from lmx_daemon.http.dialects.openai_chat.completions.prompt_echo import PromptEcho
from lmx_daemon.http.dialects.openai_chat.constraints import constraint
from lmx_daemon.http.dialects.openai_chat.requests import generate, limit

MAX_CHOICES = 128
"""Limit on the choices of all prompts of one request."""
DEFAULT_TOKENS = 16
"""Length of an answer without `max_tokens`, as OpenAI has it."""


def completion_requests(body: CompletionBody, context: RequestContext) -> list[Generate]:
    """Return a request for each prompt. Raise RequestError or UnsupportedError that names the field."""
    check_prompt_fields(body)
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise UnsupportedError("best_of: only the value of n is supported; every choice is returned", param="best_of")
    prompts = completion_prompts(body)
    if body.suffix:
        check_texts(prompts, "suffix")
    if len(prompts) * (body.n or 1) > MAX_CHOICES:
        raise RequestError(
            f"prompt: {len(prompts)} prompts with n = {body.n or 1}; at most {MAX_CHOICES} choices are allowed in all",
            param="prompt",
        )
    return [
        generate(
            body,
            prompt,
            context,
            max_tokens=0 if body.max_tokens == 0 else limit(body.max_tokens, "max_tokens", DEFAULT_TOKENS),
            top_logprobs=body.logprobs,
            constraint=constraint(body),
            prompt_logprobs=prompt_logprobs(body),
            echo=bool(body.echo) and text_of(prompt, body) is None,
            route="/v1/completions",
        )
        for prompt in prompts
    ]


def check_prompt_fields(body: CompletionBody) -> None:
    """Raise UnsupportedError for fields on the prompt's tokens that exclude others."""
    if body.prompt_logprobs is not None and body.stream:
        raise UnsupportedError("prompt_logprobs is not supported in a stream; use echo", param="prompt_logprobs")
    if body.suffix and prompt_logprobs(body) is not None:
        name = "echo" if body.echo else "prompt_logprobs"
        raise UnsupportedError(f"{name}: log-probabilities of a prompt with a suffix are not supported", param=name)


def prompt_logprobs(body: CompletionBody) -> int | None:
    """Return the number of alternatives that are reported for each token of the prompt; None without them."""
    asked = [body.prompt_logprobs, body.logprobs if body.echo else None]
    return max((each for each in asked if each is not None), default=None)


def check_texts(prompts: Sequence[Prompt], field: str) -> None:
    """Raise UnsupportedError for a prompt of token ids, which `field` cannot be used with."""
    if any(isinstance(prompt, Tokens) for prompt in prompts):
        raise UnsupportedError(f"{field}: the prompt has to be text, not token ids", param=field)


def prompt_echoes(body: CompletionBody, asked: Sequence[Generate]) -> list[PromptEcho]:
    """Return the prompt of each choice, in which the encoder collects what is reported; none without a report."""
    if not body.echo and body.prompt_logprobs is None:
        return []
    found: list[PromptEcho] = []
    for each in asked:
        echo = PromptEcho(
            text_of(each.prompt, body),
            echoed=bool(body.echo),
            logprobs=body.logprobs if body.echo else None,
            reported=body.prompt_logprobs,
        )
        found += [echo] * each.choices
    return found


def text_of(prompt: Prompt, body: CompletionBody) -> str | None:
    """Return the text of a prompt; None if it is that of the tokens that the model reads."""
    match prompt:
        case Infill(prefix=text):
            return text
        case Text(text=text) if body.overflow in (None, "error"):
            return text
        case _:
            return None


def completion_prompts(body: CompletionBody) -> list[Prompt]:
    """Return the prompts: a text or a list of token ids, or a list of them. Raise RequestError for another list."""
    prompt = body.prompt
    if isinstance(prompt, str):
        return [text_prompt(prompt, body)]
    if not prompt or [] in prompt:
        raise RequestError("prompt: a list of prompts or token ids is empty", param="prompt")
    ids = tuple(token for token in prompt if isinstance(token, int))
    if len(ids) == len(prompt):
        return [Tokens(ids=ids)]
    if ids:
        raise RequestError("prompt: token ids and prompts cannot be entries of the same list", param="prompt")
    return [
        text_prompt(each, body) if isinstance(each, str) else Tokens(ids=tuple(each))
        for each in prompt
        if not isinstance(each, int)
    ]


def text_prompt(text: str, body: CompletionBody) -> Prompt:
    """Return a text to continue, or, with a suffix, a text to fill in."""
    return Infill(prefix=text, suffix=body.suffix) if body.suffix else Text(text=text)
