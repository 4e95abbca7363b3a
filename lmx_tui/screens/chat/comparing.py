"""ChatComparing: two models that answer the same prompts, and the choice of the answer to continue with."""

from textual import events, on

from lmx_daemon.contract.admin.chats import ChatUpdate
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.units import size
from lmx_tui.formatting import one_line, short_name, shorten
from lmx_tui.messages import Notified
from lmx_tui.screens.chat.verbs import ChatVerbs
from lmx_tui.screens.dialogs.questions import Pick
from lmx_tui.widgets.models.model_rows import instances_of


class ChatComparing(ChatVerbs):
    """A page that can ask two models."""

    def action_compare(self) -> None:
        """Choose the second model, or return to one model."""
        if self._second:
            self.compare_with("")
        elif (first := self._chosen()) is None or len(options := self.model_options(besides=first)) == 0:
            self.post_message(Notified("there is no second model", "press p on the Models screen to pull one"))
        else:
            title = f"Ask beside {shorten(short_name(first), 40)}"
            self.app.push_screen(Pick(title, options), lambda model: self.compare_with(model) if model else None)

    def compare_with(self, model: str) -> None:
        """Ask a second model beside the chosen one from the next prompt on; "" asks one model."""
        self._second = model
        self._show_note()
        if not model and self._chat.compared:
            self._end_columns()

    def model_options(self, besides: str = "") -> list[tuple[str, str]]:
        """Return the models that can answer, as options of a list, each with its state or size."""
        if self.snapshot is None:
            return []
        instances = instances_of(self.snapshot)
        models = [model for model in self.snapshot.models if model.problem is None and model.id != besides]
        room = min(48, max((len(model.id) for model in models), default=0))

        def words(model: Model) -> str:
            state = instances[model.id].state if model.id in instances else size(model.size or None)
            return f"{shorten(one_line(model.id), room):<{room}}  {state:>8}"

        return [(model.id, words(model)) for model in models]

    def action_choose_answer(self, place: int) -> None:
        """Continue with one of two compared answers and its model. The other answer stays as a branch."""
        columns = self._chat.columns
        if not columns:
            self.post_message(Notified("no answers are compared", "f12 asks a second model, too"))
            return
        chosen = columns[place]
        self._model = self._second = ""
        self._change(leaf=chosen.id, model=chosen.model)
        self._chat.apply(ChatUpdate(leaf=chosen.id), self._clock())
        self._show_note()
        self._end_columns()
        self.post_message(Notified(f"{short_name(chosen.model)} continues the chat", "[ and ] show the other answer"))

    def _end_columns(self) -> None:
        self._chat.compared = ()
        self.call_next(self._draw_branch, set[str]())
        self._redrawn()

    @on(events.Resize)
    def _resized(self) -> None:
        """Draw two answers in columns, or as branches in a narrow terminal."""
        if self._chat.compared:
            self.call_after_refresh(self._draw_branch, set[str]())
