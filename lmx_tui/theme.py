"""Themes: reads themes/*.toml and the user's own files, checks every colour, and builds Textual themes.

lmx's files are in lmx_tui/themes in a wheel, and in themes/ beside the package in a checkout; the user's are in
$LMX_HOME/themes. Colours survive terminals of 256 and of 16 colours: see `survive`.
"""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from rich.color import Color as RichColor
from textual.color import Color, ColorParseError, Gradient
from textual.theme import BUILTIN_THEMES, Theme

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.storage.durable import read_regular

DEFAULT = "ember"
LIGHT_DEFAULT = "paper"
OF_TERMINAL = "terminal"
"""Theme of the terminal's own 16 colours."""
AUTO = "auto"
"""Name that stands for the theme that suits the terminal."""
ANSI = "ansi_"
"""Beginning of the names of the terminal's 16 colours."""
MAX_BYTES = 64 * 1024
RGB = re.compile("#[0-9a-fA-F]{6}")
NOT_A_COLOR = frozenset({"code-theme"})
REQUIRED = (
    *("code-theme", "code-background", "muted", "faint", "user", "cursor-background"),
    *("memory-low", "memory-mid", "memory-high", "rate-low", "rate-mid", "rate-high"),
    *("model-1", "model-2", "model-3", "model-4"),
)
"""Names under [variables] that lmx's widgets and app.tcss use in addition to Textual's own."""


class ThemeFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Schema of one file in themes/."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    dark: bool
    ansi: bool = False
    """Whether the colours are those of the terminal, with names such as ansi_red."""
    primary: str
    secondary: str
    accent: str
    foreground: str
    background: str
    surface: str
    panel: str
    success: str
    warning: str
    error: str
    variables: dict[str, str]


def themes_folder() -> Path:
    inside = Path(__file__).parent / "themes"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "themes"


def load_themes(own: Path | None = None) -> tuple[list[Theme], list[str]]:
    """Return lmx's themes and those of the folder `own`, and the faults of the files that are skipped.

    A theme of `own` replaces one of lmx with the same name. Raises ConfigError if the default theme is missing.
    """
    themes: dict[str, Theme] = {}
    faults: list[str] = []
    for folder in (themes_folder(), own):
        for path in sorted(folder.glob("*.toml")) if folder is not None else ():
            try:
                theme = read_theme(path)
            except ConfigError as error:
                faults.append(error.message)
            else:
                themes[theme.name] = theme
    if DEFAULT not in themes or LIGHT_DEFAULT not in themes:
        raise ConfigError(faults[0] if faults else f"{themes_folder()} has no theme {DEFAULT}")
    return list(themes.values()), faults


def suiting(dark: bool | None, colors: str | None) -> str:
    """Return the theme for a terminal with this background and color system of Rich."""
    if colors == "standard":
        return OF_TERMINAL
    return LIGHT_DEFAULT if dark is False else DEFAULT


def read_theme(path: Path) -> Theme:
    """Return the theme of one file. Raises ConfigError."""
    try:
        file = msgspec.convert(tomllib.loads(read_regular(path, MAX_BYTES).decode()), ThemeFile)
    except (OSError, ValueError, RecursionError, msgspec.ValidationError) as error:
        raise ConfigError(f"theme {path.name}: {error}") from error
    missing = [name for name in REQUIRED if name not in file.variables]
    if missing:
        raise ConfigError(f"theme {path.name}: [variables] lacks {', '.join(missing)}")
    fields: dict[str, Any] = msgspec.structs.asdict(file)
    colors = {name: value for name, value in fields.items() if name not in ("name", "dark", "ansi", "variables")}
    for name, value in (colors | file.variables).items():
        if name not in NOT_A_COLOR:
            _check_color(path.name, name, value, ansi=file.ansi)
    fields["variables"] = _needed_by_textual(file) | _scrollbars(file) | file.variables
    return Theme(**fields)


def _needed_by_textual(file: ThemeFile) -> dict[str, str]:
    """Return the variables that Textual's style sheets use in addition for themes of the terminal's colours."""
    return dict(BUILTIN_THEMES["ansi-dark" if file.dark else "ansi-light"].variables) if file.ansi else {}


def _scrollbars(file: ThemeFile) -> dict[str, str]:
    """Return muted scrollbar colours; Textual's own are as bright as the accent."""
    track = ("scrollbar-background", "scrollbar-background-hover", "scrollbar-background-active")
    return dict.fromkeys((*track, "scrollbar-corner-color"), file.background) | {
        "scrollbar": file.variables["faint"],
        "scrollbar-hover": file.variables["muted"],
        "scrollbar-active": file.accent,
    }


def survive(variables: dict[str, str], colors: str | None) -> dict[str, str]:
    """Return the variables for a terminal with Rich's color system `colors`.

    A terminal of 16 colours has no dark greys: bars and the cursor row would be as bright as text. They get the
    background's colour there, and bold text marks the row.
    """
    if colors != "standard":
        return variables
    return variables | dict.fromkeys(("panel", "surface", "cursor-background"), variables["background"])


def for_rich(variables: dict[str, str]) -> dict[str, str]:
    """Return the variables with the names that Rich gives to the terminal's 16 colours."""
    return {name: value.removeprefix(ANSI) for name, value in variables.items()}


def gradient(variables: dict[str, str], name: str, rows: int) -> list[RichColor]:
    """Return the colour of each row of a graph, the top row first.

    `name` is the beginning of three variables, such as "memory". Colours of the terminal are not blended.
    """
    parts = [variables[f"{name}-{part}"] for part in ("low", "mid", "high")]
    shares = [(row + 0.5) / rows for row in range(rows - 1, -1, -1)]
    if not all(part.startswith("#") for part in parts):
        return [RichColor.parse(parts[min(2, int(share * 3))]) for share in shares]
    blended = Gradient.from_colors(*parts)
    return [blended.get_color(share).rich_color for share in shares]


def selection_colors(primary: str) -> dict[str, str]:
    """Return the colours of selected text: the primary colour behind black or white, whichever contrasts more."""
    color = Color.parse(primary)
    red, green, blue = color.rich_color.get_truecolor()
    background = (red, green, blue)
    black, white = ("#000000", "#ffffff") if color.ansi is None else ("ansi_black", "ansi_bright_white")
    dark_text = contrast((0, 0, 0), background) >= contrast((255, 255, 255), background)
    foreground = black if dark_text else white
    places = ("screen-selection", "input-selection")
    return {f"{place}-background": primary for place in places} | {
        f"{place}-foreground": foreground for place in places
    }


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """Return the contrast ratio of two colours as WCAG 2 defines it, from 1 to 21."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: tuple[int, int, int]) -> float:
    parts = [value / 255 for value in color]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _check_color(file: str, name: str, value: str, *, ansi: bool) -> None:
    """Raise ConfigError unless the value is #rrggbb, with `ansi` also the name of a colour of the terminal."""
    try:
        Color.parse(value)
        if not (RGB.fullmatch(value) or (ansi and value.startswith(ANSI))):
            raise ColorParseError(value)
    except ColorParseError as error:
        raise ConfigError(f"theme {file}: {name} = {value!r} is not a colour", hint="write it as #rrggbb") from error
