"""How lmx was installed, and which commands update and remove it."""

import json
from pathlib import Path

import pytest

from lmx_cli.installation.facts import facts_of
from lmx_cli.installation.origin import InstallationFacts, commands_for

PYTHON = "/env/bin/python"
LOCAL = json.dumps({"url": "file:///src/lmx", "dir_info": {"editable": True}})
GIT = json.dumps({"url": "https://example.org/lmx.git", "vcs_info": {"vcs": "git", "commit_id": "0" * 40}})


def facts(**more: object) -> InstallationFacts:
    return InstallationFacts(**{"python": PYTHON, "prefix": Path("/env"), **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "origin", "update", "uninstall"),
    [
        (facts(receipts=("uv-receipt.toml",)), "uv tool", "uv tool upgrade lmx", "uv tool uninstall lmx"),
        (facts(receipts=("pipx_metadata.json",)), "pipx", "pipx upgrade lmx", "pipx uninstall lmx"),
        (
            facts(prefix=Path("/opt/homebrew/Cellar/lmx/1.0/libexec")),
            "Homebrew",
            "brew upgrade lmx",
            "brew uninstall lmx",
        ),
        (facts(), "pip", f"{PYTHON} -m pip install --upgrade lmx", f"{PYTHON} -m pip uninstall -y lmx"),
        (
            facts(installer="uv"),
            "uv pip",
            f"uv pip install --python {PYTHON} --upgrade lmx",
            f"uv pip uninstall --python {PYTHON} lmx",
        ),
        (facts(editable=True, source="file:///src/lmx"), "checkout", "", f"{PYTHON} -m pip uninstall -y lmx"),
    ],
)
def test_commands_follow_the_installer(found: InstallationFacts, origin: str, update: str, uninstall: str) -> None:
    commands = commands_for(found)
    assert commands.origin == origin
    assert (" ".join(commands.update), " ".join(commands.uninstall)) == (update, uninstall)
    assert bool(commands.advice) == (not update)


def test_package_that_did_not_come_from_an_index_is_updated_from_where_it_came(tmp_path: Path) -> None:
    found = facts_of(GIT, "pip\n", tmp_path, PYTHON)
    assert commands_for(found).update[-1] == "git+https://example.org/lmx.git"


def test_facts_are_read_from_the_metadata_and_the_environment(tmp_path: Path) -> None:
    (tmp_path / "uv-receipt.toml").touch()
    found = facts_of(LOCAL, "uv\n", tmp_path, PYTHON)
    assert (found.editable, found.source, found.installer) == (True, "file:///src/lmx", "uv")
    assert commands_for(found).origin == "uv tool"


@pytest.mark.parametrize("text", [None, "", "[]", "{", '{"url": 3, "dir_info": []}', '{"vcs_info": {"vcs": 1}}'])
def test_damaged_metadata_count_as_none(tmp_path: Path, text: str | None) -> None:
    assert facts_of(text, None, tmp_path, PYTHON) == facts(prefix=tmp_path)
