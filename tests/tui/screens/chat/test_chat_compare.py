"""Two models on one prompt: columns that grow together, branches on narrow terminals, and the choice of one."""

from collections.abc import Callable

import pytest
from textual.pilot import Pilot

from lmx_daemon.contract.generation.requests import Chat
from lmx_tui.app import LmxApp
from lmx_tui.widgets.chat.pair_view import PairView
from lmx_tui.widgets.chat.prompt import PromptInput
from tests.fake_client import FakeClient
from tests.screen_states import QWEN, answer_of
from tests.tui.conftest import ask, running, screen_text, until
from tests.tui.screens.chat.test_kept_chats import SECONDS, answered, chat_of, shown

Make = Callable[..., LmxApp]
OTHER = "mlx-community/Qwen3-32B-4bit"
WIDE, NARROW = (160, 40), (80, 24)


@pytest.fixture
def two(client: FakeClient) -> FakeClient:
    client.answers = {QWEN: answer_of("The first answer."), OTHER: answer_of("The other answer.")}
    return client


async def compared(pilot: Pilot[None], question: str = "why") -> None:
    """Ask both models, and wait until both have answered."""
    await ask(pilot, f"/compare {OTHER}")
    await shown(pilot, "also asks Qwen3-32B-4bit")
    await ask(pilot, question)
    await until(pilot, lambda: len(chat_of(pilot)._chat.columns) == 2 and not chat_of(pilot)._chat.busy, SECONDS)


async def test_answers_of_two_models_stand_in_columns(make_app: Make, two: FakeClient) -> None:
    async with running(make_app(), WIDE) as pilot:
        await compared(pilot)
        await shown(pilot, "The other answer.")
        line = next(line for line in screen_text(pilot.app).splitlines() if "The first answer." in line)
        assert "The other answer." in line, "side by side"
        assert {request.model for request in two.requests_seen} == {QWEN, OTHER}
        first, second = (request.prompt for request in two.requests_seen)
        assert isinstance(first, Chat) and first == second
        assert chat_of(pilot)._chat.model == QWEN


async def test_both_answers_grow_and_one_key_stops_them(make_app: Make, two: FakeClient) -> None:
    two.answers = {QWEN: answer_of("first words " * 20), OTHER: answer_of("other words " * 20)}
    two.hold_at = 5
    async with running(make_app(), WIDE) as pilot:
        await ask(pilot, f"/compare {OTHER}")
        await ask(pilot, "why")
        await shown(pilot, "first words")
        await shown(pilot, "other words")
        await until(pilot, lambda: len(chat_of(pilot)._chat.growing) == 2, SECONDS)
        await pilot.press("escape")
        await until(pilot, lambda: not chat_of(pilot)._chat.busy, SECONDS)
        assert {call for call in two.calls} == {("cancel", request.id) for request in two.requests_seen}


async def test_chosen_answer_goes_on_with_its_model(make_app: Make, two: FakeClient) -> None:
    async with running(make_app(), WIDE) as pilot:
        await compared(pilot)
        await pilot.press("escape", "2")
        await until(pilot, lambda: not pilot.app.screen.query(PairView), SECONDS)
        await shown(pilot, "[2/2]")
        assert "The first answer." not in screen_text(pilot.app)
        await pilot.press("i")
        await ask(pilot, "and then?")
        await until(pilot, lambda: len(two.requests_seen) == 3, SECONDS)
        asked = two.requests_seen[2]
        assert asked.model == OTHER and isinstance(asked.prompt, Chat)
        assert [message.text for message in asked.prompt.messages] == ["why", "The other answer.", "and then?"]
        await until(pilot, lambda: not chat_of(pilot)._chat.busy, SECONDS)
        await pilot.press("escape", "k", "k", "left_square_bracket")
        await shown(pilot, "The first answer.")


async def test_narrow_terminal_shows_branches(make_app: Make, two: FakeClient) -> None:
    async with running(make_app(), NARROW) as pilot:
        await compared(pilot)
        await shown(pilot, "[1/2]")
        assert not pilot.app.screen.query(PairView) and "The other answer." not in screen_text(pilot.app)
        await pilot.press("escape", "right_square_bracket")
        await shown(pilot, "The other answer.")
        await pilot.resize_terminal(*WIDE)
        await until(pilot, lambda: len(pilot.app.screen.query(PairView)) == 1, SECONDS)
        await shown(pilot, "The first answer.")
        assert "The other answer." in screen_text(pilot.app)


async def test_next_prompt_goes_to_both_until_the_comparison_ends(make_app: Make, two: FakeClient) -> None:
    async with running(make_app(), WIDE) as pilot:
        await compared(pilot)
        await ask(pilot, "more")
        await until(pilot, lambda: len(two.requests_seen) == 4, SECONDS)
        for request in two.requests_seen[2:]:
            assert isinstance(request.prompt, Chat)
            texts = [message.text for message in request.prompt.messages]
            assert texts == ["why", "The first answer.", "more"], "both follow the selected answer"
        await until(pilot, lambda: not chat_of(pilot)._chat.busy, SECONDS)
        await pilot.press("f12")
        await until(pilot, lambda: not pilot.app.screen.query(PairView), SECONDS)
        await ask(pilot, "last")
        await until(pilot, lambda: len(two.requests_seen) == 5, SECONDS)
        assert two.requests_seen[4].model == QWEN


async def test_second_model_is_chosen_from_a_list(make_app: Make, two: FakeClient) -> None:
    async with running(make_app(), WIDE) as pilot:
        await answered(pilot, "before", "The first answer.")
        await pilot.press("f12")
        await shown(pilot, "Ask beside Qwen3-8B-4bit")
        assert f"{QWEN} " not in screen_text(pilot.app).split("Ask beside")[1].split("enter take")[0]
        await pilot.press("escape")
        await until(pilot, lambda: chat_of(pilot)._second == "", SECONDS)
        assert pilot.app.screen.query_one(PromptInput).has_focus
