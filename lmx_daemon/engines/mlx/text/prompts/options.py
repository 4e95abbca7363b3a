"""The options of a decision as tokens that exclude each other. Pure."""

from collections.abc import Callable, Collection, Sequence

from lmx_daemon.contract.errors import RequestError

MAX_TOKENS = 64
"""Tokens of one option. Options are labels; a longer text would delay other requests."""


def option_tokens(
    texts: Sequence[str], encode: Callable[[str], Sequence[int]], ends: Collection[int]
) -> tuple[tuple[int, ...], ...]:
    """Return the tokens of each text. Raise RequestError for texts that no tokens tell apart, or that are too long.

    A text with whose tokens another one begins is followed by a token of `ends`: as an answer it would end there.
    """
    found = [tuple(encode(text)) for text in texts]
    for position, (text, tokens) in enumerate(zip(texts, found, strict=True)):
        if problem := _problem(text, tokens, found[:position]):
            raise RequestError(f"options[{position}]: {problem}", param=f"options[{position}]")
    beginnings = {tokens[:length] for tokens in found for length in range(1, len(tokens))}
    if not ends:
        return tuple(found)
    return tuple((*tokens, min(ends)) if tokens in beginnings else tokens for tokens in found)


def _problem(text: str, tokens: tuple[int, ...], before: Sequence[tuple[int, ...]]) -> str:
    if not tokens:
        return f"{text[:64]!r} has no tokens"
    if len(tokens) > MAX_TOKENS:
        return f"{len(tokens)} tokens; at most {MAX_TOKENS} are allowed"
    return f"the same tokens as options[{before.index(tokens)}]" if tokens in before else ""
