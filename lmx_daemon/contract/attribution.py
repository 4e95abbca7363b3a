"""Removal of the lines by which agents attribute a request, from the beginning of a system text. Pure.

Such a line changes with each request. In a prompt it would end the part that all requests of a session share, so that
no stored prefix matched.
"""

import re

ATTRIBUTION = re.compile(r"(?:\s*x-anthropic-billing-header:[^\n]*(?:\n+|\Z))+", re.IGNORECASE)


def without_attribution(text: str) -> str:
    """Return a system text without the attribution lines at its beginning."""
    found = ATTRIBUTION.match(text)
    return text[found.end() :] if found else text
