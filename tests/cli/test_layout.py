"""Widths on a terminal: cells, elision, and the columns of a table that fit."""

import pytest

from lmx_cli.layout import GAP, cells, elided, fitted, shortened

COLUMNS = ("MODEL", "SIZE", "QUANT", "STATE")


def total(widths: dict[str, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def test_wide_characters_take_two_cells() -> None:
    assert cells("abc") == 3 and cells("模型") == 4 and cells("é") == 1


@pytest.mark.parametrize("text", ["mlx-community/Qwen3-8B-4bit", "模型" * 12, "a模" * 10])
@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 16])
def test_elided_text_keeps_both_ends_and_fits(text: str, width: int) -> None:
    for short in (elided(text, width), shortened(text, width)):
        assert cells(short) <= width and "…" in short
    if width >= 7:
        assert elided(text, width)[0] == text[0] and elided(text, width)[-1] == text[-1]


def test_table_that_fits_is_unchanged() -> None:
    assert fitted(COLUMNS, [20, 6, 5, 10], 80, spare=("QUANT",), elide=("MODEL",)) == dict(
        zip(COLUMNS, [20, 6, 5, 10], strict=True)
    )


def test_names_are_elided_before_a_column_is_dropped() -> None:
    widths = fitted(COLUMNS, [60, 6, 5, 10], 60, spare=("QUANT",), elide=("MODEL",))
    assert "QUANT" in widths and total(widths) == 60


def test_columns_are_dropped_in_order_once_names_are_short() -> None:
    widths = fitted(COLUMNS, [60, 6, 5, 10], 38, spare=("QUANT", "SIZE"), elide=("MODEL",))
    assert list(widths) == ["MODEL", "SIZE", "STATE"] and total(widths) <= 38


@pytest.mark.parametrize("room", range(1, 120))
def test_table_exceeds_the_room_only_with_one_column_left(room: int) -> None:
    widths = fitted(COLUMNS, [60, 6, 5, 30], room, spare=("QUANT", "SIZE"), elide=("MODEL", "STATE"))
    assert total(widths) <= room or len(widths) == 1
