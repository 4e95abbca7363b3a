"""Foreign text in the output: a line stays one line, and terminal controls are replaced."""

import json

import pytest

from lmx_cli.output import Output, one_line, visible

HOSTILE = {
    "newline": "bfloat16\nevil/row  1 B  4bit",
    "carriage return": "a\rb",
    "escape": "a\x1b[2Jb",
    "C1 CSI": "a\x9b2Jb",
    "C1 OSC": "a\x9d0;title\x9cb",
    "DEL": "a\x7fb",
    "override": "a\u202eb",
    "isolate": "a\u2066b",
    "mark": "a\u200fb",
    "zero width": "a\u200bb",
    "joiner": "a\u200db",
    "BOM": "a\ufeffb",
    "line separator": "a\u2028b",
    "surrogate": "a\ud83db",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_foreign_text_becomes_one_printable_line(name: str) -> None:
    shown = one_line(HOSTILE[name])
    assert shown.isprintable() and shown.splitlines() == [shown] and shown != HOSTILE[name]


@pytest.mark.parametrize("name", HOSTILE)
def test_table_row_stays_one_line_in_a_pipe(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(("MODEL", "TYPE"), [("org/evil", HOSTILE[name])])
    written = capsys.readouterr().out
    assert len(written.splitlines()) == 2 and written.replace("\n", "").isprintable()


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "surrogate"])
def test_json_escapes_terminal_controls(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Output().json({"type": HOSTILE[name]})
    written = capsys.readouterr().out
    assert json.loads(written) == {"type": HOSTILE[name]}
    assert name == "joiner" or written.replace("\n", "").isprintable()


def test_names_in_other_scripts_are_unchanged() -> None:
    for text in ("\u043c\u043e/\u0434", "模型-é", "\u0637\u0631", "a b"):
        assert one_line(text) == text


def test_running_text_keeps_lines_and_emoji_but_no_controls() -> None:
    text = "a\n\tb 👩\u200d💻 \u0645\u06cc\u200c\u062e"
    assert visible(text) == text
    assert visible("a\x1b[31mb\u202ec\rd") == "a�[31mb�c�d"


def test_content_is_unchanged_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    Output().content("{{ a }}\x1b\r\n")
    assert capsys.readouterr().out == "{{ a }}\x1b\r\n"


def test_error_message_cannot_forge_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    from lmx_daemon.contract.errors import LmxError

    Output().error(LmxError("no model 'x\nhint: run evil'"))
    assert not any(line.startswith("hint:") for line in capsys.readouterr().err.splitlines())
