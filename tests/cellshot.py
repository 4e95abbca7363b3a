"""Image of a Textual screen, drawn cell by cell: braille dots, blocks and frames look as in a terminal.

Converters from SVG to PNG distort these glyphs. The module requires Pillow and the DejaVu fonts.
"""

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from rich.cells import cell_len
from rich.color import Color
from textual.app import App

CELL = (9, 19)
FONT_SIZE = 15
BRAILLE = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))
QUADRANTS = {
    "▖": 4, "▗": 8, "▘": 1, "▙": 13, "▚": 9, "▛": 7, "▜": 11, "▝": 2, "▞": 6, "▟": 14,
}  # fmt: skip
ARMS = {
    "─": "lr", "│": "ud", "╭": "rd", "╮": "ld", "╰": "ru", "╯": "lu", "━": "lr", "┃": "ud",
    "┌": "rd", "┐": "ld", "└": "ru", "┘": "lu",
}  # fmt: skip


class CellPicture:
    """Image with a grid of character cells."""

    def __init__(self, width: int, height: int, background: tuple[int, int, int]) -> None:
        self.image = Image.new("RGB", (width * CELL[0], height * CELL[1]), background)
        self._draw = ImageDraw.Draw(self.image)
        self._font = ImageFont.truetype("DejaVuSansMono.ttf", FONT_SIZE)
        self._bold = ImageFont.truetype("DejaVuSansMono-Bold.ttf", FONT_SIZE)

    def cell(self, column: int, row: int, character: str, fore: Any, back: Any, *, bold: bool) -> int:
        """Draw one character and return its width in cells."""
        width, height = CELL
        cells = max(1, cell_len(character))
        x, y = column * width, row * height
        self._draw.rectangle((x, y, x + cells * width - 1, y + height - 1), fill=back)
        code = ord(character)
        if 0x2800 <= code <= 0x28FF:
            self._braille(x, y, code - 0x2800, fore)
        elif 0x2580 <= code <= 0x2590:
            self._block(x, y, code, fore)
        elif 0x2591 <= code <= 0x2593:
            share = (code - 0x2590) / 4
            mixed = tuple(round(b + (f - b) * share) for f, b in zip(fore, back, strict=True))
            self._draw.rectangle((x, y, x + width - 1, y + height - 1), fill=mixed)
        elif character in QUADRANTS:
            for bit, (across, down) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
                if QUADRANTS[character] >> bit & 1:
                    left, top = x + across * width // 2, y + down * height // 2
                    self._draw.rectangle((left, top, left + width // 2, top + height // 2), fill=fore)
        elif character in ARMS:
            self._frame(x, y, ARMS[character], fore)
        elif character != " ":
            self._draw.text((x, y), character, font=self._bold if bold else self._font, fill=fore)
        return cells

    def _braille(self, x: int, y: int, bits: int, fore: Any) -> None:
        width, height = CELL
        for bit, (across, down) in enumerate(BRAILLE):
            if bits >> bit & 1:
                left, top = x + width * (0.25 + 0.5 * across), y + height * (0.125 + 0.25 * down)
                self._draw.ellipse((left - 1.6, top - 1.6, left + 1.6, top + 1.6), fill=fore)

    def _block(self, x: int, y: int, code: int, fore: Any) -> None:
        width, height = CELL
        right, bottom = x + width - 1, y + height - 1
        if code == 0x2580:
            box = (x, y, right, y + height // 2 - 1)
        elif code <= 0x2588:
            box = (x, bottom + 1 - round(height * (code - 0x2580) / 8), right, bottom)
        elif code == 0x2590:
            box = (x + width // 2, y, right, bottom)
        else:
            box = (x, y, x + round(width * (0x2590 - code) / 8) - 1, bottom)
        self._draw.rectangle(box, fill=fore)

    def _frame(self, x: int, y: int, arms: str, fore: Any) -> None:
        width, height = CELL
        middle, center = x + width // 2, y + height // 2
        ends = {
            "l": (x, center),
            "r": (x + width - 1, center),
            "u": (middle, y),
            "d": (middle, y + height - 1),
        }
        for arm in arms:
            self._draw.line((middle, center, *ends[arm]), fill=fore)


def _rgb(color: Color | None, otherwise: tuple[int, int, int]) -> tuple[int, int, int]:
    if color is None or color.is_default:
        return otherwise
    return tuple(color.get_truecolor())  # type: ignore[return-value]


def picture(app: App[Any]) -> "Image.Image":
    """Return an image of the current screen of the app."""
    width, height = app.size
    fore_default = (220, 220, 220)
    back_default = (18, 18, 18)
    drawn = CellPicture(width, height, back_default)
    for row, strip in enumerate(app.screen._compositor.render_strips()):
        column = 0
        for segment in strip:
            style = segment.style
            fore = _rgb(style.color if style else None, fore_default)
            back = _rgb(style.bgcolor if style else None, back_default)
            if style and style.reverse:
                fore, back = back, fore
            if style and style.dim:
                fore = tuple((one + other) // 2 for one, other in zip(fore, back, strict=True))  # type: ignore
            for character in segment.text:
                column += drawn.cell(column, row, character, fore, back, bold=bool(style and style.bold))
    return drawn.image


def save(app: App[Any], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(app).save(path)
    return path
