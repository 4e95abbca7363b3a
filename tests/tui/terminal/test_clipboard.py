"""The routes to the clipboard."""

from pathlib import Path

import pytest

from lmx_tui.terminal.clipboard import copy, is_remote, osc52


@pytest.mark.parametrize(("code", "route"), [(0, "copied to tmux"), (1, "sent to the terminal (OSC 52, tmux)")])
async def test_tmux_command_copies_inside_tmux(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, route: str
) -> None:
    program = tmp_path / "tmux"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat > {tmp_path}/text\nexit {code}\n')
    program.chmod(0o755)
    monkeypatch.setenv("TMUX", "/tmp/x")
    monkeypatch.setenv("SSH_TTY", "/dev/pts/9")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    written: list[str] = []
    assert (await copy("grüße", written.append)).startswith(route)
    assert (tmp_path / "arguments").read_text() == "load-buffer -w -\n"
    assert (tmp_path / "text").read_text() == "grüße"
    assert bool(written) == bool(code), "OSC 52 is used only if tmux failed"


@pytest.mark.parametrize("inherited", [{}, {"LANG": "C"}, {"LC_ALL": "de_DE.ISO8859-1", "LC_CTYPE": "C"}])
async def test_pbcopy_has_a_utf_8_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inherited: dict[str, str]
) -> None:
    program = tmp_path / "pbcopy"
    program.write_text(f'#!/bin/sh\necho "$LANG $LC_CTYPE $LC_ALL" > {tmp_path}/locale\ncat > {tmp_path}/text\n')
    program.chmod(0o755)
    for name in ("LANG", "LC_CTYPE", "LC_ALL", "TMUX", "SSH_CONNECTION", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in inherited.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert await copy("grüße 模型", lambda sequence: None, platform="darwin") == "copied with pbcopy"
    assert (tmp_path / "locale").read_text() == "en_US.UTF-8 en_US.UTF-8 \n"
    assert (tmp_path / "text").read_text() == "grüße 模型"


def test_osc_52_is_wrapped_inside_tmux() -> None:
    assert osc52("hi", {}) == "\x1b]52;c;aGk=\a"
    wrapped = osc52("hi", {"TMUX": "/tmp/x"})
    assert wrapped.startswith("\x1bPtmux;\x1b\x1b]52") and wrapped.endswith("\x1b\\")
    assert is_remote({"SSH_CONNECTION": "a"}) and not is_remote({})
