"""The line of state, figures and context meter."""

from lmx_daemon.contract.chat_answer import ChatAnswer
from lmx_daemon.contract.events import Loading, Started
from lmx_tui.widgets.chat.meta import meta_line
from tests.screen_states import QWEN, answer_of


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
