"""The table [tui], which the TUI reads when it starts."""

from typing import Annotated, Literal

from lmx_daemon.settings.sections.section import Section, screen


class TuiSettings(Section, frozen=True):
    """The table [tui]. The TUI reads it when it starts."""

    theme: Annotated[
        str,
        screen(
            "Name of a built-in theme, as ctrl+t lists them, or of a file in $LMX_HOME/themes. auto selects a theme by "
            "the background and the colours of the terminal."
        ),
    ] = "auto"
    symbols: Annotated[
        Literal["braille", "octant", "block", "ascii"],
        screen("Characters that graphs and bars are drawn with. octant needs a font with the blocks of Unicode 16."),
    ] = "braille"
    mouse: Annotated[bool, screen("Whether the TUI reacts to the mouse.")] = True
    keymap: Annotated[
        dict[str, str],
        screen('Keys by the name of their action, such as { "models.unload" = "U" }.'),
    ] = {}
