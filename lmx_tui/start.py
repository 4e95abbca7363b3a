"""Start of the TUI: builds the app over a client of the daemon, runs it, and prints what keeps running."""

import os
import sys
from functools import partial
from pathlib import Path

from rich.console import Console

from lmx_daemon.client.client import Client
from lmx_daemon.client.remote import remote_of
from lmx_daemon.client.spawn import find_or_start
from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import Settings
from lmx_tui.app import LmxApp
from lmx_tui.daemon.feed import Starter
from lmx_tui.formatting import clean
from lmx_tui.terminal.ascii import has_utf8
from lmx_tui.terminal.signals import end_at_once_on_signals
from lmx_tui.terminal.terminal import has_dark_background
from lmx_tui.theme import AUTO, DEFAULT, load_themes, suiting


def run_tui(home: Home, settings: Settings, *, debug: bool = False) -> int:
    """Open the TUI and return the exit code. With `debug`, an unexpected exception is shown with its traceback."""
    start = partial(find_or_start, home) if remote_of(os.environ) is None else None
    app = _run(Client.of(home), home, settings, start=start, debug=debug)
    if app is None:
        return 1
    snapshot = app.view.snapshot
    by_signal = (app.return_code or 0) >= 128
    if app.view.online and snapshot is not None and not by_signal:
        print(f"the daemon goes on at {clean(snapshot.status.address)}; stop it with: lmx stop")
    return app.return_code or 0


def run_demo(settings: Settings, *, debug: bool = False) -> int:
    """Open the TUI over a scripted daemon inside this process. Nothing of it is kept."""
    import tempfile

    from lmx_tui.demo.client import DemoClient

    with tempfile.TemporaryDirectory(prefix="lmx-demo-") as folder:
        home = Home(Path(folder))
        home.make()
        app = _run(DemoClient(home), home, settings, start=None, debug=debug)
    return 1 if app is None else app.return_code or 0


def _run(client: Client, home: Home, settings: Settings, *, start: Starter | None, debug: bool) -> LmxApp | None:
    """Run the TUI over `client` and return it after its end. Print a fault of the themes, and return None.

    `start` starts a daemon if none runs.
    """
    try:
        load_themes(home.themes)
    except ConfigError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return None
    colors = Console(force_terminal=True).color_system
    leave = end_at_once_on_signals()
    app = LmxApp(
        client,
        settings,
        start=start,
        leave=leave,
        home=home,
        ascii_only=not has_utf8(os.environ),
        auto_theme=_auto_theme(colors) if settings.tui.theme == AUTO else DEFAULT,
        colors=colors,
        debug=debug,
    )
    app.run(mouse=settings.tui.mouse)
    return app


def _auto_theme(colors: str | None) -> str:
    """Return the theme for this terminal, which is asked for its background if it has more than 16 colours."""
    return suiting(None if colors == "standard" else has_dark_background(os.environ), colors)
