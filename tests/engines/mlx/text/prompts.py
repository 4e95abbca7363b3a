"""Parts of prompt tests: the chat templates of real families, renderers without a process, and a stand-in tokenizer."""

from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.worker.template_program import environment

BESIDE = Path("shared") / "chat-templates"
PARAMETERS = {"type": "object", "properties": {"b": {"type": "string", "description": "x"}, "a": {"type": "integer"}}}
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def families() -> dict[str, str]:
    """Return the text of each family's template by name; skip the test where the folder is absent."""
    folder = next((above / BESIDE for above in Path(__file__).parents[3:] if (above / BESIDE).is_dir()), None)
    if folder is None:
        pytest.skip("needs the recorded files in ../shared")
    return {file.stem: file.read_text() for file in sorted(folder.glob("*.jinja"))}


class Renderer:
    """TemplateChild without its process: the same environment in this one."""

    patience = 0.0

    def __init__(self) -> None:
        self._environment = environment()
        self._compiled: dict[str, Any] = {}

    def render(self, template: str, variables: dict[str, Any]) -> str:
        if template not in self._compiled:
            self._compiled[template] = self._environment.from_string(template)
        return str(self._compiled[template].render(**variables))


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
