r"""The text of tool calls as it arrives, and what a family's reader can do with it.

A reader is a generator over a `CallSource`. It waits for text inside of the methods of the source, which are generators
too, so that it is written as if the whole text were there. The result of a method depends on the text alone and not on
how the text was cut into pieces. Each character is looked at a bounded number of times.

The module is long because the methods of the source share one text and one place in it.
"""

import json
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lmx_daemon.contract.text import valid_text
from lmx_daemon.engines.mlx.text.families.json_escape import escape_at

T = TypeVar("T")
Wait = Generator[None, None, T]
"""A method of a source: it yields if it needs more text, and returns T."""
CallReading = Wait[str | None]
"""A reader at work. It returns the name of the state in which the answer continues; None is the state before it."""

SPACE = re.compile(r"\s*")
STRUCTURE = re.compile(r'["{}\[\]]')
STRING_END = re.compile(r'["\\]')
CALL_LIST = re.compile(r"\[\s{0,16}[A-Za-z_][\w.-]{0,127}\(")
CALL_LIST_BEGUN = re.compile(r"\[(?:\s{0,16}(?:[A-Za-z_][\w.-]{0,127})?)?\Z")
PYTHON_STRUCTURE = {
    "": re.compile(r"[\"'()\[\]{}]"),
    '"': re.compile(r'["\\]'),
    "'": re.compile(r"['\\]"),
}
SCALAR = re.compile(r"[\w.+-]*")


class NotACall(ValueError):
    """The text is not what the family writes."""


class EndOfText(Exception):
    """The answer has ended, and the reader needs more text."""


@dataclass
class CallPart:
    """Part of a tool call: its beginning with a name, or arguments."""

    name: str | None = None
    id: str | None = None
    arguments: str = ""


class CallSource:
    """Text between a family's markers. The parser feeds it; the reader takes from it and emits parts of calls."""

    def __init__(self) -> None:
        self._text = ""
        self._place = 0
        self._ended = False
        self._cut = False
        self.parts: list[CallPart] = []
        """Parts that the parser has not taken yet."""
        self.begun = 0
        """Number of calls that have begun."""
        self.open = False
        """Whether the arguments of the last call are still being written."""

    def feed(self, text: str) -> None:
        """Append text."""
        self._text = self._text[self._place :] + text
        self._place = 0

    def end(self, cut: bool) -> None:
        """Note the end of the answer. With `cut` it ended at its limit of tokens."""
        self._ended, self._cut = True, cut

    def rest(self) -> str:
        """Return the text that the reader has not taken."""
        return self._text[self._place :]

    # ---- calls ----

    def begin(self, name: str, identity: str | None = None) -> None:
        """Emit the beginning of a call. Raises NotACall for an empty name."""
        name = valid_text(name.strip())
        if not name:
            raise NotACall("a call without a name")
        self.begun += 1
        self.open = True
        self.parts.append(CallPart(name=name, id=valid_text(identity) if identity else None))

    def write(self, arguments: str) -> None:
        """Emit a part of the arguments of the call that has begun."""
        if not arguments:
            return
        last = self.parts[-1] if self.parts else None
        if last is None:
            self.parts.append(CallPart(arguments=arguments))
        else:
            last.arguments += arguments

    def close(self) -> None:
        """Note that the arguments of the call are complete."""
        self.open = False

    def call(self, name: str, arguments: str, identity: str | None = None) -> None:
        """Emit a whole call."""
        self.begin(name, identity)
        self.write(valid_text(arguments))
        self.close()

    # ---- text ----

    def peek(self) -> Wait[str]:
        """Return the next character without taking it. Raises EndOfText."""
        while self._place >= len(self._text):
            yield from self._more()
        return self._text[self._place]

    def at_end(self) -> Wait[bool]:
        """Return whether the answer ends here."""
        while self._place >= len(self._text):
            if self._ended:
                return True
            yield
        return False

    def space(self) -> Wait[None]:
        """Take white space, if any."""
        while True:
            self._place = SPACE.match(self._text, self._place).end()  # type: ignore[union-attr]  # it always matches
            if self._place < len(self._text) or self._ended:
                return
            yield

    def accept(self, *literals: str) -> Wait[str | None]:
        """Take and return the longest of `literals` that comes next; return None if none does."""
        while True:
            rest = self._text[self._place : self._place + max(map(len, literals))]
            waits = any(len(rest) < len(each) and each.startswith(rest) for each in literals)
            if not waits or self._ended:
                break
            yield
        found = max((each for each in literals if rest.startswith(each)), key=len, default=None)
        self._place += len(found or "")
        return found

    def expect(self, *literals: str) -> Wait[str]:
        """Take and return one of `literals`. Raises NotACall."""
        found = yield from self.accept(*literals)
        if found is None:
            if self._ended and self._place >= len(self._text):
                raise EndOfText
            raise NotACall(f"expected {literals[0]!r}")
        return found

    def match(self, whole: re.Pattern[str], begun: re.Pattern[str]) -> Wait[re.Match[str] | None]:
        """Take what `whole` matches next, or nothing. `begun` matches the text that may still become such a match."""
        while True:
            found = whole.match(self._text, self._place)
            if found is not None or self._ended or begun.match(self._text, self._place) is None:
                break
            yield
        if found is not None:
            self._place = found.end()
        return found

    def until(self, markers: Sequence[str], *, or_end: bool = False, most: int | None = None) -> Wait[tuple[str, str]]:
        """Take the text up to the first of `markers` and that marker; return both.

        With `or_end`, the end of the answer counts as the marker "", unless the limit of tokens cut it off. Otherwise
        raises EndOfText there. Raises NotACall if no marker comes within `most` characters.
        """
        pattern = re.compile("|".join(map(re.escape, sorted(markers, key=len))))
        keep = max(map(len, markers)) - 1
        taken: list[str] = []
        length = 0
        while True:
            found = pattern.search(self._text, self._place)
            until = found.start() if found is not None else max(self._place, len(self._text) - keep)
            if self._ended and found is None:
                until = len(self._text)
            length += until - self._place
            if most is not None and length > most:
                self.put_back("".join(taken))
                raise NotACall(f"no {markers[0]!r} within {most} characters")
            taken.append(self._text[self._place : until])
            self._place = until
            if found is not None:
                self._place = found.end()
                return "".join(taken), found[0]
            if self._ended:
                if or_end and not self._cut:
                    return "".join(taken), ""
                raise EndOfText
            yield

    def skip(self, length: int) -> None:
        """Take `length` characters that `rest` has returned."""
        self._place += length

    def put_back(self, text: str) -> None:
        """Return `text`, which has just been taken, to the front."""
        self._text, self._place = text + self._text[self._place :], 0

    def need_end(self) -> None:
        """Raise EndOfText if the answer ended at its limit of tokens, so that its last part may be incomplete."""
        if self._cut:
            raise EndOfText

    def python_list(self) -> Wait[str]:
        """Take a list in Python's notation and return its text. Raises NotACall if no list of calls begins."""
        header = yield from self.match(CALL_LIST, CALL_LIST_BEGUN)
        if header is None:
            raise NotACall("no list of calls")
        taken, depth, quote = [header[0]], 2, ""
        while True:
            found = PYTHON_STRUCTURE[quote].search(self._text, self._place)
            until = found.end() if found is not None else len(self._text)
            if found is not None and found[0] == "\\":
                until += 1
                while until > len(self._text):
                    yield from self._more()
            taken.append(self._text[self._place : until])
            self._place = until
            if found is None:
                yield from self._more()
            elif found[0] in "\"'":
                quote = "" if quote else found[0]
            elif found[0] != "\\":
                depth += 1 if found[0] in "([{" else -1
                if depth == 0:
                    return "".join(taken)

    # ---- JSON ----

    def string(self) -> Wait[str]:
        """Take a JSON string and return its value. Raises NotACall."""
        if (yield from self.peek()) != '"':
            raise NotACall("expected a string")
        return str(decoded((yield from self.value())))

    def value(self, write: bool = False) -> Wait[str]:
        """Take a JSON value and return its text, or emit it as arguments while it arrives. Raises NotACall.

        Only strings and brackets are followed, so that a value ends where it ends even if it is not valid inside.
        Escapes of lone surrogates, which no encoder accepts, become U+FFFD.
        """
        yield from self.space()
        first = yield from self.peek()
        if first not in '"{[':
            text = yield from self._scalar()
            if write:
                self.write(text)
            return "" if write else text
        pieces: list[str] = []
        depth, inside = 0, False
        while True:
            text, begin, place = self._text, self._place, self._place
            done = False
            while place < len(text) and not done:
                found = (STRING_END if inside else STRUCTURE).search(text, place)
                if found is None:
                    place = len(text)
                elif found[0] == "\\":
                    length, instead = escape_at(text, found.start(), self._ended)
                    if not length:
                        place = found.start()
                        break
                    if instead:
                        pieces.append(text[begin : found.start()] + instead)
                        begin = found.start() + length
                    place = found.start() + length
                else:
                    place = found.end()
                    inside = not inside if found[0] == '"' else inside
                    depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(found[0], 0)
                    done = depth <= 0 and not inside
            pieces.append(text[begin:place])
            self._place = place
            if write:
                self.write(valid_text("".join(pieces)))
                pieces.clear()
            if done:
                return valid_text("".join(pieces))
            yield from self._more()

    def _scalar(self) -> Wait[str]:
        taken: list[str] = []
        while True:
            end = SCALAR.match(self._text, self._place).end()  # type: ignore[union-attr]  # it always matches
            taken.append(self._text[self._place : end])
            self._place = end
            if end < len(self._text) or self._ended:
                break
            yield
        if not (text := "".join(taken)):
            raise NotACall("expected a value")
        return text

    def _more(self) -> Wait[None]:
        if self._ended:
            raise EndOfText
        yield


def decoded(text: str) -> object:
    """Return the value of JSON text. Raises NotACall."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError) as error:
        raise NotACall("not JSON") from error
