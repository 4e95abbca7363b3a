"""Drawing of markdown as strips in a theme's colours. Slow imports happen at the first use, not at start-up.

It depends on no widget. A `Painter` has one set of colours, and can be used from a thread.
"""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from textual.strip import Strip

from lmx_tui.formatting import clean

if TYPE_CHECKING:
    from markdown_it.token import Token
    from rich.markdown import Markdown


class Painter:
    """Draws markdown and code in one set of colours."""

    def __init__(self, colors: Mapping[str, str]) -> None:
        from rich.console import Console
        from rich.theme import Theme

        accent, muted, code = colors["accent"], colors["muted"], colors["secondary"]
        self._code_theme = colors["code-theme"]
        self._code_background = colors["code-background"]
        self._console = Console(
            file=io.StringIO(),
            force_terminal=True,
            color_system="truecolor",
            no_color=False,
            legacy_windows=False,
            width=80,
            emoji=False,
            theme=Theme(
                {
                    "markdown.code": f"{code} on {self._code_background}",
                    "markdown.code_block": f"{colors['foreground']} on {self._code_background}",
                    **{f"markdown.h{level}": f"bold {accent}" for level in range(1, 7)},
                    "markdown.h1.border": accent,
                    "markdown.block_quote": muted,
                    "markdown.hr": muted,
                    "markdown.item.bullet": f"bold {accent}",
                    "markdown.item.number": f"bold {accent}",
                    "markdown.list": "none",
                    "markdown.link": f"underline {code}",
                    "markdown.link_url": f"underline {code}",
                    "markdown.table.header": f"bold {accent}",
                    "markdown.table.border": muted,
                    "markdown.strong": "bold",
                    "markdown.em": "italic",
                }
            ),
        )

    def strips(self, source: str, width: int) -> list[Strip]:
        """Return `source` as strips of `width` cells."""
        options = self._console.options.update(width=width, height=None, no_wrap=False)
        document = self._document(source.expandtabs(4))
        lines = self._console.render_lines(document, options, pad=True)
        return _without_gaps([Strip(line, width) for line in lines])

    def code(self, source: str, info: str, width: int) -> list[Strip]:
        """Return lines of code as strips, without the blank lines above and below a block."""
        fence = "~" * 8
        return self.strips(f"{fence}{info}\n{source}\n{fence}", width)[1:-1]

    def _document(self, source: str) -> "Markdown":
        return _markdown_class()(source, code_theme=self._code_theme, hyperlinks=False)


def _without_gaps(strips: list[Strip]) -> list[Strip]:
    """Remove blank lines at both ends, and merge consecutive ones. Lines of a code block have a background and stay."""
    kept: list[Strip] = []
    for strip in strips:
        if not _is_blank(strip):
            kept.append(strip)
        elif kept and not _is_blank(kept[-1]):
            kept.append(Strip.blank(strip.cell_length))  # as MessageView draws the gap between two parts
    while kept and _is_blank(kept[-1]):
        del kept[-1]
    return kept


def _is_blank(strip: Strip) -> bool:
    return not strip.text.strip() and not any(segment.style and segment.style.bgcolor for segment in strip)


def _markdown_class() -> "type[Markdown]":
    """Return Rich's Markdown class with left-aligned headings, the theme's code background, and `_shown` tokens."""
    from rich import markdown
    from rich.syntax import Syntax

    class Heading(markdown.Heading):
        def __rich_console__(self, console: Any, options: Any) -> Any:
            self.text.justify = "left"
            yield self.text

    class CodeBlock(markdown.CodeBlock):
        def __rich_console__(self, console: Any, options: Any) -> Any:
            yield Syntax(
                str(self.text).rstrip(),
                self.lexer_name or "text",
                theme=self.theme,
                background_color=console.get_style("markdown.code_block").bgcolor.name,
                word_wrap=True,
                padding=1,
            )

    class Document(markdown.Markdown):
        elements = markdown.Markdown.elements | {
            "heading_open": Heading,
            "fence": CodeBlock,
            "code_block": CodeBlock,
        }

        def __init__(self, markup: str, **options: Any) -> None:
            super().__init__(markup, **options)
            for token in self.parsed:
                _make_showable(token)

    return Document


def _make_showable(token: "Token") -> None:
    """Remove controls that the parser made of entities such as `&#x202e;`, and replace an image by its alt text.

    Rich draws an image outside of its line.
    """
    for child in token.children or ():
        _make_showable(child)
    token.content = clean(token.content)
    if token.type == "image":
        alt = "".join(child.content for child in token.children or ())
        token.type, token.tag, token.content, token.children = "text", "", f"[image: {alt}]" if alt else "", None
