"""An envelope of an answer while its text arrives: a family's reader, and the text of an envelope without a call."""

from lmx_daemon.engines.mlx.text.families.family import Envelope, Tools
from lmx_daemon.engines.mlx.text.families.source import CallPart, CallSource, EndOfText, NotACall


class OpenEnvelope:
    """State of one envelope. Once it has emitted a call, nothing turns it back into text."""

    def __init__(self, envelope: Envelope, tools: Tools) -> None:
        self.envelope = envelope
        self.failed = ""
        """Reason why the envelope contains no call."""
        self.next_state: str | None = None
        """State in which the answer continues; None is the state before."""
        self.shown = ""
        """Text of an envelope that contains no call."""
        self._source = CallSource()
        self._reading = envelope.read(self._source, tools)
        self._texts: list[str] = []
        """All text so far, until a call has begun."""
        self._dropping = False
        """Whether the rest is dropped: it follows a call and cannot be read."""
        self._searched = ""
        """End of the text of a failed envelope that may contain the beginning of its end marker."""

    @property
    def unfinished(self) -> bool:
        """Return whether the last call's arguments are incomplete, or what follows it could not be read."""
        return self._source.open or self._dropping

    def take_parts(self) -> list[CallPart]:
        """Return the parts of calls that have been read since the last time."""
        parts, self._source.parts = self._source.parts, []
        return parts

    def feed(self, text: str) -> str | None:
        """Read more text. Return the text behind the envelope, or None while it is open."""
        if self.failed or self._dropping:
            return self._search(text)
        if not self._source.begun:
            self._texts.append(text)
        self._source.feed(text)
        return self._read()

    def end(self, cut: bool) -> str:
        """Read what can be read at the end of the answer, and return the text behind the envelope."""
        rest = None
        if not self.failed and not self._dropping:
            self._source.end(cut)
            rest = self._read()
        if rest is None:
            self.shown, rest = "" if self._dropping else self.envelope.start + "".join(self._texts), ""
        return rest

    def _read(self) -> str | None:
        try:
            next(self._reading)
        except StopIteration as finished:
            self.next_state = finished.value
            return self._source.rest()
        except (NotACall, EndOfText) as error:
            if self._source.begun:
                self._dropping, self._texts = True, [self._source.rest()]
                return self._search("") if isinstance(error, NotACall) else ""
            self.failed = str(error) or "it is not complete"
            return self._search("")
        return None

    def _search(self, text: str) -> str | None:
        """Look for the end of a failed envelope. Without an end marker only its start is text."""
        end = self.envelope.end
        if not end and self._dropping:
            return "".join(self._texts)
        if not end:
            self.shown = self.envelope.start
            return "".join(self._texts)
        if text:
            self._texts.append(text)
        window = self._searched + text if self._searched or text else "".join(self._texts)
        found = window.find(end)
        if found < 0:
            self._searched = window[-len(end) + 1 :] if len(end) > 1 else ""
            return None
        whole = "".join(self._texts)
        until = len(whole) - len(window) + found + len(end)
        self.shown = "" if self._dropping else self.envelope.start + whole[:until]
        return whole[until:]
