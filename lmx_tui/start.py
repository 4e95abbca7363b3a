"""Start of the TUI: builds the app over a client of the daemon, runs it, and prints what keeps running."""

import os
import sys
from functools import partial

from rich.console import Console

from lmx_daemon.client.client import Client
from lmx_daemon.client.remote import remote_of
from lmx_daemon.client.spawn import find_or_start
from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import Settings
from lmx_tui.app import LmxApp
from lmx_tui.ascii import has_utf8
from lmx_tui.formatting import clean
from lmx_tui.signals import end_at_once_on_signals
from lmx_tui.terminal import has_dark_background
from lmx_tui.theme import AUTO, DEFAULT, load_themes, suiting


def run_tui(home: Home, settings: Settings, *, start: bool = True, debug: bool = False) -> int:
    """Open the TUI and return the exit code.

    With `start` False, no daemon is started. With `debug`, an unexpected exception is shown with its traceback.
    """
    try:
        load_themes(home.themes)
    except ConfigError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    colors = Console(force_terminal=True).color_system
    leave = end_at_once_on_signals()
    app = LmxApp(
        Client.of(home),
        settings,
        start=partial(find_or_start, home) if start and remote_of(os.environ) is None else None,
        leave=leave,
        home=home,
        ascii_only=not has_utf8(os.environ),
        auto_theme=_auto_theme(colors) if settings.tui.theme == AUTO else DEFAULT,
        colors=colors,
        debug=debug,
    )
    app.run(mouse=settings.tui.mouse)
    snapshot = app.view.snapshot
    by_signal = (app.return_code or 0) >= 128
    if app.view.online and snapshot is not None and not by_signal:
        print(f"the daemon goes on at {clean(snapshot.status.address)}; stop it with: lmx stop")
    return app.return_code or 0


def _auto_theme(colors: str | None) -> str:
    """Return the theme for this terminal, which is asked for its background if it has more than 16 colours."""
    return suiting(None if colors == "standard" else has_dark_background(os.environ), colors)
