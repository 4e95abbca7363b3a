"""Muse Spark: one turn holds several messages with headers (`to=self<|message|>…<|eom|>`), calls as `<atem:invoke>`."""

from lmx_daemon.engines.mlx.text.families.family import Envelope, Family, Tools
from lmx_daemon.engines.mlx.text.families.invokes import invokes
from lmx_daemon.engines.mlx.text.families.source import CallReading, CallSource, NotACall

MESSAGE, END_OF_MESSAGE = "<|message|>", "<|eom|>"
CALLS = invokes("<atem:function_calls>", "</atem:function_calls>", "atem:")
LONGEST_HEADER = 256


def header(source: CallSource, tools: Tools) -> CallReading:
    """Read a header. A message to a tool is content, in which its calls stand."""
    yield from source.space()
    yield from source.accept("<|start|>")
    yield from source.accept("assistant")
    yield from source.space()
    recipient, _ = yield from source.until((MESSAGE,), most=LONGEST_HEADER)
    if not recipient.strip().startswith("to="):
        raise NotACall("no header")
    return "reasoning" if recipient.strip() == "to=self" else "content"


MUSE_SPARK = Family(
    "muse_spark",
    (CALLS, Envelope(END_OF_MESSAGE, header, calls=False)),
    opening=Envelope("", header, calls=False),
    dropped=("<|eot|>",),
)
