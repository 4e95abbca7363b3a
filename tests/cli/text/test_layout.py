"""Widths on a terminal: cells, elision, and the columns of a table that fit."""

import pytest

from lmx_cli.text.layout import GAP, cells, elided, filled, fitted, progress_line, shortened

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


def test_columns_of_lesser_names_are_elided_before_a_column_is_dropped() -> None:
    widths = fitted(COLUMNS, [60, 6, 5, 10], 60, spare=("QUANT",), elide=("MODEL",))
    assert "QUANT" in widths and total(widths) == 60


def test_name_of_a_row_stays_whole_while_columns_can_be_dropped() -> None:
    widths = fitted(COLUMNS, [34, 6, 5, 10], 60, spare=("QUANT",), elide=("STATE",), name="MODEL")
    assert widths == {"MODEL": 34, "SIZE": 6, "STATE": 10}
    widths = fitted(COLUMNS, [60, 6, 5, 10], 80, spare=("QUANT",), elide=(), name="MODEL")
    assert widths == {"MODEL": 53, "SIZE": 6, "QUANT": 5, "STATE": 10}


def test_longer_name_of_a_row_is_elided_to_a_share_of_the_width() -> None:
    widths = fitted(COLUMNS, [90, 6, 5, 10], 60, spare=("QUANT",), elide=(), name="MODEL")
    assert widths == {"MODEL": 40, "SIZE": 6, "STATE": 10} and total(widths) == 60


def test_columns_are_dropped_in_order_once_names_are_short() -> None:
    widths = fitted(COLUMNS, [60, 6, 5, 10], 38, spare=("QUANT", "SIZE"), elide=("MODEL",))
    assert list(widths) == ["MODEL", "SIZE", "STATE"] and total(widths) <= 38


@pytest.mark.parametrize("room", range(1, 120))
def test_table_exceeds_the_room_only_with_one_column_left(room: int) -> None:
    widths = fitted(COLUMNS, [60, 6, 5, 30], room, spare=("QUANT", "SIZE"), elide=("MODEL", "STATE"))
    assert total(widths) <= room or len(widths) == 1


@pytest.mark.parametrize("width", range(20, 120, 7))
@pytest.mark.parametrize("fraction", [None, 0.0, 0.37, 1.0])
def test_progress_line_fits_and_names_its_model(width: int, fraction: float | None) -> None:
    details = ["1.1 GB of 2.5 GB", "84.0 MB/s", "ETA 17s"]
    for name in ("org/Qwen3-4B", "org/" + "long-name-" * 20, "模型/" + "模" * 60):
        for ascii_only in (False, True):
            line = progress_line(name, fraction, details, width, ascii_only=ascii_only)
            assert cells(line) <= width
            assert line[0] == name[0]
    if width > 60:
        assert progress_line("org/m", 0.5, details, width, ascii_only=True).startswith("org/m ######------  50% 1.1 GB")
        assert "██████░░░░░░" in progress_line("org/m", 0.5, details, width, ascii_only=False)


def test_running_text_is_cut_between_words() -> None:
    assert filled("the daemon continues to load it", 16, indent="  ") == ["the daemon", "  continues to", "  load it"]
    path = "/a/very/long/path/that/is/wider/than/the/terminal"
    assert filled(f"see {path} there", 20) == ["see", path, "there"]
    assert filled("a b", 10, head="name   ") == ["name   a b"]
