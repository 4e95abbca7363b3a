"""A stored picture for each screen and state. `make snapshots` accepts the current ones; look at them first.

Made on Python 3.11. The clock does not advance, the cursor does not blink, the client is scripted, the version fixed.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from lmx_daemon.contract.admin.chats import Append, ChatChange, ChatCreate, NewMessage
from lmx_daemon.contract.generation.events import Loading
from lmx_daemon.settings.schema import Settings, TuiSettings
from lmx_tui.app import LmxApp
from tests.fake_client import FakeClient
from tests.screen_states import NOW, QWEN, answer_of, quiet_snapshot
from tests.tui.conftest import Clock, ask, screen_text, settled, until

pytestmark = pytest.mark.snapshot

Make = Callable[..., LmxApp]
Before = Callable[[Pilot[None]], Awaitable[None]]
SIZES = [(80, 24), (120, 40), (200, 60)]
ANSWER = """Prompt caching **skips** work; batching only *shares* it.

1. **Prefill** of a shared prefix is computed once, its keys and values are kept.
2. A later turn that begins with the same tokens starts at the first new one.

```python
def reuse(prefix, prompt):
    n = common_prefix(prefix.tokens, prompt)
    return prefix.kv[:n], prompt[n:]
```

| | TTFT | tok/s |
|---|---|---|
| cold | 2.31 s | 71 |
| warm | 0.09 s | 71 |

So decode speed is unchanged, only the `time to the first token` is not.
"""
THOUGHT = "The user asks about caching.\nTwo parts: what is skipped, what is shared."


@pytest.fixture(autouse=True)
def _reproducible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.fixture
def client() -> FakeClient:
    from tests.screen_states import busy_snapshot

    return FakeClient(busy_snapshot(), answer_of(ANSWER, reasoning=THOUGHT))


def pressing(*keys: str) -> Before:
    async def before(pilot: Pilot[None]) -> None:
        await settled(pilot)
        for key in keys:
            await pilot.press(key)
            await settled(pilot)

    return before


async def answered(pilot: Pilot[None], sign: str = "93% cached") -> None:
    await settled(pilot)
    await ask(pilot, "Why is prompt caching faster than batching here?")
    await until(pilot, lambda: sign in " ".join(screen_text(pilot.app).split()))
    await settled(pilot, 3)


async def half_answered(pilot: Pilot[None]) -> None:
    await answered(pilot, "84 tok")


async def log_shown(pilot: Pilot[None]) -> None:
    await pressing("f5")(pilot)
    await until(pilot, lambda: "5 models found" in screen_text(pilot.app))


def log_shown_then(*keys: str) -> Before:
    async def before(pilot: Pilot[None]) -> None:
        await log_shown(pilot)
        await pressing(*keys)(pilot)

    return before


@pytest.mark.parametrize("size", SIZES, ids=str)
class TestScreens:
    def test_models(self, snap_compare: Any, make_app: Make, size: tuple[int, int]) -> None:
        assert snap_compare(make_app(), terminal_size=size, run_before=pressing())

    def test_chat_empty(self, snap_compare: Any, make_app: Make, size: tuple[int, int]) -> None:
        assert snap_compare(make_app(), terminal_size=size, run_before=pressing("f3"))

    def test_chat(self, snap_compare: Any, make_app: Make, size: tuple[int, int]) -> None:
        assert snap_compare(make_app(), terminal_size=size, run_before=answered)

    def test_monitor(self, snap_compare: Any, make_app: Make, size: tuple[int, int]) -> None:
        assert snap_compare(make_app(), terminal_size=size, run_before=pressing("f4"))

    def test_logs(self, snap_compare: Any, make_app: Make, size: tuple[int, int]) -> None:
        assert snap_compare(make_app(), terminal_size=size, run_before=log_shown)

    def test_requests(self, snap_compare: Any, make_app: Make, size: tuple[int, int]) -> None:
        assert snap_compare(make_app(), terminal_size=size, run_before=log_shown_then("2", "j"))

    def test_settings(self, snap_compare: Any, make_app: Make, size: tuple[int, int]) -> None:
        assert snap_compare(make_app(), terminal_size=size, run_before=pressing("g", "s", "j"))


class TestStates:
    def test_answer_under_way(self, snap_compare: Any, make_app: Make, client: FakeClient) -> None:
        client.hold_at = 6
        assert snap_compare(make_app(), terminal_size=(80, 24), run_before=half_answered)

    def test_loading(self, snap_compare: Any, make_app: Make, client: FakeClient) -> None:
        async def before(pilot: Pilot[None]) -> None:
            await ask(pilot)
            await until(pilot, lambda: "41% 0.00 s · weights" in screen_text(pilot.app))

        client.answer = [Loading(id="", model=QWEN, fraction=0.41, stage="weights")] * 2
        client.hold_at = 1
        assert snap_compare(make_app(), terminal_size=(80, 24), run_before=before)

    def test_just_started(self, snap_compare: Any, make_app: Make, client: FakeClient) -> None:
        client.show(quiet_snapshot())
        assert snap_compare(make_app(), terminal_size=(80, 24), run_before=pressing("f4"))

    def test_no_daemon(self, snap_compare: Any, make_app: Make, client: FakeClient) -> None:
        async def before(pilot: Pilot[None]) -> None:
            await until(pilot, lambda: "Start it" in screen_text(pilot.app))

        client.up = False
        assert snap_compare(make_app(retries=(30.0,)), terminal_size=(80, 24), run_before=before)

    def test_offline(self, snap_compare: Any, make_app: Make, client: FakeClient, clock: Clock) -> None:
        async def before(pilot: Pilot[None]) -> None:
            await settled(pilot)
            clock.now += 12
            client.go_down()
            await until(pilot, lambda: pilot.app.screen.has_class("-stale"))

        assert snap_compare(make_app(retries=(4.0,)), terminal_size=(120, 40), run_before=before)

    @pytest.mark.parametrize("size", [(80, 24)], ids=str)
    def test_first_run(self, snap_compare: Any, make_app: Make, client: FakeClient, size: tuple[int, int]) -> None:
        async def before(pilot: Pilot[None]) -> None:
            await until(pilot, lambda: "everyday work: thinks when asked to" in screen_text(pilot.app))
            await settled(pilot, 3)

        client.show(quiet_snapshot())
        assert snap_compare(make_app(), terminal_size=size, run_before=before)

    def test_tiny(self, snap_compare: Any, make_app: Make) -> None:
        assert snap_compare(make_app(), terminal_size=(50, 14), run_before=pressing())

    def test_too_small(self, snap_compare: Any, make_app: Make) -> None:
        assert snap_compare(make_app(), terminal_size=(38, 9), run_before=pressing())


class TestColors:
    def test_paper_models(self, snap_compare: Any, make_app: Make) -> None:
        app = make_app(Settings(tui=TuiSettings(theme="paper")))
        assert snap_compare(app, terminal_size=(120, 40), run_before=pressing())

    def test_paper_chat(self, snap_compare: Any, make_app: Make) -> None:
        app = make_app(Settings(tui=TuiSettings(theme="paper")))
        assert snap_compare(app, terminal_size=(120, 40), run_before=answered)

    def test_harbor_monitor(self, snap_compare: Any, make_app: Make) -> None:
        app = make_app(Settings(tui=TuiSettings(theme="harbor", symbols="block")))
        assert snap_compare(app, terminal_size=(120, 40), run_before=pressing("f4"))

    def test_no_color(self, snap_compare: Any, make_app: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        app = make_app(Settings(tui=TuiSettings(symbols="ascii")))
        assert snap_compare(app, terminal_size=(80, 24), run_before=pressing("f4"))


class TestDialogs:
    def test_help(self, snap_compare: Any, make_app: Make) -> None:
        assert snap_compare(make_app(), terminal_size=(80, 24), run_before=pressing("question_mark"))

    def test_request(self, snap_compare: Any, make_app: Make) -> None:
        assert snap_compare(make_app(), terminal_size=(80, 24), run_before=log_shown_then("2", "j", "enter"))

    def test_keymap(self, snap_compare: Any, make_app: Make) -> None:
        assert snap_compare(make_app(), terminal_size=(80, 24), run_before=pressing("g", "s", "2", "enter", "f3"))

    def test_incidents(self, snap_compare: Any, make_app: Make) -> None:
        assert snap_compare(make_app(), terminal_size=(80, 24), run_before=pressing("f4", "i"))

    def test_confirm(self, snap_compare: Any, make_app: Make) -> None:
        assert snap_compare(make_app(), terminal_size=(80, 24), run_before=pressing("x"))

    def test_pull(self, snap_compare: Any, make_app: Make) -> None:
        assert snap_compare(make_app(), terminal_size=(80, 24), run_before=pressing("p"))

    @pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=str)
    def test_load(self, snap_compare: Any, make_app: Make, client: FakeClient, size: tuple[int, int]) -> None:
        async def before(pilot: Pilot[None]) -> None:
            await pressing("j", "j", "enter")(pilot)
            model = "mlx-community/gemma-3-27b-it-qat-4bit"
            await until(pilot, lambda: client.plans.count(model) == 2)  # for the pane and for the sheet
            await until(pilot, lambda: "after load" in screen_text(pilot.app))
            await settled(pilot, 3)

        assert snap_compare(make_app(), terminal_size=size, run_before=before)

    @pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=str)
    def test_pull_sheet(self, snap_compare: Any, make_app: Make, client: FakeClient, size: tuple[int, int]) -> None:
        async def before(pilot: Pilot[None]) -> None:
            await pressing("p")(pilot)
            await until(pilot, lambda: "✓ unload" in screen_text(pilot.app))
            await pressing("down", "enter")(pilot)
            await until(pilot, lambda: "lmx pull mlx-community/Qwen3-4B-4bit" in screen_text(pilot.app))
            await until(pilot, lambda: client.searches)
            await settled(pilot, 3)

        assert snap_compare(make_app(), terminal_size=size, run_before=before)

    @pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=str)
    def test_card(self, snap_compare: Any, make_app: Make, size: tuple[int, int]) -> None:
        async def before(pilot: Pilot[None]) -> None:
            await pressing("m")(pilot)
            await until(pilot, lambda: "Converted for MLX from the" in screen_text(pilot.app))
            await settled(pilot, 3)

        assert snap_compare(make_app(), terminal_size=size, run_before=before)

    def test_themes(self, snap_compare: Any, make_app: Make) -> None:
        assert snap_compare(make_app(), terminal_size=(80, 24), run_before=pressing("ctrl+t"))

    def test_filter(self, snap_compare: Any, make_app: Make) -> None:
        assert snap_compare(make_app(), terminal_size=(80, 24), run_before=pressing("slash", "q", "w", "e"))


async def kept(client: FakeClient) -> None:
    """Store chats of earlier days."""
    chats = (
        ("why do whales surface?", "They breathe air; the blowhole opens for a second.", ()),
        ("Write a regex for ISO dates", "Use `\\d{4}-\\d{2}-\\d{2}`.", ("work", "regex")),
        ("Rust lifetimes, short", "A lifetime names the scope for which a reference is valid.", ()),
    )
    client.kept.now = NOW - 3 * 86_400
    for question, answer, tags in chats:
        chat = (await client.kept.chats.create(ChatCreate(model=QWEN, tags=tags))).id
        messages = (NewMessage(role="user", text=question), NewMessage(role="assistant", text=answer, model=QWEN))
        await client.kept.chats.append(chat, Append(messages=messages))
        client.kept.now += 80_000
    await client.kept.chats.change(chat, ChatChange(pinned=True))
    client.kept.now = NOW


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)], ids=str)
class TestChats:
    def test_list(self, snap_compare: Any, make_app: Make, client: FakeClient, size: tuple[int, int]) -> None:
        async def before(pilot: Pilot[None]) -> None:
            await kept(client)
            await answered(pilot)
            await pilot.press("ctrl+l")
            await until(pilot, lambda: "whales" in screen_text(pilot.app), 20.0)

        assert snap_compare(make_app(), terminal_size=size, run_before=before)

    def test_cursor(self, snap_compare: Any, make_app: Make, client: FakeClient, size: tuple[int, int]) -> None:
        async def before(pilot: Pilot[None]) -> None:
            await kept(client)
            await answered(pilot)
            await pilot.press("ctrl+r")
            await until(pilot, lambda: "[2/2]" in screen_text(pilot.app), 20.0)
            await pilot.press("escape")
            await until(pilot, lambda: "r Again" in screen_text(pilot.app), 20.0)

        assert snap_compare(make_app(), terminal_size=size, run_before=before)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=str)
class TestTwoModels:
    def test_answers(self, snap_compare: Any, make_app: Make, client: FakeClient, size: tuple[int, int]) -> None:
        other = "mlx-community/Qwen3-32B-4bit"
        client.answers = {other: answer_of("Caching **skips** work.\n\n- It needs memory.\n- Batching needs none.")}

        async def before(pilot: Pilot[None]) -> None:
            await settled(pilot)
            await ask(pilot, f"/compare {other}")
            await until(pilot, lambda: "also asks" in screen_text(pilot.app))
            await ask(pilot, "Why is prompt caching faster?")
            sign, count = ("[1/2]", 1) if size[0] < 100 else ("93%", 2)
            await until(pilot, lambda: screen_text(pilot.app).count(sign) == count)
            await until(pilot, lambda: "TTFT" in screen_text(pilot.app))
            await pilot.press("escape")
            await until(pilot, lambda: "r Again" in screen_text(pilot.app))
            await settled(pilot, 3)

        assert snap_compare(make_app(), terminal_size=size, run_before=before)


class TestChatDialogs:
    def test_parameters(self, snap_compare: Any, make_app: Make) -> None:
        async def before(pilot: Pilot[None]) -> None:
            await pressing("f3", "ctrl+o")(pilot)
            await until(pilot, lambda: "0.6 (model)" in screen_text(pilot.app))
            await settled(pilot)

        assert snap_compare(make_app(), terminal_size=(80, 24), run_before=before)

    def test_commands(self, snap_compare: Any, make_app: Make) -> None:
        assert snap_compare(make_app(), terminal_size=(80, 24), run_before=pressing("f3", "slash"))
