"""Candidates for the last word of a command line: a command, an option, a choice, or a name of some kind. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from lmx_cli.help import choices_of
from lmx_cli.verbs import HELP, SERVER, VERBS, translated

NameKind = Literal[
    "model", "chat", "loaded", "stored", "alias", "preset", "setting", "value", "pull", "agent", "report"
]
"""Kind of names: installed models with aliases; the same with presets; loaded models; models with stored prompts;
aliases; presets; settings; values of a setting; pulls; agents; reports of benchmarks."""
NAMED: Mapping[str, NameKind] = {
    "alias rm name": "alias",
    "bench compare earlier": "report",
    "bench compare later": "report",
    "bench show name": "report",
    "cache clear model": "stored",
    "chat model": "chat",
    "config get key": "setting",
    "config set key": "setting",
    "config set value": "value",
    "config unset key": "setting",
    "downloads cancel job": "pull",
    "downloads move job": "pull",
    "downloads pause job": "pull",
    "downloads resume job": "pull",
    "downloads retry job": "pull",
    "launch agent": "agent",
    "preset rm name": "preset",
    "preset set name": "preset",
    "preset show name": "preset",
    "unload model": "loaded",
}
"""Command and parameter -> the kind of its names. Any other parameter of the name `model` or `models` takes a model."""
MODEL_PARAMETERS = ("model", "models")
NamesOf = Callable[[NameKind, str], Sequence[str]]
"""Returns the names of a kind; the text is the word before, which a value of a setting depends on."""
WordText = tuple[str, str]
"""A word that can be typed, and its description or "" ."""


def candidates(tree: Any, words: Sequence[str], last: str, names: NamesOf) -> list[WordText]:
    """Return the words that can stand in the place of `last`; none where a file or a free text is expected.

    `words` are those before it, without `lmx`.
    """
    if words[:1] == [HELP]:
        words = words[1:]
    command, path, place = tree, "", 0
    pending: Any = None
    before = ""
    for word in translated(words):
        if pending is not None:
            pending = None
        elif word.startswith("-") and word != "-":
            pending = _valued(command, word)
        elif (inner := getattr(command, "commands", {}).get(word)) is not None:
            command, path, place = inner, f"{path} {word}".strip(), 0
        else:
            place += 1
        before = word
    if pending is not None:
        return _matching(_values(pending, path, before, names), last)
    flag, sign, rest = last.partition("=")
    if sign and flag.startswith("--") and (option := _valued(command, flag)) is not None:
        return [(f"{flag}={word}", text) for word, text in _matching(_values(option, path, before, names), rest)]
    if last.startswith("-"):
        return _matching(_options(command), last)
    found = _subcommands(command) if place == 0 else []
    if not path and place == 0:
        found += [(theirs[0], f"the same as lmx {ours[0]}") for theirs, ours in VERBS.items() if len(theirs) == 1]
        found += [(SERVER, "server start, stop, status"), (HELP, "Show the help of a command")]
    arguments = [each for each in command.params if each.param_type_name == "argument" and not each.hidden]
    if arguments and (place < len(arguments) or arguments[-1].nargs == -1):
        found += _values(arguments[min(place, len(arguments) - 1)], path, before, names)
    return _matching(found, last)


def _valued(command: Any, flag: str) -> Any:
    """Return the option of this name if it takes a value, else None."""
    for each in command.params:
        if each.param_type_name == "option" and flag in each.opts and not each.is_flag:
            return each
    return None


def _values(parameter: Any, path: str, before: str, names: NamesOf) -> list[WordText]:
    if choices := choices_of(parameter):
        return [(word, "") for word in choices]
    kind = NAMED.get(f"{path} {parameter.name}")
    if kind is None and parameter.name in MODEL_PARAMETERS and parameter.metavar != "PATTERN":
        kind = "model"
    return [(name, "") for name in names(kind, before)] if kind is not None else []


def _subcommands(command: Any) -> list[WordText]:
    inner = getattr(command, "commands", {})
    return [(name, each.get_short_help_str(60)) for name, each in sorted(inner.items()) if not each.hidden]


def _options(command: Any) -> list[WordText]:
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    found = [(flag, each.help or "") for each in options for flag in (*each.opts, *each.secondary_opts)]
    return [*((flag, text) for flag, text in found if flag.startswith("--")), ("--help", "Show the help")]


def _matching(found: Sequence[WordText], last: str) -> list[WordText]:
    """Return the candidates that begin with `last`; without any, those that contain it."""
    return [each for each in found if each[0].startswith(last)] or _containing(found, last)


def _containing(found: Sequence[WordText], last: str) -> list[WordText]:
    """Return the only candidate whose name has a part that begins with `last`: qwen3 for org/Qwen3-4B."""
    parts = [each for each in found if last and last.lower() in each[0].lower()]
    return parts if len(parts) == 1 else []
