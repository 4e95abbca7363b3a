"""LmxApp: owns the View, switches screens, and turns each request message into a call to the daemon.

Screens and widgets draw and post messages; only the handlers in this module change state.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from rich.console import RenderableType
from textual import on, work
from textual.app import SystemCommand
from textual.driver import Driver
from textual.reactive import var
from textual.screen import Screen

from lmx_daemon.client.client import Client
from lmx_daemon.contract.admin.pulls import PullRequest
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.version import VERSION
from lmx_daemon.settings.schema import Settings
from lmx_tui import clipboard, keys, messages
from lmx_tui.crash import crash_report
from lmx_tui.daemon_calls import DaemonCalls
from lmx_tui.feed import RETRY_SECONDS, Feed, Starter
from lmx_tui.formatting import clean
from lmx_tui.messages import View
from lmx_tui.notices import notices
from lmx_tui.palette import commands
from lmx_tui.screens.chat import ChatScreen
from lmx_tui.screens.dialogs import GoDialog, Pick
from lmx_tui.screens.help import HelpDialog, keys_shown
from lmx_tui.screens.models import ModelsScreen
from lmx_tui.screens.monitor import MonitorScreen
from lmx_tui.signals import SignalHandler, end_on_signals
from lmx_tui.theme import DEFAULT, load_themes, selection_colors
from lmx_tui.typeahead import TypeAheadApp

TICK_SECONDS = 1.0
REPORTED_SECONDS = 5.0
"""Time during which an incident with the message of an error already shown is not shown again."""
STOP_SECONDS = 3.0
"""Time that a cancelled request has to end before its stream is closed."""


class LmxApp(TypeAheadApp):
    """The terminal UI over one client of the daemon."""

    CSS_PATH = "app.tcss"
    TITLE = "lmx"
    BINDINGS = keys.APP
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (100, "-normal"), (160, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (15, "-short"), (32, "-tall")]
    ENABLE_COMMAND_PALETTE = True
    DEFAULT_MODE = "models"
    """First screen. A blank default screen would receive the first keys."""
    view: var[View] = var(View(), init=False)
    """State that screens draw. It is not `reactive`, which would repaint everything for each snapshot."""

    def __init__(
        self,
        client: Client,
        settings: Settings,
        *,
        start: Starter | None = None,
        clock: Callable[[], float] = time.monotonic,
        retries: tuple[float, ...] = RETRY_SECONDS,
        version: str = VERSION,
        driver_class: type[Driver] | None = None,
        leave: SignalHandler | None = None,
        log_file: str = "",
        debug: bool = False,
    ) -> None:
        """`leave` ends the process with the terminal restored; with None, signals keep their handlers.

        `log_file` and `debug` are for the report of an unexpected exception.
        """
        self._leave = leave
        self._log_file = log_file
        self._show_traceback = debug
        self.leaving = False
        self._themes = load_themes()
        super().__init__(driver_class=driver_class)
        self.clock = clock
        self._client = client
        self._daemon_calls = DaemonCalls(client, self.toast)
        self._settings = settings
        self._version = version
        self._reported: dict[str, float] = {}
        """Messages of errors shown as the result of a request of this app -> time at which each was shown."""
        self._feed = Feed(client, self.post_message, clock=clock, start=start, retries=retries)
        symbols = settings.tui.symbols
        self._chat = ChatScreen(symbols, clock)
        self._screens = {"models": ModelsScreen(), "chat": self._chat, "monitor": MonitorScreen(symbols)}
        for name, screen in self._screens.items():
            self.add_mode(name, partial(_given, screen))

    def on_mount(self) -> None:
        for theme in self._themes:
            self.register_theme(theme)
        known = self._settings.tui.theme in self._theme_names()
        self.theme = self._settings.tui.theme if known else DEFAULT
        if not known:
            self.toast(f"there is no theme {self._settings.tui.theme!r}", "ctrl+t lists the themes", "warning")
        if self._leave is not None:
            end_on_signals(self, self._leave)
        self.set_keymap(dict(self._settings.tui.keymap))
        self.set_interval(TICK_SECONDS, self._tick)
        self.run_worker(self._feed.run(), group="feed", exit_on_error=False)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Return the variables of the default theme, so that Textual's own themes have every variable too."""
        return next(theme for theme in self._themes if theme.name == DEFAULT).variables

    def get_css_variables(self) -> dict[str, str]:
        """Return Textual's variables, with selection colours that are readable in every theme."""
        variables = super().get_css_variables()
        return variables | selection_colors(variables["primary"])

    # ---- facts from the feed ----

    @on(messages.SnapshotArrived)
    def _snapshot_arrived(self, message: messages.SnapshotArrived) -> None:
        theirs = message.snapshot.status.version
        mismatch = f"daemon {theirs}, this lmx {self._version}: `lmx stop`, then start it again"
        unwell = "" if message.snapshot.status.draining else message.snapshot.status.health.reason or ""
        notice = mismatch if theirs != self._version else unwell
        now = self.clock()
        self._reported = {words: at for words, at in self._reported.items() if now - at < REPORTED_SECONDS}
        for notified in notices(self.view.snapshot, message.snapshot, self._reported):
            self.toast(notified.text, notified.hint, notified.severity)
        self.view = replace(self.view, snapshot=message.snapshot, arrived=now, now=now, notice=notice)

    @on(messages.ConnectionChanged)
    def _connection_changed(self, message: messages.ConnectionChanged) -> None:
        self.view = replace(self.view, connection=message.connection, now=self.clock())

    @on(messages.EventsArrived)
    async def _events_arrived(self, message: messages.EventsArrived) -> None:
        await self._chat.consume(message.request_id, message.events)

    def _tick(self) -> None:
        """Advance ages and countdowns while no snapshot arrives."""
        if not self.view.online:
            self.view = replace(self.view, now=self.clock())

    # ---- requests from screens ----

    @on(messages.StartRequested)
    def _start(self) -> None:
        self._feed.start_now()

    @on(messages.LoadRequested)
    def _load(self, message: messages.LoadRequested) -> None:
        self._act(self._daemon_calls.load(message.model), f"load {message.model}")

    @on(messages.UnloadRequested)
    def _unload(self, message: messages.UnloadRequested) -> None:
        self._act(self._daemon_calls.unload(message.instance, message.model), f"unload {message.instance}")

    @on(messages.PullRequested)
    def _pull(self, message: messages.PullRequested) -> None:
        self._act(self._client.pull(PullRequest(repo=message.repo)), f"pull {message.repo}")

    @on(messages.PullChangeRequested)
    def _change_pull(self, message: messages.PullChangeRequested) -> None:
        client = self._client
        calls = {"pause": client.pause_pull, "resume": client.resume_pull, "cancel": client.cancel_pull}
        self._act(calls[message.verb](message.job), f"{message.verb} {message.job}")

    @on(messages.UpdateRequested)
    def _update(self, message: messages.UpdateRequested) -> None:
        self._act(self._daemon_calls.update(message.model), f"update {message.model}")

    @on(messages.LookForNewerRequested)
    def _look_for_newer(self) -> None:
        self.toast("asking the Hub for newer versions ...")
        self._act(self._daemon_calls.count_newer(), "outdated")

    @on(messages.CancelRequested)
    def _cancel(self, message: messages.CancelRequested) -> None:
        self._act(self._client.cancel(message.request_id), f"cancel {message.request_id}")
        self.set_timer(STOP_SECONDS, partial(self.workers.cancel_group, self, f"answer {message.request_id}"))

    @on(messages.AnswerRequested)
    def _answer(self, message: messages.AnswerRequested) -> None:
        request = message.request
        self.run_worker(self._feed.answer(request), group=f"answer {request.id}", exit_on_error=False)

    @on(messages.ChatRequested)
    async def _chat_with(self, message: messages.ChatRequested) -> None:
        await self.switch_mode("chat")
        self._chat.choose(message.model)

    @on(messages.ThinkingRequested)
    def _think(self, message: messages.ThinkingRequested) -> None:
        self._chat.set_thinking(message.thinking)

    @on(messages.CopyRequested)
    @work(group="copy")
    async def _copy(self, message: messages.CopyRequested) -> None:
        text = clean(message.text)
        route = await clipboard.copy(text, self._write)
        self.toast(f"{message.what}: {route}")

    def copy_to_clipboard(self, text: str) -> None:
        """Copy a selection by the same route as other text, and keep it for ctrl+v in text fields."""
        self._clipboard = text
        self.post_message(messages.CopyRequested(text, "selection"))

    @on(messages.Notified)
    def _notified(self, message: messages.Notified) -> None:
        self.toast(message.text, message.hint, message.severity)

    def _act(self, call: Awaitable[object], name: str) -> None:
        self.run_worker(self._acting(call), group=name, exclusive=True, exit_on_error=False)

    async def _acting(self, call: Awaitable[object]) -> None:
        """Await one call to the daemon, and show its error as a toast."""
        try:
            await call
        except LmxError as error:
            self._reported[error.message] = self.clock()
            self.toast(error.message, error.hint, "error")
        except Exception as error:  # the TUI's worker edge
            self.toast(f"{type(error).__name__}: {error}", severity="error")

    def toast(self, text: str, hint: str | None = None, severity: Any = "information") -> None:
        """Show a toast. Its text is not markup, since ids and errors contain brackets."""
        words = f"{clean(text)}\n{clean(hint)}" if hint else clean(text)
        self.notify(words, severity=severity, markup=False)

    def _write(self, sequence: str) -> None:
        if self._driver is not None:
            self._driver.write(sequence)

    # ---- actions ----

    def action_switch(self, mode: str) -> None:
        if mode in self._screens and len(self.screen_stack) == 1:
            self.switch_mode(mode)

    def action_go(self) -> None:
        if len(self.screen_stack) == 1:
            self.push_screen(GoDialog(), lambda mode: self.action_switch(mode) if mode else None)

    def action_pick_theme(self) -> None:
        before = self.theme

        def picked(name: str | None) -> None:
            self.theme = name or before
            if name:
                self.toast(f"theme {name}", f'to keep it, set theme = "{name}" under [tui] in config.toml')

        options = [(name, name) for name in self._theme_names()]
        self.push_screen(Pick("Theme", options, before, lambda name: setattr(self, "theme", name)), picked)

    def _theme_names(self) -> list[str]:
        """Return the themes on offer, lmx's own first.

        Themes of the terminal's 16 colours are left out, since graphs blend true colours.
        """
        own = {theme.name for theme in self._themes}
        names = (name for name, theme in self.available_themes.items() if not theme.ansi)
        return sorted(names, key=lambda name: (name not in own, name))

    def action_help(self) -> None:
        if isinstance(self.screen, HelpDialog):
            return
        here, everywhere = keys_shown(self.screen)
        self.push_screen(HelpDialog(self.current_mode.capitalize(), here, everywhere, self.view.snapshot))

    def exit(self, result: None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        """Exit, and stop drawing: Textual removes the widgets one by one."""
        self.leaving = True
        super().exit(result, return_code, message)

    def _fatal_error(self) -> None:
        """Exit with a short report instead of Textual's traceback, whose local variables can hold a token."""
        if self._exception is None or self._exit_renderables:
            self._close_messages_no_wait()
        else:
            self.panic(crash_report(self._exception, self._log_file, debug=self._show_traceback))

    def action_leave(self) -> None:
        self.exit()

    def action_leave_hint(self) -> None:
        self.toast("ctrl+q quits; the daemon keeps running")

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        yield from commands(self, self.view)


def _given(screen: Screen[Any]) -> Screen[Any]:
    return screen
