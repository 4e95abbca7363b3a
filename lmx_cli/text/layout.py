"""The layout of text on a terminal: widths in cells, elision, and the choice of table columns. Pure."""

from collections.abc import Sequence

ELLIPSIS = "…"
GAP = 2
"""Blank cells between two columns."""
SHORTEST_NAME = 16
"""Width in cells to which a column of names is elided before another column is dropped."""
SHORTEST_CELL = 6
"""Minimum width in cells of an elided column."""
NAME_SHARE = 0.6
"""Share of a terminal's width up to which the name of a row stays whole while other columns shrink or are dropped."""
PROGRESS_NAME = 0.45
"""Share of a progress line that its name may take."""
BAR = 12
"""Cells of a progress bar."""
FULL, EMPTY = "█", "░"
EIGHTHS = " ▏▎▍▌▋▊▉"


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
    name: str = "",
) -> dict[str, int]:
    """Return the width in cells of each column that fits into `room`.

    First, columns of `elide` other than `name` shrink. Then columns of `spare` are dropped in their order. The column
    `name` shrinks last, and below NAME_SHARE of `room` only if that does not suffice. If the table is still too wide,
    columns at the right are dropped. A title is never cut.
    """
    kept = dict(zip(columns, widths, strict=True))
    others = [each for each in elide if each != name]
    whole = int(room * NAME_SHARE)
    for dropped in (None, *spare):
        if dropped is not None:
            kept.pop(dropped, None)
        narrow = _shrunk(_shrunk(kept, room, others, SHORTEST_NAME), room, [name], whole)
        if _total(narrow) <= room:
            return narrow
    for shortest in (SHORTEST_NAME, SHORTEST_CELL):
        kept = _shrunk(kept, room, [*others, name], shortest)
    while _total(kept) > room and len(kept) > 1:
        kept.popitem()
    return kept


def filled(text: str, width: int, *, head: str = "", indent: str = "") -> list[str]:
    """Return running text as lines of at most `width` cells, cut between words.

    The first line begins with `head`, the others with `indent`. A word is never cut: a path or a URL that is longer
    than a line stays whole, so that it can be copied.
    """
    lines: list[str] = []
    line, begun = head, False
    for word in text.split(" "):
        joined = f"{line} {word}" if begun else line + word
        if begun and cells(joined) > width:
            lines.append(line.rstrip())
            line = indent + word
        else:
            line = joined
        begun = True
    return [*lines, line.rstrip()]


def bar(fraction: float, width: int, *, ascii_only: bool = False) -> str:
    """Return a bar of `width` cells."""
    if ascii_only:
        full = round(fraction * width)
        return "#" * full + "-" * (width - full)
    eighths = round(min(1.0, max(0.0, fraction)) * width * 8)
    full, part = divmod(eighths, 8)
    text = FULL * full + (EIGHTHS[part] if part else "")
    return text + EMPTY * (width - len(text))


def progress_line(name: str, fraction: float | None, details: Sequence[str], width: int, *, ascii_only: bool) -> str:
    """Return one line of at most `width` cells: the name, a bar, and as many details as fit.

    The name loses its middle above PROGRESS_NAME of the width. Details at the end are left out first.
    """
    if fraction is None and not details:
        return shortened(name, width)
    shown = elided(name, max(SHORTEST_NAME, int(width * PROGRESS_NAME)))
    line = shown if fraction is None else f"{shown} {bar(fraction, BAR, ascii_only=ascii_only)} {fraction:4.0%}"
    for number, detail in enumerate(details):
        longer = line + (" " if number == 0 else " · " if not ascii_only else ", ") + detail
        if cells(longer) > width:
            break
        line = longer
    return shortened(line, width)


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
