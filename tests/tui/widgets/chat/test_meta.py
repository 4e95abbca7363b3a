"""The line of state, figures and context meter."""

from collections.abc import Callable

import pytest
from rich.text import Text

from lmx_daemon.contract.generation.chat_answer import ChatAnswer
from lmx_daemon.contract.generation.events import Loading, Started
from lmx_tui.app import LmxApp
from lmx_tui.widgets.chat.meta import MetaLine, meta_line
from lmx_tui.widgets.chat.prompt import PromptInput
from tests.fake_client import FakeClient
from tests.screen_states import QWEN, answer_of
from tests.tui.conftest import ask, running, screen_text, until

Make = Callable[..., LmxApp]


def test_context_meter_is_always_shown() -> None:
    answer = ChatAnswer("r", QWEN, 0.0)
    for event in answer_of("words " * 9)[:-1]:
        answer.consume(event, 1.0)
    for width in (90, 68, 60, 40):
        line = meta_line(answer, 2.0, width)
        assert len(line) <= width
    assert "ctx" in meta_line(answer, 2.0, 68) and "ctx" in meta_line(answer, 2.0, 60)
    waiting = meta_line(ChatAnswer("r", QWEN, 0.0), 2.0, 68)
    assert waiting == "asking · ctx -", "no figures before there are any"


def test_load_stage_is_shown_after_its_progress() -> None:
    answer = ChatAnswer("r", QWEN, 0.0)
    answer.consume(Loading(id="r", model=QWEN, fraction=0.41, stage="weights"), 1.0)
    assert meta_line(answer, 2.0, 68) == "loading ███░░░░░ 41% 2.00 s · weights · ctx -"
    answer.consume(Loading(id="r", model=QWEN, stage="waiting for memory: mlx-community/Qwen3-8B-4bit is busy"), 1.0)
    line = meta_line(answer, 2.0, 40)
    assert line.startswith("loading 2.00 s · waiting") and line.endswith("… · ctx -") and len(line) <= 40
    answer.consume(Started(id="r", prompt_tokens=100, cached_tokens=93, seed=1, context_length=500), 3.0)
    assert meta_line(answer, 3.0, 68) == "prefill 3.00 s · 93% cached · ctx █░░░░ 100/500"


@pytest.mark.parametrize("width", [90, 60, 40, 30])
def test_warning_of_the_context_meter_is_the_last_thing_to_be_cut(width: int) -> None:
    answer = ChatAnswer("r", QWEN, 0.0)
    for event in answer_of("words"):
        answer.consume(event, 1.0)
    assert answer.context_used is not None
    length = answer.context_length
    assert "!" not in meta_line(answer, 2.0, width, draft=int(length * 0.89) - answer.context_used)
    nearly = meta_line(answer, 2.0, width, draft=int(length * 0.95) - answer.context_used)
    assert nearly.endswith("! nearly full") and len(nearly) <= width
    over = meta_line(answer, 2.0, width, draft=length)
    assert over.endswith("! too long") and len(over) <= width
    running = ChatAnswer("r", QWEN, 0.0)
    for event in answer_of("words")[:-1]:
        running.consume(event, 1.0)
    line = meta_line(running, 2.0, width, draft=length)
    assert line.endswith("! too long") and len(line) <= width


async def test_context_meter_warns_in_words_and_colour(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "214 tok" in screen_text(pilot.app))
        prompt, meta = pilot.app.screen.query_one(PromptInput), pilot.app.screen.query_one(MetaLine)
        colors = pilot.app.theme_variables

        def drawn() -> Text:
            text = meta.render()
            assert isinstance(text, Text)
            return text

        assert drawn().spans[-1].style == colors["muted"]
        prompt.text = "word " * 27_000
        await until(pilot, lambda: "! nearly full" in screen_text(pilot.app))
        assert drawn().spans[-1].style == colors["warning"]
        prompt.text = "word " * 32_000
        await until(pilot, lambda: "! too long" in screen_text(pilot.app))
        assert drawn().spans[-1].style == colors["error"]
