"""Themes: reads themes/*.toml, checks every colour, and builds Textual themes.

The files are in lmx_tui/themes in a wheel, and in themes/ beside the package in a checkout.
"""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
from textual.color import Color, ColorParseError
from textual.theme import Theme

from lmx_daemon.contract.errors import ConfigError

DEFAULT = "ember"
NOT_A_COLOR = frozenset({"code-theme"})
REQUIRED = (
    *("code-theme", "code-background", "muted", "faint", "user", "cursor-background"),
    *("memory-low", "memory-mid", "memory-high", "rate-low", "rate-mid", "rate-high"),
    *("model-1", "model-2", "model-3", "model-4"),
)
"""Names under [variables] that lmx's widgets and app.tcss use in addition to Textual's own."""


class ThemeFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Schema of one file in themes/."""

    name: str
    dark: bool
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


def load_themes(folder: Path | None = None) -> list[Theme]:
    """Return the themes of a folder, sorted by file name. Raises ConfigError, which names the file and the field."""
    return [read_theme(path) for path in sorted((folder or themes_folder()).glob("*.toml"))]


def read_theme(path: Path) -> Theme:
    """Return the theme of one file. Raises ConfigError."""
    try:
        file = msgspec.convert(tomllib.loads(path.read_text()), ThemeFile)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"theme {path.name}: {error}") from error
    missing = [name for name in REQUIRED if name not in file.variables]
    if missing:
        raise ConfigError(f"theme {path.name}: [variables] lacks {', '.join(missing)}")
    fields: dict[str, Any] = msgspec.structs.asdict(file)
    colors = {name: value for name, value in fields.items() if name not in ("name", "dark", "variables")}
    for name, value in (colors | file.variables).items():
        if name not in NOT_A_COLOR:
            _check_color(path.name, name, value)
    fields["variables"] = _scrollbars(file) | file.variables
    return Theme(**fields)


def _scrollbars(file: ThemeFile) -> dict[str, str]:
    """Return muted scrollbar colours; Textual's own are as bright as the accent."""
    track = ("scrollbar-background", "scrollbar-background-hover", "scrollbar-background-active")
    return dict.fromkeys((*track, "scrollbar-corner-color"), file.background) | {
        "scrollbar": file.variables["faint"],
        "scrollbar-hover": file.variables["muted"],
        "scrollbar-active": file.accent,
    }


def selection_colors(primary: str) -> dict[str, str]:
    """Return the colours of selected text: the primary colour behind black or white, whichever contrasts more."""
    background = Color.parse(primary).rgb
    foreground = max(("#000000", "#ffffff"), key=lambda color: contrast(Color.parse(color).rgb, background))
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


def _check_color(file: str, name: str, value: str) -> None:
    try:
        Color.parse(value)
    except ColorParseError as error:
        raise ConfigError(f"theme {file}: {name} = {value!r} is no colour", hint="write it as #rrggbb") from error
