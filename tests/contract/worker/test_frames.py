"""Tests of frames between daemon and worker: any split of the stream is decoded, and invalid frames are refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmx_daemon.contract.errors import ErrorBody, LmxError, RequestError, error_from
from lmx_daemon.contract.generation.events import Delta, Ending, Failed, Finished, Queued, Started, ToolCallDelta, Usage
from lmx_daemon.contract.generation.requests import Chat, Generate, ImagePart, Message, Text, TextPart, Tokens
from lmx_daemon.contract.worker.frames import MAX_FRAME_BYTES, Decoder, Encoder, FrameError
from lmx_daemon.contract.worker.messages import Cancel, Events, FromWorker, Heartbeat, Leave, Log, Submit, ToWorker

NAMES = st.text(max_size=20)
NUMBERS = st.integers(0, 2**40)
EVENTS = st.one_of(
    st.builds(Queued, id=NAMES, position=NUMBERS),
    st.builds(Started, id=NAMES, prompt_tokens=NUMBERS, cached_tokens=NUMBERS, seed=NUMBERS),
    st.builds(
        Delta,
        id=NAMES,
        choice=st.integers(0, 15),
        content=st.text(max_size=50),
        reasoning=st.text(max_size=50),
        tool_call=st.none()
        | st.builds(ToolCallDelta, index=st.integers(0, 9), name=st.none() | NAMES, arguments=NAMES),
        token_ids=st.lists(NUMBERS, max_size=4).map(tuple),
    ),
    st.builds(
        Finished,
        id=NAMES,
        endings=st.lists(st.builds(Ending, reason=st.sampled_from(["stop", "length", "cancelled"])), max_size=3).map(
            tuple
        ),
        usage=st.builds(Usage, prompt_tokens=NUMBERS, completion_tokens=NUMBERS),
    ),
    st.builds(Failed, id=NAMES, error=st.builds(ErrorBody, code=NAMES, message=NAMES, hint=st.none() | NAMES)),
)
FROM_WORKER = st.one_of(
    st.builds(Events, events=st.lists(EVENTS, max_size=5).map(tuple)),
    st.builds(Heartbeat, steps=NUMBERS, busy=st.booleans()),
    st.builds(Log, level=NAMES, message=NAMES),
)
PARTS = st.one_of(
    st.builds(TextPart, text=st.text(max_size=30)),
    st.builds(ImagePart, data=st.binary(max_size=30), media_type=st.just("image/png")),
)
PROMPTS = st.one_of(
    st.builds(Text, text=st.text(max_size=50)),
    st.builds(Tokens, ids=st.lists(NUMBERS, max_size=9).map(tuple)),
    st.builds(
        Chat,
        messages=st.lists(
            st.builds(
                Message, role=st.sampled_from(["system", "user"]), content=st.lists(PARTS, max_size=3).map(tuple)
            ),
            max_size=3,
        ).map(tuple),
    ),
)
TO_WORKER = st.one_of(
    st.builds(Submit, request=st.builds(Generate, id=NAMES, model=NAMES, prompt=PROMPTS)),
    st.builds(Cancel, id=NAMES),
    st.just(Leave()),
)


def through(kind: object, messages: list[object], data: st.DataObject) -> list[object]:
    """Return the messages after encoding, cutting the stream at any positions, and decoding."""
    encoder, decoder = Encoder(), Decoder[object](kind)
    stream = b"".join(map(encoder.encode, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    return [message for piece in pieces for message in decoder.feed(piece)]


@given(messages=st.lists(FROM_WORKER, max_size=4), data=st.data())
def test_messages_of_a_worker_survive_framing(messages: list[object], data: st.DataObject) -> None:
    assert through(FromWorker, messages, data) == messages


@given(messages=st.lists(TO_WORKER, max_size=4), data=st.data())
def test_messages_of_the_daemon_survive_framing(messages: list[object], data: st.DataObject) -> None:
    assert through(ToWorker, messages, data) == messages


@given(body=st.binary(min_size=1, max_size=60))
def test_bodies_that_are_not_messages_are_refused(body: bytes) -> None:
    decoder = Decoder[object](FromWorker)
    try:
        found = decoder.feed(struct.pack(">I", len(body)) + body)
    except FrameError:
        return
    assert len(found) == 1


def test_an_excessive_length_is_refused_before_the_body_arrives() -> None:
    with pytest.raises(FrameError, match="announces"):
        Decoder[object](FromWorker).feed(struct.pack(">I", MAX_FRAME_BYTES + 1))


def test_an_error_is_restored_from_its_body() -> None:
    error = error_from(RequestError("no", hint="yes", param="temperature").body())
    assert type(error) is RequestError
    assert (error.message, error.hint, error.param, error.status) == ("no", "yes", "temperature", 400)


def test_an_unknown_error_code_is_kept() -> None:
    error = error_from(ErrorBody(code="from_the_future", message="m"))
    assert type(error) is LmxError and error.code == "from_the_future"


def test_lone_surrogates_are_replaced_and_the_rest_is_kept() -> None:
    call = ToolCallDelta(index=0, name="f\ud83d", arguments='{"a": "\ud83d"}')
    events = Events(events=(Delta(id="a", content="x\udc80y", tool_call=call), Queued(id="b", position=2)))
    (found,) = Decoder[FromWorker](FromWorker).feed(Encoder().encode(events))
    half = "\N{REPLACEMENT CHARACTER}"
    replaced = ToolCallDelta(index=0, name=f"f{half}", arguments=f'{{"a": "{half}"}}')
    assert found == Events(events=(Delta(id="a", content=f"x{half}y", tool_call=replaced), Queued(id="b", position=2)))


def test_bytes_beside_lone_surrogates_stay_bytes() -> None:
    message = Message(
        role="user", content=(TextPart(text="\ud83d"), ImagePart(data=b"\xff\x00", media_type="image/png"))
    )
    sent = Submit(request=Generate(id="a", model="m", prompt=Chat(messages=(message,))))
    (found,) = Decoder[ToWorker](ToWorker).feed(Encoder().encode(sent))
    assert isinstance(found, Submit) and isinstance(found.request.prompt, Chat)
    assert found.request.prompt.messages[0].content[1] == message.content[1]
