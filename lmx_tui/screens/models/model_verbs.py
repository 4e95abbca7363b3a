"""Acts on a model that ask first or end with a toast: delete, restore, verify, unload; and dialogs about a model."""

from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen, Screen

from lmx_daemon.contract.admin.library.disk import RemoveRequest, TrashRow, UndoRequest
from lmx_daemon.contract.admin.library.files import VerifyRequest, VerifyUpdate
from lmx_daemon.contract.admin.library.hub import CardRequest
from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.units import size
from lmx_tui.formatting import short_name
from lmx_tui.messages import CopyRequested, Notified, QueryRequested, StreamRequested, UnloadRequested
from lmx_tui.screens.dialogs.questions import Confirm
from lmx_tui.screens.dialogs.text_dialog import TextDialog
from lmx_tui.screens.page import Page
from lmx_tui.widgets.models.card import CardView


class ModelDialog(TextDialog):
    """The details of a model."""

    HINT = "y copy id · esc close"

    def __init__(self, model: str, text: Text) -> None:
        super().__init__(short_name(model))
        self._model, self._words = model, text

    def words(self, width: int) -> Text:
        return self._words

    def action_copy(self) -> None:
        self.post_message(CopyRequested(self._model, "model id"))


class CardDialog(ModalScreen[None]):
    """The model card of a repository on the Hub, or of a model where the screen has no room for the pane."""

    def __init__(self, request: CardRequest) -> None:
        super().__init__()
        self._request = request

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide", id="card-dialog") as box:
            box.border_title = Content(f"Model card · {short_name(self._request.id)}")
            box.border_subtitle = "j k scroll · esc close"
            yield CardView(self._request)

    def action_close_card(self) -> None:
        if self.is_active:
            self.dismiss()


def delete(screen: Page, model: Model) -> None:
    """Move a model to the trash, after a question."""

    def came(row: TrashRow) -> None:
        screen.post_message(Notified(f"{short_name(row.id)} is in the trash", "z restores it; lmx undo"))

    detail = f"{size(model.size or None)} move to the trash. z restores the model until the trash is emptied."
    question = Confirm(f"Delete {short_name(model.id)}?", detail, "Delete", "D")
    request = RemoveRequest(id=model.id)
    ask_first(screen, question, QueryRequested("delete", lambda client: client.remove_model(request), came))


def restore(screen: Page) -> None:
    """Restore the model that was deleted last."""

    def came(row: TrashRow) -> None:
        screen.post_message(Notified(f"{short_name(row.id)} is restored", "lmx undo"))

    screen.post_message(QueryRequested("undo", lambda client: client.undo_remove(UndoRequest()), came))


def verify(screen: Page, model: Model) -> None:
    """Compare a model's files with their hashes."""

    def came(update: VerifyUpdate) -> None:
        result = verified(update)
        if result is not None:
            screen.post_message(result)

    def ended(error: ErrorBody | None) -> None:
        if error is not None:
            screen.post_message(Notified(error.message, error.hint, "error"))

    request = VerifyRequest(id=model.id)
    screen.post_message(Notified(f"verifying {short_name(model.id)} ...", f"lmx verify {model.id}"))
    screen.post_message(StreamRequested("verify", lambda client: client.verify(request), came, ended))


def verified(update: VerifyUpdate) -> Notified | None:
    """Return the result of a verification, which is in its last update, or None for the others."""
    name = short_name(update.id)
    if update.state in ("sound", "recorded"):
        return Notified(f"{name}: {update.files} files are sound", update.against or None)
    if update.state == "changed":
        faults = ", ".join(fault.path for fault in update.faults[:3])
        return Notified(f"{name}: files differ: {faults}", f"lmx verify --repair {update.id}", "error")
    if update.error is not None:
        return Notified(f"{name}: {update.error.message}", update.error.hint, "error")
    return None


def ask_unload(screen: Screen[Any], request: UnloadRequested, busy: int) -> None:
    """Post `request` at once if the model is idle; ask first if it has requests."""
    if not busy:
        screen.post_message(request)
        return
    detail = f"Its {busy} request{'s' if busy > 1 else ''} finish{'' if busy > 1 else 'es'} first, then it is unloaded."
    ask_first(screen, Confirm(f"Unload {short_name(request.model)}?", detail, "Unload", "U"), request)


def ask_first(screen: Screen[Any], question: Confirm, request: Message) -> None:
    """Post `request` after the question was answered with yes."""

    def answered(sure: bool | None) -> None:
        if sure:
            screen.post_message(request)

    screen.app.push_screen(question, answered)
