"""Constraints as sources of grammars, and the errors of sources that cannot be compiled. Pure functions on text."""

import json
import re
from dataclasses import dataclass

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.constraint import Constraint, Grammar, JsonSchema, Regex, TextChoice
from lmx_daemon.contract.text import valid_text

MAX_SOURCE = 512 * 1024
"""Limit on the characters of one source."""
WHITESPACE = r" |\n {0,40}|\n\t{0,10}"
"""White space between two parts of JSON: a space, or a new line with its indentation. It is matched once at each place,
so that an answer cannot consist of white space."""
JSON_OPTIONS = {
    "whitespace_flexible": True,
    "whitespace_pattern": WHITESPACE,
    "item_separator": ",",
    "key_separator": ":",
    "lenient": False,
    "coerce_one_of": False,
}
"""Options of the schema compiler. They override those that a schema contains: a lenient compiler ignores keywords."""
KEYWORDS = re.compile(r"Unimplemented keys: \[(.*)\]")
ECHO = re.compile(r"^at \d+\(\d+\): (failed to compile JSON schema: )?|\n *\d+ \|.*", re.DOTALL)
"""Parts of a reason that show the source as the compiler reads it."""
IMPOSSIBLE = "NoExtension"
MAX_REASON = 400


@dataclass(frozen=True)
class AnswerGrammar:
    """A grammar of a whole answer, which is made here."""

    lark: str
    param: str
    """Field of the client's request from which it is made, for errors."""
    whole: bool = False
    """Whether it covers thinking, too."""
    bounds_numbers: bool = True


def source_of(constraint: Constraint | AnswerGrammar) -> tuple[str, str]:
    """Return the kind of a source and its text. Raises RequestError for a source that is too long."""
    match constraint:
        case JsonSchema(schema=schema):
            kind, text = "json_schema", json.dumps(schema, ensure_ascii=False)
        case Regex(pattern=pattern):
            kind, text = "regex", pattern
        case TextChoice(choices=choices):
            kind, text = "lark", "start: " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)
        case AnswerGrammar(lark=lark):
            kind, text = "answer", lark
        case Grammar(lark=lark):
            kind, text = "lark", lark
    if len(text) > MAX_SOURCE:
        raise RequestError(
            f"{constraint.param}: {len(text)} characters; at most {MAX_SOURCE} are allowed", param=constraint.param
        )
    return kind, text


def invalid(constraint: Constraint | AnswerGrammar, reason: str) -> RequestError:
    """Return the error for a constraint that cannot be compiled, by the compiler's reason."""
    kind = {"json_schema": "schema", "regex": "regular expression", "lark": "grammar", "answer": "schema"}[
        source_of(constraint)[0]
    ]
    if (keywords := KEYWORDS.search(reason)) is not None:
        named = keywords[1].replace('"', "'")
        return RequestError(
            f"{constraint.param}: the schema uses keywords that are not supported: {named}",
            param=constraint.param,
            hint="remove them, or describe them in the prompt",
        )
    if IMPOSSIBLE in reason:
        reason = "no text matches it"
    text = " ".join(valid_text(ECHO.sub("", reason)).split())[:MAX_REASON]
    return RequestError(f"{constraint.param}: the {kind} cannot be used: {text}", param=constraint.param)
