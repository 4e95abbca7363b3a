"""BrailleArea: a filled graph of samples over a fixed time window, with the newest at the right.

The meaning of the samples is unknown to it. Their maximum is given, so that graphs can be compared.
"""

from collections.abc import Sequence

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.strip import Strip
from textual.theme import Theme
from textual.widget import Widget

from lmx_tui.formatting import shorten
from lmx_tui.theme import gradient
from lmx_tui.widgets.monitor import octants

LEFT = (0x40, 0x04, 0x02, 0x01)
RIGHT = (0x80, 0x20, 0x10, 0x08)
"""Dots of the right column of a braille cell, from the bottom; LEFT has those of the left one."""
BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII = " .:#"
STEPS = {"braille": 4, "octant": 4, "block": 8, "ascii": 3}
TWO_COLUMNS = frozenset({"braille", "octant"})
"""Symbol sets with two columns in a cell."""
"""Number of levels in one row of each symbol set."""


def resampled(samples: Sequence[float], window: int, columns: int) -> list[float | None]:
    """Return `columns` values for the last `window` samples: the maximum of each column, None without samples."""
    recent = samples[-window:]
    missing = window - len(recent)
    values: list[float | None] = []
    for column in range(columns):
        first = column * window // columns
        last = max(first + 1, (column + 1) * window // columns)
        share = recent[max(0, first - missing) : max(0, last - missing)]
        values.append(max(share) if share else None)
    return values


def levels(values: Sequence[float | None], top: float, steps: int) -> list[int]:
    """Return each value as a number of steps from the bottom; a positive value has at least one step."""
    unit = steps / top if top > 0 else 0.0
    return [0 if not value else max(1, min(steps, round(value * unit))) for value in values]


class BrailleArea(Widget):
    """A graph of braille, octant, block or ASCII symbols."""

    DEFAULT_CSS = """
    BrailleArea { height: 1fr; min-height: 1; width: 1fr; }
    """

    def __init__(self, colors: str, symbols: str = "braille", *, id: str | None = None) -> None:
        """`colors` is the prefix of theme variables: "memory" uses memory-low, memory-mid and memory-high."""
        super().__init__(id=id)
        self._colors = colors
        self._symbols = symbols
        self._samples: tuple[float, ...] = ()
        self._top = 1.0
        self._window = 60
        self._rows: list[tuple[str, Color]] = []
        self._drawn_for = Size(0, 0)

    def show(self, samples: Sequence[float], top: float, window: int) -> None:
        """Show the last `window` samples on a scale from 0 to `top`."""
        shown = (tuple(samples[-window:]), top, window)
        if shown != (self._samples, self._top, self._window):
            self._samples, self._top, self._window = shown
            if not self._rows or self._drawn_for != self.content_size or self._differs():
                self._rows = []
                self.refresh()

    def _differs(self) -> bool:
        """Return whether the samples would be drawn differently from the current rows."""
        width, height = self.content_size
        return self._drawn(width, height) != [glyphs for glyphs, _ in self._rows]

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, self._theme_changed)

    def _theme_changed(self, theme: Theme) -> None:
        self._rows = []
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width, height = self.content_size
        if not self._rows or self._drawn_for != self.content_size:
            self._drawn_for = self.content_size
            self._rows = list(
                zip(self._drawn(width, height), gradient(self.app.theme_variables, self._colors, height), strict=True)
            )
        if y >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        glyphs, color = self._rows[y]
        return Strip([Segment(glyphs, Style(color=color, bgcolor=self.rich_style.bgcolor))], width)

    def _drawn(self, width: int, height: int) -> list[str]:
        """Return the symbols of each row, the top row first."""
        steps = STEPS[self._symbols]
        columns = width * 2 if self._symbols in TWO_COLUMNS else width
        heights = levels(resampled(self._samples, self._window, columns), self._top, steps * height)
        if self._symbols in TWO_COLUMNS:
            draw = _braille_row if self._symbols == "braille" else _octant_row
            return [draw(heights, row, width) for row in range(height - 1, -1, -1)]
        glyphs = BLOCKS if self._symbols == "block" else ASCII
        return [
            "".join(glyphs[max(0, min(steps, level - row * steps))] for level in heights)
            for row in range(height - 1, -1, -1)
        ]


def _braille_row(heights: list[int], row: int, width: int) -> str:
    cells = []
    for cell in range(width):
        left = max(0, min(4, heights[2 * cell] - row * 4))
        right = max(0, min(4, heights[2 * cell + 1] - row * 4))
        bits = sum(LEFT[:left]) + sum(RIGHT[:right])
        cells.append(chr(0x2800 + bits) if bits else " ")
    return "".join(cells)


def _octant_row(heights: list[int], row: int, width: int) -> str:
    cells = []
    for cell in range(width):
        left = max(0, min(4, heights[2 * cell] - row * 4))
        right = max(0, min(4, heights[2 * cell + 1] - row * 4))
        cells.append(octants.SHAPES[sum(octants.LEFT[:left]) + sum(octants.RIGHT[:right])])
    return "".join(cells)


def round_top(value: float) -> float:
    """Return the next of 10, 20, 30, 50, 100, ... at or above `value`, so that the scale changes rarely."""
    unit = 10.0
    while True:
        for factor in (1, 2, 3, 5):
            if value <= unit * factor:
                return unit * factor
        unit *= 10


LEGEND_NAMES = (40, 24, 16, 12, 8, 5)
"""Lengths to which names in a legend are cut, the longest first."""


def legend(parts: Sequence[tuple[str, str, str]], width: int, lines: int = 3) -> list[list[tuple[str, str]]]:
    """Return (colour, name, value) parts as lines of (colour, text) that fit `width` with a square before each part.

    Names are cut if there are too few `lines`; values are not. Parts that still do not fit are left out at the end.
    """
    for kept in range(len(parts), 0, -1):
        for longest in LEGEND_NAMES:
            rows = _flow([(color, f"{shorten(name, longest)} {value}") for color, name, value in parts[:kept]], width)
            if rows is not None and len(rows) <= lines:
                return rows
    return []


def _flow(parts: Sequence[tuple[str, str]], width: int) -> list[list[tuple[str, str]]] | None:
    """Return the parts in lines, or None if a part is wider than a line."""
    rows: list[list[tuple[str, str]]] = []
    left = 0
    for part in parts:
        cells = len(part[1]) + 2
        if cells > width:
            return None
        if cells > left:
            rows.append([])
            left = width
        rows[-1].append(part)
        left -= cells + 2
    return rows
