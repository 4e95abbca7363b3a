"""LmxApp: owns the View, and switches screens, themes and dialogs.

Screens and widgets draw and post messages; only the handlers in this module and in daemon_app.py change state.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from rich.console import RenderableType
from textual import on
from textual.app import SystemCommand
from textual.driver import Driver
from textual.reactive import var
from textual.screen import Screen
from textual.scroll_view import ScrollView
from textual.widgets import DataTable, Input, TextArea

from lmx_daemon.client.client import Client
from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.version import VERSION
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import Settings
from lmx_tui import keys, messages
from lmx_tui.choices import ChoicesFile, changed
from lmx_tui.daemon.chat_after_pull import ChatAfterPull
from lmx_tui.daemon.feed import RETRY_SECONDS, Feed, Starter
from lmx_tui.keymap import faults
from lmx_tui.messages import View
from lmx_tui.notices import notices
from lmx_tui.palette import commands
from lmx_tui.screens.chat.screen import ChatScreen
from lmx_tui.screens.dialogs.help import HelpDialog, keys_shown
from lmx_tui.screens.dialogs.questions import TOP, GoDialog
from lmx_tui.screens.logs.logs import LogsScreen
from lmx_tui.screens.models.load_sheet import LoadSheet
from lmx_tui.screens.models.models import ModelsScreen
from lmx_tui.screens.monitor import MonitorScreen
from lmx_tui.screens.page import Page
from lmx_tui.screens.settings import SettingsScreen
from lmx_tui.terminal.ascii import AsciiFilter
from lmx_tui.terminal.crash import crash_report
from lmx_tui.terminal.signals import SignalHandler, end_on_signals
from lmx_tui.theme import AUTO, DEFAULT
from lmx_tui.themed_app import ThemedApp

TICK_SECONDS = 1.0
REPORTED_SECONDS = 5.0
"""Time during which an incident with the message of an error already shown is not shown again."""


class LmxApp(ThemedApp):
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
        home: Home | None = None,
        ascii_only: bool = False,
        auto_theme: str = DEFAULT,
        colors: str | None = None,
        debug: bool = False,
    ) -> None:
        """`leave` ends the process with the terminal restored; with None, signals keep their handlers.

        `home` holds the user's themes and the choices of the last run. `ascii_only` is for terminals without UTF-8.
        `auto_theme` is the theme that suits the terminal, and `colors` Rich's name of its color system.
        With `debug`, the report of an unexpected exception has a traceback.
        """
        self._leave = leave
        self._log_file = str(home.log_file) if home else ""
        self._choices_file = ChoicesFile(home.choices if home else None)
        self.choices = self._choices_file.read()
        if self.choices.screen in keys.SCREENS.values():
            setattr(self, "DEFAULT_MODE", self.choices.screen)  # noqa: B010 - a class variable for mypy
        self._chat_after_pull = ChatAfterPull()
        self._visited: list[str] = []
        """Screens shown before the current one, the last one at the end."""
        self._show_traceback = debug
        self.leaving = False
        folder = home.themes if home else None
        super().__init__(
            client, clock=clock, driver_class=driver_class, themes=folder, auto_theme=auto_theme, colors=colors
        )
        self._settings = settings
        self._version = version
        self._feed = Feed(client, self.post_message, clock=clock, start=start, retries=retries)
        if ascii_only:
            self._filters.append(AsciiFilter())
        symbols = "ascii" if ascii_only else settings.tui.symbols
        self._chat = ChatScreen(symbols, clock, self.choices)
        self._screens: dict[str, Page] = {
            "models": ModelsScreen(self.choices),
            "chat": self._chat,
            "monitor": MonitorScreen(symbols, self.choices),
            "logs": LogsScreen(self.choices),
            "settings": SettingsScreen(),
        }
        for name, screen in self._screens.items():
            self.add_mode(name, partial(_given, screen))

    def on_mount(self) -> None:
        self.use_theme(self._settings.tui.theme)
        if self._leave is not None:
            end_on_signals(self, self._leave)
        self._use_keymap(dict(self._settings.tui.keymap))
        self.set_interval(TICK_SECONDS, self._tick)
        self.call_after_refresh(self._connect)  # what a connection imports would delay the first paint

    def _connect(self) -> None:
        self.run_worker(self._feed.run(), group="feed", exit_on_error=False)
        if (refused := self._choices_file.refused) is not None:
            self.toast(refused.message, refused.hint, "warning")

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
        arrived = self._chat_after_pull.arrived(message.snapshot) if len(self.screen_stack) == 1 else None
        if arrived is not None:
            self.post_message(messages.ChatRequested(arrived))

    @on(messages.ConnectionChanged)
    def _connection_changed(self, message: messages.ConnectionChanged) -> None:
        self.view = replace(self.view, connection=message.connection, now=self.clock())

    def _tick(self) -> None:
        """Advance ages and countdowns while no snapshot arrives."""
        if not self.view.online:
            self.view = replace(self.view, now=self.clock())

    # ---- requests from screens ----

    @on(messages.StartRequested)
    def _start(self) -> None:
        self._feed.start_now()

    @on(messages.ChatRequested)
    async def _chat_with(self, message: messages.ChatRequested) -> None:
        await self.switch_mode("chat")
        self._chat.choose(message.model)

    @on(messages.LoadSheetRequested)
    def _open_load_sheet(self, message: messages.LoadSheetRequested) -> None:
        def load(request: LoadRequest | None) -> None:
            if request is not None:
                self.post_message(messages.LoadRequested(request))

        self.push_screen(LoadSheet(message.model), load)

    @on(messages.PullRequested)
    def _await_pull(self, message: messages.PullRequested) -> None:
        """Note that a chat opens after a pull."""
        if message.chat:
            self._chat_after_pull.begin(message.repo, self.view.snapshot)
            self.toast("the chat opens once the model is here", "esc cancels that; the download goes on")

    @on(messages.ThinkingRequested)
    def _think(self, message: messages.ThinkingRequested) -> None:
        self._chat.set_thinking(message.thinking)

    # ---- actions ----

    def action_switch(self, mode: str) -> None:
        if mode in self._screens and len(self.screen_stack) == 1 and mode != self.current_mode:
            self._visited = [*(name for name in self._visited if name != mode), self.current_mode]
            self._show(mode)

    def action_previous_screen(self) -> None:
        """Show the screen before; a dialog closes itself by its own keys. A chat that is to open is cancelled first."""
        if len(self.screen_stack) > 1:
            return
        if self._chat_after_pull.cancel():
            self.toast("no chat opens after the download")
            return
        if self._visited:
            self._show(self._visited.pop())
        else:
            self.toast("ctrl+q quits; the daemon keeps running")

    def _show(self, mode: str) -> None:
        self.switch_mode(mode)
        self._keep(screen=mode)

    def action_go(self) -> None:
        if len(self.screen_stack) == 1:
            self.push_screen(GoDialog(), self._go)

    def _go(self, mode: str | None) -> None:
        if mode == TOP and isinstance(self.focused, ScrollView):
            self.call_next(
                self.run_action, "scroll_top" if isinstance(self.focused, DataTable) else "scroll_home", self.focused
            )
        elif mode:
            self.action_switch(mode)

    def _run_verb(self, mode: str, action: str) -> None:
        self.action_switch(mode)
        self.call_next(self.run_action, action, self._screens[mode])

    def _possible(self, mode: str, action: str) -> bool:
        screen = self._screens[mode]
        return not screen.is_mounted or bool(screen.check_action(action, ()))

    @on(messages.ChoiceMade)
    def _choice_made(self, message: messages.ChoiceMade) -> None:
        self._keep(**message.changes)

    def _keep(self, **changes: Any) -> None:
        """Keep a choice for the next run."""
        self.choices = changed(self.choices, changes)
        self.run_worker(partial(self._choices_file.write, self.choices), group="choices", thread=True, exclusive=True)

    def action_interrupt(self) -> None:
        """Copy what is selected, else clear the text field, else name the key that quits."""
        field = self.focused
        if isinstance(field, Input | TextArea) and field.selected_text:
            field.action_copy()
        elif self.screen.get_selected_text():
            self.screen.action_copy_text()
        elif isinstance(field, Input | TextArea) and (field.value if isinstance(field, Input) else field.text):
            field.clear()
        else:
            self.toast("ctrl+q quits; the daemon keeps running")

    @on(messages.SettingChanged)
    def _setting_changed(self, message: messages.SettingChanged) -> None:
        """Apply a setting of the TUI that can change while it runs."""
        if message.key == "tui.theme":
            self.theme = self._theme_of(str(message.value or AUTO)) or self._auto_theme
        elif message.key == "tui.keymap":
            self._use_keymap(dict(message.value or {}))

    def _use_keymap(self, keymap: dict[str, str]) -> None:
        """Put a keymap in force, and name its faults."""
        self.set_keymap(keymap)
        for fault in faults(keymap):
            self.toast(fault, "Settings, 2 changes keys", "warning")

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

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        yield from commands(self, self.view, self._run_verb, self._possible)


def _given(screen: Screen[Any]) -> Screen[Any]:
    return screen
