"""The graph and its legend."""

import pytest

from lmx_tui.widgets.monitor.graph import BrailleArea, legend, levels, resampled, round_top
from lmx_tui.widgets.monitor.octants import SHAPES


def test_legend_cuts_names_and_keeps_values() -> None:
    parts = [("a", "Qwen3-32B-4bit", "19.1"), ("b", "lmx/guide", "0.1"), ("c", "lmx", "0.2")]
    assert legend(parts, 80) == [[("a", "Qwen3-32B-4bit 19.1"), ("b", "lmx/guide 0.1"), ("c", "lmx 0.2")]]
    assert legend(parts, 26) == [[("a", "Qwen3-32B-4bit 19.1")], [("b", "lmx/guide 0.1"), ("c", "lmx 0.2")]]
    assert legend(parts, 26, lines=1) == [[("a", "Qwen… 19.1"), ("b", "lmx/… 0.1")]]
    narrow = legend(parts, 15)
    assert [[color for color, _ in row] for row in narrow] == [["a"], ["b"], ["c"]]
    assert all(len(text) + 2 <= 15 for row in narrow for _, text in row)
    assert legend(parts, 3) == []


def test_graph_keeps_peaks_and_has_the_newest_sample_at_the_right() -> None:
    assert resampled([1, 2, 3], 3, 6) == [1, 1, 2, 2, 3, 3]
    assert resampled([5, 1, 9, 1], 4, 2) == [5, 9]
    assert resampled([7], 4, 4) == [None, None, None, 7]
    assert levels([None, 0, 0.001, 50, 500], 100, 8) == [0, 0, 1, 4, 8]
    assert [round_top(value) for value in (0, 11, 140.4, 206, 5000)] == [10, 20, 200, 300, 5000]


def test_each_octant_shape_has_one_character_in_the_order_of_unicode() -> None:
    assert len(set(SHAPES)) == 256
    named = {"3": 0x1CD00, "23": 0x1CD01, "123": 0x1CD02, "2345678": 0x1CDE5, "5678": 0x2584, "1357": 0x258C}
    for positions, code in named.items():
        assert ord(SHAPES[sum(1 << int(position) - 1 for position in positions)]) == code, positions


@pytest.mark.parametrize(("symbols", "glyphs"), [("braille", "⣿⣤"), ("octant", "█▄"), ("block", "█▄"), ("ascii", "#:")])
def test_graph_symbols(symbols: str, glyphs: str) -> None:
    area = BrailleArea("memory", symbols)
    area.show([100.0, 100.0], 100.0, 2)
    assert set("".join(area._drawn(2, 2))) == {glyphs[0]}
    area.show([50.0, 50.0], 100.0, 2)
    assert area._drawn(2, 1)[0][0] in glyphs[1] + "."
