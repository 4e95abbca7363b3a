"""ChatVerbs: actions on the messages of the open chat."""

from lmx_daemon.contract.admin.chat_tree import below, newest_below
from lmx_daemon.contract.admin.chats import ChatChange, ChatRow, RemovedMessages, StoredMessage
from lmx_daemon.contract.units import counted
from lmx_tui.formatting import one_line, shorten
from lmx_tui.messages import CopyRequested, Notified
from lmx_tui.screens.chat.files import ChatFiles
from lmx_tui.screens.chat.session import ignored
from lmx_tui.screens.chat.sheet import ParameterSheet
from lmx_tui.screens.dialogs.questions import Confirm, Pick
from lmx_tui.widgets.chat.answer_view import ThinkingView
from lmx_tui.widgets.chat.blocks import code_blocks
from lmx_tui.widgets.chat.transcript import Transcript


class ChatVerbs(ChatFiles):
    """A page with verbs for messages."""

    # ---- answers ----

    async def action_regenerate(self) -> None:
        """Generate a further answer to the prompt of the message under the cursor, else to the last one."""
        message = self._under_cursor()
        while message is not None and message.role != "user":
            message = self._chat.message(message.parent or "")
        if message is None:
            self.post_message(Notified("there is no answer yet"))
            return
        found = message

        async def again(model: str) -> None:
            self._again(found, model)

        await self._with_model(again)

    async def action_continue(self) -> None:
        """Generate the rest of an answer that was stopped, cut or edited."""
        message = self._under_cursor()
        if message is None or message.role != "assistant":
            self.post_message(Notified("there is no answer to continue"))
            return

        async def again(model: str) -> None:
            self._again(message, model)

        await self._with_model(again)

    def action_branch(self, step: int) -> None:
        """Select the branch before or after: at the message under the cursor, else at the last message with several."""
        message = self._under_cursor()
        places = self._chat.places()
        while message is not None and places.get(message.id, (1, 1))[1] < 2:
            message = self._chat.message(message.parent or "")
        other = self._chat.sibling(message, step) if message is not None else None
        if other is None:
            self.post_message(Notified("there is no other branch", "r answers again, e edits: both make one"))
            return
        identity, change = self._chat.id, ChatChange(leaf=newest_below(self._chat.messages, other.id))
        self._call("branch", lambda client: client.change_chat(identity, change), ignored)

    def action_edit(self) -> None:
        if self._chat.busy:
            self.post_message(Notified("an answer is in progress", "esc stops it", "warning"))
        elif (message := self._under_cursor()) is not None:
            self._edit(message)

    def action_fork(self) -> None:
        """Copy the branch up to the message under the cursor to a new chat, and open it."""
        identity, message = self._chat.id, self._under_cursor()
        if message is not None:
            self._call("fork", lambda client: client.fork_chat(identity, message.id), self._forked)

    async def _forked(self, row: ChatRow) -> None:
        self.post_message(Notified("a new chat with a copy of this branch"))
        await self.open(row.id)

    # ---- deletions ----

    def action_delete_messages(self) -> None:
        """Delete the message under the cursor with all that follows it, after a confirmation."""
        identity, message = self._chat.id, self._under_cursor()
        if message is None:
            self.post_message(Notified("there is no message yet"))
            return
        removed = below(self._chat.messages, message.id)
        if any(each.state == "running" for each in removed):
            self.post_message(Notified("an answer is in progress", "esc stops it", "warning"))
            return

        def confirmed(yes: bool | None) -> None:
            if yes:
                remove = "delete messages"
                self._call(remove, lambda client: client.remove_messages(identity, message.id), self._messages_deleted)

        detail = f"{shorten(one_line(self._text(message)) or message.role, 56)}\n"
        detail += f"It and what follows it, in all branches: {counted(len(removed), 'message')}. u brings back.\n"
        detail += f"lmx chats rm {identity} --from {message.id}"
        self.app.push_screen(Confirm("Delete from this message on?", detail, "Delete", "D"), confirmed)

    def _messages_deleted(self, removal: RemovedMessages) -> None:
        words = f"{counted(len(removal.messages), 'message')} deleted"
        self.post_message(Notified(words, f"u brings back: lmx chats restore {self._chat.id} --messages"))

    def action_undelete_messages(self) -> None:
        """Restore the messages that were deleted last in this chat, also by another client or before a restart."""
        if identity := self._chat.id:
            self._call("restore messages", lambda client: client.restore_messages(identity), self._messages_restored)

    def _messages_restored(self, removal: RemovedMessages) -> None:
        self.post_message(Notified(f"restored: {counted(len(removal.messages), 'message')}"))

    # ---- copies ----

    def action_copy_code(self) -> None:
        found = [block for message in self._chat.path if message.role == "assistant" for block in self._blocks(message)]
        self._copy(found[-1] if found else None, "code block", "there is no code block")

    def action_copy_block(self) -> None:
        """Copy a code block of the message under the cursor; several are offered in a list."""
        message = self._under_cursor()
        blocks = self._blocks(message) if message is not None else []
        if len(blocks) < 2:
            self._copy(blocks[0] if blocks else None, "code block", "this message has no code block")
            return
        options = [(str(place), f"{place + 1}  {block.strip().splitlines()[0]}") for place, block in enumerate(blocks)]

        def chosen(place: str | None) -> None:
            if place is not None:
                self._copy(blocks[int(place)], "code block", "")

        self.app.push_screen(Pick("Copy a code block", options), chosen)

    def action_copy_answer(self) -> None:
        answer = self._chat.answer
        self._copy(answer.content if answer else None, "answer", "there is no answer yet")

    def action_copy_message(self) -> None:
        message = self._under_cursor()
        self._copy(self._text(message) if message is not None else None, "message", "there is no message yet")

    def action_copy_chat(self) -> None:
        identity = self._chat.id
        if not identity:
            self.post_message(Notified("there is no chat yet"))
            return
        self._call(
            "copy chat",
            lambda client: client.export_chat(identity, "markdown"),
            lambda exported: self._copy(exported.text, "chat as Markdown", ""),
        )

    def _copy(self, text: str | None, what: str, otherwise: str) -> None:
        self.post_message(CopyRequested(text, what) if text else Notified(otherwise))

    def _blocks(self, message: StoredMessage) -> list[str]:
        return code_blocks(self._text(message))

    def _text(self, message: StoredMessage) -> str:
        return self._chat.answer_of(message).content if message.role == "assistant" else message.text

    def action_fold_thinking(self) -> None:
        views = list(self.query(ThinkingView))
        folded = all(view.folded for view in views)
        for view in views:
            view.fold(not folded)

    def _under_cursor(self) -> StoredMessage | None:
        """Return the message under the transcript's cursor, else the last one of the branch.

        Of two answers in columns, that is the selected one.
        """
        found = self._chat.message(self.query_one(Transcript).current or "")
        return self._chat.last if found is None or found.id in self._chat.compared else found

    # ---- settings ----

    def action_parameters(self) -> None:
        """Show the sheet of the model, the system prompt and the sampling."""

        async def closed(result: object) -> None:
            if result == ParameterSheet.MODEL:
                self.action_pick_model()
            elif result is not None:
                self._settings_changed(**result)  # type: ignore[arg-type]

        self.app.push_screen(ParameterSheet(self._chosen(), self._chat.settings), closed)
