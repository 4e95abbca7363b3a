"""Text forms of numbers and foreign text."""

from lmx_daemon.contract.errors import ErrorBody
from lmx_tui import formatting


def test_unknown_figures_are_dashes() -> None:
    assert [formatting.rate(0.0), formatting.percent(None)] == ["-"] * 2
    assert [formatting.count(None), formatting.parameters(None)] == ["-"] * 2


def test_an_error_ends_with_its_message_if_it_has_no_hint() -> None:
    error = ErrorBody(code="x", message="the Hub does not answer")
    assert formatting.with_hint(error) == "the Hub does not answer"
    assert formatting.with_hint(ErrorBody(code="x", message="no disk", hint="mount it")) == "no disk. mount it"


def test_names_have_no_zero_width_characters() -> None:
    for character in "\u200b\u200d\ufeff\u202e":
        assert formatting.one_line(f"a{character}b") == "a\ufffdb"


def test_clean_makes_controls_visible() -> None:
    assert formatting.clean("a\x1b[31mb\r\n\tc\x9b") == "a␛[31mb\n\tc�"
    assert formatting.one_line("a\nb\x07") == "a b␇"
