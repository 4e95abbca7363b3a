"""The pull sheet: the quantizations of a model, a pull, and a chat that opens when the pull has ended."""

from collections.abc import Callable

import msgspec
import pytest
from textual.pilot import Pilot

from lmx_daemon.contract.admin.library.hub import Offer
from lmx_daemon.contract.admin.library.pulls import Download
from lmx_daemon.contract.models import Model
from lmx_tui.app import LmxApp
from lmx_tui.daemon.chat_after_pull import ChatAfterPull
from lmx_tui.screens.models.hub import HubDialog
from lmx_tui.screens.models.pull_sheet import PullSheet
from lmx_tui.widgets.frame.table import Table
from lmx_tui.widgets.models.offer_rows import base_name, siblings
from tests.fake_client import FakeClient
from tests.screen_states import GB, quiet_snapshot
from tests.tui.conftest import running, screen_text, settled, until

Make = Callable[..., LmxApp]
SMALL = "mlx-community/Qwen3-4B-4bit"
LARGE = "mlx-community/Qwen3-4B-8bit"


def rows(pilot: Pilot[None]) -> list[str]:
    """Return the keys of the rows of the table that is shown."""
    return [str(key.value) for table in pilot.app.screen.query(Table) for key in table.rows]


async def sheet_opened(pilot: Pilot[None], client: FakeClient) -> None:
    """Open the sheet of the first model that the Hub proposes."""
    client.offers = (
        *client.offers,
        Offer(id=LARGE, size=44 * GB // 10, memory=6 * GB, fit="yes", quantization="8-bit"),
    )
    await pilot.press("p")
    await until(pilot, lambda: SMALL in rows(pilot))
    await pilot.press("down", "enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, PullSheet) and LARGE in rows(pilot))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_sheet_lists_the_quantizations_of_the_model(
    make_app: Make, client: FakeClient, size: tuple[int, int]
) -> None:
    app = make_app()
    async with running(app, size) as pilot:
        await sheet_opened(pilot, client)
        assert rows(pilot) == [SMALL, LARGE]
        assert app.screen.query_one(Table).selected == SMALL
        await pilot.press("j")
        await until(pilot, lambda: f"lmx pull {LARGE}" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, HubDialog))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, PullSheet))
        await pilot.press("enter")
        await until(pilot, lambda: ("pull", SMALL) in client.calls)
        await settled(pilot)
        assert len(app.screen_stack) == 1 and app.current_mode == "models"


async def test_chat_opens_when_the_pull_has_ended(make_app: Make, client: FakeClient) -> None:
    client.show(quiet_snapshot())
    app = make_app()
    async with running(app) as pilot:
        await sheet_opened(pilot, client)
        await pilot.press("c")
        await until(pilot, lambda: ("pull", SMALL) in client.calls)
        client.change(downloads=(Download(id="d9", repo=SMALL, state="downloading"),))
        await until(pilot, lambda: "1 active" in str(app.screen.query_one("#pulls").border_subtitle))
        assert app.current_mode == "models"
        model = Model(id=SMALL, path="/m", source="hub", size=23 * GB // 10, context_length=32_768)
        client.change(models=(*quiet_snapshot().models, model), downloads=())
        await until(pilot, lambda: app.current_mode == "chat" and "Qwen3-4B-4bit" in screen_text(app))


async def test_escape_cancels_the_chat_that_would_open(make_app: Make, client: FakeClient) -> None:
    client.show(quiet_snapshot())
    app = make_app()
    async with running(app) as pilot:
        await sheet_opened(pilot, client)
        await pilot.press("c")
        await until(pilot, lambda: "esc cancels that" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "no chat opens after the download" in screen_text(app))
        model = Model(id=SMALL, path="/m", source="hub")
        client.change(models=(*quiet_snapshot().models, model))
        await until(pilot, lambda: "Models  2" in screen_text(app))
        await settled(pilot, 5)
        assert app.current_mode == "models"


def test_wait_for_a_pull_ends_with_its_failure_but_not_with_an_earlier_one() -> None:
    waits = ChatAfterPull()
    failed = Download(id="d1", repo=SMALL, state="failed")
    before = msgspec.structs.replace(quiet_snapshot(), downloads=(failed,))
    waits.begin(f"{SMALL}@main", before)
    assert waits.arrived(before) is None and waits.cancel()
    waits.begin(SMALL, quiet_snapshot())
    assert waits.arrived(before) is None and not waits.cancel()


@pytest.mark.parametrize(
    ("repo", "base"),
    [
        ("maker/Qwen3-8B-4bit", "Qwen3-8B"),
        ("maker/Qwen3-8B-4bit-DWQ", "Qwen3-8B"),
        ("maker/gpt-oss-120b-MXFP4-Q8", "gpt-oss-120b"),
        ("maker/gemma-3-27b-it-qat-4bit", "gemma-3-27b-it-qat"),
        ("maker/phi-4", "phi-4"),
        ("maker/Mistral-7B-v0.3-bf16@main", "Mistral-7B-v0.3"),
        ("maker/4bit", "4bit"),
    ],
)
def test_base_name_is_without_owner_and_quantization(repo: str, base: str) -> None:
    assert base_name(repo) == base


def test_siblings_are_sorted_by_size_and_share_the_base_model() -> None:
    chosen = Offer(id="a/M-7B-8bit", size=7)
    found = [Offer(id="b/M-7B-4bit", size=4), Offer(id="a/M-7B"), Offer(id="a/M-7B-Instruct-4bit", size=4)]
    assert [one.id for one in siblings(chosen, found)] == ["b/M-7B-4bit", "a/M-7B-8bit", "a/M-7B"]
