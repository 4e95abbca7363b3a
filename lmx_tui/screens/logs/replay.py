"""The replay of a recorded request: the choice of a model, and the dialog in which its answer arrives."""

import time

from rich.text import Text
from textual.screen import Screen
from textual.widgets import Static

from lmx_daemon.contract.admin.history import RequestRecord
from lmx_daemon.contract.errors import ErrorBody, UnsupportedError
from lmx_daemon.contract.generation.chat_answer import ChatAnswer
from lmx_daemon.contract.generation.events import Event
from lmx_daemon.contract.generation.replay import replayed
from lmx_daemon.contract.generation.requests import Generate, Request
from lmx_tui.formatting import clean, one_line, short_name
from lmx_tui.messages import (
    CancelRequested,
    CopyRequested,
    Notified,
    QueryRequested,
    StreamRequested,
    StreamStopped,
    View,
)
from lmx_tui.screens.dialogs.questions import Pick
from lmx_tui.screens.dialogs.text_dialog import TextDialog
from lmx_tui.widgets.chat.meta import figures, state_words
from lmx_tui.widgets.logs.inspection import NO_TEXT

STREAM = "replay"
FLUSH_SECONDS = 0.1
"""Interval at which the answer is drawn."""


def replay(screen: Screen[None], record: RequestRecord) -> None:
    """Ask for a model, and send a recorded request to it. Post the reason if its text was not kept."""
    if not record.body:
        screen.post_message(Notified("this request cannot be replayed: its text was not kept", NO_TEXT, "warning"))
        return

    identity = record.id

    def came(request: Request) -> None:
        _choose_model(screen, request)

    screen.post_message(QueryRequested("replay", lambda client: client.recorded_request(identity), came))


def _choose_model(screen: Screen[None], request: Request) -> None:
    view: View = screen.app.view  # type: ignore[attr-defined]
    models = () if view.snapshot is None else view.snapshot.models
    names = [model.id for model in models if model.problem is None and not model.embedding]

    def chosen(model: str | None) -> None:
        if model is None:
            return
        try:
            again = replayed(request, model, client="lmx tui", tenant="tui")
        except UnsupportedError as error:
            screen.post_message(Notified(error.message, error.hint, "warning"))
        else:
            screen.app.push_screen(ReplayDialog(again, request.id))

    screen.app.push_screen(Pick("Replay with", [(name, name) for name in names], request.model), chosen)


class ReplayDialog(TextDialog):
    """The answer to a replayed request, while it arrives. Closing the dialog cancels the request."""

    HINT = "y copy answer · esc close"

    def __init__(self, request: Generate, original: str) -> None:
        super().__init__(f"Replay with {short_name(request.model)}")
        self._request, self._original = request, original
        self._answer = ChatAnswer(request.id, request.model, time.monotonic())
        self._drawing = False

    def on_mount(self) -> None:
        super().on_mount()
        request = self._request
        self.post_message(
            StreamRequested(STREAM, lambda client: client.generate(request), self._event_came, self._stream_ended)
        )

    def on_unmount(self) -> None:
        if not self._answer.ended:
            self.app.post_message(CancelRequested(self._request.id))
            self.app.post_message(StreamStopped(STREAM))

    def _event_came(self, event: Event) -> None:
        self._answer.consume(event, time.monotonic())
        if not self._drawing:
            self._drawing = True
            self.set_timer(FLUSH_SECONDS, self._draw)

    def _stream_ended(self, error: ErrorBody | None) -> None:
        if error is not None:
            self._answer.state, self._answer.error = "failed", error
        if self.is_attached:
            self._draw()

    def _draw(self) -> None:
        self._drawing = False
        self.query_one(Static).update(self.words(0))

    def words(self, width: int) -> Text:
        """Return the state and the figures of the answer, and its text."""
        answer, colors = self._answer, self.app.theme_variables
        parts = [state_words(answer, time.monotonic()), *figures(answer)]
        text = Text(f"request {one_line(self._original)}\n{' · '.join(parts)}\n", colors["muted"])
        if answer.error is not None:
            text.append(f"\n! {clean(answer.error.message)}\n", colors["error"])
            text.append(f"{clean(answer.error.hint)}\n" if answer.error.hint else "", colors["muted"])
        if answer.reasoning:
            text.append(f"\n{clean(answer.reasoning)}\n", colors["muted"])
        return text.append(f"\n{clean(answer.content)}" if answer.content else "")

    def action_copy(self) -> None:
        self.post_message(CopyRequested(self._answer.content, "answer"))
