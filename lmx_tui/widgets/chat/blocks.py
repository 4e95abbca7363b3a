"""Where a growing markdown text may be cut, so that what lies before the cut never has to be drawn again. Pure."""

import re
from typing import NamedTuple

FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
CONTINUES = re.compile(r"(\s|[-*+]\s|\d{1,9}[.)]\s|[-*+]$|\d{1,9}[.)]?$)")
"""A line that may belong to the list or paragraph before the blank line: cutting there would restart its numbers."""
LONG_TAIL = 4000
"""Characters after which even such a line is cut at; the whole is drawn once more at the end anyway."""
LONG_FENCE = 80
KEPT_LINES = 40
PARTIAL_FENCE = re.compile(r"(^|\n) {0,3}(`{1,2}|~{1,2})$")


class OpenFence(NamedTuple):
    """A code block whose end has not come."""

    mark: str
    info: str
    start: int
    """Where its first line of code begins."""


def open_fence(text: str) -> OpenFence | None:
    """The fence that is open at the end of `text`."""
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
    """How much of `text` is whole blocks: up to after its last blank line outside a fence, else 0."""
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
    """`text` less one or two backticks alone on its last line: a fence on its way, which would flicker."""
    return PARTIAL_FENCE.sub(r"\1", text)


def last_code_block(text: str) -> str | None:
    """The code of the last fenced block, an open one included."""
    found: str | None = None
    fence: OpenFence | None = None
    lines: list[str] = []
    for line in text.splitlines():
        match = FENCE.match(line)
        if fence is None:
            if match is not None and not (match[1][0] == "`" and "`" in match[2]):
                fence, lines = OpenFence(match[1], match[2].strip(), 0), []
        elif match is not None and match[1][0] == fence.mark[0] and len(match[1]) >= len(fence.mark) and not match[2]:
            found, fence = "\n".join(lines), None
        else:
            lines.append(line)
    return "\n".join(lines) if fence is not None and lines else found
