"""Times as clients read them."""

from datetime import UTC, datetime


def timestamp(seconds: float | None = None) -> str:
    """Return a wall-clock time, by default the current one, in the form of RFC 3339."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat().replace("+00:00", "Z")
