"""Table: a DataTable that is given all rows and updates only the cells that differ. The cursor stays on its row.

Columns are left out or stretched to fit the width. Cells are Text, so their content is not markup.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widgets import DataTable

from lmx_daemon.contract.units import UNKNOWN
from lmx_tui import keys
from lmx_tui.widgets.frame.static_text import looks_same

EMPTY_LINE = 2
"""Row of the text that an empty table shows."""


@dataclass(frozen=True)
class Column:
    """A column of a table; `width` is in cells."""

    key: str
    label: str
    width: int
    right: bool = False
    flexible: bool = False
    """Whether the column gets the remaining width."""
    keep: int = 0
    """Priority: in a narrow table, the columns with the lowest are left out first."""
    middle: bool = False
    """Whether a long text is cut in its middle, since both ends of a name matter."""


class Table(DataTable[Text], inherit_bindings=False):
    """A table of rows with keys."""

    BINDINGS = keys.TABLE
    DEFAULT_CSS = """
    Table { height: 1fr; background: transparent; scrollbar-size-vertical: 1; overflow-x: hidden; }
    """

    _by_rows = False
    """Whether an update draws rows one by one. A class attribute, since DataTable refreshes during its construction."""

    def __init__(self, columns: Sequence[Column], *, id: str | None = None) -> None:
        super().__init__(
            id=id, cursor_type="row", zebra_stripes=False, cell_padding=1, cursor_foreground_priority="renderable"
        )
        self._all = tuple(columns)
        self._shown: tuple[tuple[str, int], ...] = ()
        self._rows: dict[str, Mapping[str, Text]] = {}
        self._sorted: tuple[str, str] = ("", "")
        self._empty = ""

    @property
    def selected(self) -> str | None:
        """Key of the row under the cursor."""
        if not self.row_count or not 0 <= self.cursor_row < self.row_count:
            return None
        return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value

    def show(self, rows: Mapping[str, Mapping[str, Text]], *, sorted_by: str = "", mark: str = "") -> None:
        """Show `rows` (key -> column -> cell). `mark` follows the label of the column `sorted_by`."""
        layout = self._layout(rows)
        rebuild = layout != self._shown or (sorted_by, mark) != self._sorted
        self._sorted = (sorted_by, mark)
        if rebuild or list(rows) != list(self._rows):
            self._rebuild(layout, rows, columns=rebuild)
        else:
            self._change_cells(layout, rows)
        self._rows = dict(rows)

    def _change_cells(self, layout: tuple[tuple[str, int], ...], rows: Mapping[str, Mapping[str, Text]]) -> None:
        """Set the cells that differ, and draw only their rows; DataTable would draw the whole table."""
        self._by_rows = True
        for key, cells in rows.items():
            changed = [place for place in layout if not looks_same(cells[place[0]], self._rows[key][place[0]])]
            for column, width in changed:
                self.update_cell(key, column, self._cell(cells, column, width))
            if changed:
                self.refresh_row(self.get_row_index(key))
        self._by_rows = False

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        if self._by_rows and not regions and not layout:
            return self
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def select(self, key: str) -> None:
        if key in self._rows:
            self.move_cursor(row=self.get_row_index(key), animate=False)

    def on_resize(self, event: events.Resize) -> None:
        if self._layout(self._rows) != self._shown:
            self.show(dict(self._rows), sorted_by=self._sorted[0], mark=self._sorted[1])

    def set_empty_text(self, words: str) -> None:
        """Set the text that is shown while there are no rows."""
        if words != self._empty:
            self._empty = words
            self.refresh()

    def render_line(self, y: int) -> Strip:
        if self.row_count or y != min(EMPTY_LINE, self.size.height - 1):
            return super().render_line(y)
        style = self.rich_style + Style.parse(self.app.theme_variables["muted"])
        return Strip([Segment(f" {self._empty}", style)]).adjust_cell_length(self.size.width, self.rich_style)

    # ---- layout ----

    def _layout(self, rows: Mapping[str, Mapping[str, Text]]) -> tuple[tuple[str, int], ...]:
        """Return (key, width) of the columns that fit. Columns that are empty in all rows are left out first."""
        room = max(self.size.width - 1, 20)
        shown = list(self._all)
        while len(shown) > 1 and sum(column.width + 2 for column in shown) > room:
            shown.remove(min(shown, key=lambda column: (_has_content(column, rows), column.keep)))
        left = room - sum(column.width + 2 for column in shown)
        return tuple((column.key, column.width + (left if column.flexible else 0)) for column in shown)

    def _rebuild(
        self, layout: tuple[tuple[str, int], ...], rows: Mapping[str, Mapping[str, Text]], *, columns: bool
    ) -> None:
        kept, row = self.selected, self.cursor_row
        scroll = self.scroll_y
        self.clear(columns=columns)
        self._shown = layout
        if columns:
            named = {column.key: column for column in self._all}
            for key, width in layout:
                column = named[key]
                label = f"{column.label} {self._sorted[1]}" if key == self._sorted[0] else column.label
                justify: Any = "right" if column.right else "left"
                self.add_column(Text(label, justify=justify), width=width, key=key)
        for key, cells in rows.items():
            self.add_row(*(self._cell(cells, column, width) for column, width in layout), key=key)
        if kept is not None and kept in rows:
            self.move_cursor(row=list(rows).index(kept), animate=False)
        elif rows:
            self.move_cursor(row=min(max(row, 0), len(rows) - 1), animate=False)
        self.scroll_to(y=scroll, animate=False)

    def _cell(self, cells: Mapping[str, Text], key: str, width: int) -> Text:
        cell = Text(cells[key].plain) if self.app.no_color else cells[key].copy()
        column = next(column for column in self._all if column.key == key)
        if column.middle:
            cell = cut_in_the_middle(cell, width)
        cell.truncate(width, overflow="ellipsis")
        if column.right:
            cell.justify = "right"
        return cell


def _has_content(column: Column, rows: Mapping[str, Mapping[str, Text]]) -> bool:
    """Return whether any row has a value in a column. A table without rows keeps its columns by their priority."""
    return not rows or any(cells[column.key].plain.strip() not in ("", UNKNOWN) for cells in rows.values())


def cut_in_the_middle(text: Text, width: int) -> Text:
    """Return the text with as much left out of its middle as `width` cells require."""
    if text.cell_len <= width or width < 5:
        return text
    tail = (width - 1) // 2
    head = width - 1 - tail
    begin, end = text.copy(), text.copy()
    begin.truncate(head)
    end = end[-tail:]
    while end.cell_len > tail:
        end = end[1:]
    return begin.append("…").append_text(end)
