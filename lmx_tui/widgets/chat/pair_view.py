"""PairView: the answers of two models to one prompt in two columns, which grow together."""

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from lmx_daemon.contract.generation.chat_answer import ChatAnswer
from lmx_tui.formatting import short_name, shorten
from lmx_tui.widgets.chat.answer_view import AnswerView
from lmx_tui.widgets.frame.static_text import StaticText


class AnswerColumn(Vertical):
    """Answer of one model, below the model's name and the key that chooses the answer."""

    DEFAULT_CSS = """
    AnswerColumn { width: 1fr; height: auto; }
    AnswerColumn > .model { height: 1; color: $muted; padding: 0 1; }
    AnswerColumn.-selected > .model { color: $accent; text-style: bold; }
    """

    def __init__(self, number: int, answer: ChatAnswer) -> None:
        super().__init__()
        self.number = number
        self.view = AnswerView(answer)
        self._model = StaticText(classes="model")

    def compose(self) -> ComposeResult:
        yield self._model
        yield self.view

    async def show(self, answer: ChatAnswer, *, selected: bool) -> None:
        self.view.answer = answer
        self.set_class(selected, "-selected")
        mark = "●" if selected else "○"
        name = short_name(answer.model)
        if self.size.width:  # known after the first layout
            name = shorten(name, max(8, self.size.width - 8))
        self._model.show(Text(f"{mark} {self.number}  {name}", no_wrap=True))
        await self.view.refresh_answer()


class PairView(Horizontal):
    """Two answers. The selected one is that of the branch that the next prompt continues."""

    DEFAULT_CSS = """
    PairView { height: auto; width: 1fr; }
    """

    def __init__(self, answers: tuple[ChatAnswer, ChatAnswer]) -> None:
        super().__init__()
        self.columns = [AnswerColumn(place + 1, answer) for place, answer in enumerate(answers)]

    def compose(self) -> ComposeResult:
        yield from self.columns

    def continues(self, answers: tuple[ChatAnswer, ChatAnswer]) -> bool:
        """Return whether the answers begin with what is drawn, so that the rest can be added."""
        views = [column.view for column in self.columns]
        return all(view.answer is answer or view.continues(answer) for view, answer in zip(views, answers, strict=True))

    async def show(self, answers: tuple[ChatAnswer, ChatAnswer], selected: int) -> None:
        """Draw what is new in both answers."""
        for place, (column, answer) in enumerate(zip(self.columns, answers, strict=True)):
            await column.show(answer, selected=place == selected)
