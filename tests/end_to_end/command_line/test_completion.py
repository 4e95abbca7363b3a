"""Completion in real shells, with the names of a real daemon and without one."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmx_cli.completion.scripts import SCRIPTS
from tests.end_to_end.running import Daemon, short_home
from tests.pty_harness import Terminal

SHELLS = {
    "bash": ["bash", "--noprofile", "--rcfile"],
    "zsh": ["zsh", "-i"],
    "fish": ["fish", "-i"],
}
PROMPT = "READY>"
STARTS = {
    "bash": f"PS1='{PROMPT} '\nbind 'set enable-bracketed-paste off'\n",
    "zsh": f"PS1='{PROMPT} '\nunsetopt zle_bracketed_paste 2>/dev/null\n",
    "fish": f"function fish_prompt; echo '{PROMPT} '; end\nset -g fish_greeting\n",
}


@pytest.fixture
def user() -> Path:
    """Return the home folder of a user, with a program `lmx` on its PATH."""
    folder = short_home()
    (folder / "bin").mkdir()
    program = folder / "bin" / "lmx"
    program.write_text(f"#!{sys.executable}\nfrom lmx_cli.main import main\nmain()\n")
    program.chmod(0o755)
    return folder


def environment(user: Path, home: Path, shell: str) -> dict[str, str]:
    return {
        "HOME": str(user),
        "LMX_HOME": str(home),
        "HF_HUB_CACHE": str(user / "hub"),
        "PATH": f"{user / 'bin'}:/usr/bin:/bin",
        "SHELL": f"/bin/{shell}",
        "TERM": "dumb" if shell == "fish" else "xterm",
        "XDG_CONFIG_HOME": str(user / ".config"),
        "XDG_DATA_HOME": str(user / ".local"),
    }


def start_file(user: Path, shell: str) -> Path:
    file = user / {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/config.fish"}[shell]
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def typed(user: Path, home: Path, shell: str, line: str) -> Iterator[str]:
    """Yield the text of a terminal in which the shell has started, and the line and a Tab have been typed."""
    command = [*SHELLS[shell], *([str(start_file(user, "bash"))] if shell == "bash" else [])]
    with Terminal(command, environment=environment(user, home, shell), size=(100, 30)) as terminal:
        terminal.until(lambda text: PROMPT in text, 60)
        terminal.type(line.encode() + b"\t")
        while True:
            terminal.read(0.1)
            yield terminal.text.rpartition(line)[2] if line in terminal.text else ""


@pytest.mark.parametrize("shell", SCRIPTS)
def test_model_is_completed_in_a_shell_with_the_installed_script(daemon: Daemon, user: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    start_file(user, shell).write_text(STARTS[shell])
    daemon.environment |= environment(user, daemon.home, shell)
    assert daemon.lmx("completion", "--install").returncode == 0
    assert daemon.lmx("--install-completion").returncode == 0
    assert start_file(user, shell).read_text().count(".zfunc" if shell == "zsh" else ".bash_completions") <= 1
    for number, text in enumerate(typed(user, daemon.home, shell, "lmx show tests/tal")):
        if "ker" in text:
            break
        assert number < 400, text
