"""Ids of tool calls whose model wrote none."""

import uuid


def new_id() -> str:
    """Return a new id."""
    return f"call_{uuid.uuid4().hex[:24]}"
