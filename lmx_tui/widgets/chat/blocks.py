"""Positions at which a growing markdown text can be cut, so that the text before the cut is drawn once. Pure."""

import re
from typing import NamedTuple

FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
CONTINUES = re.compile(r"(\s|[-*+]\s|\d{1,9}[.)]\s|[-*+]$|\d{1,9}[.)]?$)")
"""Pattern of a line that can continue the list or paragraph before a blank line: a cut would restart its numbering."""
LONG_TAIL = 4000
"""Length in characters after which such a line is cut too; the finished text is drawn again as a whole."""
LONG_FENCE = 80
"""Number of lines above which an open code block is drawn in parts."""
KEPT_LINES = 40
"""Number of last lines of a long open code block that are drawn again for each update."""
PARTIAL_FENCE = re.compile(r"(^|\n) {0,3}(`{1,2}|~{1,2})$")


class OpenFence(NamedTuple):
    """A code block that is not closed yet."""

    mark: str
    info: str
    start: int
    """Offset of its first line of code."""


def open_fence(text: str) -> OpenFence | None:
    """Return the code block that is open at the end of `text`."""
    fence: OpenFence | None = None
    position = 0
    for line in text.splitlines(keepends=True):
        position += len(line)
        match = FENCE.match(line)
        if match is None:
            continue
        mark, info = match[1], match[2].strip()
        if fence is None:
            if not (mark[0] == "`" and "`" in info):
                fence = OpenFence(mark, info, position)
        elif mark[0] == fence.mark[0] and len(mark) >= len(fence.mark) and not info:
            fence = None
    return fence


def closed_cut(text: str) -> int:
    """Return the length of the whole blocks in `text`: up to its last blank line outside a fence, else 0."""
    cut = 0
    fence = ""
    position = 0
    after_blank = False
    for line in text.splitlines(keepends=True):
        blank = not line.strip()
        if not fence and after_blank and not blank:
            ends = line.endswith("\n") or len(line) > 3
            if ends and (not CONTINUES.match(line) or position - cut > LONG_TAIL):
                cut = position
        after_blank = blank or (after_blank and blank)
        match = FENCE.match(line)
        if match is not None:
            mark, info = match[1], match[2].strip()
            if not fence and not (mark[0] == "`" and "`" in info):
                fence = mark
            elif fence and mark[0] == fence[0] and len(mark) >= len(fence) and not info:
                fence = ""
        position += len(line)
    return cut


def without_partial_fence(text: str) -> str:
    """Return `text` without one or two backticks alone on its last line, which can become a fence and would flicker."""
    return PARTIAL_FENCE.sub(r"\1", text)


def last_code_block(text: str) -> str | None:
    """Return the code of the last fenced block, which can be open."""
    blocks = code_blocks(text)
    return blocks[-1] if blocks else None


def code_blocks(text: str) -> list[str]:
    """Return the code of all fenced blocks; the last one can be open."""
    found: list[str] = []
    fence: OpenFence | None = None
    lines: list[str] = []
    for line in text.splitlines():
        match = FENCE.match(line)
        if fence is None:
            if match is not None and not (match[1][0] == "`" and "`" in match[2]):
                fence, lines = OpenFence(match[1], match[2].strip(), 0), []
        elif match is not None and match[1][0] == fence.mark[0] and len(match[1]) >= len(fence.mark) and not match[2]:
            found.append("\n".join(lines))
            fence = None
        else:
            lines.append(line)
    return [*found, "\n".join(lines)] if fence is not None and lines else found
