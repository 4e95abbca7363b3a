"""Settings, keys of the keymap, API keys and presets as rows of tables, and the text about a selected one. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rich.text import Text

from lmx_daemon.contract.admin.config import ConfigRow
from lmx_daemon.contract.admin.keys import ApiKey
from lmx_daemon.contract.generation.preset import PresetRow, tables_of
from lmx_daemon.contract.units import UNKNOWN, ago_in_words, timing
from lmx_tui import keymap
from lmx_tui.formatting import clean, one_line
from lmx_tui.widgets.frame.table import Column

SETTING_COLUMNS = (
    Column("key", "setting", 30, keep=10),
    Column("value", "value", 20, flexible=True, keep=9),
    Column("source", "from", 11, keep=7),
    Column("reload", "change", 8, keep=3),
)
KEY_COLUMNS = (
    Column("what", "action", 24, flexible=True, keep=8),
    Column("keys", "key", 18, keep=9),
    Column("id", "id", 24, keep=7),
    Column("changed", "", 8, keep=6),
)
API_KEY_COLUMNS = (
    Column("name", "name", 20, flexible=True, keep=9),
    Column("id", "id", 14, keep=7),
    Column("scopes", "may", 22, keep=8),
    Column("used", "used", 12, keep=6),
    Column("expires", "expires", 12, keep=5),
)
PRESET_COLUMNS = (
    Column("name", "name", 24, keep=9),
    Column("values", "values", 30, flexible=True, keep=8),
)
AT = {"hot": "at once", "restart": "restart", "tui": "TUI"}
"""When a change takes effect, by a setting's kind of reload."""
EFFECT = {
    "hot": "a change takes effect at once",
    "restart": "a change takes effect at the next start of the daemon: lmx restart",
    "tui": "the TUI reads it; theme and keymap change at once, the others at its next start",
}


def value_text(value: Any) -> str:
    """Return a value as `lmx config set` takes it."""
    if value is None:
        return UNKNOWN
    return one_line(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def shown_value(row: ConfigRow) -> str:
    if row.secret:
        return "set, not shown" if row.is_set else UNKNOWN
    return value_text(row.value) or '""'


def matching(texts: Sequence[str], query: str) -> bool:
    """Return whether every word of a query is in one of the texts."""
    text = " ".join(texts).lower()
    return all(word in text for word in query.lower().split())


def setting_rows(rows: Sequence[ConfigRow], query: str, colors: Mapping[str, str]) -> dict[str, dict[str, Text]]:
    found = (row for row in rows if matching((row.key, row.help, shown_value(row), row.source), query))
    return {row.key: _setting_row(row, colors) for row in found}


def _setting_row(row: ConfigRow, colors: Mapping[str, str]) -> dict[str, Text]:
    section, _, name = one_line(row.key).rpartition(".")
    default = row.source == "default"
    key = Text(f"{section}.", colors["muted"]).append(name, colors["foreground"])
    value = Text(shown_value(row), colors["muted" if default else "foreground"])
    source = Text(f"{row.source}{' *' if row.waiting else ''}", colors["warning" if row.waiting else "muted"])
    return {"key": key, "value": value, "source": source, "reload": Text(AT.get(row.reload, ""), colors["muted"])}


def setting_details(row: ConfigRow, colors: Mapping[str, str]) -> Text:
    """Return the help, the type, the default and the source of a setting."""
    text = Text()
    text.append(f"{one_line(row.key)}\n", "bold")
    text.append(f"{clean(row.help)}\n\n")
    facts = [
        ("value", shown_value(row)),
        ("default", value_text(row.default) or '""'),
        ("type", " | ".join(row.choices) if row.choices else one_line(row.type)),
        ("from", " ".join(filter(None, (row.source, f"({one_line(row.place)})" if row.place else "")))),
        ("variable", one_line(row.variable)),
    ]
    if row.waiting:
        facts.append(("next", f"{value_text(row.next)}, from the next start of the daemon on"))
    for label, value in facts:
        if value:
            text.append(f"{label:<10}", colors["muted"]).append(f"{value}\n")
    text.append(f"\n{EFFECT.get(row.reload, '')}\n", colors["muted"])
    return text.append(f"lmx config set {one_line(row.key)} VALUE", colors["muted"])


def keymap_rows(changed: Mapping[str, str], query: str, colors: Mapping[str, str]) -> dict[str, dict[str, Text]]:
    """Return a row for each action with a key. `changed` is the user's keymap."""
    rows: dict[str, dict[str, Text]] = {}
    for identity, binding in keymap.bindings().items():
        what = binding.tooltip or binding.description
        names = ", ".join(keymap.keys_of(identity, changed))
        if matching((identity, what, names), query):
            rows[identity] = {
                "what": Text(what),
                "keys": Text(one_line(names), colors["accent"]),
                "id": Text(identity, colors["muted"]),
                "changed": Text("changed" if identity in changed else "", colors["warning"]),
            }
    return rows


def key_details(identity: str, changed: Mapping[str, str], colors: Mapping[str, str]) -> Text:
    """Return the keys of an action, its default, and the actions that share a key with it."""
    binding = keymap.bindings()[identity]
    text = Text()
    text.append(f"{identity}\n", "bold").append(f"{binding.tooltip or binding.description}\n\n")
    text.append(f"{'key':<10}", colors["muted"]).append(f"{one_line(', '.join(keymap.keys_of(identity, changed)))}\n")
    text.append(f"{'default':<10}", colors["muted"]).append(f"{binding.key}\n")
    for key in keymap.keys_of(identity, changed):
        for other in keymap.clashes_of(identity, key, changed):
            text.append(f"\n! {one_line(key)} is also the key of {other}", colors["error"])
    return text.append("\n\nenter changes it, d restores the default", colors["muted"])


def api_key_rows(
    found: Sequence[ApiKey], query: str, now: float, colors: Mapping[str, str]
) -> dict[str, dict[str, Text]]:
    return {
        key.id: {
            "name": Text(one_line(key.name)),
            "id": Text(one_line(key.id), colors["muted"]),
            "scopes": Text(", ".join(key.scopes)),
            "used": Text(ago_in_words(now - key.used_at) if key.used_at else "never", colors["muted"]),
            "expires": Text(_expiry(key, now), colors["muted"]),
        }
        for key in found
        if matching((key.name, key.id, *key.scopes, *key.models), query)
    }


def _expiry(key: ApiKey, now: float) -> str:
    if key.expires_at is None:
        return "never"
    return f"in {timing(key.expires_at - now)}" if key.expires_at > now else "expired"


def api_key_details(key: ApiKey, now: float, colors: Mapping[str, str]) -> Text:
    text = Text()
    text.append(f"{one_line(key.name)}\n\n", "bold")
    facts = [
        ("id", one_line(key.id)),
        ("may", ", ".join(key.scopes)),
        ("models", ", ".join(map(one_line, key.models)) or "all"),
        ("a minute", str(key.rate or "unlimited")),
        ("at a time", str(key.concurrency or "unlimited")),
        ("created", ago_in_words(now - key.created_at)),
        ("used", ago_in_words(now - key.used_at) if key.used_at else "never"),
        ("expires", _expiry(key, now)),
    ]
    for label, value in facts:
        text.append(f"{label:<10}", colors["muted"]).append(f"{value}\n")
    return text.append("\nx revokes it; a creates one\nlmx key create, list, revoke", colors["muted"])


def preset_rows(found: Sequence[PresetRow], query: str, colors: Mapping[str, str]) -> dict[str, dict[str, Text]]:
    rows = {}
    for row in found:
        words = one_line(row.problem) if row.problem else _values(row)
        if matching((row.name, words), query):
            color = colors["error" if row.problem else "muted"]
            rows[row.name] = {"name": Text(one_line(row.name)), "values": Text(words, color)}
    return rows


def _values(row: PresetRow) -> str:
    tables = tables_of(row.preset) if row.preset is not None else {}
    return one_line(", ".join(f"{name} {value_text(value)}" for name, value in tables.items())) or "empty"


def preset_details(row: PresetRow, colors: Mapping[str, str]) -> Text:
    text = Text()
    text.append(f"{one_line(row.name)}\n\n", "bold")
    if row.problem:
        text.append(f"! {clean(row.problem)}\n", colors["error"])
    for name, value in (tables_of(row.preset) if row.preset is not None else {}).items():
        text.append(f"{name:<10} ", colors["muted"]).append(f"{value_text(value)}\n")
    return text.append(
        f"\nrequests name it as model: preset:{one_line(row.name)}\nx removes it; lmx preset", colors["muted"]
    )
