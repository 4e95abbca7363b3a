"""Topics made from facts: one for each command and each setting that no written topic answers. Pure.

The answer is the help text of the command or the setting, so that a change of the help changes the answer.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from lmx_daemon.settings.keys import Key
from lmx_daemon.settings.writing.edits import toml
from training.facts.facts import CheckoutFacts, CommandFact
from training.facts.mentions import SPAN, commands_in, settings_in
from training.held_out import Topic

LONGEST = 150
"""Characters of a help text that an answer repeats. A longer one ends with its last whole clause."""
PREFIX = ("command ", "setting ")
"""Beginnings of the ids of these topics."""
PLACEHOLDER = re.compile(r"<(key|default) ([a-z_.]+)>|<(agents)>")


def with_generated(written: list[Topic], facts: CheckoutFacts) -> list[Topic]:
    """Return the written topics with their placeholders filled, and the generated ones."""
    topics = [replace(topic, answer=filled(topic.answer, facts)) for topic in written]
    generated = [*of_commands(topics, facts), *of_settings(topics, facts)]
    shared = repeated([*topics, *generated])
    return topics + [without(topic, shared) for topic in generated]


def repeated(topics: list[Topic]) -> set[str]:
    """Return the phrasings and keywords that several topics have."""
    counts = Counter(text for topic in topics for text in {*topic.phrasings, *topic.keywords})
    return {text for text, count in counts.items() if count > 1}


def without(topic: Topic, texts: set[str]) -> Topic:
    """Return a topic without some of its phrasings and keywords."""
    phrasings = [text for text in topic.phrasings if text not in texts]
    return replace(topic, phrasings=phrasings, keywords=[text for text in topic.keywords if text not in texts])


def filled(answer: str, facts: CheckoutFacts) -> str:
    """Return an answer with the keys of bindings, the defaults of settings and the agents that it names.

    `<key models.filter>` is the first key of that binding, `<default server.port>` the default of that setting,
    `<agents>` the list of the agents that `lmx launch` starts. Raises LookupError if there is no such binding or
    setting.
    """

    def value(found: re.Match[str]) -> str:
        kind, name, agents = found.groups()
        if agents:
            return f"{', '.join(facts.agents[:-1])} or {facts.agents[-1]}"
        return facts.keys[name][0] if kind == "key" else value_of(facts.setting(name))

    return PLACEHOLDER.sub(value, answer)


def of_commands(written: list[Topic], facts: CheckoutFacts) -> Iterator[Topic]:
    """Yield a topic for each command that is not the first name in the answer of a written topic.

    A group of commands has none if a written topic answers for one of them.
    """
    first = [path for topic in written for path in list(commands_in(topic.answer, facts))[:1]]
    answered = {" ".join(path.split()[:count]) for path in first for count in (1, 2, 3)}
    for path, command in facts.commands.items():
        if path and path not in answered:
            yield of_command(command)


def of_command(command: CommandFact) -> Topic:
    """Return the topic of one command."""
    path, help = command.path, lowered(shortened(command.summary))
    purpose = SPAN.sub(r"\1", help)
    usage = " ".join(["lmx", path, *command.arguments[:1]])
    flags = sorted(
        option for option in command.options if option.startswith("--") and option not in ("--json", "--yes")
    )
    return Topic(
        id=f"command {path}",
        answer=f"`{usage}`: {help}. `lmx {path} --help` shows all options.",
        thought=f"The question is about lmx {path}.",
        phrasings=[
            f"what does lmx {path} do", f"what is lmx {path} for", f"explain lmx {path}", f"how do I use lmx {path}",
            f"how do I {purpose}", f"which command do I use to {purpose}", f"I want to {purpose}",
            f"lmx {path}", f"the {path} command", f"can I {purpose}", f"{purpose}",
        ],
        keywords=[
            f"lmx {path}", f"{path} command", *clauses(purpose), *flags, *(f"{path} {flag}" for flag in flags),
            *([path] if " " in path else []),
        ],
    )  # fmt: skip


def of_settings(written: list[Topic], facts: CheckoutFacts) -> Iterator[Topic]:
    """Yield a topic for each setting that no written topic names. Those of named tables have one written topic."""
    answered = {path for topic in written for path in settings_in(topic.answer, facts)}
    for path, key in facts.settings.items():
        if path not in answered and not key.named:
            yield of_setting(path, key)


def of_setting(path: str, key: Key) -> Topic:
    """Return the topic of one setting."""
    help, name = lowered(shortened(key.help.partition(". ")[0].removesuffix("."))), key.name.replace("_", " ")
    purpose = SPAN.sub(r"\1", help)
    default = f" Default: {value_of(key)}." if key.default else ""
    return Topic(
        id=f"setting {path}",
        answer=f"`{path}` in `config.toml`: {help}.{default} Change it with `lmx config set`.",
        thought=f"The question is about the setting {path}.",
        phrasings=[
            f"what is {path}", f"what does {path} do", f"explain {path} in the config", f"what does {key.name} mean",
            f"which setting is for the {purpose}", f"how do I set {name}", f"setting for {purpose}",
            f"where do I set {name}", f"change {key.name}", f"default of {path}", f"configure the {purpose}",
        ],
        keywords=[path, key.name, name, f"{name} setting", f"[{key.section}] {key.name}", *clauses(purpose)],
    )  # fmt: skip


def value_of(key: Key) -> str:
    """Return the default of a setting as a person writes it: no quotes, and no fraction where it is zero."""
    return re.sub(r"\.0$", "", toml(key.default).strip('"'))


def shortened(text: str) -> str:
    """Return a text of at most `LONGEST` characters, cut after a clause."""
    while len(text) > LONGEST and (cut := max(text.rfind(sign, 0, -1) for sign in (", ", "; ", ": "))) > 0:
        text = text[:cut]
    return text


def lowered(text: str) -> str:
    """Return a text that begins in lower case, unless its first word is a name in capitals."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def clauses(text: str) -> list[str]:
    """Return the parts of a help text that stand between signs and small words, of two to six words each."""
    parts = re.split(r"[,;:().]|\b(?:and|or|that|which|if|after|from|in|of|with|for|to|at)\b", text)
    found = [" ".join(part.split()) for part in parts]
    return sorted({part for part in found if 2 <= len(part.split()) <= 6})
