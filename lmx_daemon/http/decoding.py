"""Decoding of a request's JSON body to a struct, with errors that name the field."""

import re
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec

from lmx_daemon.contract.admin.protocol import HUB_HEADER
from lmx_daemon.contract.errors import RequestError
from lmx_daemon.http.context import AnyRequest

T = TypeVar("T")
PLACE = re.compile(r" - at (?:`key` in )?`\$\.?(?P<place>[^`]*)`$")
MISSING = re.compile(r"missing required field `(\w+)`")
LONE_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Escape of a surrogate, which is half a character. Programs that cut texts by length leave one without its pair."""


def decode(body: bytes, kind: type[T]) -> T:
    """Return `body` as `kind`. Raise RequestError that names the field."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _wrong_value(error, "") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        surrogate = LONE_SURROGATE.search(body)
        hint = "is there half a character, \\ud83d without its other half, in a text?" if surrogate else None
        raise RequestError(f"the body is not JSON: {error}", hint=hint) from error
    except RecursionError as error:
        raise RequestError("the body is nested too deeply") from error


def convert(value: Any, kind: type[T], place: str) -> T:
    """Return a decoded value, which the body has at `place`, as `kind`. Raise RequestError that names the field."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _wrong_value(error, place) from error


def _wrong_value(error: msgspec.ValidationError, outer: str) -> RequestError:
    """Return the error of a value whose type is wrong, or that is missing, inside the field `outer`."""
    text = str(error)
    message = PLACE.sub("", text)
    inner = found["place"] if (found := PLACE.search(text)) else ""
    missing = found[1] if (found := MISSING.search(message)) else ""
    param = ".".join(name for name in (outer, inner, missing) if name).replace(".[", "[")
    return RequestError(f"{param}: {message}" if param else message, param=param or None)


async def body_of(request: AnyRequest, kind: type[T]) -> T:
    """Return the request's body as `kind`. Raise RequestError that names the field."""
    return decode(await request.body(), kind)


def hub_of(request: AnyRequest) -> str | None:
    """Return the Hub's address from the caller's environment; None leaves the choice to the daemon."""
    return unquote(request.headers.get(HUB_HEADER, "")) or None
