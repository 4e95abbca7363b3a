"""White space around the interruptions of a text: reasoning, a tool call, or the end. Text only, no markers."""


class TextChannel:
    """One of an answer's texts (content or reasoning) with the white space at its edges decided.

    Around an interruption the longest run of white space is kept, once, and only where text stands on both sides; a
    newline separates where there was none. Any cutting of the text into pieces gives the same result.
    """

    def __init__(self, *, hold: bool, strip: bool) -> None:
        """Create a channel. `hold` keeps white space back until text follows it; `strip` drops what is in front."""
        self._hold = hold
        self._cut = strip
        """Whether no text has followed the last interruption yet."""
        self._run = ""
        """White space that is held back until text follows."""
        self._gap = ""
        """Longest run of white space around the interruption."""
        self._last = ""
        """Last character that was emitted."""

    def take(self, text: str) -> str:
        """Add `text` and return what can be emitted."""
        if not self._hold and not self._cut:  # the usual content, at every token
            self._last = text[-1:] or self._last
            return text
        text, self._run = self._run + text, ""
        if self._cut:
            body = text.lstrip()
            if not body:
                self._run = text
                return ""
            text = self._joint(text[: len(text) - len(body)]) + body
            self._cut, self._gap = False, ""
        if self._hold:
            kept = text.rstrip()
            self._run, text = text[len(kept) :], kept
        self._last = text[-1:] or self._last
        return text

    def interrupt(self) -> None:
        """Record an interruption at this position of the answer."""
        self._gap, self._run = max(self._gap, self._run, key=len), ""
        self._cut = True

    def rest(self) -> str:
        """Return the white space at the end of the answer. It is "" after an interruption."""
        return "" if self._cut else self._run

    def _joint(self, lead: str) -> str:
        if not self._last or self._last.isspace():
            return ""
        return max(self._gap, lead, key=len) or "\n"
