"""The markers of a family as tokens of one model."""

from typing import Any

from lmx_daemon.engines.mlx.grammar.token_grammar import NO_THINKING, ThinkMarkers
from lmx_daemon.engines.mlx.text.families.choose import added_tokens
from lmx_daemon.engines.mlx.text.families.family import Family, Thought


def think_markers(tokenizer: Any, family: Family) -> ThinkMarkers:
    """Return the family's markers of thinking."""
    thought = family.thought or (Thought(*family.think) if family.think else None)
    if thought is None:
        return NO_THINKING
    start, end, closing = (
        tuple(tokenizer.encode(text, add_special_tokens=False)) if text else ()
        for text in (thought.start, thought.end, thought.closing)
    )
    first = max((token for token in added_tokens(tokenizer) if thought.start.startswith(token)), key=len, default=None)
    lead = None if first is None else b"" if first == thought.start else first.encode()
    return ThinkMarkers(thought.start.encode(), thought.end.encode(), start, end, closing, lead)


def call_start_tokens(tokenizer: Any, family: Family) -> tuple[int, ...]:
    """Return the tokens of the marker that opens the family's calls; none if it has no marker."""
    start = next((envelope.start for envelope in family.envelopes if envelope.calls and envelope.start), "")
    return tuple(tokenizer.encode(start, add_special_tokens=False)) if start else ()
