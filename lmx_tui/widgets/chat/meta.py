"""MetaLine: the state of the current answer, between the transcript and the prompt."""

from rich.text import Text
from textual.reactive import reactive
from textual.widget import Widget

from lmx_daemon.contract.generation.chat_answer import ChatAnswer
from lmx_daemon.contract.units import timing
from lmx_tui.formatting import bar, cached, context_meter, count, joined, one_line, percent, rate, shorten
from lmx_tui.widgets.frame.static_text import StaticText

WORDS = {"waiting": "asking"}
METER_CELLS = (10, 5, 0)
"""Widths of the context meter's bar, the widest first."""
ROOMY = 84
"""Width below which the meter's bar is short from the start, since a bar that shrinks later would move the text."""
MORE = "↓ more below"
NEARLY_FULL = 0.9
"""Share of the context above which the meter warns."""
NEARLY, TOO_LONG = "! nearly full", "! too long"
"""Warnings of the meter. They can be read without colour."""


def state_words(answer: ChatAnswer, now: float) -> str:
    """Return the state of an answer, with the progress and duration of its wait."""
    match answer.state:
        case "loading" | "prefill":
            progress = f" {bar(answer.progress, 8)} {percent(answer.progress)}" if answer.progress is not None else ""
            return f"{answer.state}{progress} {timing(now - answer.asked_at)}"
        case "queued":
            return f"queued #{answer.position}" if answer.position else "queued"
        case _:
            return WORDS.get(answer.state, answer.state)


def figures(answer: ChatAnswer) -> list[str]:
    """Return the speed figures; before the first token, only the cached share of the prompt."""
    if not answer.tokens:
        return [words] if (words := cached(answer.cached_tokens, answer.prompt_tokens)) else []
    speed = [f"{rate(answer.rate)} tok/s"] if answer.rate else []
    return [*speed, f"TTFT {timing(answer.first_token)}", f"{count(answer.tokens)} tok"]


def meta_line(
    answer: ChatAnswer, now: float, width: int, context: int | None = None, draft: int = 0, lost: str = ""
) -> str:
    """Return state, figures and the context meter. The meter is always shown; its bar shrinks first.

    `context` is the context length of the next model, if that is not the model of `answer`. The meter is then an
    estimate, since the tokenizers can differ.
    `draft` is the estimated number of tokens that the prompt field adds, and `lost` the state of a lost connection.
    """
    length = answer.context_length if context is None else context
    used = None if answer.context_used is None else answer.context_used + draft
    about = context is not None or draft > 0
    meters = [context_meter(used, length, cells, about=about) for cells in METER_CELLS]
    if used is not None and length and used > NEARLY_FULL * length:
        meters = [f"{meter} {TOO_LONG if used >= length else NEARLY}" for meter in meters]
    parts = [] if answer.ended else [lost or state_words(answer, now), *figures(answer)]
    if lost and answer.ended:
        parts.append(lost)
    if answer.stage and not answer.ended:
        parts.insert(1, shorten(one_line(answer.stage), max(0, width - len(parts[0]) - len(meters[-1]) - 6)))
    for meter in meters[width < ROOMY :]:
        line = " · ".join([*parts, meter])
        if len(line) <= width:
            return line
    room = width - len(meters[-1]) - 3
    return f"{joined(parts, room)} · {meters[-1]}" if parts and room > 0 else shorten(meters[-1], width)


class MetaLine(Widget):
    """The line of state and figures."""

    DEFAULT_CSS = """
    MetaLine { height: 1; padding: 0 2; color: $muted; }
    """
    ALLOW_SELECT = False
    line: reactive[str] = reactive("")
    running: reactive[bool] = reactive(False)
    more: reactive[bool] = reactive(False)

    def show(
        self,
        answer: ChatAnswer | None,
        now: float,
        *,
        more: bool,
        context: int | None,
        draft: int = 0,
        lost: str = "",
    ) -> None:
        """Show an answer. `more`: the transcript continues below the visible part. For the rest, see `meta_line`."""
        self.running = answer is not None and not answer.ended
        self.more = more
        room = max(10, self.content_size.width - 2 - (len(MORE) + 2 if more else 0))
        self.line = meta_line(answer, now, room, context, draft, lost) if answer is not None else lost

    def render(self) -> Text:
        names = self.app.theme_variables
        text = Text("▌ " if self.line else "", names["accent" if self.running else "faint"], no_wrap=True, end="")
        full = "error" if TOO_LONG in self.line else "warning" if NEARLY in self.line else "muted"
        text.append(self.line, names[full])
        if self.more:
            text.append(" " * max(2, self.content_size.width - len(text) - len(MORE)))
            text.append(MORE, names["accent"])
        return text


class NoteLine(StaticText):
    """The line above the prompt: attached files, an edit in progress, or the commands that match a typed slash."""

    DEFAULT_CSS = """
    NoteLine { height: auto; max-height: 2; padding: 0 2; color: $secondary; display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._note = ""
        self._hint = ""

    def show_note(self, words: str) -> None:
        """Show a note on the next message: its attached files, or that it replaces an earlier message."""
        self._note = words
        self._draw()

    def show_hint(self, words: str) -> None:
        """Show commands in place of the note. An empty text shows the note again."""
        self._hint = words
        self._draw()

    def _draw(self) -> None:
        words = self._hint or self._note
        self.display = bool(words)
        self.show(Text(words))
