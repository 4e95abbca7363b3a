"""AnswerView: the thinking, the calls and the text of one answer."""

from rich.style import Style
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from lmx_daemon.contract.generation.chat_answer import ChatAnswer, PartialCall
from lmx_daemon.contract.units import timing
from lmx_tui.formatting import cached, clean, count, miss_reason, one_line, rate, short_name
from lmx_tui.widgets.chat.message_view import MessageView, plain_strips
from lmx_tui.widgets.frame.static_text import StaticText

THINKING_LINES = 6
"""Number of lines shown while the model thinks."""
MEASURED_SECONDS = 0.2
"""Duration below which none is shown: tokens arrive in batches, so a shorter measurement means nothing."""


class ThinkingView(Static):
    """A model's thinking: its last lines while it continues, one line when folded. A click folds and unfolds it."""

    DEFAULT_CSS = """
    ThinkingView { height: auto; color: $muted; margin-bottom: 1; }
    """

    def __init__(self) -> None:
        super().__init__(Text(), markup=False)
        self._text = ""
        self._seconds: float | None = None
        self._over = False
        self._drawn_width = 0
        self.folded = False

    def show(self, answer: ChatAnswer) -> None:
        if (answer.reasoning, answer.state == "thinking") == (self._text, not self._over):
            return
        self._text, self._seconds = answer.reasoning, answer.thinking_seconds
        over = answer.state != "thinking"
        if over and not self._over:
            self.folded = True
        self._over = over
        self._draw()

    def fold(self, folded: bool) -> None:
        self.folded = folded
        self._draw()

    def on_click(self, event: events.Click) -> None:
        self.fold(not self.folded)

    def on_resize(self) -> None:
        if self.content_size.width != self._drawn_width:
            self._draw()

    def _draw(self) -> None:
        self._drawn_width = self.content_size.width
        time = f" for {timing(self._seconds)}" if self._seconds and self._seconds >= MEASURED_SECONDS else ""
        words = f"thought{time}" if self._over else "thinking"
        text = Text(f"{'▸' if self.folded else '▾'} {words}", "bold")
        if not self.folded:
            text.append("".join(f"\n  {line}" for line in self._lines()), "not bold italic")
        self.update(text)

    def _lines(self) -> list[str]:
        """Return all lines, or the last ones while the model thinks. Lines are counted after wrapping."""
        lines = clean(self._text).strip().splitlines()
        shown = "\n".join(lines if self._over else lines[-THINKING_LINES:])
        wrapped = [strip.text.rstrip() for strip in plain_strips(shown, max(20, self._drawn_width - 2))]
        return wrapped if self._over else wrapped[-THINKING_LINES:]


class CallView(StaticText):
    """A tool call, updated while it is received."""

    DEFAULT_CSS = """
    CallView { height: auto; color: $secondary; margin-bottom: 1; }
    """

    def show_call(self, call: PartialCall) -> None:
        text = Text("⚙ ").append(one_line(call.name) or "…", "bold")
        self.show(text.append(f"({clean(call.arguments)})", Style.parse(self.app.theme_variables["muted"])))


class AnswerView(Vertical):
    """Answer: thinking, text, tool calls, and a line of figures after its end."""

    DEFAULT_CSS = """
    AnswerView { height: auto; border-left: outer $accent; padding: 0 1 0 1; margin-bottom: 1; }
    AnswerView.-failed { border-left: outer $error; }
    AnswerView > .end { height: auto; color: $muted; }
    AnswerView.-failed > .end { color: $error; }
    """

    def __init__(self, answer: ChatAnswer) -> None:
        super().__init__()
        self.answer = answer
        self.place = (1, 1)
        """Place among the branches, and their number."""
        self.thinking = ThinkingView()
        self.text = MessageView()
        self._end = StaticText(Text("…"), classes="end")
        self._calls: dict[int, CallView] = {}
        self._finished = False

    def compose(self) -> ComposeResult:
        self.thinking.display = False
        self.text.display = False
        yield self.thinking
        yield self.text
        yield self._end

    def continues(self, answer: ChatAnswer) -> bool:
        """Return whether `answer` begins with what is drawn, so that the rest can be added."""
        return clean(answer.content).startswith(self.text.source) and len(answer.calls) >= len(self._calls)

    async def refresh_answer(self) -> None:
        """Draw the parts of the answer that are new."""
        answer = self.answer
        if answer.reasoning:
            self.thinking.display = True
            self.thinking.show(answer)
        shown = self.text.received
        if len(answer.content) > shown:
            self.text.display = True
            self.text.append(answer.content[shown:])
        for index, call in answer.calls.items():
            if index not in self._calls:
                self._calls[index] = CallView()
                await self.mount(self._calls[index], before=self._end)
            self._calls[index].show_call(call)
        if answer.ended and not self._finished:
            await self.text.finish()
        self._finished = answer.ended
        self.set_class(answer.state == "failed", "-failed")
        self._end.display = answer.ended or not (answer.content or answer.reasoning or answer.calls)
        mark = Text(f"[{self.place[0]}/{self.place[1]}] ") if self.place[1] > 1 and answer.ended else Text()
        self._end.show(mark + end_line(answer))


def end_line(answer: ChatAnswer) -> Text:
    """Return the line below an answer: figures, or the reason why it ended early."""
    if not answer.ended:
        return Text("…")
    if answer.state == "failed":
        assert answer.error is not None
        text = Text("! ").append(clean(answer.error.message))
        return text.append(f"\n  {clean(answer.error.hint)}") if answer.error.hint else text
    parts = [short_name(answer.model)]
    if answer.state == "stopped":
        parts.insert(0, "stopped")
    if answer.truncated:
        parts.insert(0, "cut at the maximum length")
    if answer.tokens:
        parts += [f"{count(answer.tokens)} tok", f"{rate(answer.rate)} tok/s", f"TTFT {timing(answer.first_token)}"]
    else:
        parts.append("empty answer")
    if (answer.cached_tokens or answer.miss) and (words := cached(answer.cached_tokens, answer.prompt_tokens)):
        parts.append(words)
    text = Text(" · ".join(parts))
    return text.append(f"\nnot cached: {miss_reason(answer.miss, answer.first_difference)}") if answer.miss else text
