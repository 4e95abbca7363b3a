"""The layout of text on a terminal: widths in cells, elision, and the choice of table columns. Pure."""

from collections.abc import Sequence

ELLIPSIS = "…"
GAP = 2
"""Blank cells between two columns."""
SHORTEST_NAME = 16
"""Width in cells to which a name is elided before another column is dropped."""
SHORTEST_CELL = 6
"""Minimum width in cells of an elided column."""


def cells(text: str) -> int:
    """Return the terminal cells that `text` takes; a wide character takes two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # imported late: its import takes as long as the rest of a short command

    return cell_len(text)


def elided(text: str, width: int) -> str:
    """Return `text` cut to `width` cells, with an ellipsis in its middle."""
    if cells(text) <= width:
        return text
    if width < 1:
        return ""
    head = (width - 1) // 2
    front = cut(text, head)
    return front + ELLIPSIS + cut(text[::-1], width - 1 - head)[::-1]


def cut(text: str, width: int) -> str:
    """Return the longest beginning of `text` that takes at most `width` cells."""
    if text.isascii():
        return text[:width]
    from rich.cells import set_cell_size

    return set_cell_size(text, width) if cells(text) > width else text


def shortened(text: str, width: int) -> str:
    """Return `text` cut to `width` cells, with an ellipsis at its end."""
    if cells(text) <= width:
        return text
    return cut(text, max(0, width - 1)) + ELLIPSIS if width > 0 else ""


def fitted(
    columns: Sequence[str],
    widths: Sequence[int],
    room: int,
    *,
    spare: Sequence[str],
    elide: Sequence[str],
) -> dict[str, int]:
    """Return the width in cells of each column that fits into `room`.

    Columns of `elide` shrink first, then columns of `spare` are dropped in their order, then columns of `elide` shrink
    further. If the table is still too wide, columns at the right are dropped. A title is never cut.
    """
    kept = dict(zip(columns, widths, strict=True))
    for name in (None, *spare):
        if name is not None:
            kept.pop(name, None)
        narrow = _shrunk(kept, room, elide, SHORTEST_NAME)
        if _total(narrow) <= room:
            return narrow
    kept = _shrunk(kept, room, elide, SHORTEST_CELL)
    while _total(kept) > room and len(kept) > 1:
        kept.popitem()
    return kept


def _total(widths: dict[str, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _shrunk(widths: dict[str, int], room: int, elide: Sequence[str], shortest: int) -> dict[str, int]:
    """Return `widths` with columns of `elide` narrowed until all fit, the widest first, down to `shortest`."""
    widths = dict(widths)
    while (over := _total(widths) - room) > 0:
        open_to = [name for name in elide if name in widths and widths[name] > max(shortest, len(name))]
        if not open_to:
            break
        widest = max(open_to, key=lambda name: widths[name])
        others = [widths[name] for name in open_to if name != widest]
        floor = max(max(others, default=0) - 1, shortest, len(widest))
        widths[widest] = max(widths[widest] - over, min(floor, widths[widest] - 1))
    return widths
