"""The form of server-sent events, for dialects that stream in it."""

from typing import Any

import msgspec

from lmx_daemon.contract.generation.events import Loading, Prefill, Queued
from lmx_daemon.http.dialect import ProgressEvent

STREAM_TYPE = "text/event-stream"
KEEP_ALIVE = b": keep-alive\n\n"


class EventStream:
    """The common part of dialects that stream server-sent events and take bodies that are declared as JSON."""

    stream_type = STREAM_TYPE
    keep_alive = KEEP_ALIVE
    any_body_type = False

    def progress(self, event: ProgressEvent) -> bytes:
        """Return a comment, which clients skip and curl shows."""
        return progress(event)


def data(value: Any) -> bytes:
    """Return one event. JSON contains no line breaks, so one data line is enough."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def named_event(kind: str, **fields: Any) -> bytes:
    """Return one event with a name, which is the `type` of its JSON object, too."""
    return f"event: {kind}\n".encode() + data({"type": kind, **fields})


def progress(event: ProgressEvent) -> bytes:
    """Return a comment with the progress of a request without output."""
    match event:
        case Loading(stage=stage, fraction=fraction):
            done = "" if fraction is None else f" {fraction:.0%}"
            return f": loading {' '.join(stage.split())}{done}\n\n".encode()
        case Queued(position=position):
            return f": queued, position {position}\n\n".encode()
        case Prefill(done=done_tokens, total=total):
            return f": prompt, {done_tokens} of {total} tokens\n\n".encode()
