"""Removal of attribution lines, which agents write at the beginning of a system text. Pure.

Such a line differs in each request. If it stayed in the prompt, no stored prefix would match beyond it.
"""

import re

ATTRIBUTION = re.compile(r"(?:\s*x-anthropic-billing-header:[^\n]*(?:\n+|\Z))+", re.IGNORECASE)


def without_attribution(text: str) -> str:
    """Return a system text without the attribution lines at its beginning."""
    found = ATTRIBUTION.match(text)
    return text[found.end() :] if found else text
