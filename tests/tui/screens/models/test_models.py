"""The Models screen: its keys, filter, sort order and requests."""

from collections import defaultdict
from collections.abc import Callable

import pytest
from rich.text import Text
from textual.widgets import Input, OptionList

from lmx_daemon.contract.errors import OutOfMemoryError
from lmx_daemon.contract.models import Instance
from lmx_tui.app import LmxApp
from lmx_tui.screens.dialogs.questions import Confirm, Pick
from lmx_tui.screens.models.model_verbs import ModelDialog
from lmx_tui.screens.models.pull_sheet import PullSheet
from lmx_tui.widgets.frame.table import Table, cut_in_the_middle
from lmx_tui.widgets.models.plan import plan_bars
from tests.fake_client import FakeClient
from tests.library_states import VERDICT
from tests.screen_states import QWEN, busy_snapshot, quiet_snapshot
from tests.tui.conftest import running, screen_text, settled, until

Make = Callable[..., LmxApp]


def words(app: LmxApp) -> str:
    """Return the text of the screen without frames and line breaks."""
    return " ".join(screen_text(app).replace("│", " ").split())


def table(app: LmxApp) -> Table:
    return app.screen.query_one("#models-table", Table)


async def test_list_shows_state_and_memory(make_app: Make) -> None:
    async with running(make_app(), (170, 40)) as pilot:
        text = screen_text(pilot.app)
        assert "Qwen3-8B-4bit" in text and "18.4 GB" in text and "2 running" in text
        assert "lmx/guide" in text and "Models  5" in text
        assert "someone/odd[red]name[/red]" in text, "brackets of an id are text, not markup"


async def test_first_snapshot_selects_the_first_row(make_app: Make) -> None:
    async with running(make_app()) as pilot:
        assert table(pilot.app).selected == QWEN
        assert "8.2B" in screen_text(pilot.app), "the detail pane follows"


async def test_enter_twice_loads_the_model_and_reports_it(make_app: Make, client: FakeClient) -> None:
    client.show(quiet_snapshot())
    async with running(make_app()) as pilot:
        await pilot.press("enter", "enter")
        await until(pilot, lambda: client.calls)
        assert client.calls == [("load", "lmx/guide")]
        await until(pilot, lambda: "lmx/guide is ready" in screen_text(pilot.app))


@pytest.mark.parametrize("key", ["enter", "c"])
async def test_unusable_model_is_not_loaded_and_its_problem_is_shown(
    make_app: Make, client: FakeClient, key: str
) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("G", key)
        await settled(pilot)
        assert not client.calls and pilot.app.current_mode == "models"
        assert "lmx never runs it" in screen_text(pilot.app)


async def test_load_error_shows_message_and_hint(make_app: Make, client: FakeClient) -> None:
    client.error = OutOfMemoryError("needs 20 GB [of 12]", hint="unload others")
    client.show(quiet_snapshot())
    async with running(make_app()) as pilot:
        await pilot.press("enter", "enter")
        await until(pilot, lambda: "needs 20 GB [of 12]" in screen_text(pilot.app))
        assert "unload others" in screen_text(pilot.app)


async def test_unload_asks_only_if_the_model_is_in_use(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("x")
        await settled(pilot)
        assert isinstance(pilot.app.screen, Confirm)
        assert pilot.app.focused is not None and pilot.app.focused.id == "cancel"
        await pilot.press("enter")
        await settled(pilot)
        assert not client.calls, "Cancel has the focus"
        await pilot.press("x")
        await settled(pilot)
        await pilot.press("U")
        await until(pilot, lambda: client.calls)
        assert client.calls == [("unload", "i1")]
        await pilot.press("j", "x")
        await until(pilot, lambda: len(client.calls) == 2)
        assert client.calls[1] == ("unload", "i2"), "an idle model is unloaded at once"


async def test_filter_narrows_the_list_and_escape_clears_it(make_app: Make) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("slash", *"gemma 4bit")
        await settled(pilot)
        assert isinstance(pilot.app.focused, Input)
        assert table(pilot.app).row_count == 1
        assert "1 of 5" in screen_text(pilot.app)
        await pilot.press("enter")
        assert pilot.app.focused is table(pilot.app), "enter returns to the list"
        await pilot.press("escape")
        await settled(pilot)
        assert table(pilot.app).row_count == 5


async def test_filter_without_matches_shows_how_to_clear_it(make_app: Make) -> None:
    async with running(make_app(), (80, 24)) as pilot:
        await pilot.press("slash", *"zzz")
        await settled(pilot)
        text = screen_text(pilot.app)
        assert "nothing matches; esc clears the filter" in text and "esc Clear" in text
        await pilot.press("escape")
        await settled(pilot)
        assert table(pilot.app).row_count == 5 and pilot.app.focused is table(pilot.app)


async def test_letters_in_the_filter_are_not_commands(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("slash", "x", "c", "g", "m")
        await settled(pilot)
        assert pilot.app.screen.query_one("#filter", Input).value == "xcgm"
        assert pilot.app.current_mode == "models" and not client.calls


async def test_second_choice_of_a_sort_key_reverses_the_order(make_app: Make) -> None:
    async with running(make_app()) as pilot:
        for expected in ("mlx-community/Qwen3-32B-4bit", "lmx/guide"):
            await pilot.press("s")
            await settled(pilot)
            assert isinstance(pilot.app.screen, Pick)
            options = pilot.app.screen.query_one(OptionList)
            options.highlighted = 2
            await pilot.press("enter")
            await settled(pilot)
            rows = [key.value for key in table(pilot.app).rows]
            assert rows[0] == expected


async def test_newer_version_has_a_badge_and_its_command(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        text = " ".join(screen_text(pilot.app).split())
        assert "↑ 1 newer" in text and "●↑ Qwen3-8B-4bit" in text
        assert "↑ newer version, u fetches it" in text and "lmx update" in text and "verified 3 days ago" in text
        await pilot.press("j")
        await settled(pilot)
        text = " ".join(screen_text(pilot.app).split())
        assert "newer version" not in text and "verified never" in text
        client.change(models=quiet_snapshot().models, instances=())
        await until(pilot, lambda: "lmx/guide" in pilot.app.screen.query_one("#detail").border_title)
        assert "verified" not in screen_text(pilot.app), "the built-in model is not verified"
        assert "newer" not in screen_text(pilot.app)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_outdated_model_is_updated_after_a_question(
    make_app: Make, client: FakeClient, size: tuple[int, int]
) -> None:
    async with running(make_app(), size) as pilot:
        assert "u Update" in screen_text(pilot.app).splitlines()[-1]
        await pilot.press("u")
        await settled(pilot)
        assert isinstance(pilot.app.screen, Confirm)
        text = " ".join(screen_text(pilot.app).replace("│", " ").split())
        assert "Update Qwen3-8B-4bit?" in text and "at most about 4.6 GB" in text and "It is loaded" in text
        await pilot.press("enter")
        await settled(pilot)
        assert not client.calls, "Cancel has the focus"
        await pilot.press("u")
        await settled(pilot)
        await pilot.press("U")
        await until(pilot, lambda: client.calls)
        assert client.calls == [("update", QWEN)]
        await pilot.press("j")
        await until(pilot, lambda: "u Update" not in screen_text(pilot.app))
        await pilot.press("u")
        await settled(pilot)
        assert len(pilot.app.screen_stack) == 1, "this model is not outdated"


async def test_palette_updates_and_looks_for_newer_versions(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        for words, call in (("update qwen3-8b", ("update", QWEN)), ("look for newer", ("outdated", None))):
            await pilot.press("ctrl+p")
            await settled(pilot)
            pilot.app.screen.query_one(Input).value = words
            await until(
                pilot, lambda words=words: words in screen_text(pilot.app).lower().replace("mlx-community/", "")
            )
            await pilot.press("enter")
            await until(pilot, lambda call=call: call in client.calls)
        await until(pilot, lambda: "1 of 2 models from the Hub have a newer version" in screen_text(pilot.app))


async def test_list_shows_load_stage_and_last_use(make_app: Make, client: FakeClient) -> None:
    loading = Instance(id="i", model=QWEN, state="loading", stage="weights", progress=0.41)
    client.change(instances=(loading,))
    async with running(make_app()) as pilot:
        text = screen_text(pilot.app)
        assert "weights 41%" in text
        rows = [key.value for key in table(pilot.app).rows]
        assert "gemma" in str(rows[0]), "used last, although it is not loaded"
        assert any("gemma" in line and " 5h " in line for line in text.splitlines())


async def test_cursor_stays_on_its_model_when_rows_change(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("j", "j")
        chosen = table(pilot.app).selected
        snapshot = busy_snapshot()
        client.change(models=snapshot.models[1:], instances=())
        await settled(pilot)
        assert table(pilot.app).selected == chosen


async def test_chat_key_opens_the_chat_with_the_selected_model(make_app: Make) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("j", "c")
        await until(pilot, lambda: pilot.app.current_mode == "chat")
        assert "Qwen3-32B-4bit" in screen_text(pilot.app)


async def test_copy_reports_its_route(make_app: Make) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("y")
        await until(pilot, lambda: "model id: sent to the terminal (OSC 52" in screen_text(pilot.app))


async def test_pull_searches_the_hub_as_the_user_types(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("p")
        await until(pilot, lambda: "Qwen3-4B-4bit" in screen_text(app))
        assert "good choices for this machine" in screen_text(app) and "GLM-4.5-Air-8bit" not in screen_text(app)
        await pilot.press(*"glm")
        await until(pilot, lambda: "GLM-4.5-Air-8bit" in screen_text(app))
        assert ("search", "glm") in client.calls and "! no" in screen_text(app)
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, PullSheet))
        await pilot.press("enter")
        await until(pilot, lambda: ("pull", "mlx-community/GLM-4.5-Air-8bit") in client.calls)


async def test_plan_of_the_selected_model_is_drawn(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("j", "j")
        await until(pilot, lambda: "after load" in screen_text(app))
        text = screen_text(app)
        assert "✓ fits, cap 96.0 GB" in text and "+16.8" in text and "47.5" in text
        assert client.plans and len(client.plans) == len(set(client.plans)), "each plan is asked for once"


async def test_details_are_reachable_in_a_narrow_terminal(make_app: Make) -> None:
    app = make_app()
    async with running(app, (80, 24)) as pilot:
        await pilot.press("i")
        await until(pilot, lambda: isinstance(app.screen, ModelDialog))
        assert "context   40k tokens" in screen_text(app)


async def test_delete_asks_first_and_can_be_undone(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("enter")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        assert not client.calls, "Cancel has the focus"
        await pilot.press("d", "D")
        await until(pilot, lambda: client.calls == [("remove", QWEN)])
        await until(pilot, lambda: "is in the trash" in screen_text(app))
        await pilot.press("z")
        await until(pilot, lambda: client.calls[-1] == ("undo", None))


async def test_verification_ends_with_its_result(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("v")
        await until(pilot, lambda: "9 files are sound" in screen_text(app))
        assert client.calls == [("verify", QWEN)]


def test_bars_of_a_plan_stay_within_their_width() -> None:
    colors: dict[str, str] = defaultdict(lambda: "red")
    for used in (0, 10**9, 95 * 10**9, 400 * 10**9):
        for width in (20, 36, 100):
            lines = plan_bars(VERDICT, used, colors, width).plain.splitlines()[1:6]
            assert {len(line) for line in lines} == {max(25, width)}, (used, width)


def test_names_are_cut_in_their_middle() -> None:
    name = Text("mlx-community/Qwen3-235B-A22B-Instruct-2507-4bit")
    cut = cut_in_the_middle(name, 24)
    assert cut.plain.endswith("2507-4bit") and cut.plain.startswith("mlx-commun") and cut.cell_len == 24
    wide = cut_in_the_middle(Text("模型" * 20 + "-4bit"), 21)
    assert wide.cell_len <= 21 and wide.plain.endswith("-4bit")
    assert cut_in_the_middle(Text("short"), 24).plain == "short"


async def test_first_run_points_to_models_that_fit(make_app: Make, client: FakeClient) -> None:
    client.show(quiet_snapshot())
    async with running(make_app()) as pilot:
        await until(pilot, lambda: "p shows models that fit this machine" in screen_text(pilot.app))


async def test_filter_by_facts_narrows_the_list_and_asks_for_missing_plans(make_app: Make, client: FakeClient) -> None:
    async with running(make_app()) as pilot:
        await pilot.press("slash", *"fits >20b")
        await until(pilot, lambda: table(pilot.app).row_count == 2)
        rows = {str(key.value) for key in table(pilot.app).rows}
        assert rows == {"mlx-community/Qwen3-32B-4bit", "mlx-community/gemma-3-27b-it-qat-4bit"}
        assert client.plans.count("someone/odd[red]name[/red]") == 0, "an unusable model has no plan"
        await pilot.press("escape")
        await pilot.press("slash", *"vision <17gb")
        await until(pilot, lambda: table(pilot.app).row_count == 1)
        await pilot.press("escape")
        await pilot.press("question_mark")
        await until(pilot, lambda: "unknown facts never match" in words(pilot.app))


async def test_model_without_a_plan_never_matches_fits(make_app: Make, client: FakeClient) -> None:
    client.verdict = None
    client.change(instances=())
    async with running(make_app()) as pilot:
        await pilot.press("slash", *"fits")
        await until(pilot, lambda: "nothing matches; esc clears the filter" in screen_text(pilot.app))
        assert table(pilot.app).row_count == 0


async def test_filter_words_of_the_hub_search_are_facts(make_app: Make, client: FakeClient) -> None:
    app = make_app()
    async with running(app) as pilot:
        await pilot.press("p")
        await until(pilot, lambda: "Qwen3-4B-4bit" in screen_text(app))
        await pilot.press(*"fits tools <5gb qwen")
        await until(pilot, lambda: ("search", "qwen") in client.calls)
        last = client.searches[-1]
        assert (last.fits, last.tools, last.vision) == (True, True, False)
        await until(pilot, lambda: "Qwen3-4B-4bit" in screen_text(app) and "Air-8bit" not in screen_text(app))
        for _ in range(9):
            await pilot.press("backspace")
        await pilot.press(*">5gb")
        await until(pilot, lambda: "the Hub has no such model" in screen_text(app))
