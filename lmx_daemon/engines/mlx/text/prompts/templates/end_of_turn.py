"""Tokens with which a template ends an answer. Pure.

A model's files state end tokens in several places, and not always all of them. What a template writes behind an answer
ends it too: the end marker of a turn, or the marker that begins the next one.
"""

import re
from typing import Any

from lmx_daemon.engines.mlx.text.families.family import Family


def end_tokens(after: str, tokenizer: Any, family: Family) -> frozenset[int]:
    """Return the special tokens that come first in the texts that a template writes behind answers.

    The texts are the parts of `after`, separated by a line break and NUL.

    Markers that the family uses inside of an answer do not end it.
    """
    special = {token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    inner = {*family.dropped, *(family.think or ()), *(envelope.start for envelope in family.envelopes)}
    inner |= {envelope.end for envelope in family.envelopes}
    if not special:
        return frozenset()
    pattern = re.compile(r"\s*(" + "|".join(map(re.escape, sorted(special, key=len, reverse=True))) + ")")
    found = set()
    for text in after.split("\n\0"):
        place = 0
        while (marker := pattern.match(text, place)) is not None:
            place = marker.end()
            if marker[1] not in inner:
                found.add(special[marker[1]])
                break
    return frozenset(found)
