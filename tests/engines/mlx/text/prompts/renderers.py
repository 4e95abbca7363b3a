"""Parts of prompt tests: chat templates of the families, renderers without a process, and a stand-in tokenizer."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.worker.template_program import environment

WRITTEN = Path(__file__).parents[4] / "templates"
RECORDED = Path("shared") / "chat-templates"
PARAMETERS = {"type": "object", "properties": {"b": {"type": "string", "description": "x"}, "a": {"type": "integer"}}}
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def written_templates() -> dict[str, str]:
    """Return the templates of tests/templates by name. Each has the markers and the structure of one model family."""
    return templates_in(WRITTEN)


def recorded_templates() -> dict[str, str]:
    """Return the templates of published models by name; skip the test where their folder is absent."""
    folder = next((above / RECORDED for above in WRITTEN.parents[1:] if (above / RECORDED).is_dir()), None)
    if folder is None:
        pytest.skip("needs the recorded files in ../shared")
    return templates_in(folder)


def templates_in(folder: Path) -> dict[str, str]:
    """Return the text of each template of a folder by its file's stem."""
    found = {file.stem: file.read_text() for file in sorted(folder.glob("*.jinja"))}
    assert found, f"no templates in {folder}"
    return found


Templates = Callable[[], dict[str, str]]
each_source = pytest.mark.parametrize("templates", [written_templates, recorded_templates])
"""Runs a test with the templates of this repository, and with those of published models where they are present."""


class Renderer:
    """TemplateChild without its process: the same environment in this one."""

    patience = 0.0

    def __init__(self) -> None:
        self._environment = environment()
        self._compiled: dict[str, Any] = {}
        self.variables: dict[str, Any] = {}
        """Variables of the last rendering that was no probe."""

    def render(self, template: str, variables: dict[str, Any]) -> str:
        if "Zqone" not in str(variables["messages"]):
            self.variables = copy.deepcopy(variables)
        try:
            if template not in self._compiled:
                self._compiled[template] = self._environment.from_string(template)
            return str(self._compiled[template].render(**variables))
        except Exception as error:  # foreign code, as in the child
            reason = f"{type(error).__name__}: {error}"
            raise RequestError(f"the model's chat template refused: {reason}", param="messages") from error


class Letters:
    """A tokenizer with one token for each character, and no special ones."""

    special_tokens_map = SPECIAL
    added_tokens_decoder: dict[int, Any] = {}
    think_start = think_end = tool_call_start = tool_call_end = None
    structural_markers = ()

    def __init__(self, template: str = "") -> None:
        self.chat_template = template

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [ord(letter) for letter in text]
