"""Rules of an answer: markers, JSON, free text, sequences and alternatives, rendered in Lark's notation. Pure.

A family describes its calls by rules, which do not depend on a tokenizer. A control token in a text becomes that one
token; other text may be cut into tokens in any way. The rendered grammar is llguidance's dialect of Lark.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmx_daemon.engines.mlx.grammar.source import JSON_OPTIONS

ANY = r"(?s:.*)"
ANY_TEXT = f"/{ANY}/"


@dataclass(frozen=True)
class Literal:
    """A fixed text, perhaps with control tokens."""

    text: str


@dataclass(frozen=True)
class Json:
    """A JSON value that a schema accepts."""

    schema: dict[str, Any] | bool


@dataclass(frozen=True)
class Pattern:
    """Text that matches a regular expression. It is as long as possible."""

    regex: str


@dataclass(frozen=True)
class Until:
    """Text that matches `regex`, up to the first marker behind such a text, and the marker."""

    marker: str
    regex: str = ANY


@dataclass(frozen=True)
class AnyText:
    """Any text without control tokens."""


@dataclass(frozen=True)
class OtherToken:
    """Any text, then a control token that does not begin one of these markers.

    A control token that begins a marker is accepted, too, if the text behind it differs from the marker's.
    """

    markers: tuple[str, ...]
    regex: str = ANY


@dataclass(frozen=True)
class Nested:
    """A grammar in Lark's notation, with rules of its own."""

    lark: str


@dataclass(frozen=True)
class Sequential:
    """Rules one after the other."""

    parts: "tuple[GrammarRule, ...]"


@dataclass(frozen=True)
class Either:
    """A choice between several rules."""

    options: "tuple[GrammarRule, ...]"


@dataclass(frozen=True)
class Repeat:
    """A rule `least` to `most` times; without a limit if `most` is None."""

    rule: "GrammarRule"
    least: int = 0
    most: int | None = None


GrammarRule = Literal | Json | Pattern | Until | AnyText | OtherToken | Nested | Sequential | Either | Repeat


def sequence(*parts: GrammarRule | str) -> GrammarRule:
    """Return rules one after the other; a text stands for itself.

    Adjacent texts are joined: of two literals of which one begins the other, the lexer would read the longer.
    """
    joined: list[GrammarRule] = []
    for part in parts:
        for rule in part.parts if isinstance(part, Sequential) else (Literal(part) if isinstance(part, str) else part,):
            last = joined[-1] if joined else None
            if isinstance(rule, Literal) and isinstance(last, Literal):
                joined[-1] = Literal(last.text + rule.text)
            elif rule != Literal(""):
                joined.append(rule)
    return joined[0] if len(joined) == 1 else Sequential(tuple(joined))


def optional(rule: GrammarRule) -> Repeat:
    """Return a rule that may be left out."""
    return Repeat(rule, 0, 1)


def lark_of(rule: GrammarRule, control: Mapping[str, int]) -> str:
    """Return the grammar of an answer. `control` maps the texts of the control tokens to their ids."""
    rendering = Rendering(control)
    start = rendering.expression(rule)
    return "\n".join([f"start: {start}", *rendering.definitions])


@dataclass
class Rendering:
    """A grammar being rendered: expressions, and the definitions that they refer to."""

    control: Mapping[str, int]
    definitions: list[str] = field(default_factory=list)
    names: dict[tuple[str, str], str] = field(default_factory=dict)

    def expression(self, rule: GrammarRule) -> str:
        """Return the expression of a rule."""
        match rule:
            case Literal(text):
                return self._literal(text)
            case Json(schema):
                given = schema if isinstance(schema, dict) else ({} if schema else {"not": {}})
                text = json.dumps(given | {"x-guidance": JSON_OPTIONS}, ensure_ascii=False)
                return self._define("json", f"%json {text}")
            case Pattern(regex):
                return self._define("PATTERN", f"/{escaped(regex)}/")
            case Until(marker, regex):
                return self._until(marker, f"/{escaped(regex)}/")
            case AnyText():
                return self._define("TEXT", ANY_TEXT)
            case OtherToken(markers, regex):
                return self._other_token(markers, f"/{escaped(regex)}/")
            case Nested(lark):
                return f"%lark {{\n{lark}\n}}"
            case Sequential(parts):
                return " ".join(filter(None, map(self.expression, parts))) or '""'
            case Either(options):
                return f"({' | '.join(self._define('option', self.expression(each)) for each in options)})"
            case Repeat(inner, least, most):
                limit = "*" if (least, most) == (0, None) else f"{{{least},{'' if most is None else most}}}"
                return self._define("repeated", self.expression(inner)) + limit

    def _define(self, kind: str, body: str) -> str:
        """Return the name of a rule, or of a terminal, with this body. Equal ones share a name."""
        name = self.names.setdefault((kind, body), f"{kind}{len(self.names)}")
        if len(self.names) > len(self.definitions):
            self.definitions.append(f"{name}{'[lazy]' if kind == 'until' else ''}: {body}")
        return name

    def _pieces(self, text: str) -> list[str]:
        """Return a text cut at its control tokens, which are pieces of their own."""
        known = sorted((token for token in self.control if token in text), key=len, reverse=True)
        return [piece for piece in re.split(f"({'|'.join(map(re.escape, known))})", text) if piece] if known else [text]

    def _literal(self, text: str) -> str:
        return " ".join(self._token(piece) or quoted(piece) for piece in self._pieces(text) if piece)

    def _token(self, text: str) -> str:
        return f"<[{self.control[text]}]>" if text in self.control else ""

    def _until(self, marker: str, regex: str) -> str:
        """Return free text and its marker.

        A marker without control tokens ends the text at its first place. Free text holds no control token, so that
        one ends it by itself; what stands in front of it in the marker is then the end of the text.
        """
        pieces = self._pieces(marker)
        first = next((place for place, piece in enumerate(pieces) if piece in self.control), None)
        before = "".join(pieces[:first])
        text = self._define("TEXT", f"{regex} {quoted(before)}" if before else regex)
        if first is not None:
            return f"{text} {self._literal(''.join(pieces[first:]))}"
        return self._define("until", text)

    def _other_token(self, markers: Sequence[str], regex: str) -> str:
        text = self._define("TEXT", regex)
        begun: dict[str, list[str]] = {}
        for token, behind in filter(None, map(self._first_token, markers)):
            begun.setdefault(token, []).append(behind)
        others = sorted(identity for token, identity in self.control.items() if token not in begun)
        options = [f"{text} <[{','.join(map(str, others))}]>"] if others else []
        for token, texts in begun.items():
            if all(texts):
                other = self._define("OTHER", f"/{escaped(diverging(texts))}/")
                options.append(f"{text} {self._literal(token)} {other}")
        return f"({' | '.join(options)})" if options else "NOTHING"

    def _first_token(self, marker: str) -> tuple[str, str] | None:
        """Return the first control token of a marker, and the text behind it up to the next one."""
        pieces = [*self._pieces(marker), ""]
        place = next((place for place, piece in enumerate(pieces) if piece in self.control), None)
        if place is None:
            return None
        return pieces[place], "" if pieces[place + 1] in self.control else pieces[place + 1]


def quoted(text: str) -> str:
    """Return a text as a literal of Lark."""
    return json.dumps(text, ensure_ascii=False)


def diverging(texts: Sequence[str]) -> str:
    """Return a pattern of beginnings of texts, each up to the first letter in which it differs from all of `texts`."""
    begun = {text[:length] for text in texts for length in range(len(text))}
    options = []
    for beginning in sorted(begun):
        following = {text[len(beginning)] for text in texts if text.startswith(beginning) and text != beginning}
        options.append(f"{re.escape(beginning)}[^{''.join(map(re.escape, sorted(following)))}]")
    return "|".join(options)


def escaped(regex: str) -> str:
    """Return a regular expression as it stands between slashes."""
    return re.sub(r"\\.|/", lambda found: r"\/" if found[0] == "/" else found[0], regex, flags=re.DOTALL)
