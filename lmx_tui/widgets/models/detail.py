"""ModelDetail: everything known about the selected model, drawn from a snapshot."""

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult

from lmx_daemon.contract.admin.library.hub import CardRequest
from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.models import Instance, Model, Verdict
from lmx_daemon.contract.units import UNKNOWN, ago_in_words, size, timing, tokens
from lmx_tui.formatting import clean, one_line, parameters, rate, shorten
from lmx_tui.widgets.frame.pane import Pane
from lmx_tui.widgets.frame.static_text import StaticText
from lmx_tui.widgets.frame.topbar import used_memory
from lmx_tui.widgets.models.card import CardView
from lmx_tui.widgets.models.load_options import freed_by
from lmx_tui.widgets.models.model_rows import LOADING, NEWER, instances_of, state_words
from lmx_tui.widgets.models.plan import plan_bars, refusal_hint


class ModelDetail(Pane):
    """The pane beside the list of models: the details of one, or its model card."""

    DEFAULT_CSS = """
    ModelDetail { overflow-y: auto; scrollbar-size-vertical: 1; }
    ModelDetail > Static { height: auto; }
    """
    can_focus = False

    def __init__(self) -> None:
        super().__init__("Model", id="detail", classes="live")
        self._text = StaticText()
        self.card: CardView | None = None
        """The model card, which exists only while it is shown."""

    def compose(self) -> ComposeResult:
        yield self._text

    def show(self, snapshot: Snapshot, model: Model | None, verdict: Verdict | None = None) -> None:
        """Show a model, with the plan of its load if that is known."""
        if model is None:
            self.titled("Model")
            self._text.show(Text("nothing selected", self._style("muted")))
            return
        self.titled(shorten(one_line(model.id), 60), "m model card" if self.card is None else "esc details")
        if self.card is not None:
            self.card.follow(CardRequest(id=model.id))
        self._text.show(self.words(snapshot, model, verdict, max(24, self.content_size.width)))

    def open_card(self, model: Model) -> None:
        """Show the card of a model in the place of the details, with the focus."""
        self._text.display = False
        self.card = CardView(CardRequest(id=model.id))
        self.mount(self.card)
        self.card.focus()

    def close_card(self) -> None:
        """Show the details again."""
        self._text.display = True
        if self.card is not None:
            self.card.remove()
            self.card = None

    def words(self, snapshot: Snapshot, model: Model, verdict: Verdict | None, width: int) -> Text:
        """Return everything known about a model, for `width` cells."""
        instance = instances_of(snapshot).get(model.id)
        text = Text()
        facts = (model.architecture or UNKNOWN, parameters(model.parameters), model.quantization or UNKNOWN)
        text.append(" · ".join(map(one_line, facts)) + "\n")
        abilities = [name for name in ("tools", "thinking", "vision") if getattr(model, name)]
        text.append(" · ".join((*abilities, "text")) + "\n\n", self._style("muted"))
        if model.problem:
            text.append("! ", self._style("error")).append(clean(model.problem) + "\n\n")
        if model.newer:
            text.append(f"{NEWER} ", self._style("secondary")).append("newer version, ")
            text.append("u", self._style("accent")).append(" fetches it\n")
            text.append(f"lmx update {one_line(model.id)}\n\n", self._style("muted"))
        if verdict is not None and instance is None:
            colors, freed = self.app.theme_variables, freed_by(verdict, snapshot.instances)
            text.append_text(plan_bars(verdict, used_memory(snapshot), colors, width, freed=freed))
            text.append_text(refusal_hint(verdict, colors)).append("\n")
        for label, value in self._facts(snapshot, model, instance):
            text.append(f"{label:<10}", self._style("muted")).append(value + "\n")
        if instance is not None and instance.error is not None:
            text.append("\n! ", self._style("error")).append(clean(instance.error.message) + "\n")
            if instance.error.hint:
                text.append(clean(instance.error.hint) + "\n", self._style("muted"))
        return text

    def _facts(self, snapshot: Snapshot, model: Model, instance: Instance | None) -> list[tuple[str, str]]:
        facts = [
            ("size", size(model.size or None)),
            ("context", f"{tokens(model.context_length)} tokens" if model.context_length else UNKNOWN),
            ("source", model.source),
            ("revision", one_line(model.revision[:12]) if model.revision else UNKNOWN),
            *self._verification(snapshot, model),
            *([("licence", one_line(model.license))] if model.license else []),
            *([("code", "trusted")] if model.trusted else []),
            ("state", state_words(instance) if instance else "not loaded"),
        ]
        if instance is not None:
            memory = instance.memory
            facts += [
                ("stage", one_line(instance.stage) or UNKNOWN)
                if instance.state in LOADING
                else ("loaded in", timing(instance.load_seconds)),
                ("memory", f"{size(instance.held or None)} held"),
                ("", f"{size(memory.active or None)} in arrays"),
                ("", f"{size(memory.peak or None)} at most"),
                ("", f"{size(memory.prefix_cache)} prefix cache"),
                ("speed", f"{rate(instance.decode_rate)} tok/s"),
                ("requests", f"{instance.running} running, {instance.waiting} waiting"),
                ("computes", one_line(instance.backend) or UNKNOWN),
                ("expires", _expires(instance, snapshot.taken_at)),
            ]
            if instance.restarts:
                facts.append(("restarts", f"{instance.restarts} after crashes"))
            if instance.note:
                facts.append(("note", one_line(instance.note)))
        return facts if model.source == "built-in" else [*facts, ("path", one_line(model.path))]

    def _verification(self, snapshot: Snapshot, model: Model) -> list[tuple[str, str]]:
        """Return when the files were verified. The built-in model is a part of lmx and is not verified."""
        if model.source == "built-in" and model.verified_at is None:
            return []
        if model.verified_at is None:
            return [("verified", "never")]
        return [("verified", ago_in_words(snapshot.taken_at - model.verified_at))]

    def _style(self, name: str) -> Style:
        return Style.parse(self.app.theme_variables[name])


def _expires(instance: Instance, now: float) -> str:
    if instance.pinned:
        return "never, pinned"
    if instance.expires_at is None and instance.ttl is not None:
        return f"once idle for {timing(instance.ttl)}"
    return f"in {timing(instance.expires_at - now)}" if instance.expires_at else "never"
