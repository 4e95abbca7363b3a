"""ThemedApp: the themes on offer, their variables for this terminal, and the picker with a preview."""

from collections.abc import Callable
from pathlib import Path

from textual.driver import Driver

from lmx_daemon.client.client import Client
from lmx_daemon.contract.errors import ErrorBody
from lmx_tui import messages
from lmx_tui.daemon.daemon_app import DaemonApp
from lmx_tui.screens.dialogs.questions import Pick
from lmx_tui.theme import AUTO, DEFAULT, LIGHT_DEFAULT, for_rich, load_themes, selection_colors, survive


class ThemedApp(DaemonApp):
    """An app with themes."""

    def __init__(
        self,
        client: Client,
        *,
        clock: Callable[[], float],
        driver_class: type[Driver] | None = None,
        themes: Path | None = None,
        auto_theme: str = DEFAULT,
        colors: str | None = None,
    ) -> None:
        """`themes` is the folder of the user's themes; LmxApp explains the others."""
        self._themes, self._theme_faults = load_themes(themes)
        self._auto_theme, self._colors = auto_theme, colors
        super().__init__(client, clock=clock, driver_class=driver_class)

    def use_theme(self, wanted: str) -> None:
        """Register all themes, name the files that were skipped, and show the theme `wanted`."""
        for theme in self._themes:
            self.register_theme(theme)
        for fault in self._theme_faults:
            self.toast(fault, "this theme is skipped", "warning")
        self.theme = self._theme_of(wanted) or self._auto_theme
        if self._theme_of(wanted) is None:
            self.toast(f"there is no theme {wanted!r}", "ctrl+t lists the themes", "warning")

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Return the variables of a default theme, so that Textual's own themes have every variable too."""
        name = DEFAULT if self.current_theme.dark else LIGHT_DEFAULT
        return next(theme for theme in self._themes if theme.name == name).variables

    def get_css_variables(self) -> dict[str, str]:
        """Return Textual's variables, with selection colours that are readable in every theme."""
        variables = survive(super().get_css_variables(), self._colors)
        self.theme_variables = for_rich(variables)
        return variables | selection_colors(variables["primary"])

    def action_pick_theme(self) -> None:
        before = self.theme

        def preview(name: str) -> None:
            self.theme = self._theme_of(name) or before

        def picked(name: str | None) -> None:
            self.theme = before
            if name:
                preview(name)
                self._keep_theme(name)

        options = [(AUTO, f"auto, now {self._auto_theme}"), *((name, name) for name in self._theme_names())]
        self.push_screen(Pick("Theme", options, before, preview), picked)

    def _theme_of(self, name: str) -> str | None:
        """Return the theme that a setting names, or None."""
        if name == AUTO:
            return self._auto_theme
        return name if name in self._theme_names() else None

    def _keep_theme(self, name: str) -> None:
        """Write a theme to the settings."""
        command = f"lmx config set tui.theme {name}"

        def kept(answer: object) -> None:
            self.toast(f"theme {name}", command)

        def failed(error: ErrorBody) -> None:
            self.toast(f"theme {name} is not kept: {error.message}", command, "warning")

        self.post_message(
            messages.QueryRequested("theme", lambda client: client.set_config("tui.theme", name), kept, failed)
        )

    def _theme_names(self) -> list[str]:
        """Return the themes on offer: lmx's own and the user's first, then those of Textual with true colours."""
        own = {theme.name for theme in self._themes}
        names = (name for name, theme in self.available_themes.items() if name in own or not theme.ansi)
        return sorted(names, key=lambda name: (name not in own, name))
