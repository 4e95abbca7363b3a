"""The words that complete a command line."""

from typing import Any

import pytest

from lmx_cli.commands import build
from lmx_cli.completion.answer import split
from lmx_cli.completion.words import MODEL_PARAMETERS, NAMED, NameKind, candidates
from lmx_cli.output import Output

KNOWN: dict[NameKind, list[str]] = {
    "model": ["lmx/guide", "org/Qwen3-4B-4bit", "org/Qwen3-8B-4bit"],
    "chat": ["lmx/guide", "preset:brief"],
    "loaded": ["lmx/guide"],
    "alias": ["code"],
    "setting": ["server.port", "server.host"],
}


@pytest.fixture(scope="module")
def tree() -> Any:
    return build(Output())


def words_for(tree: Any, line: str) -> list[str]:
    asked: list[tuple[str, str]] = []

    def names(kind: NameKind, before: str) -> list[str]:
        asked.append((kind, before))
        return [f"{kind} after {before}"] if kind == "value" else KNOWN.get(kind, [])

    words, last = split(line)
    return [word for word, _ in candidates(tree, words, last, names)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("lmx lo", ["load", "login", "logout", "logs"]),
        ("lmx load ", KNOWN["model"]),
        ("lmx load org/Qwen3-8", ["org/Qwen3-8B-4bit"]),
        ("lmx load qwen3-8", ["org/Qwen3-8B-4bit"]),
        ("lmx load qwen3", []),
        ("lmx load --pin --ttl 3 org/Qwen3-4", ["org/Qwen3-4B-4bit"]),
        ("lmx load --ttl ", []),
        ("lmx load --con", ["--context", "--context-length"]),
        ("lmx load lmx/guide ", []),
        ("lmx unload ", ["lmx/guide"]),
        ("lmx chat p", ["preset:brief"]),
        ("lmx run p", ["preset:brief"]),
        ("lmx help loa", ["load"]),
        ("lmx ls --sort ", ["name", "size", "used", "context", "parameters"]),
        ("lmx ls --sort=si", ["--sort=size"]),
        ("lmx logs --model l", ["lmx/guide"]),
        ("lmx logs --model=l", ["--model=lmx/guide"]),
        ("lmx alias rm ", ["code"]),
        ("lmx alias set x lmx/guide org/Qwen3-4", ["org/Qwen3-4B-4bit"]),
        ("lmx cache ", ["clear", "ls"]),
        ("lmx config set server.p", ["server.port"]),
        ("lmx config set server.port ", ["value after server.port"]),
        ("lmx show 'org/Qwen3-4", ["org/Qwen3-4B-4bit"]),
        ("lmx nosuch ", []),
    ],
)
def test_last_word_of_a_line_is_completed(tree: Any, line: str, expected: list[str]) -> None:
    found = words_for(tree, line)
    assert found == expected


def test_commands_of_other_programs_are_offered_beside_those_of_lmx(tree: Any) -> None:
    found = words_for(tree, "lmx ")
    assert {"get", "run", "server", "help", "pull", "chat"} <= set(found)
    assert "log" not in found


def test_table_of_names_has_parameters_that_exist(tree: Any) -> None:
    def parameters(command: Any, path: str) -> list[str]:
        inner = getattr(command, "commands", {})
        own = [f"{path} {each.name}" for each in command.params]
        return own + [found for name, each in inner.items() for found in parameters(each, f"{path} {name}".strip())]

    known = parameters(tree, "")
    assert set(NAMED) <= set(known)
    assert any(path.endswith(MODEL_PARAMETERS) for path in known)
