"""All key bindings of the TUI. `[tui.keymap]` in config.toml names them by id: `"models.unload" = "X"`.

While a text field has the focus, only control keys that TextArea does not bind reach a screen: TextArea binds ctrl with
a c d e k u v w x y z, f6 and f7. The chat therefore uses g n o p r t, and the prompt binds ctrl+y itself.
"""

from textual.binding import Binding, BindingType

SCREENS = {"m": "models", "c": "chat", "o": "monitor", "l": "logs", "s": "settings"}
"""Key that follows `g` -> screen."""


FILTER_HELP = "Filter: words, fits, tools, vision, <8gb, >4b; unknown facts never match"


def _key(
    id: str, key: str, action: str, description: str, *, show: bool = True, label: str | None = None, tip: str = ""
) -> Binding:
    return Binding(key, action, description, show=show, key_display=label, id=id, tooltip=tip)


APP: list[BindingType] = [
    _key("app.models", "f2", "switch('models')", "Models", show=False),
    _key("app.chat", "f3", "switch('chat')", "Chat", show=False),
    _key("app.monitor", "f4", "switch('monitor')", "Monitor", show=False),
    _key("app.logs", "f5", "switch('logs')", "Logs", show=False),
    _key("app.go", "g", "go", "Go to a screen: then its letter; g g for the first row", show=False),
    _key("app.palette", "ctrl+p", "command_palette", "Menu", tip="Search all commands"),
    _key("app.theme", "ctrl+t", "pick_theme", "Theme", show=False),
    _key("app.help", "f1,question_mark", "help", "Help"),
    Binding("ctrl+q", "leave", "Quit; the daemon goes on", show=False, priority=True, id="app.quit"),
    Binding(
        "ctrl+c", "interrupt", "Copy the selection, or clear the draft", show=False, priority=True, id="app.interrupt"
    ),
    _key("app.back", "q,escape", "previous_screen", "Back to the screen before", show=False),
]

MODELS: list[BindingType] = [
    _key("models.start", "enter", "start", "Start the daemon", label="⏎"),
    _key("models.load", "enter", "load", "Load", label="⏎", tip="Memory plan, context and slots; enter again loads"),
    _key("models.welcome_1", "1", "welcome(0)", "Pull and chat", tip="Pull the first choice and chat with it"),
    _key("models.welcome_2", "2", "welcome(1)", "Pull and chat with the second choice", show=False),
    _key("models.welcome_3", "3", "welcome(2)", "Pull and chat with the third choice", show=False),
    _key("models.welcome_4", "4", "welcome(3)", "Pull and chat with the fourth choice", show=False),
    _key("models.chat", "c", "chat", "Chat", tip="Chat with the selected model"),
    _key("models.unload", "x", "unload", "Unload", tip="Unload the selected model"),
    _key("models.pull", "p", "pull", "Pull", tip="Download a model from the Hugging Face Hub"),
    _key("models.update", "u", "update", "Update", tip="Fetch the newer version of the selected model"),
    _key("models.filter", "slash", "filter", "Find", label="/", tip=FILTER_HELP),
    _key("models.sort", "s", "sort", "Sort"),
    _key("models.info", "i", "info", "Info", tip="Everything known about the selected model"),
    _key("models.card", "m", "card", "Card", show=False, tip="The model card of the selected model, and back"),
    _key("models.delete", "d", "delete", "Delete", show=False, tip="Move the selected model to the trash"),
    _key("models.restore", "z", "restore", "Restore", show=False, tip="Restore the model that was deleted last"),
    _key("models.verify", "v", "verify", "Verify", show=False, tip="Compare the model's files with their hashes"),
    _key("models.copy", "y", "copy", "Copy id", show=False),
    _key("models.clear", "escape", "clear", "Clear the filter", show=False),
]

CARD: list[BindingType] = [
    _key("card.down", "j", "scroll_down", "Down", show=False),
    _key("card.up", "k", "scroll_up", "Up", show=False),
    _key("card.bottom", "G", "scroll_end", "Last line", show=False),
    _key("card.close", "escape,q", "screen.close_card", "Close", label="esc", tip="Close the model card"),
]
"""Keys of a model card except those that Textual binds: arrows, page up and down, home, end."""

FILTER: list[BindingType] = [
    _key("filter.take", "enter", "submit", "To the list", label="⏎"),
    _key("filter.down", "down", "submit", "To the list", show=False),
    _key("filter.clear", "escape", "screen.clear", "Clear", label="esc", tip="Clear the filter"),
]

TABLE: list[BindingType] = [
    _key("table.down", "down,j", "cursor_down", "Down", show=False),
    _key("table.up", "up,k", "cursor_up", "Up", show=False),
    _key("table.page_down", "pagedown", "page_down", "Page down", show=False),
    _key("table.page_up", "pageup", "page_up", "Page up", show=False),
    _key("table.top", "home", "scroll_top", "First", show=False),
    _key("table.bottom", "end,G", "scroll_bottom", "Last", show=False),
]
"""DataTable's own keys except enter, which the screen binds."""

PROMPT: list[BindingType] = [
    _key("prompt.send", "enter", "send", "Send", label="⏎"),
    _key("prompt.newline", "shift+enter,ctrl+j", "newline", "New line", show=False),
    _key("prompt.scroll_up", "pageup", "scroll_transcript(-1)", "Scroll the transcript up", show=False),
    _key("prompt.scroll_down", "pagedown", "scroll_transcript(1)", "Scroll the transcript down", show=False),
    _key("prompt.copy_answer", "ctrl+y", "screen.copy_answer", "Copy", tip="Copy the last answer", show=False),
    _key("prompt.previous", "up", "history(-1)", "Cursor up, then older prompts", show=False),
    _key("prompt.next", "down", "history(1)", "Cursor down, then newer prompts", show=False),
]

CHAT: list[BindingType] = [
    _key("chat.stop", "escape", "stop", "Stop", label="esc", tip="Stop the answer"),
    _key("chat.leave", "escape", "leave", "Scroll", label="esc", tip="From the prompt to the transcript and back"),
    _key("chat.regenerate", "ctrl+r", "regenerate", "Regen", tip="Answer the last prompt again"),
    _key("chat.list", "ctrl+l", "list", "Chats", tip="Search all chats, and open one"),
    _key("chat.parameters", "ctrl+o", "parameters", "Params", tip="Model, system prompt, sampling and preset"),
    _key("chat.new", "ctrl+n", "new", "New", tip="Start a new chat"),
    _key("chat.copy_code", "ctrl+g", "copy_code", "Copy code", tip="Copy the last code block"),
    _key("chat.copy_answer", "ctrl+y", "copy_answer", "Copy", tip="Copy the last answer"),
    _key("chat.model", "f8", "pick_model", "Model", show=False, tip="Choose the model that answers"),
    _key("chat.file", "f9", "pick_file", "Attach", show=False, tip="Attach a file to the next message"),
    _key("chat.compare", "f12", "compare", "Compare", show=False, tip="Ask a second model and compare the answers"),
    _key("chat.editor", "f10", "editor", "Editor", show=False, tip="Write the message in $EDITOR"),
]

CHAT_SEARCH: list[BindingType] = [
    _key("chat_search.down", "down", "screen.list_row(1)", "Down", show=False),
    _key("chat_search.up", "up", "screen.list_row(-1)", "Up", show=False),
    _key("chat_search.rows", "tab", "screen.list_rows", "List", tip="From the search field to the list"),
    _key("chat_search.close", "escape", "screen.close_list", "Back", label="esc", tip="Back to the prompt"),
]

CHAT_LIST: list[BindingType] = [
    _key("chat_list.down", "down,j", "cursor_down", "Down", show=False),
    _key("chat_list.up", "up,k", "cursor_up", "Up", show=False),
    _key("chat_list.top", "home", "first", "First", show=False),
    _key("chat_list.bottom", "end,G", "last", "Last", show=False),
    _key("chat_list.open", "enter", "select", "Open", label="⏎"),
    _key("chat_list.search", "slash,tab", "screen.list_search", "Search", label="/"),
    _key("chat_list.rename", "r", "screen.rename", "Rename"),
    _key("chat_list.pin", "p", "screen.pin", "Pin"),
    _key("chat_list.tags", "t", "screen.tags", "Tags"),
    _key("chat_list.delete", "d", "screen.delete_chat", "Delete"),
    _key("chat_list.undo", "u", "screen.undelete_chat", "Undo", tip="Bring the chat back that was deleted last"),
    _key("chat_list.close", "escape", "screen.close_list", "Back", label="esc", tip="Back to the prompt"),
]

TRANSCRIPT: list[BindingType] = [
    _key("transcript.back", "escape", "screen.leave", "Prompt", label="esc", tip="Back to the prompt"),
    _key("transcript.prompt", "i,enter", "screen.focus_prompt", "Back to the prompt", show=False),
    _key("transcript.down", "j", "message(1)", "Next message", show=False),
    _key("transcript.up", "k", "message(-1)", "Previous message", show=False),
    _key("transcript.copy", "y", "screen.copy_message", "Copy", tip="Copy the message"),
    _key("transcript.block", "b", "screen.copy_block", "Code", tip="Copy a code block of the message"),
    _key("transcript.copy_chat", "Y", "screen.copy_chat", "Copy the whole chat", show=False),
    _key("transcript.regenerate", "r", "screen.regenerate", "Again", tip="Answer again, in a branch"),
    _key("transcript.previous_branch", "left_square_bracket", "screen.branch(-1)", "Branch", label="[ ]"),
    _key("transcript.next_branch", "right_square_bracket", "screen.branch(1)", "Next branch", show=False),
    _key("transcript.choose_1", "1", "screen.choose_answer(0)", "Choose", label="1 2", tip="Go on with this answer"),
    _key("transcript.choose_2", "2", "screen.choose_answer(1)", "Go on with the second answer", show=False),
    _key("transcript.edit", "e", "screen.edit", "Edit", tip="Edit the message, in a branch"),
    _key("transcript.continue", "c", "screen.continue", "More", tip="Continue the answer"),
    _key("transcript.fork", "f", "screen.fork", "Fork", tip="Copy this branch to a new chat"),
    _key("transcript.delete", "d", "screen.delete_messages", "Delete", tip="Delete the message and what follows it"),
    _key("transcript.undo", "u", "screen.undelete_messages", "Undo", show=False, tip="Undo the last deletion"),
    _key("transcript.thinking", "z", "screen.fold_thinking", "Fold", tip="Fold or unfold thinking"),
    _key("transcript.bottom", "G,end", "bottom", "Last line", show=False),
]

MONITOR: list[BindingType] = [
    _key("monitor.start", "enter", "start", "Start the daemon", label="⏎"),
    _key("monitor.details", "enter", "details", "Details", label="⏎", tip="Details of the selected request"),
    _key("monitor.cancel", "c", "cancel", "Cancel", tip="Cancel the selected request"),
    _key("monitor.unload", "x", "unload", "Unload", tip="Unload the selected model"),
    _key("monitor.window", "w", "window", "Window", tip="How much time the graphs show"),
    _key("monitor.incidents", "i", "incidents", "Incidents", tip="Crashes, failed loads, unloads"),
    _key("monitor.pause", "space", "pause", "Pause", label="space", tip="Pause the display"),
    _key("monitor.memory", "1", "pane('memory')", "Memory pane", show=False, tip="Show or hide the memory"),
    _key("monitor.rate", "2", "pane('rate')", "Tokens pane", show=False, tip="Show or hide the tokens a second"),
    _key("monitor.prefill", "3", "pane('prefill')", "Prefill pane", show=False, tip="Show or hide prefill and TTFT"),
    _key("monitor.machine", "4", "pane('machine')", "Machine pane", show=False, tip="Show or hide the machine"),
    _key("monitor.requests", "5", "pane('requests')", "Requests pane", show=False, tip="Show or hide the requests"),
    _key("monitor.instances", "6", "pane('instances')", "Models pane", show=False, tip="Show or hide the models"),
    _key("monitor.list", "7", "pane('incidents')", "Incidents pane", show=False, tip="Show or hide the incidents"),
]

LOGS: list[BindingType] = [
    _key("logs.details", "enter", "details", "Details", label="⏎", tip="The request of the selected row or line"),
    _key("logs.log", "1", "pane('log')", "Log", tip="Show the log"),
    _key("logs.requests", "2", "pane('requests')", "Requests", tip="Show the requests that have ended"),
    _key("logs.filter", "slash", "filter", "Find", label="/", tip="Filter by a regular expression or by words"),
    _key("logs.level", "l", "level", "Level", tip="Lowest level of the lines that are shown"),
    _key("logs.matches", "m", "only_matches", "All", show=False, tip="All lines with matches marked, or only matches"),
    _key("logs.next", "n", "match(1)", "Next", show=False, tip="Next match"),
    _key("logs.previous", "N", "match(-1)", "Previous", show=False, tip="Previous match"),
    _key("logs.follow", "f", "follow", "Follow", tip="Follow the newest line, or stay"),
    _key("logs.copy", "y", "copy", "Copy", tip="Copy the line, or the id of the request"),
    _key("logs.export", "e", "export", "Export", tip="Copy the request as Markdown"),
    _key("logs.replay", "r", "replay", "Replay", show=False, tip="Send the request again, to another model"),
    _key("logs.clear", "escape", "clear", "Clear the filter", show=False),
]

SETTINGS: list[BindingType] = [
    _key("settings.edit", "enter", "edit", "Change", label="⏎", tip="Change the selected setting or key"),
    _key("settings.undo", "u", "undo", "Undo", tip="Take the last change back"),
    _key("settings.reset", "d", "reset", "Default", tip="Restore the default"),
    _key("settings.add", "a", "add", "New key", tip="Create an API key"),
    _key("settings.remove", "x", "remove", "Remove", tip="Revoke the API key, or remove the preset"),
    _key("settings.filter", "slash", "filter", "Find", label="/", tip="Filter by words"),
    _key("settings.settings", "1", "part('settings')", "Settings", tip="Show the settings"),
    _key("settings.keymap", "2", "part('keymap')", "Keymap", tip="Show the keys of all actions"),
    _key("settings.keys", "3", "part('keys')", "API keys", tip="Show the API keys"),
    _key("settings.presets", "4", "part('presets')", "Presets", tip="Show the presets"),
    _key("settings.copy", "y", "copy", "Copy", show=False, tip="Copy the name"),
    _key("settings.clear", "escape", "clear", "Clear the filter", show=False),
]

LINES: list[BindingType] = [
    _key("lines.down", "down,j", "move(1)", "Down", show=False),
    _key("lines.up", "up,k", "move(-1)", "Up", show=False),
    _key("lines.page_down", "pagedown", "page(1)", "Page down", show=False),
    _key("lines.page_up", "pageup", "page(-1)", "Page up", show=False),
    _key("lines.top", "home", "end('first')", "First", show=False),
    _key("lines.bottom", "end,G", "end('last')", "Last, and follow", show=False),
]
"""Keys of a list of lines."""

GROUPS: dict[str, list[BindingType]] = {
    "app": APP,
    "models": MODELS,
    "card": CARD,
    "filter": FILTER,
    "table": TABLE,
    "prompt": PROMPT,
    "chat": CHAT,
    "transcript": TRANSCRIPT,
    "chat_search": CHAT_SEARCH,
    "chat_list": CHAT_LIST,
    "monitor": MONITOR,
    "logs": LOGS,
    "settings": SETTINGS,
    "lines": LINES,
}
"""Name of a group -> its keys. The name is the first part of the ids of the group."""
PARTS = {"chat": ("prompt", "transcript", "chat_list")}
"""Screen -> groups of its widgets."""
