"""MetaLine: the state of the answer under way, between the transcript and the prompt."""

from rich.text import Text
from textual.reactive import reactive
from textual.widget import Widget

from lmx_tui.conversation import Answer
from lmx_tui.figures import bar, count, duration, percent, rate
from lmx_tui.widgets.panes import context_meter, joined

WORDS = {"waiting": "asking"}


def state_words(answer: Answer, now: float) -> str:
    match answer.state:
        case "loading" | "prefill":
            progress = f" {bar(answer.progress, 8)} {percent(answer.progress)}" if answer.progress is not None else ""
            return f"{answer.state}{progress} {duration(now - answer.asked_at)}"
        case "queued":
            return f"queued #{answer.position}" if answer.position else "queued"
        case _:
            return WORDS.get(answer.state, answer.state)


def figures(answer: Answer) -> list[str]:
    return [
        f"{rate(answer.rate)} tok/s",
        f"TTFT {duration(answer.first_token)}",
        f"{count(answer.tokens)} tok",
        context_meter(answer.context_used, answer.context_length),
    ]


class MetaLine(Widget):
    DEFAULT_CSS = """
    MetaLine { height: 1; padding: 0 2; color: $muted; }
    """
    ALLOW_SELECT = False
    line: reactive[str] = reactive("")
    running: reactive[bool] = reactive(False)

    def show(self, answer: Answer | None, now: float) -> None:
        self.running = answer is not None and not answer.ended
        if answer is None:
            self.line = ""
            return
        parts = [state_words(answer, now), *figures(answer)] if self.running else figures(answer)[-1:]
        self.line = joined(parts, max(10, self.content_size.width - 2))

    def render(self) -> Text:
        color = self.app.theme_variables["accent" if self.running else "faint"]
        return Text("▌ " if self.line else "", color, no_wrap=True, overflow="crop").append(
            self.line, self.app.theme_variables["muted"]
        )
