"""The models as rows, the selected one in detail, and the pulls under way. All drawn from a Snapshot."""

from collections.abc import Mapping, Sequence

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from lmx_daemon.contract.types import Download, Instance, Model, Snapshot
from lmx_tui.figures import (
    UNKNOWN,
    age,
    bar,
    clean,
    duration,
    one_line,
    parameters,
    percent,
    rate,
    shorten,
    size,
    size_of,
    tokens,
)
from lmx_tui.widgets.panes import Pane, short_name
from lmx_tui.widgets.table import Column
from lmx_tui.widgets.topbar import ACTIVE_PULLS

COLUMNS = (
    Column("glyph", "", 1, keep=9),
    Column("name", "name", 16, flexible=True, keep=10),
    Column("quant", "quant", 7, keep=4),
    Column("size", "size", 7, right=True, keep=6),
    Column("context", "ctx", 4, right=True, keep=3),
    Column("state", "state", 11, keep=8),
    Column("memory", "memory", 7, right=True, keep=5),
    Column("used", "used", 6, right=True, keep=2),
)
SORTS = {"used": "last used", "name": "name", "size": "size", "context": "context length", "memory": "memory"}
GLYPHS = {"ready": "●", "loading": "◐", "starting": "◐", "leaving": "◌", "failed": "!"}
COLORS = {"ready": "success", "loading": "warning", "starting": "warning", "leaving": "muted", "failed": "error"}


def instances_of(snapshot: Snapshot) -> dict[str, Instance]:
    """Model id -> its instance; a ready one before any other."""
    order = {"ready": 2, "loading": 1, "starting": 1}
    found: dict[str, Instance] = {}
    for instance in snapshot.instances:
        known = found.get(instance.model)
        if known is None or order.get(instance.state, 0) > order.get(known.state, 0):
            found[instance.model] = instance
    return found


def ordered(snapshot: Snapshot, query: str, sort: str, reverse: bool) -> list[Model]:
    """The models that match every word of `query`, in the order of `sort`; unknown values come last."""
    instances = instances_of(snapshot)
    words = query.lower().split()
    shown = [
        model
        for model in snapshot.models
        if all(word in f"{model.id} {model.quantization or ''} {model.architecture or ''}".lower() for word in words)
    ]

    def value(model: Model) -> float:
        instance = instances.get(model.id)
        match sort:
            case "size":
                return model.size
            case "context":
                return model.context_length or 0
            case "memory":
                return instance.memory.resident if instance else 0
            case _:
                return last_use(instance, snapshot.taken_at) or 0.0 if instance else 0.0

    shown.sort(key=lambda model: model.id.lower(), reverse=reverse and sort == "name")
    if sort != "name":
        shown.sort(key=value, reverse=not reverse)
    return shown


def state_words(instance: Instance | None) -> str:
    if instance is None:
        return UNKNOWN
    if instance.state in ("loading", "starting"):
        return f"loading {percent(instance.progress)}" if instance.progress is not None else "loading"
    if instance.state == "ready" and instance.running:
        return f"▶ {instance.running} running" if instance.running < 100 else "▶ running"
    return instance.state


def last_use(instance: Instance, now: float) -> float | None:
    return now if instance.running else instance.used_at or instance.loaded_at


def expiry(instance: Instance, now: float) -> str:
    return f"in {age(max(2.0, instance.expires_at - now))}" if instance.expires_at else "never"


def model_rows(snapshot: Snapshot, models: Sequence[Model], colors: Mapping[str, str]) -> dict[str, dict[str, Text]]:
    instances = instances_of(snapshot)
    pulling = {download.repo for download in snapshot.downloads if download.state in ACTIVE_PULLS}
    owners: dict[str, int] = {}
    for model in models:
        owners[short_name(model.id)] = owners.get(short_name(model.id), 0) + 1
    rows: dict[str, dict[str, Text]] = {}
    for model in models:
        instance = instances.get(model.id)
        glyph, color = _glyph(model, instance, model.id in pulling)
        memory = instance.memory.resident or None if instance else None
        used = last_use(instance, snapshot.taken_at) if instance else None
        rows[model.id] = {
            "glyph": Text(glyph, colors[color]),
            "name": _name(model, short=owners[short_name(model.id)] == 1 and model.source == "hub"),
            "quant": Text(one_line(model.quantization or UNKNOWN)),
            "size": Text(size(model.size or None)),
            "context": Text(tokens(model.context_length)),
            "state": Text("unusable" if model.problem else state_words(instance), colors[color]),
            "memory": Text(size(memory)),
            "used": Text(age(snapshot.taken_at - used) if used else UNKNOWN),
        }
    return rows


def _glyph(model: Model, instance: Instance | None, pulling: bool) -> tuple[str, str]:
    if instance is not None:
        return GLYPHS[instance.state], COLORS[instance.state]
    if pulling:
        return "↓", "secondary"
    return ("!", "error") if model.problem else (" ", "muted")


def _name(model: Model, *, short: bool) -> Text:
    """Without its owner where it is the only one of that name."""
    return Text(short_name(model.id) if short else one_line(model.id))


class ModelDetail(Pane):
    """All that is known of the selected model."""

    DEFAULT_CSS = """
    ModelDetail { overflow-y: auto; scrollbar-size-vertical: 1; }
    ModelDetail > Static { height: auto; }
    """
    can_focus = False

    def __init__(self) -> None:
        super().__init__("Model", id="detail", classes="live")
        self._text = Static(Text())

    def compose(self) -> ComposeResult:
        yield self._text

    def show(self, snapshot: Snapshot, model: Model | None) -> None:
        if model is None:
            self.titled("Model")
            self._text.update(Text("nothing selected", self._style("muted")))
            return
        self.titled(shorten(one_line(model.id), 60))
        instance = instances_of(snapshot).get(model.id)
        text = Text()
        facts = (model.architecture or UNKNOWN, parameters(model.parameters), model.quantization or UNKNOWN)
        text.append(" · ".join(map(one_line, facts)) + "\n")
        abilities = [name for name in ("tools", "thinking", "vision") if getattr(model, name)]
        text.append(" · ".join((*abilities, "text")) + "\n\n", self._style("muted"))
        if model.problem:
            text.append("! ", self._style("error")).append(clean(model.problem) + "\n\n")
        for label, value in self._facts(snapshot, model, instance):
            text.append(f"{label:<10}", self._style("muted")).append(value + "\n")
        if instance is not None and instance.error is not None:
            text.append("\n! ", self._style("error")).append(clean(instance.error.message) + "\n")
            if instance.error.hint:
                text.append(clean(instance.error.hint) + "\n", self._style("muted"))
        self._text.update(text)

    def _facts(self, snapshot: Snapshot, model: Model, instance: Instance | None) -> list[tuple[str, str]]:
        facts = [
            ("size", size(model.size or None)),
            ("context", f"{tokens(model.context_length)} tokens" if model.context_length else UNKNOWN),
            ("source", model.source),
            ("revision", one_line(model.revision[:12]) if model.revision else UNKNOWN),
            ("state", state_words(instance) if instance else "not loaded"),
        ]
        if instance is not None:
            memory = instance.memory
            facts += [
                ("stage", one_line(instance.stage) or UNKNOWN)
                if instance.state in ("loading", "starting")
                else ("loaded in", duration(instance.load_seconds)),
                ("memory", f"{size(memory.resident or None)} resident"),
                ("", f"{size(memory.active or None)} in arrays"),
                ("", f"{size(memory.peak or None)} at most"),
                ("", f"{size(memory.prefix_cache)} prefix cache"),
                ("speed", f"{rate(instance.decode_rate)} tok/s"),
                ("requests", f"{instance.running} running, {instance.waiting} waiting"),
                ("computes", one_line(instance.backend) or UNKNOWN),
                (
                    "expires",
                    f"in {duration(instance.expires_at - snapshot.taken_at)}" if instance.expires_at else "never",
                ),
            ]
            if instance.note:
                facts.append(("note", one_line(instance.note)))
        return facts if model.source == "built-in" else [*facts, ("path", one_line(model.path))]

    def _style(self, name: str) -> Style:
        return Style.parse(self.app.theme_variables[name])


class Pulls(Pane):
    """One row for each pull; hidden where there is none."""

    DEFAULT_CSS = """
    Pulls { height: auto; max-height: 7; display: none; }
    Pulls.-some { display: block; }
    Pulls > Static { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self) -> None:
        super().__init__("Downloads", id="pulls", classes="live")
        self._text = Static(Text())
        self._downloads: Sequence[Download] = ()

    def on_resize(self) -> None:
        self.show(self._downloads)

    def compose(self) -> ComposeResult:
        yield self._text

    def show(self, downloads: Sequence[Download]) -> None:
        self._downloads = downloads
        self.set_class(bool(downloads), "-some")
        if not downloads:
            return
        active = sum(download.state in ACTIVE_PULLS for download in downloads)
        self.titled("Downloads", f"{active} active · ^p cancels" if active else "")
        width = max(30, self.content_size.width)
        text = Text(no_wrap=True, overflow="ellipsis")
        recent = sorted(downloads, key=lambda pull: (pull.state in ACTIVE_PULLS, pull.started_at), reverse=True)[:5]
        for number, download in enumerate(recent):
            text.append("\n" if number else "")
            text.append_text(self._row(download, width))
        self._text.update(text)

    def _row(self, download: Download, width: int) -> Text:
        color = {"failed": "error", "done": "success", "cancelled": "muted"}.get(download.state, "secondary")
        glyph = {"failed": "!", "done": "✓", "cancelled": "-"}.get(download.state, "↓")
        room = 22 if width < 90 else 40
        text = Text(f"{glyph} ", self.app.theme_variables[color])
        text.append(f"{shorten(short_name(download.repo), room):<{room}} ", self.app.theme_variables["foreground"])
        return text.append_text(Text(self._progress(download, width - room - 3), self.app.theme_variables["muted"]))

    def _progress(self, download: Download, room: int) -> str:
        if download.state == "failed" and download.error is not None:
            hint = f" ({one_line(download.error.hint)})" if download.error.hint else ""
            return shorten(one_line(download.error.message) + hint, room)
        if download.state in ("done", "cancelled"):
            return f"{download.state}  {size(download.done)}"
        fraction = download.done / download.total if download.total else None
        parts = [f"{bar(fraction, 10)} {percent(fraction):>4}", size_of(download.done, download.total)]
        if download.state == "downloading":
            parts += [f"{size(download.rate)}/s" if download.rate else UNKNOWN, f"ETA {age(download.eta)}"]
        else:
            parts.insert(0, download.state)
        line = parts[0]
        for part in parts[1:]:
            if len(line) + len(part) + 2 > room:
                break
            line += f"  {part}"
        return line
