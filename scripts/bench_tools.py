"""Cost of a list of tools, for bench_dialects.py: in the preparation of a prompt, and in the TTFT of a stored prompt.

A client sends the prompt once as a chat completion with tools, and once as the same number of token ids to the admin
socket, with the same number of stored tokens. Attention over the stored tokens is in both times. Their difference is
what translation, template, tokenising and the dialect's stream add.
"""

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path

import tool_lists
from lean_client import LeanClient
from mlx_lm.tokenizer_utils import load as load_tokenizer

from lmx_cli.bench.prompts import words
from lmx_daemon.contract.generation.requests import Chat, Message, TextPart, Tool
from lmx_daemon.engines.mlx.text.prompts.encoded_heads import KEPT
from lmx_daemon.engines.mlx.text.prompts.prompt import PromptBuilder
from lmx_daemon.worker.template_child import TemplateChild

TOOLS, LONG, SHORT = 100, 20, 3
"""Tools of a list, and words of their descriptions; with the short ones, the prompt is computed once in the run."""
SETTLED = 1.0
"""Seconds after which the worker has stored the previous prompt."""
QUESTION = 12
"""Words of the user's message, each of one token."""


@dataclasses.dataclass(frozen=True)
class FirstTokens:
    """Seconds to the first token in each round, with stored prompts of `stored` tokens but for the question."""

    stored: int
    none: list[float]
    """Of a question without tools."""
    tokens: list[float]
    """Of the prompt as token ids."""
    seen: list[float]
    """Of tools whose beginning of a prompt was seen before."""
    new: list[float]
    """Of tools that are rendered and tokenised as if they were never seen."""
    processor: dict[str, float]
    """Seconds of processor time of the daemon, its worker and its template child, in all rounds: tokens, seen, new."""

    def added(self, kind: str) -> float:
        """Return the mean processor time that tools of a kind add to a request."""
        return (self.processor[kind] - self.processor["tokens"]) / len(self.tokens)


async def preparation_times(client: LeanClient, rounds: int) -> dict[str, list[float]]:
    """Return the seconds to count the tokens of a prompt, by kind of its tools."""
    seen = tool_lists.tools(TOOLS, "seen", LONG)
    found: dict[str, list[float]] = {"none": [], "seen": [], "new": []}
    for number in range(-2, rounds):
        for kind, listed in (("none", []), ("seen", seen), ("new", tool_lists.tools(TOOLS, f"new {number}", LONG))):
            text = words(QUESTION, f"{kind} {number}")
            seconds = await client.count_seconds(text, tool_lists.as_anthropic(listed))
            if number >= 0:
                found[kind].append(seconds)
    return found


async def first_token_times(client: LeanClient, files: Path, rounds: int, cpu: Callable[[], float]) -> FirstTokens:
    """Return the seconds to the first token of stored prompts with tools, for `cpu`, the processor time used so far.

    Raises RuntimeError if a prompt is not stored.
    """
    listed = tool_lists.tools(TOOLS, "seen", SHORT)
    prompts = _prompts(files, listed, [f"tokens {number}" for number in range(-1, rounds)])
    found = FirstTokens(_common(prompts), [], [], [], [], dict.fromkeys(("tokens", "seen", "new"), 0.0))
    for number in range(-1, rounds):
        none, _ = await client.first_token(words(QUESTION, f"none {number}"), [])
        for kind, times in (("tokens", found.tokens), ("seen", found.seen), ("new", found.new)):
            if kind == "new":
                await _forget(client)
            await asyncio.sleep(SETTLED)
            used = cpu()
            if kind == "tokens":
                seconds, held = await client.first_token_of_ids(prompts[number + 1])
            else:
                seconds, held = await client.first_token(words(QUESTION, f"{kind} {number}"), listed)
            if number >= 0:
                found.processor[kind] += cpu() - used
                times.append(seconds)
                if held < found.stored:  # one token more where two questions begin alike
                    raise RuntimeError(f"{held} tokens are stored, not {found.stored}")
        if number >= 0:
            found.none.append(none)
    return found


async def _forget(client: LeanClient) -> None:
    """Let the daemon prepare so many other prompts that it keeps no beginning of an earlier one."""
    for other in range(KEPT):
        listed = tool_lists.as_anthropic(tool_lists.tools(TOOLS, f"other {other}", SHORT))
        await client.count_seconds(words(QUESTION, "other"), listed)


def _prompts(files: Path, listed: list[tool_lists.FunctionTool], keys: list[str]) -> list[list[int]]:
    """Return the token ids of a prompt with tools for each question, as the daemon prepares them."""
    tokenizer, child = load_tokenizer(files), TemplateChild(60.0, 1 << 30)
    tools = tuple(
        Tool(**{name: each["function"][name] for name in ("name", "description", "parameters")}) for each in listed
    )
    builder = PromptBuilder(tokenizer, 1 << 20, len(tokenizer), child)
    try:
        questions = (Message("user", (TextPart(text=words(QUESTION, key)),)) for key in keys)
        return [builder.build(Chat(messages=(question,), tools=tools)).tokens for question in questions]
    finally:
        child.close()


def _common(prompts: list[list[int]]) -> int:
    """Return the number of tokens that all prompts begin with."""
    return next(place for place, tokens in enumerate(zip(*prompts, strict=True)) if len(set(tokens)) > 1)
