"""ChatListing: the list of chats beside the open chat, its search, and the actions on the row under its cursor."""

from functools import partial

from textual import on
from textual.app import ComposeResult

from lmx_daemon.contract.admin.chats import ChatChange, ChatRow
from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_tui.formatting import one_line, shorten
from lmx_tui.messages import Notified
from lmx_tui.screens.chat.asking import ChatAsking
from lmx_tui.screens.dialogs.questions import AskText, Confirm
from lmx_tui.widgets.chat.chat_list import ChatList
from lmx_tui.widgets.chat.prompt import PromptInput

LISTED = 500
"""Number of chats in the list. A search finds the others."""
FOUND = 50
"""Number of chats that a search shows."""


class ChatListing(ChatAsking):
    """A page with the list of chats."""

    _listed_revision = -1
    _deleted: tuple[str, ...] = ()
    """Ids of the chats that this program has deleted, the last one at the end."""
    _found = ""
    """Message that a search has found, which is shown once its chat is open."""

    def compose_list(self) -> ComposeResult:
        """Yield the list, which is always shown on wide terminals, and on others after a key."""
        yield ChatList()

    def show_list(self, snapshot: Snapshot) -> None:
        """Read the list again if it is shown and has changed."""
        if snapshot.chats != self._listed_revision and self.query_one(ChatList).display and self.view.online:
            self._listed_revision = snapshot.chats
            self._read_list(self.query_one(ChatList).words)

    def _read_list(self, words: str) -> None:
        if words:
            self._call("chats", lambda client: client.search_chats(words, limit=FOUND), partial(self._list_read, words))
        else:
            self._call("chats", lambda client: client.chats(limit=LISTED), partial(self._list_read, words))

    def _list_read(self, words: str, rows: list[ChatRow]) -> None:
        found = self.query_one(ChatList)
        if words == found.words:
            found.show(rows, self.snapshot.taken_at if self.snapshot is not None else 0.0, self._chat.id)

    @on(ChatList.Searched)
    def _searched(self, event: ChatList.Searched) -> None:
        self._read_list(event.words)

    @on(ChatList.Chosen)
    async def _list_chosen(self, event: ChatList.Chosen) -> None:
        self._save_draft()
        self._clear_prompt()
        self._model = ""
        self._found = event.found
        await self.open(event.chat)
        self.close_list()

    def action_list(self) -> None:
        """Show the list with the search field focused, or hide it."""
        found = self.query_one(ChatList)
        if found.has_focus_within:
            self.close_list()
            return
        self.add_class("-list")
        self.app.stylesheet.update(self)  # at once: a hidden field cannot have the focus
        self.set_focus(found.search)  # before the list is drawn, so that the next keys reach the field
        self._listed_revision = -1
        if self.snapshot is not None:
            self.show_list(self.snapshot)

    def close_list(self) -> None:
        self.remove_class("-list")
        self.query_one(ChatList).clear()
        self.query_one(PromptInput).focus()

    def action_list_row(self, step: int) -> None:
        self.query_one(ChatList).action_row(step)

    def action_list_rows(self) -> None:
        self.query_one(ChatList).action_rows()

    def action_list_search(self) -> None:
        self.query_one(ChatList).action_search()

    def action_close_list(self) -> None:
        self.close_list()

    # ---- verbs ----

    def _current(self) -> ChatRow | None:
        """Return the row that an action applies to: the one under the cursor of the list, else the open chat."""
        found = self.query_one(ChatList)
        row = found.current if found.has_focus_within else self._chat.row
        if row is None:
            self.post_message(Notified("there is no chat yet"))
        return row

    def action_rename(self) -> None:
        if (row := self._current()) is None:
            return

        def named(title: str | None) -> None:
            if title is not None:
                self._change_row(row, title=title)

        words = f"Title of this chat. lmx chats list shows it too.\nNow: {shorten(one_line(row.name), 60)}"
        self.app.push_screen(AskText("Rename", words, "title"), named)

    def action_tags(self) -> None:
        if (row := self._current()) is None:
            return

        def tagged(text: str | None) -> None:
            if text is not None:
                tags = tuple(dict.fromkeys(word.lstrip("#") for word in text.replace(",", " ").split()))
                self._change_row(row, tags=() if tags == ("-",) else tags)

        now = f"Now: {' '.join(row.tags)}" if row.tags else "It has none."
        words = f"Words that group chats; - removes all. {now}"
        self.app.push_screen(AskText("Tags", words, "work ideas"), tagged)

    def action_pin(self) -> None:
        if (row := self._current()) is not None:
            self._change_row(row, pinned=not row.pinned)

    def action_delete_chat(self) -> None:
        if (row := self._current()) is None:
            return

        def confirmed(yes: bool | None) -> None:
            if yes:
                self._call("delete chat", lambda client: client.delete_chat(row.id), self._chat_deleted)

        detail = f"{shorten(one_line(row.name), 56)}\nu brings it back. lmx chats rm {row.id} does the same."
        self.app.push_screen(Confirm("Delete this chat?", detail, "Delete", "D"), confirmed)

    def _chat_deleted(self, row: ChatRow) -> None:
        self._deleted = (*self._deleted, row.id)
        self._listed_revision = -1
        self.post_message(Notified("moved to the trash", f"u in the list brings it back: lmx chats restore {row.id}"))

    def action_undelete_chat(self) -> None:
        if not self._deleted:
            self.post_message(Notified("nothing was deleted here", "lmx chats list --trash shows the trash"))
            return
        *rest, last = self._deleted
        self._deleted = tuple(rest)
        self._call("restore chat", lambda client: client.restore_chat(last), self._restored)

    def _restored(self, row: ChatRow) -> None:
        self.post_message(Notified(f"restored: {shorten(one_line(row.name), 40)}"))

    def _change_row(self, row: ChatRow, **changes: object) -> None:
        change = ChatChange(**changes)  # type: ignore[arg-type]  # names and values are those of the struct
        self._call("change chat", lambda client: client.change_chat(row.id, change), self._row_changed)

    def _row_changed(self, row: ChatRow) -> None:
        self._listed_revision = -1
        if self.snapshot is not None:
            self.show_list(self.snapshot)
