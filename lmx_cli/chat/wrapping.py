"""Line breaks between the words of an answer that streams to a terminal. Pure."""

from lmx_cli.text.layout import cells

FENCE = "```"


class WordWrap:
    """Text of one answer in pieces. A word that does not fit on its line begins the next one.

    Blocks of code keep their lines, so that they can be copied. The last word is held back until its end is known.
    """

    def __init__(self) -> None:
        self._column = 0
        self._word = ""
        self._line = ""
        """Text of the current line of the answer, which the terminal may show on several."""
        self._in_code = False
        self._is_long = False
        """Whether the beginning of the current word has been written, since the word is longer than a line."""

    def add(self, text: str, width: int) -> str:
        """Return what can be written after the next piece of text, on a terminal of `width` cells."""
        shown: list[str] = []
        for character in text:
            if character == "\n":
                shown.append(self._placed(width) + "\n")
                self._in_code ^= self._line.lstrip().startswith(FENCE)
                self._line, self._column, self._is_long = "", 0, False
            elif character == " ":
                shown.append(self._placed(width))
                self._line += character
                self._is_long = False
                if self._column < width or self._is_code():
                    shown.append(character)
                    self._column += 1
            else:
                self._line += character
                self._word += character
                if cells(self._word) >= width:  # a URL, or a script without spaces
                    shown.append(self._placed(width))
                    self._is_long = True
        return "".join(shown)

    def end(self, width: int) -> str:
        """Return the text that was held back."""
        return self._placed(width)

    def _placed(self, width: int) -> str:
        """Return the held-back word, on the next line if it does not fit on this one."""
        word, self._word = self._word, ""
        room = cells(word)
        full = self._column > 0 and self._column + room > width
        breaks = full and room <= width and not self._is_long and not self._is_code()
        self._column = room if breaks else _column_after(self._column + room, width)
        return "\n" + word if breaks else word

    def _is_code(self) -> bool:
        return self._in_code or self._line.lstrip().startswith(FENCE)


def _column_after(count: int, width: int) -> int:
    """Return the column of the cursor after `count` cells; after a full line, it is `width` and not 0."""
    return (count - 1) % max(1, width) + 1 if count else 0
