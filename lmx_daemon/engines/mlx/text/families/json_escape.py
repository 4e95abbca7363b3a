r"""Escapes in JSON strings: `\n`, `\u00e9`, and pairs of surrogates (`\ud83d\ude00`). Pure."""

import re

HEX = re.compile(r"[0-9a-fA-F]{4}")
LOW = re.compile(r"\\u[dD][c-fC-F][0-9a-fA-F]{2}")
LOW_BEGUN = re.compile(r"(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?\Z")
REPLACEMENT = r"\ufffd"


def escape_at(text: str, place: int, ended: bool) -> tuple[int, str]:
    """Return the length of the escape at `place`, and what replaces it: "" unless it is a lone surrogate.

    The length is 0 where more text is needed to decide; with `ended` none will come.
    """
    if place + 2 > len(text):
        return (1 if ended else 0), ""
    if text[place + 1] != "u":
        return 2, ""
    if place + 6 > len(text):
        return (len(text) - place if ended else 0), ""
    if HEX.match(text, place + 2) is None:
        return 2, ""
    code = int(text[place + 2 : place + 6], 16)
    if 0xDC00 <= code <= 0xDFFF:
        return 6, REPLACEMENT
    if not 0xD800 <= code <= 0xDBFF:
        return 6, ""
    if LOW.match(text, place + 6) is not None:
        return 12, ""
    if not ended and LOW_BEGUN.fullmatch(text[place + 6 : place + 12]) is not None:
        return 0, ""
    return 6, REPLACEMENT
