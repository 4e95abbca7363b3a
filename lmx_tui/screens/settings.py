"""SettingsScreen: the settings from their own schema, the keymap, API keys and presets. Changes apply at once."""

from collections.abc import Callable
from typing import Any

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import DataTable, Input

from lmx_daemon.contract.admin.config import ConfigReload, ConfigRow, ConfigView
from lmx_daemon.contract.admin.keys import ApiKey, CreatedKey, KeyRequest
from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.generation.preset import PresetRow
from lmx_tui import keys
from lmx_tui.formatting import one_line
from lmx_tui.messages import CopyRequested, Notified, QueryRequested, SettingChanged
from lmx_tui.screens.dialogs.key_dialog import KeyDialog
from lmx_tui.screens.dialogs.questions import AskText, Confirm, Pick
from lmx_tui.screens.dialogs.secret_dialog import SecretDialog
from lmx_tui.screens.page import Page
from lmx_tui.widgets.frame.filter_input import FilterInput
from lmx_tui.widgets.frame.pane import Pane
from lmx_tui.widgets.frame.static_text import StaticText
from lmx_tui.widgets.frame.table import Table
from lmx_tui.widgets.settings import setting_rows as rows

COLUMNS = {
    "settings": rows.SETTING_COLUMNS,
    "keymap": rows.KEY_COLUMNS,
    "keys": rows.API_KEY_COLUMNS,
    "presets": rows.PRESET_COLUMNS,
}
TITLES = {"settings": "1 Settings", "keymap": "2 Keymap", "keys": "3 API keys", "presets": "4 Presets"}
EMPTY = {
    "settings": "no setting matches",
    "keymap": "no action matches",
    "keys": "no API key; a creates one",
    "presets": "no preset; lmx preset set creates one",
}
KEYMAP = "tui.keymap"


class SettingsScreen(Page):
    """The Settings screen."""

    BINDINGS = keys.SETTINGS
    AUTO_FOCUS = "#settings-table"
    mode = "settings"

    def __init__(self) -> None:
        super().__init__()
        self._part = "settings"
        self._query = ""
        self._asked = False
        """Whether the daemon was asked since the screen is shown."""
        self._config: ConfigView | None = None
        self._api_keys: list[ApiKey] = []
        self._presets: list[PresetRow] = []
        self._undo: list[tuple[str, Any]] = []
        """(key, value before) of the changes of this run; None if the file did not have the key."""

    def compose_body(self) -> ComposeResult:
        yield FilterInput(id="settings-filter", placeholder="words of the name or the help", compact=True)
        with Horizontal(id="settings-row"):
            with Pane(TITLES["settings"], id="settings", classes="live"):
                for part, columns in COLUMNS.items():
                    yield Table(columns, id=f"{part}-table")
            with Pane("", id="setting-detail", classes="live"):
                yield StaticText(id="setting-text")

    def on_mount(self) -> None:
        self.query_one("#settings-filter").display = False
        self._show_part("settings")

    def main_widget(self) -> Widget:
        return self._table

    @property
    def _table(self) -> Table:
        return self.query_one(f"#{self._part}-table", Table)

    def show(self, snapshot: Snapshot) -> None:
        if self._config is None and not self._asked:
            self._ask()

    def on_screen_resume(self) -> None:
        self._asked = False
        if self._config is not None and self.view.online:
            self._ask()

    def _ask(self) -> None:
        self._asked = True
        self.post_message(QueryRequested("config", lambda client: client.config(), self._config_came))
        self.post_message(QueryRequested("keys", lambda client: client.keys(), self._keys_came))
        self.post_message(QueryRequested("presets", lambda client: client.presets(), self._presets_came))

    def _config_came(self, view: ConfigView) -> None:
        self._config = view
        self._draw()

    def _keys_came(self, found: list[ApiKey]) -> None:
        self._api_keys = found
        self._draw()

    def _presets_came(self, found: list[PresetRow]) -> None:
        self._presets = found
        self._draw()

    def _draw(self) -> None:
        if not self.is_mounted or self._config is None:
            return
        colors, now = self.app.theme_variables, self.snapshot.taken_at if self.snapshot else 0.0
        found = {
            "settings": lambda: rows.setting_rows(self._config.rows if self._config else (), self._query, colors),
            "keymap": lambda: rows.keymap_rows(self._keymap(), self._query, colors),
            "keys": lambda: rows.api_key_rows(self._api_keys, self._query, now, colors),
            "presets": lambda: rows.preset_rows(self._presets, self._query, colors),
        }[self._part]()
        self._table.show(found)
        tabs = " · ".join(title for part, title in TITLES.items() if part != self._part)
        filtered = f"filter: {self._query} · " if self._query else ""
        self.query_one("#settings", Pane).titled(f"{TITLES[self._part]}  {len(found)}", f"{filtered}{tabs}")
        self._describe()

    @on(DataTable.RowHighlighted)
    def _describe(self) -> None:
        key = self._table.selected or ""
        colors = self.app.theme_variables
        text = Text("")
        if self._part == "settings" and (row := self._setting(key)):
            text = rows.setting_details(row, colors)
        elif self._part == "keymap" and key:
            text = rows.key_details(key, self._keymap(), colors)
        elif self._part == "keys" and (api_key := self._api_key(key)):
            text = rows.api_key_details(api_key, self.snapshot.taken_at if self.snapshot else 0.0, colors)
        elif self._part == "presets" and (preset := next((one for one in self._presets if one.name == key), None)):
            text = rows.preset_details(preset, colors)
        self.query_one("#setting-text", StaticText).show(text)

    def _setting(self, key: str) -> ConfigRow | None:
        return next((row for row in (self._config.rows if self._config else ()) if row.key == key), None)

    def _api_key(self, identity: str) -> ApiKey | None:
        return next((key for key in self._api_keys if key.id == identity), None)

    def _keymap(self) -> dict[str, str]:
        row = self._setting(KEYMAP)
        return dict(row.value) if row is not None and row.value else {}

    # ---- parts and filter ----

    def action_part(self, part: str) -> None:
        """Show another part, without the filter of the one before."""
        self.action_clear()
        self._part, self._query = part, ""
        self._show_part(part)
        self._table.focus()
        self._draw()
        self.refresh_bindings()

    def _show_part(self, part: str) -> None:
        for name in COLUMNS:
            table = self.query_one(f"#{name}-table", Table)
            table.display = name == part
            table.set_empty_text(EMPTY[name])

    def action_filter(self) -> None:
        self.query_one("#settings-filter", FilterInput).open()

    def action_clear(self) -> None:
        field = self.query_one("#settings-filter", Input)
        field.value = ""
        field.display = False
        self._table.focus()

    @on(Input.Changed, "#settings-filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        self._query = event.value.strip()
        self._draw()

    @on(Input.Submitted, "#settings-filter")
    def _filter_done(self) -> None:
        self.query_one("#settings-filter").display = bool(self._query)
        self._table.focus()

    # ---- verbs ----

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        possible = {
            "clear": bool(self._query) or (self.is_mounted and bool(self.query_one("#settings-filter").display)),
            "part": parameters != (self._part,),
            "edit": self._part in ("settings", "keymap"),
            "reset": self._part in ("settings", "keymap"),
            "undo": bool(self._undo),
            "add": self._part == "keys",
            "remove": self._part in ("keys", "presets"),
        }.get(action, True)
        return possible and super().check_action(action, parameters)

    def action_edit(self) -> None:
        key = self._table.selected
        if key is None:
            return
        if self._part == "keymap":
            self.app.push_screen(KeyDialog(key, self._keymap()), lambda pressed: self._map(key, pressed))
        elif (row := self._setting(key)) is not None:
            self._edit(row)

    def _edit(self, row: ConfigRow) -> None:
        """Turn a boolean over, offer the choices of a list, or ask for a text."""

        def set_it(text: str | None) -> None:
            if text is not None:
                self._set(row.key, text)

        if isinstance(row.default, bool):
            self._set(row.key, not row.value)
        elif row.choices:
            self.app.push_screen(Pick(row.key, [(name, name) for name in row.choices], str(row.value)), set_it)
        else:
            value = "" if row.secret or row.value is None else rows.value_text(row.value)
            words = f"{one_line(row.help)}\n\n{row.type}"
            self.app.push_screen(AskText(row.key, words, rows.value_text(row.default), value), set_it)

    def _map(self, identity: str, pressed: str | None) -> None:
        if pressed is not None:
            self._set(KEYMAP, self._keymap() | {identity: pressed})

    def action_reset(self) -> None:
        key = self._table.selected
        if self._part == "keymap":
            self._set(KEYMAP, {name: value for name, value in self._keymap().items() if name != key} or None)
        elif key is not None:
            self._set(key, None)

    def action_undo(self) -> None:
        key, before = self._undo.pop()
        self._set(key, before, undo=False)

    def _set(self, key: str, value: Any, *, undo: bool = True) -> None:
        """Write a value to the file, or remove the key from it where `value` is None."""
        row = self._setting(key)
        if undo and row is not None and not row.secret:
            self._undo.append((key, row.value if row.source == "file" else None))
        change = QueryRequested("set", lambda client: client.set_config(key, value), self._told(key, value))
        self.post_message(change)

    def _told(self, key: str, value: Any) -> Callable[[ConfigReload], None]:
        def told(change: ConfigReload) -> None:
            words = f"{key} is at its default" if value is None else f"{key} = {rows.value_text(value)}"
            hint = "takes effect at the next start of the daemon: lmx restart" if change.waiting else ""
            if change.overridden:
                hint = f"{change.overridden} keeps another value in force"
            self.post_message(Notified(words, hint or f"u takes it back; lmx config set {key} VALUE"))
            self.post_message(SettingChanged(key, value))
            self._ask()
            self.refresh_bindings()

        return told

    def action_add(self) -> None:
        def create(name: str | None) -> None:
            if name:
                request = KeyRequest(name=name[:64])
                self.post_message(QueryRequested("key", lambda client: client.create_key(request), self._created))

        words = "A label for the list of keys. The key may ask models and read their list; lmx key create sets limits."
        self.app.push_screen(AskText("New API key", words, "laptop"), create)

    def _created(self, created: CreatedKey) -> None:
        self.app.push_screen(SecretDialog(created))
        self._ask()

    def action_remove(self) -> None:
        key = self._table.selected
        if key is None:
            return
        if self._part == "presets":
            question = Confirm(
                f"Remove the preset {one_line(key)}?", "Requests that name it are refused.", "Remove", "R"
            )
            self._ask_first(question, lambda client: client.remove_preset(key))
        elif (api_key := self._api_key(key)) is not None:
            words = f"Clients that send it are refused from then on. Its id is {one_line(key)}."
            question = Confirm(f"Revoke the key {one_line(api_key.name)}?", words, "Revoke", "R")
            self._ask_first(question, lambda client: client.revoke_key(key))

    def _ask_first(self, question: Confirm, act: Callable[[Any], Any]) -> None:
        def answered(sure: bool | None) -> None:
            if sure:
                self.post_message(QueryRequested("remove", act, lambda answer: self._ask()))

        self.app.push_screen(question, answered)

    def action_copy(self) -> None:
        if self._table.selected is not None:
            self.post_message(CopyRequested(self._table.selected, "name"))
