"""BodyReader: the structure of a body is counted before it is decoded, and all bodies together are bounded."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmx_daemon.contract.errors import BusyError, RequestError
from lmx_daemon.http.context import RequestContext
from lmx_daemon.http.decoding import decode
from lmx_daemon.http.dialects.openai_chat.bodies import MAX_MESSAGES, MAX_PARTS, ChatBody
from lmx_daemon.http.dialects.openai_chat.dialect import OpenAIChat
from lmx_daemon.http.dialects.openai_chat.requests import chat_request
from lmx_daemon.http.guard.principals import KEYLESS
from lmx_daemon.http.server.body_reader import (
    MAX_NUMBERS,
    MAX_VALUES,
    SMALL_BYTES,
    BodyReader,
    RequestBytes,
    check_structure,
)
from lmx_daemon.settings.schema import ServerSettings
from lmx_daemon.storage.foreign import structure
from lmx_daemon.storage.foreign.structure import exceeds

TRICKY = st.text(st.sampled_from('a,"\\{}[]:\n\u00e9'), max_size=12)
JSON = st.recursive(
    st.integers() | TRICKY | st.none(), lambda inner: st.lists(inner) | st.dictionaries(TRICKY, inner)
)  # fmt: skip


def values(value: Any) -> int:
    """Return the expected count of the scanner: one for each container, and for each of its values after the first."""
    if not isinstance(value, list | dict):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(0, len(value) - 1) + sum(map(values, inner))


class TestStructure:
    @given(JSON, st.integers(1, 30))
    def test_count_does_not_depend_on_the_boundaries_of_chunks(self, value: Any, piece: int) -> None:
        data, count = json.dumps(value).encode(), values(value)
        whole, structure.PIECE = structure.PIECE, piece
        try:
            assert exceeds(data, count) is None
            assert count == 0 or exceeds(data, count - 1) is not None
        finally:
            structure.PIECE = whole

    def test_error_names_the_field_and_the_limit(self) -> None:
        body = b'{"model":"m","messages":[],"tools":[' + b"{}," * MAX_VALUES + b'{}],"prompt":""}'
        with pytest.raises(RequestError, match=str(MAX_VALUES)) as raised:
            check_structure(body)
        assert raised.value.param == "tools"

    def test_small_values_of_many_tool_calls_are_refused(self) -> None:
        call = b'{"function":{"name":"a","arguments":{"a":[' + b",".join([b'"x"'] * 20) + b"]}}}"
        message = b'{"role":"assistant","content":"","tool_calls":[' + b",".join([call] * 5) + b"]}"
        with pytest.raises(RequestError, match="250000 JSON values") as raised:
            check_structure(b'{"model":"m","messages":[' + b",".join([message] * 9000) + b"]}")
        assert raised.value.param == "messages"

    @pytest.mark.parametrize("comma", [b",", b", "])
    def test_token_ids_have_a_limit_of_their_own(self, comma: bytes) -> None:
        check_structure(b'{"model":"m","prompt":[' + comma.join([b"151643"] * 1_048_576) + b"]}")
        with pytest.raises(RequestError, match=str(MAX_NUMBERS)) as raised:
            check_structure(b'{"model":"m","prompt":[' + comma.join([b"151643"] * (MAX_NUMBERS + 100)) + b"]}")
        assert raised.value.param == "prompt"

    def test_long_text_full_of_commas_is_accepted(self) -> None:
        check_structure(b'{"messages":[{"role":"user","content":"' + b'a,{[\\",' * 2_000_000 + b'"}]}')


class TestCounts:
    def test_error_for_too_many_messages_names_the_field(self) -> None:
        body = b'{"model":"m","messages":[' + b",".join([b'{"role":"user"}'] * (MAX_MESSAGES + 1)) + b"]}"
        with pytest.raises(RequestError, match=str(MAX_MESSAGES)) as raised:
            decode(body, ChatBody)
        assert raised.value.param == "messages"

    @pytest.mark.parametrize(
        ("field", "entry"), [("content", '{"type":"text","text":""}'), ("tool_calls", '{"function":{"name":"f"}}')]
    )
    def test_too_many_parts_of_all_messages_are_refused(self, field: str, entry: str) -> None:
        message = f'{{"role":"assistant","{field}":[{",".join([entry] * (MAX_PARTS // 10 + 1))}]}}'
        body = decode(f'{{"model":"m","messages":[{",".join([message] * 10)}]}}'.encode(), ChatBody)
        with pytest.raises(RequestError, match=str(MAX_PARTS)) as raised:
            chat_request(body, RequestContext("i", OpenAIChat(), KEYLESS))
        assert raised.value.param == "messages"


class TestSharedBound:
    def test_bytes_above_the_bound_are_refused_and_released(self) -> None:
        bodies = BodyReader(lambda: ServerSettings(max_bodies_bytes=10 * SMALL_BYTES, max_body_bytes=1))
        first, second, small = RequestBytes(bodies), RequestBytes(bodies), RequestBytes(bodies)
        first.add(9 * SMALL_BYTES)
        with pytest.raises(BusyError) as raised:
            second.add(2 * SMALL_BYTES)
        assert raised.value.retry_after and "max_bodies_bytes" in str(raised.value.hint)
        small.add(SMALL_BYTES)
        second.release()
        small.release()
        first.release()
        RequestBytes(bodies).add(10 * SMALL_BYTES)
