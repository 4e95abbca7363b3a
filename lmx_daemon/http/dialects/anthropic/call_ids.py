"""Ids of tool calls in Anthropic's form.

Some models write ids of their own (Kimi: `functions.Bash:0`), and use the same one again in a later turn. Anthropic's
ids have no dots and colons, and Claude Code takes a second call with the same id for the first one. So such an id is
sent inside a unique one, and the model sees its own id again when the client returns it.
"""

import base64
import binascii
import re
import uuid

OWN = "call_"
"""Begin of the ids that lmx makes. They are unique and need no change."""
WRAPPED = re.compile(r"toolu_[0-9a-f]{8}_([A-Za-z0-9_-]+)")


def sent(identity: str) -> str:
    """Return the id as a client receives it."""
    if not identity or identity.startswith(OWN):
        return identity
    encoded = base64.urlsafe_b64encode(identity.encode()).decode().rstrip("=")
    return f"toolu_{uuid.uuid4().hex[:8]}_{encoded}"


def received(identity: str) -> str:
    """Return the id that the model wrote, for one that `sent` made; any other id as it is."""
    found = WRAPPED.fullmatch(identity)
    if found is None:
        return identity
    try:
        return base64.urlsafe_b64decode(found[1] + "=" * (-len(found[1]) % 4)).decode()
    except (binascii.Error, ValueError):
        return identity
