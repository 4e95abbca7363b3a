"""The framing of messages on a socket: a 4-byte big-endian length and a msgpack body.

Both sides send tagged structs only. An unknown tag, a body that does not fit its type, or a length above the limit is a
FrameError, after which the connection is closed.
"""

import struct
from typing import Any, Generic, TypeVar

import msgspec

from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.text import encodable

MAX_FRAME_BYTES = 256 * 1024 * 1024
"""Maximum size of a frame. A request with many images stays below it; a larger length indicates a defective peer."""
T = TypeVar("T")
_LENGTH = struct.Struct(">I")


class FrameError(LmxError):
    """A frame that does not fit the protocol."""

    code = "broken_frame"


class Encoder:
    """Encoder of frames; one for each connection and thread."""

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()

    def encode(self, message: Any) -> bytes:
        """Return the frame of `message`; lone surrogates in its text become U+FFFD. Raises FrameError."""
        try:
            body = self._encode(message)
        except OverflowError:
            raise FrameError("an integer in the message has more than 64 bits") from None
        except RecursionError:
            raise FrameError("the message is nested too deeply") from None
        if len(body) > MAX_FRAME_BYTES:
            raise FrameError(f"a frame of {len(body)} bytes is above the limit of {MAX_FRAME_BYTES}")
        return _LENGTH.pack(len(body)) + body

    def _encode(self, message: Any) -> bytes:
        try:
            return self._encoder.encode(message)
        except UnicodeEncodeError:
            return self._encoder.encode(encodable(msgspec.to_builtins(message, builtin_types=(bytes,))))


class Decoder(Generic[T]):
    """Decoder of frames that arrive in pieces of any size."""

    def __init__(self, kind: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[T]:
        """Return the messages that `data` completes, in order. Raises FrameError."""
        self._buffer += data
        messages: list[T] = []
        position = 0
        while len(self._buffer) - position >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, position)
            if length > MAX_FRAME_BYTES:
                raise FrameError(f"a frame announces {length} bytes, above the limit of {MAX_FRAME_BYTES}")
            end = position + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            try:
                messages.append(self._decoder.decode(memoryview(self._buffer)[position + _LENGTH.size : end]))
            except (msgspec.MsgspecError, RecursionError) as error:
                raise FrameError(f"a frame does not fit the protocol: {error}") from error
            position = end
        del self._buffer[:position]
        return messages
