"""MetaLine: the state of the current answer, between the transcript and the prompt."""

from rich.text import Text
from textual.reactive import reactive
from textual.widget import Widget

from lmx_daemon.contract.chat_answer import ChatAnswer
from lmx_daemon.contract.units import timing
from lmx_tui.formatting import bar, cached, context_meter, count, joined, one_line, percent, rate, shorten

WORDS = {"waiting": "asking"}
METER_CELLS = (10, 5, 0)
"""Widths of the context meter's bar, the widest first."""
ROOMY = 84
"""Width below which the meter's bar is short from the start, since a bar that shrinks later would move the text."""
MORE = "↓ more below"


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


def meta_line(answer: ChatAnswer, now: float, width: int, context: int | None = None) -> str:
    """Return state, figures and the context meter. The meter is always shown; its bar shrinks first.

    `context` is the context length of the next model if it is another one. Its tokenizer can give another count.
    """
    length = answer.context_length if context is None else context
    meters = [context_meter(answer.context_used, length, cells, about=context is not None) for cells in METER_CELLS]
    parts = [] if answer.ended else [state_words(answer, now), *figures(answer)]
    if answer.stage and not answer.ended:
        parts.insert(1, shorten(one_line(answer.stage), max(0, width - len(parts[0]) - len(meters[-1]) - 6)))
    for meter in meters[width < ROOMY :]:
        line = " · ".join([*parts, meter])
        if len(line) <= width:
            return line
    return joined([*parts, meters[-1]], width)


class MetaLine(Widget):
    """The line of state and figures."""

    DEFAULT_CSS = """
    MetaLine { height: 1; padding: 0 2; color: $muted; }
    """
    ALLOW_SELECT = False
    line: reactive[str] = reactive("")
    running: reactive[bool] = reactive(False)
    more: reactive[bool] = reactive(False)

    def show(self, answer: ChatAnswer | None, now: float, *, more: bool, context: int | None) -> None:
        """Show an answer. `more`: the transcript continues below the visible part. `context`: see `meta_line`."""
        self.running = answer is not None and not answer.ended
        self.more = more
        room = max(10, self.content_size.width - 2 - (len(MORE) + 2 if more else 0))
        self.line = meta_line(answer, now, room, context) if answer is not None else ""

    def render(self) -> Text:
        names = self.app.theme_variables
        text = Text("▌ " if self.line else "", names["accent" if self.running else "faint"], no_wrap=True, end="")
        text.append(self.line, names["muted"])
        if self.more:
            text.append(" " * max(2, self.content_size.width - len(text) - len(MORE)))
            text.append(MORE, names["accent"])
        return text
