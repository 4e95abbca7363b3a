"""DaemonApp: turns each request message of a screen into a call to the daemon, and shows errors as toasts.

It draws nothing and depends on no screen.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from textual import on, work
from textual.driver import Driver

from lmx_daemon.client.client import Client
from lmx_daemon.contract.admin.library.pulls import PullRequest
from lmx_daemon.contract.errors import ErrorBody, LmxError
from lmx_tui import messages
from lmx_tui.daemon.daemon_calls import DaemonCalls
from lmx_tui.formatting import clean
from lmx_tui.terminal import clipboard
from lmx_tui.typeahead import TypeAheadApp

DaemonCall = Callable[[], Awaitable[object]]
"""A call to the daemon. Only its worker begins it, since a newer call of the same name can replace the worker."""


class DaemonApp(TypeAheadApp):
    """An app with a client of the daemon."""

    def __init__(self, client: Client, *, clock: Callable[[], float], driver_class: type[Driver] | None = None) -> None:
        super().__init__(driver_class=driver_class)
        self.clock = clock
        self._client = client
        self._daemon_calls = DaemonCalls(client, self.toast)
        self._reported: dict[str, float] = {}
        """Messages of errors shown as the result of a request of this app -> time at which each was shown."""

    @on(messages.LoadRequested)
    def _load(self, message: messages.LoadRequested) -> None:
        self._act(partial(self._daemon_calls.load, message.request), f"load {message.request.model}")

    @on(messages.UnloadRequested)
    def _unload(self, message: messages.UnloadRequested) -> None:
        self._act(partial(self._daemon_calls.unload, message.instance, message.model), f"unload {message.instance}")

    @on(messages.PullRequested)
    def _pull(self, message: messages.PullRequested) -> None:
        self._act(partial(self._client.pull, PullRequest(repo=message.repo)), f"pull {message.repo}")

    @on(messages.PullChangeRequested)
    def _change_pull(self, message: messages.PullChangeRequested) -> None:
        client = self._client
        calls = {"pause": client.pause_pull, "resume": client.resume_pull, "cancel": client.cancel_pull}
        self._act(partial(calls[message.verb], message.job), f"{message.verb} {message.job}")

    @on(messages.UpdateRequested)
    def _update(self, message: messages.UpdateRequested) -> None:
        self._act(partial(self._daemon_calls.update, message.model), f"update {message.model}")

    @on(messages.LookForNewerRequested)
    def _look_for_newer(self) -> None:
        self.toast("asking the Hub for newer versions ...")
        self._act(partial(self._daemon_calls.count_newer), "outdated")

    @on(messages.CancelRequested)
    def _cancel(self, message: messages.CancelRequested) -> None:
        self._act(partial(self._client.cancel, message.request_id), f"cancel {message.request_id}")

    @on(messages.QueryRequested)
    def _query(self, message: messages.QueryRequested) -> None:
        self._act(partial(self._asking, message), f"query {message.name}")

    async def _asking(self, message: messages.QueryRequested) -> None:
        """Await the answer to a query, and hand it or its error to the screen that asked."""
        try:
            answer = await message.ask(self._client)
        except LmxError as error:
            if message.failed is None:
                raise
            self.call_later(message.failed, error.body())
        else:
            self.call_later(message.answer, answer)

    @on(messages.StreamRequested)
    def _stream(self, message: messages.StreamRequested) -> None:
        group = f"stream {message.name}"
        self.run_worker(self._streaming(message), group=group, exclusive=True, exit_on_error=False)

    async def _streaming(self, message: messages.StreamRequested) -> None:
        """Hand each item of a stream to its screen, and afterwards the reason for the end of the stream."""
        error: ErrorBody | None = None
        try:
            items: AsyncIterator[Any] = message.open(self._client)
            async for item in items:
                message.each(item)
        except LmxError as raised:
            error = raised.body()
        except Exception as raised:  # the TUI's worker edge
            error = ErrorBody(code="internal_error", message=f"{type(raised).__name__}: {raised}")
        self.call_later(message.ended, error)

    @on(messages.StreamStopped)
    def _stop_stream(self, message: messages.StreamStopped) -> None:
        self.workers.cancel_group(self, f"stream {message.name}")

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

    def _act(self, call: DaemonCall, name: str) -> None:
        work = partial(self._acting, call)
        self.run_worker(work, group=name, exclusive=True, exit_on_error=False)  # type: ignore[arg-type]

    async def _acting(self, call: DaemonCall) -> None:
        """Await one call to the daemon, and show its error as a toast."""
        try:
            await call()
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
