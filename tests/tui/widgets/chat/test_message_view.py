"""MessageView: drawing of a growing message, and selection."""

import pytest
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.geometry import Offset
from textual.selection import Selection

from lmx_tui.theme import load_themes
from lmx_tui.widgets.chat.message_view import MessageView

TEXT = """# A heading

Words **bold** and `code`.

1. one

2. two

```python
def f(x):
    return [x]
```

| a | b |
|---|---|
| 1 | 2 |

The end.
"""


class Holder(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.view = MessageView()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return load_themes()[0][0].variables

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield self.view


def lines(view: MessageView) -> list[str]:
    return [view.render_line(y).text.rstrip() for y in range(view.size.height)]


async def test_growing_message_ends_as_the_whole_message_is_drawn() -> None:
    grown, whole = Holder(), Holder()
    async with whole.run_test(size=(60, 40)) as pilot:
        whole.view.append(TEXT)
        await whole.view.finish()
        await pilot.pause()
        expected = lines(whole.view)
    async with grown.run_test(size=(60, 40)) as pilot:
        for at in range(0, len(TEXT), 7):
            grown.view.append(TEXT[at : at + 7])
            await pilot.pause(0)
        await grown.view.finish()
        await pilot.pause()
        assert lines(grown.view) == expected
    assert any("def f(x):" in line for line in expected)
    assert grown.view.source == TEXT


async def test_only_the_tail_is_drawn_again() -> None:
    app = Holder()
    async with app.run_test(size=(60, 40)) as pilot:
        app.view.append("first paragraph\n\nsecond one\n\nthird")
        await pilot.pause()
        kept = list(app.view._done)
        app.view.append(" goes on")
        assert len(kept) > 0
        assert all(one is other for one, other in zip(kept, app.view._done, strict=False))


@pytest.mark.parametrize("mark", ["```", "~~~~"])
async def test_long_open_fence_is_drawn_in_parts_and_ends_as_one_block(mark: str) -> None:
    app, whole = Holder(), Holder()
    code = f"{mark}python\n" + "".join(f"line_{n} = {n}\n" for n in range(300)) + f"{mark}\n\nafter the code\n"
    async with app.run_test(size=(60, 40)) as pilot:
        for at in range(0, len(code) - 90, 50):
            app.view.append(code[at : at + 50])
        assert len(app.view._tail) < 3000, "most lines are final"
        text = "\n".join(strip.text.rstrip() for strip in app.view._done + app.view._tail_strips)
        assert all(f"line_{n} = {n}\n" in text + "\n" for n in range(280))
        app.view.append(code[app.view.received :])
        assert app.view._tail_fence is None, "the fence has ended"
        await app.view.finish()
        await pilot.pause()
        streamed = lines(app.view)
    async with whole.run_test(size=(60, 40)) as pilot:
        whole.view.append(code)
        await whole.view.finish()
        await pilot.pause()
        assert streamed == lines(whole.view)


async def test_change_of_width_or_theme_redraws() -> None:
    app = Holder()
    async with app.run_test(size=(80, 24)) as pilot:
        app.view.append("word " * 40)
        await pilot.pause()
        before = app.view.size.height
        await pilot.resize_terminal(40, 24)
        await pilot.pause()
        assert app.view.size.height > before
        app.theme = "textual-light"
        await pilot.pause()
        assert "word word" in lines(app.view)[0]


async def test_selection_returns_text() -> None:
    app = Holder()
    async with app.run_test(size=(60, 20)) as pilot:
        app.view.append("alpha beta\n\ngamma")
        await pilot.pause()
        selected = app.view.get_selection(Selection(Offset(6, 0), Offset(5, 2)))
        assert selected is not None and selected[0] == "beta\n\ngamma"


async def test_wide_characters_and_tabs_keep_the_width() -> None:
    app = Holder()
    async with app.run_test(size=(40, 20)) as pilot:
        app.view.append("你好世界 " * 12 + "\n\n```\n\tx\t你\n```\n")
        await pilot.pause()
        widths = {app.view.render_line(y).cell_length for y in range(app.view.size.height)}
        assert widths == {app.view.content_size.width}
